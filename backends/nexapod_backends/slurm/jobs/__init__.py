"""From launches to Slurm jobs: what hosts have, what is packed together, and the batch script."""
