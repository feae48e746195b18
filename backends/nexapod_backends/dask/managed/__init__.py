"""A Dask cluster of our own: the process that owns it, and its workers."""
