"""What Prometheus reads from a node, in its text format: few enough numbers to write it by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch import __version__
from nexapod_batch.agent.witness import entries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.agent.state import State
    from nexapod_batch.local_nodes.node_status import Document

__all__ = ["metrics"]

_MIB = 1 << 20


class _Metric(NamedTuple):
    name: str
    kind: str
    text: str
    samples: tuple[tuple[str, float], ...]  # labels as they stand in the format, and the value


def metrics(node: Document, state: State) -> str:
    """Return all metrics of a node; no label is chosen by others."""
    lines = []
    for metric in (*_counters(state), *_gauges(node, state)):
        lines += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}"]
        lines += [f"{metric.name}{labels} {value:.17g}" for labels, value in metric.samples]
    return "\n".join(lines) + "\n"


def _counters(state: State) -> Iterator[_Metric]:
    ended = tuple((f'{{state="{name}"}}', float(number)) for name, number in sorted(state.ended.items()))
    yield _counter("launches_taken", "Launches that were taken from the coordinator.", state.taken)
    yield _counter("launches_refused", "Bundles that were not from the coordinator that was joined.", state.refused)
    text = "Launches that are over, by how they ended."
    yield _Metric("nexapod_node_launches_ended_total", "counter", text, ended)


def _gauges(node: Document, state: State) -> Iterator[_Metric]:
    replicas = sum(replica["count"] for replica in node["replicas"])
    version = f'{{version="{__version__}"}}'
    yield _Metric("nexapod_node_build_info", "gauge", "Which version this is.", ((version, 1.0),))
    yield _gauge("connected", "1 while the coordinator answers.", state.connected)
    yield _gauge("paused", "1 while the owner lets nothing start.", bool(node["paused"]))
    believed = not state.ledger.trouble
    yield _gauge("ledger_believed", "0 where the coordinator's ledger was cut off or rewritten.", believed)
    yield _gauge("ledger_entries", "Entries of the coordinator's ledger that it has seen.", entries(state.ledger))
    yield _gauge("launches", "Launches that the node has and that are not over.", state.running)
    yield _gauge("launches_waiting_for_inputs", "Launches whose inputs are being brought.", state.bringing)
    yield _gauge("replicas", "Replicas that run now.", replicas)
    yield _gauge("unsent_report_bytes", "Bytes of reports that the coordinator does not have yet.", state.unsent)
    yield _gauge("cpus", "CPUs that the node gives.", node["cpus"])
    yield _gauge("memory_bytes", "Memory that the node gives.", node["mem_mib"] * _MIB)
    yield _gauge("start_time_seconds", "When this run began, since 1970.", state.begun_at)
    yield _gauge("last_contact_timestamp_seconds", "When the coordinator answered last, since 1970.", state.heard_at)


def _counter(name: str, text: str, value: float) -> _Metric:
    return _Metric(f"nexapod_node_{name}_total", "counter", text, (("", float(value)),))


def _gauge(name: str, text: str, value: float) -> _Metric:
    return _Metric(f"nexapod_node_{name}", "gauge", text, (("", float(value)),))
