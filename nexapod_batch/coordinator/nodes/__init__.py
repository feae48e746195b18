"""The registry of nodes, their keys and their hardware profiles."""
