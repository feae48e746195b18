"""What can still be read of a damaged database, and a sound one that is made of it."""
