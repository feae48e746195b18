"""What every kind of Dask cluster does otherwise than other backends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spools import until

from nexapod_batch.testing.backends import BackendConformance

if TYPE_CHECKING:
    from spools import House

    from nexapod_batch.plugins import Backend

__all__ = ["DaskConformance"]


class DaskConformance(BackendConformance):
    """The suite, for nodes whose runners end by themselves."""

    keeps = frozenset({"spent"})

    def end(self, house: House) -> None:
        """Let the runners of this node end: they do when nothing is left to do."""
        (house.home / "go").touch()

    def test_a_launch_is_cancelled(self, backend: Backend, house: House) -> None:
        """What runs is stopped and reported; the rest is reported as cancelled, or given up before it started."""
        launch, _ = self.blocking(house, 6)
        backend.launch(house.context(), [launch])
        until((house.home / "at.0").exists, "a command to start")
        backend.cancel(house.context(), {launch.key: None})
        self.ended(backend, house, launch)
        assert {one.statement.outcome.value for one in house.reports()} == {"cancelled"}
