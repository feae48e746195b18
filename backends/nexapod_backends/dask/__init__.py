"""The backend `dask`: runners on the workers of a Dask cluster."""
