"""Descriptors that nobody had to write: from a command line, from a script with `#SBATCH` lines, to start from."""
