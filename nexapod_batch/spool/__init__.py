"""The spool of a node: the files by which coordinator, backends and runner speak to each other, and nobody else."""
