"""Formats that only their libraries can read: HDF5 and NetCDF 4, Parquet, images.

A file from another node may be made to break the library that reads it. So each is read by a process of its own, under
limits of memory and time, which sends tokens and nothing else: `reader` starts it, `program` is what runs there.
"""
