"""The runtime `bare`: the command runs as it is, as the account of the runner.

It can read what that account can read, the node's key included: attestations say `isolation = none`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nexapod_batch.model.job import Job

__all__ = ["BareRuntime"]


class BareRuntime:
    """Wraps nothing around the command."""

    isolation = "none"

    def argv(self, job: Job, command: Sequence[str], work: Path) -> list[str]:  # noqa: ARG002 - the port's signature
        """Return the command itself."""
        return list(command)
