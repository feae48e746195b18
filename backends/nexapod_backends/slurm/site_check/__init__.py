"""What is found out about a cluster before anybody relies on it, and a first site file from what Slurm says."""
