"""Launching: planned, written down, submitted, stopped, and what became of it."""
