"""Formats of files, each read as a sequence of tokens: text tables, CSV, JSON, .npy. `reading` knows which is which."""
