"""The use cases: submit, dispatch, ingest, decide, publish, and what people ask about them.

A verdict depends on the policy and the replicas' outcomes alone; every effect outside the database has an intent row
first; whatever is interrupted is picked up by the next pass, by whichever process runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator, open_coordinator

__all__ = ["Coordinator", "open_coordinator"]


def __getattr__(name: str) -> object:
    """Import what readers (`views`) do without when somebody asks for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nexapod_batch.coordinator import context  # noqa: PLC0415

    return getattr(context, name)
