"""The part of the port of backends that says where runners keep what they fetch; a backend may leave it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nexapod_batch.plugins.backend_nouns import NodeContext

__all__ = ["Fetching"]


class Fetching(Protocol):
    """Has runners that fetch inputs as `fetching` of `node.json` says."""

    def fetch_folder(self, context: NodeContext) -> str:
        """Return where the runners of a node keep what they fetch: an absolute path there; "" where all is brought.

        Args:
            context: The node. It is not called for that.

        Raises:
            SchedulerError: It cannot be said; nothing is placed there until the next pass.

        """
        ...
