"""Process trees: started, watched, measured, suspended, ended."""
