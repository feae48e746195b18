"""A storm of faults over two real Slurm clusters, one of them behind SSH: no task is lost, no replica runs twice."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import storms
from clusters.daemons import ClusterError
from clusters.slurm import Cluster, Clusters
from clusters.sshd import Sshd
from real.slurm_homes import SlurmHome, slurm_jobs, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Storm(storms.Storm):
    """Slurm loses nodes, daemons, jobs and connections as well."""

    settled_s = 1.0
    pause_s = (0.05, 0.3)

    def __init__(self, home: SlurmHome, clusters: Clusters, sshd: Sshd) -> None:
        """Begin with everything up."""
        super().__init__(home, seed=20261124, wanted=100)
        self.clusters, self.sshd = clusters, sshd
        self._back: dict[str, Callable[[], object]] = {}  # what is down or drained, and what ends that

    def kinds(self) -> list[Callable[[], bool]]:
        """Return what can happen."""
        return (
            [self.coordinator] * 4 + [self.runner] * 12 + [self.cancel] * 6 + [self.requeue] * 6
            + [self.cut] * 8 + [self.drain] * 2 + [self.node, self.controller, self.accounting]
        )  # fmt: skip

    def strike(self) -> None:
        """Do one thing; bring back what was taken away before something of its kind goes."""
        kind = self.chance.choice(self.kinds())
        if self._back.get(kind.__name__):
            self._back.pop(kind.__name__)()
        elif kind():
            self.counts[kind.__name__] += 1

    def calm(self) -> None:
        """Bring everything back first."""
        while self._back:
            self._back.popitem()[1]()
        super().calm()

    def cancel(self) -> bool:
        """Cancel a running element as a person does; of a pending one Slurm keeps no trace, which takes the grace to learn."""
        cluster, element = self._element()
        return bool(element) and cluster.run("scancel", element).returncode == 0

    def requeue(self) -> bool:
        """Let Slurm start a running element again."""
        cluster, element = self._element()
        if not element:
            return False
        cluster.run("scontrol", "update", f"jobid={element}", "requeue=1")
        return cluster.run("scontrol", "requeue", element).returncode == 0

    def cut(self) -> bool:
        """Cut every connection to the site that is reached over SSH, wherever it is in its work."""
        return self.sshd.kill_sessions() > 0

    def drain(self) -> bool:
        """Let a node take no more jobs."""
        cluster = self._cluster()
        node = self.chance.choice(cluster.nodes)
        update = ("scontrol", "update", f"nodename={node}")
        if cluster.run(*update, "state=drain", "reason=storm").returncode:  # its controller is away
            return False
        self._back["drain"] = lambda: (self._back.pop("controller", bool)(), cluster.run(*update, "state=resume"))
        return True

    def node(self) -> bool:
        """Cut the power of a node."""
        cluster = self._cluster()
        node = self.chance.choice(cluster.nodes)
        try:
            cluster.lose_node(node)
        except ClusterError:  # its controller is away
            pass
        self._back["node"] = lambda: (self._back.pop("controller", bool)(), cluster.start_node(node))
        return True

    def controller(self) -> bool:
        """Take a controller away; in good order, for one that crashes forgets jobs that it took moments before."""
        cluster = self._cluster()
        cluster.stop_controller()

        def back() -> None:
            self._back.pop("accounting", bool)()  # without it slurmctld may refuse to start
            cluster.start_controller()

        self._back["controller"] = back
        return True

    def accounting(self) -> bool:
        """Take accounting away."""
        self.clusters.stop_dbd()
        self._back["accounting"] = self.clusters.start_dbd
        return True

    def _cluster(self) -> Cluster:
        return self.chance.choice(list(self.clusters.each.values()))

    def _element(self) -> tuple[Cluster, str]:
        """Return a running element of ours, if there is one, and its cluster."""
        cluster = self._cluster()
        found = cluster.run("squeue", "--noheader", "--array", "--states=R", "--format=%i %j").stdout.splitlines()
        ours = [line.split()[0] for line in found if "nexapod-" in line]
        return cluster, self.chance.choice(ours) if ours else ""


@pytest.mark.slow
def test_a_storm_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    """At least a hundred faults under load; every task is accepted, executions are unique, each group is one Slurm job."""
    home = SlurmHome(tmp_path)
    with Clusters.start() as clusters, Sshd.create(tmp_path / "sshd") as sshd:
        home.site(clusters.alpha, scheduler={"cmd_timeout": "2s"})
        home.site(
            clusters.beta,
            scheduler={"cmd_timeout": "2s", "transport": "ssh"},
            ssh={"host": sshd.host, "port": sshd.port, "key": str(sshd.key), "known_hosts": str(sshd.known_hosts)},
            filesystem={"work_dir": str(home.path / "far")},
            runner={"python": sys.executable},
        )
        storm = Storm(home, clusters, sshd)
        try:
            quorum = 'agree = 2\ndistinct = "node"\nmax_replicas = 100\nmax_lost = 10000\n'
            text = home.tasks(60, "sleep 0.5").replace('agree = 1\ndistinct = "run"\n', quorum)
            jobs = storm.rage(text, busy=60)
            storm.calm()
            for cluster in clusters.each.values():
                until(lambda cluster=cluster: slurm_jobs(cluster, 0), "accounting to know them")
                made = {name: {element.partition("_")[0] for element in mine} for name, mine in slurm_jobs(cluster, 0).items()}
                assert [name for name, ids in made.items() if len(ids) > 1] == [], "a group was submitted twice"
            left = [*home.path.glob("spool/*/reports/*.jsonl"), *home.path.glob("far/*/*/reports/*.jsonl")]
            storm.nothing_was_lost_or_repeated(jobs, left)
        finally:
            storm.end()
