"""What Prometheus reads: counts and ages, never a label that somebody else chooses or that grows without end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from starlette.responses import Response

from nexapod_batch import __version__
from nexapod_batch.coordinator.queries import views
from nexapod_batch.server.calls import Access, Call, Route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from nexapod_batch.server.service import Service

__all__ = ["ROUTES"]

#: What passes counted, and what it is called.
_TOTALS = {
    "ingested": ("nexapod_reports_ingested", "Reports of replicas that were taken in."),
    "quarantined": ("nexapod_reports_quarantined", "Reports that were put aside."),
    "decided": ("nexapod_tasks_decided", "Tasks that got a verdict."),
    "launched": ("nexapod_launches", "Launches that were handed to nodes."),
    "published": ("nexapod_tasks_published", "Tasks whose results were published."),
    "lost": ("nexapod_replicas_lost", "Replicas that were lost."),
}


async def metrics(call: Call) -> Response:
    """Return all metrics in the text format of Prometheus."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - 47 ms, and seldom needed
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4  # noqa: PLC0415

    nodes = await call.service.read(lambda c: views.nodes(c.store))
    open_jobs = await call.service.read(lambda c: c.store.jobs.count_open())
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(call.service, nodes, open_jobs))
    text = generate_latest(registry)
    return Response(text, 200, {"content-type": CONTENT_TYPE_PLAIN_0_0_4, "cache-control": "no-store"})


class _Collected:
    """The metrics of one look."""

    def __init__(self, service: Service, nodes: list[views.Document], open_jobs: int) -> None:
        """Keep what was found."""
        self._service, self._nodes, self._open_jobs = service, nodes, open_jobs

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily  # noqa: PLC0415

        yield InfoMetricFamily("nexapod_build", "Which version this is.", value={"version": __version__})
        labels = ["method", "status"]
        answers = CounterMetricFamily("nexapod_http_requests", "Requests that were answered.", labels=labels)
        for (method, status), number in sorted(self._service.answers.items()):
            answers.add_metric([method, str(status)], number)
        yield answers
        for name, (called, text) in _TOTALS.items():
            yield CounterMetricFamily(called, text, value=self._service.passes.totals.get(name, 0))
        for called, text, value in self._gauges():
            yield GaugeMetricFamily(called, text, value=value)
        by_tier = GaugeMetricFamily("nexapod_nodes", "Nodes that are registered.", labels=["tier", "state"])
        counted = Counter((node["tier"], "active" if node["active"] else "drained") for node in self._nodes)
        for (tier, state), number in sorted(counted.items()):
            by_tier.add_metric([tier, state], number)
        yield by_tier

    def _gauges(self) -> Iterator[tuple[str, str, float]]:
        passes = self._service.passes
        yield "nexapod_open_jobs", "Jobs that have not ended.", self._open_jobs
        yield "nexapod_replicas_out", "Replicas that nodes have.", sum(node["out"] for node in self._nodes)
        yield "nexapod_people_waiting", "Questions that wait for the end of a job.", self._service.waiting
        yield "nexapod_nodes_waiting", "Nodes that wait for work.", self._service.channel.polls
        yield "nexapod_start_time_seconds", "When this server began, since 1970.", self._service.started_at
        yield "nexapod_last_pass_timestamp_seconds", "When the last pass ended, since 1970; 0: never.", passes.last.at
        yield "nexapod_passes_failing", "1 where the last pass could not be made.", float(bool(passes.last.failed))


ROUTES = (
    Route(
        method="GET", path="/metrics", access=Access.PUBLIC, handler=metrics, answers="text/plain",
        summary="Metrics for Prometheus; with `serve --public` for anybody, else with a token.",
    ),
)  # fmt: skip
