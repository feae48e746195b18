"""Faults of real Dask clusters: whatever dies, every task ends right, nothing runs twice, and no report is lost."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest
import storms
from clusters.dask import DaskCluster, separates
from real.dask_homes import DaskHome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ("w1", "w2", "w3")


class Storm(storms.Storm):
    """Workers, runners and the scheduler die; workers stand still."""

    pause_s = (0.05, 0.4)

    def __init__(self, home: DaskHome, cluster: DaskCluster, own: Path | None) -> None:
        """Begin with nothing up but the scheduler; with `own` each worker alone sees what lies there."""
        super().__init__(home, seed=20261128, wanted=50)
        self.cluster, self._own = cluster, own

    def kinds(self) -> list[Callable[[], bool]]:
        """Return what can happen."""
        return [self.coordinator] * 4 + [self.worker] * 6 + [self.runner] * 4 + [self.halt] * 2 + [self.scheduler]

    def mend(self) -> None:
        """Start what is down: a coordinator, and workers; those end that lost their scheduler."""
        super().mend()
        for name in NAMES:
            daemon = self.cluster.workers.get(name)
            if daemon is None or daemon.process() is None:
                if daemon is not None:
                    daemon.stop()
                self.cluster.start_worker(name, own=self._own, wait=False)

    def worker(self) -> bool:
        """Kill -9 a worker of Dask; its runner sees that and ends."""
        name = self._up()
        if name:
            self.cluster.kill(name)
        return bool(name)

    def halt(self) -> bool:
        """Let a worker stand still for a moment, as one that swaps, or whose network is away."""
        name = self._up()
        if not name:
            return False
        process = self.cluster.process(name)
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            time.sleep(self.chance.uniform(0.2, 1.0))
            process.resume()
        return True

    def scheduler(self) -> bool:
        """Kill -9 the scheduler, which forgets everything, and start another one there."""
        self.cluster.kill()
        self.cluster.start_scheduler()
        return True

    def _up(self) -> str:
        names = [name for name in NAMES if name in self.cluster.workers and self.cluster.workers[name].process() is not None]
        return self.chance.choice(names) if names else ""


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "apart"])
def test_a_storm_loses_nothing_and_repeats_nothing(tmp_path: Path, *, shared: bool) -> None:
    """Fifty faults under load, with files shared, and with a storage of its own for each worker."""
    if not shared and not separates():
        pytest.skip("mount namespaces are not allowed here: workers cannot have storages of their own")
    home = DaskHome(tmp_path)
    own = None if shared else home.path / "there"
    with DaskCluster.start(tmp_path / "dask", workers=0) as cluster:
        home.pool(cluster.address, shared=shared, dask={"timeout": "3s"})
        storm = Storm(home, cluster, own)
        try:
            quorum = "agree = 2\nmax_replicas = 100\nmax_lost = 10000\n"
            text = home.tasks(25, "sleep 0.5; head -c 100000 /dev/zero > big").replace("agree = 1\n", quorum)
            jobs = storm.rage(text.replace("[quorum]", '[[outputs]]\npath = "big"\n[quorum]'), busy=25)
            storm.calm()
            for row in home.rows("SELECT * FROM job"):
                for task in range(row["n_tasks"]):
                    assert (home.path / "results" / str(row["id"]) / str(task) / "big").stat().st_size == 100_000
            home.ended(home.start(home.tasks(1)))  # while something is out everything is looked at
            left = [*home.path.rglob("reports/*.jsonl"), *cluster.folder.glob("*.own/**/reports/*.jsonl")]
            storm.nothing_was_lost_or_repeated(jobs, left)
        finally:
            storm.end()
