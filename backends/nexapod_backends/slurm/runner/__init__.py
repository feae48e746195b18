"""The runner on a compute node: how it is started, and how it gets there."""
