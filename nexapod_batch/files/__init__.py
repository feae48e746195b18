"""Edges to the disk: atomic writes, key files, finding and digesting outputs, and what kind of file system it is."""
