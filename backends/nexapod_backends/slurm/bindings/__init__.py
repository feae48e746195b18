"""pyslurm, where it fits the Slurm of a site: asked in a process of its own."""
