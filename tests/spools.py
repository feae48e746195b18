"""The node in a temporary folder that ships with the conformance suites."""

from __future__ import annotations

from nexapod_batch.testing.node import COORDINATOR, DEADLINE_S, House, Report, alive, until

__all__ = ["COORDINATOR", "DEADLINE_S", "House", "Report", "alive", "until"]
