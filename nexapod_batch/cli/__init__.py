"""The command line: parses, calls the coordinator, renders, and returns an exit code. The only user of click."""

from __future__ import annotations

from nexapod_batch.cli.app import main

__all__ = ["main"]
