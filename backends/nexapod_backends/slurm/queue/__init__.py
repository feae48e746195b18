"""Slurm's queue as we know it: what was submitted, and what Slurm last said of it."""
