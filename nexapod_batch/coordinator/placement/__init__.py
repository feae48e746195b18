"""Where a job may run: eligible nodes, host sets of clusters, containers and their images."""
