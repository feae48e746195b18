"""Launches as a runner takes them: the bundle that was checked, and the allocation that it runs in."""
