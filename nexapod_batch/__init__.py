"""Batch results that can be trusted: run independently, compare, sign, prove."""

__version__ = "0.1.0"
