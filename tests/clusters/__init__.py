"""Real Slurm clusters and a real sshd, started for the tests in a folder of their own and gone afterwards."""
