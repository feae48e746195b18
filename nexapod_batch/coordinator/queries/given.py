"""What nodes gave: tasks, hours and energy, by period. What was not measured is None and no guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.errors import NotFoundError

if TYPE_CHECKING:
    from nexapod_batch.store import Store
    from nexapod_batch.store.repositories.accounting import Given

__all__ = ["history"]

_FORMS = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y", "all": "all"}
_HOUR_MS = 3_600_000.0
_KWH_MJ = 3.6e9  # millijoules


def history(store: Store, node: str | None, by: str, since_ms: int) -> list[dict[str, Any]]:
    """Return a document for each node, or one of them, and each period; NotFoundError for an unknown node."""
    known = [one.name for one in store.nodes.all()]
    if node is not None and node not in known:
        raise NotFoundError("there is no such node", got=repr(node), wanted=f"one of: {', '.join(known) or 'none'}")
    return [_document(row) for row in store.accounting.given(_FORMS[by], since_ms, node or "")]


def _document(row: Given) -> dict[str, Any]:
    return {
        "node": row.node,
        "period": row.period,
        "tasks": row.tasks,
        "replicas": row.replicas,
        "valid": int(row.valid),
        "core_hours": round(row.core_ms / _HOUR_MS, 6),
        "cpu_hours": round(row.cpu_ms / _HOUR_MS, 6) if row.n_cpu else None,
        "gpu_hours": round(row.gpu_ms / _HOUR_MS, 6) if row.n_gpus else None,
        "gpu_energy_kwh": round(row.energy_mj / _KWH_MJ, 6) if row.n_energy else None,
    }
