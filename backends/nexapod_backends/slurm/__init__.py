"""The backend `slurm`: one sbatch array for a group of launches, watched with squeue and sacct."""
