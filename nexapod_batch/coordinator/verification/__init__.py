"""Verdicts worked out again from signed statements, and the statements written out for others."""
