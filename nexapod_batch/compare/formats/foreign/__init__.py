"""Formats that only their libraries can read: HDF5 and NetCDF 4, Parquet, images.

A file from another node may be made to break the library that reads it. So each is read by a process of its own, under
limits of memory and time, which sends tokens and nothing else. `programs` starts a program for each kind, which loads
the library once and forks those processes: `program` is what runs there. `reader` takes what they send.
"""
