"""Homes whose sites are real clusters: site files, the program run in them, and what Slurm and the runners left behind.

`Wrapped` puts scripts before a cluster's commands: each call is noted, and may be broken on purpose.
"""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logged_homes import LoggedHome, until, waiting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clusters.slurm import Cluster
    from clusters.sshd import Sshd

__all__ = ["FarHome", "SlurmHome", "Wrapped", "mark", "queue", "site_text", "slurm_jobs", "until", "waiting"]

COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo")

#: What every cluster of the tests has, as a site file declares it.
PARTITION = {"name": "short", "hosts": 2, "max_time": "1:00:00", "max_cpus": 8, "max_mem": "16000M"}
#: Quick enough for tests: the queue is looked at every second, sbatch is called as often as there is need.
LIMITS = {"poll_interval": "1s", "submit_rate": 100}


def site_text(cluster: Cluster, *, name: str = "", bin_folder: Path | None = None, **tables: Mapping[str, object]) -> str:
    """Return the site file of a cluster; `tables` add to its tables, `partition` to its only partition."""
    scheduler = {"type": "slurm", "bin": str(bin_folder or cluster.bin), "conf": str(cluster.conf), "cmd_timeout": "20s"}
    pack = dict(tables.pop("pack", {}))
    whole: dict[str, Mapping[str, object]] = {"site": {"name": name or cluster.name}, "scheduler": scheduler, "limits": LIMITS}
    partition = {**PARTITION, **tables.pop("partition", {})}
    for table, more in tables.items():
        whole[table] = {**whole.get(table, {}), **more}
    lines = ["schema = 1"]
    for table, values in (*whole.items(), ("limits.pack", pack)):
        if values:
            lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    lines += ["[[partitions]]", *(f"{key} = {json.dumps(value)}" for key, value in partition.items())]
    return "\n".join(lines) + "\n"


class SlurmHome(LoggedHome):
    """A home whose sites are clusters."""

    imports: tuple[str, ...] = ("nexapod_backends.slurm.ssh.transport",)

    def site(self, cluster: Cluster, **more: Any) -> None:
        """Write the site file of a cluster."""
        folder = self.path / "sites.d"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / f"{more.get('name') or cluster.name}.toml").write_text(site_text(cluster, **more))

    def groups(self) -> dict[str, dict[str, Any]]:
        """Return the groups that the backend keeps, by id."""
        files = (self.path / "sites").glob("*/groups/*.json")
        return {file.stem: json.loads(file.read_text()) for file in files}


class FarHome(SlurmHome):
    """A home on one machine, a work folder on another, which here is the same."""

    def __init__(self, folder: Path) -> None:
        """Name the folders."""
        super().__init__(folder)
        self.far = folder / "far"

    def over_ssh(self, cluster: Cluster, sshd: Sshd, *, ssh: dict[str, Any] | None = None, **more: Any) -> None:
        """Write a site file that reaches a cluster through sshd."""
        reached = {"host": sshd.host, "port": sshd.port, "key": str(sshd.key), "known_hosts": str(sshd.known_hosts)}
        self.site(
            cluster,
            scheduler={"transport": "ssh"},
            ssh={**reached, "connect_timeout": "10s", **(ssh or {})},
            filesystem={"work_dir": str(self.far)},
            **more,
        )

    def there(self, pattern: str) -> list[Path]:
        """Return what lies on the other side, beside and in the nodes' folders."""
        return sorted(self.far.glob(f"nexapod-*/{pattern}"))


class Wrapped:
    """A folder of commands: each notes its call, then does what `break_` gave it, or what Slurm's own does."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        """Make the scripts."""
        self.bin, self._calls, self._real = folder / f"bin-{cluster.name}", folder / f"calls-{cluster.name}", cluster.bin
        self.bin.mkdir()
        for command in COMMANDS:
            self.mend(command)

    def mend(self, command: str) -> None:
        """Make a command do what Slurm's own does."""
        self.break_(command, 'exec "$REAL" "$@"')

    def break_(self, command: str, lines: str) -> None:
        """Give a command a shell script, which finds Slurm's own in $REAL."""
        partial = self.bin / f".{command}"
        real, calls = shlex.quote(str(self._real / command)), shlex.quote(str(self._calls))
        partial.write_text(f'#!/bin/sh\nREAL={real}\necho "{command} $*" >> {calls}\n{lines}\n')
        partial.chmod(0o755)
        partial.replace(self.bin / command)

    def calls(self, command: str = "") -> list[str]:
        """Return the calls of a command, or of all."""
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        return [line for line in lines if line.split()[0].startswith(command)]


def mark(cluster: Cluster) -> int:
    """Return a job id below which nothing that is submitted from now on lies."""
    job = cluster.run("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true", check=True, cwd=cluster.conf.parent)
    cluster.run("scancel", job.stdout.strip(), check=True)
    return int(job.stdout)


def slurm_jobs(cluster: Cluster, after: int) -> dict[str, dict[str, str]]:
    """Return what accounting knows of our jobs after a mark, which may be late: name -> element -> state."""
    argv = ["sacct", "--noheader", "--parsable2", "--allocations", "--starttime=now-1days", "--format=JobID,JobName,State"]
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for line in cluster.run(*argv, check=True).stdout.splitlines():
        element, name, state = line.split("|")
        if name.startswith("nexapod-") and int(element.partition("_")[0]) > after:
            found[name][element] = state
    return dict(found)


def queue(cluster: Cluster, form: str = "%i") -> list[str]:
    """Return what the queue holds, one line for each element."""
    argv = ["squeue", "--noheader", "--array", "--states=PD,R,CG,CF,S,RQ,SE", f"--format={form}"]
    return cluster.run(*argv, check=True).stdout.split()
