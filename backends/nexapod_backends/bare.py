"""The runtime `bare`: the command runs as it is, as the account of the runner.

It can read what that account can read, the node's key included: attestations say `isolation = none`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.runtimes import Wrapped

if TYPE_CHECKING:
    from nexapod_batch.runtimes import Execution, Fact, RuntimeSettings

__all__ = ["BareRuntime"]


class BareRuntime:
    """Wraps nothing around the command."""

    def settle(self, settings: RuntimeSettings) -> None:
        """Do nothing: there is nothing to say to it."""

    def wrap(self, execution: Execution) -> Wrapped:
        """Return the command itself."""
        return Wrapped(argv=list(execution.command), env=execution.env)

    def examine(self, path: str) -> list[Fact]:  # noqa: ARG002 - the port's signature
        """Return nothing: it needs nothing."""
        return []

    def judge(self, status: int, stderr: bytes) -> str | None:  # noqa: ARG002 - the port's signature
        """Return nothing: whatever was said, the command said it."""
        return None
