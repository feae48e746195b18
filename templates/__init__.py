"""Script templates, one for each kind of scheduler. They are read as text; nothing here is code."""
