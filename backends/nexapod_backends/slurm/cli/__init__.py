"""Slurm's commands and what they print, as frozen objects."""
