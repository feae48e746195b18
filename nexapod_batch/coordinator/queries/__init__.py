"""What people ask: views of jobs and nodes, why a task waits, what a job used, whether the installation is sound."""
