"""One class for each subject: typed methods, and typed rows out."""
