"""Talking to a Dask scheduler, and through it to agents on workers: all that answers is hostile until parsed."""
