"""Two real Slurm clusters with accounting, as ordinary processes of one folder.

`Clusters` starts its own munged, mariadbd and slurmdbd, and for each cluster a slurmctld and two slurmd on this host.
Every socket, port, key and file is private to the folder; listeners stand on the loopback where the host's name does.
Closing it ends every process that it started, with the steps and jobs of the nodes.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from clusters.confs import Place, Shape, cgroup_conf, gres_conf, slurm_conf, slurmdbd_conf
from clusters.daemons import (
    ClusterError,
    Daemon,
    accepts,
    clean_environment,
    free_ports,
    kill_all,
    marked,
    own_machine,
    poll,
    program,
)

if TYPE_CHECKING:
    import psutil

__all__ = ["RECORD", "SHAPES", "Cluster", "Clusters"]

#: What the tests get; another pair may be given to `Clusters`.
SHAPES = (
    Shape(name="alpha", nodes=("a1", "a2"), max_array=1_001, min_job_age=60),
    Shape(name="beta", nodes=("b1", "b2"), max_array=2_001, gpu_node="b2"),
)
#: Bytes of a temporary folder below which sockets of clusters have room.
_SHORT = 20
_COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "srun", "sacctmgr")
#: The file by which `attach` finds a folder's clusters again.
RECORD = "clusters.json"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One Slurm cluster: how to talk to it, and how to break it."""

    name: str
    conf: Path  # its slurm.conf
    bin: Path  # folder of commands that know this cluster whatever their environment says
    env: Mapping[str, str]  # a whole environment with SLURM_CONF, for subprocesses
    nodes: tuple[str, ...]
    controller: Daemon = field(repr=False)
    slurmds: Mapping[str, Daemon] = field(repr=False)  # by node
    listens: Mapping[str, tuple[str, int]] = field(repr=False)  # address and port, by node
    outlive: bool = False  # the daemons stay when this program ends

    def run(
        self, *argv: object, check: bool = False, timeout: float = 60, text_in: str | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Slurm, or any other, with this cluster's environment."""
        done = subprocess.run(
            [str(word) for word in argv],
            env=dict(self.env),
            input=text_in,
            stdin=subprocess.DEVNULL if text_in is None else None,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise ClusterError(f"{shlex.join(map(str, argv))} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def start_controller(self) -> None:
        """Start slurmctld and return when it answers."""
        self.controller.start(lambda: "is UP" in self.run("scontrol", "ping").stdout, outlive=self.outlive)

    def stop_controller(self) -> None:
        """Stop slurmctld in good order; its state is saved. Jobs run on."""
        self.controller.stop(30)

    def kill_controller(self) -> None:
        """Kill slurmctld, as a crash of its machine does."""
        self.controller.kill()

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node and return when the controller counts on it."""
        self.launch_node(name)
        poll(f"node {name} is idle", lambda: self._usable(name), log=self.slurmds[name].tail)

    def launch_node(self, name: str) -> None:
        """Start the slurmd of a node and return when it listens."""
        self.slurmds[name].start(lambda: accepts(self.listens[name]), outlive=self.outlive)

    def kill_node(self, name: str) -> None:
        """Kill slurmd, its steps and their jobs at once, as a power cut does. Slurm learns it after SlurmdTimeout."""
        self.slurmds[name].kill()
        while left := self._left_on(name):
            kill_all(left)

    def lose_node(self, name: str) -> None:
        """Kill a node and tell Slurm that it is down, so that nobody has to wait for SlurmdTimeout."""
        self.kill_node(name)
        self.run("scontrol", "update", f"nodename={name}", "state=down", "reason=power cut", check=True)

    def wait_idle(self, timeout: float = 60) -> None:
        """Return when the queue is empty and every node that runs takes jobs."""

        def idle() -> bool:
            queue = self.run("squeue", "--noheader", "--all", "--states=PD,R,CG,S,CF,SO,RQ")
            states = [self._state(name) for name, slurmd in self.slurmds.items() if slurmd.process() is not None]
            # Behind a restart the controller may call a node without jobs mixed until its next job; the queue is right.
            return queue.returncode == 0 and not queue.stdout.strip() and set(states) <= {"idle", "mixed", "allocated"}

        poll(f"cluster {self.name} is idle", idle, timeout=timeout, log=self.describe)

    def describe(self) -> str:
        """Return the queue, the nodes and the end of the controller's log, for a message."""
        said = [self.run(*argv) for argv in (("squeue", "--all"), ("sinfo", "--Node", "--long"))]
        return "\n".join([*(done.stdout + done.stderr for done in said), self.controller.tail()])

    def cancel_all(self, timeout: float = 60) -> None:
        """Cancel every job and wait until the nodes are free."""
        user = pwd.getpwuid(os.geteuid()).pw_name
        self.run("scancel", f"--user={user}", check=True)
        self.wait_idle(timeout)

    def close(self) -> None:
        """Kill this cluster's daemons, with all that their jobs left."""
        for name in self.nodes:
            self.kill_node(name)
        self.controller.kill()

    def _state(self, name: str) -> str:
        return self.run("sinfo", "--noheader", "--Node", "--partition=short", f"--nodes={name}", "--format=%T").stdout.strip()

    def _usable(self, name: str) -> bool:
        state = self._state(name)
        if state.startswith(("down", "drain")) and not state.endswith("*"):
            self.run("scontrol", "update", f"nodename={name}", "state=resume")
        return state in {"idle", "mixed", "allocated", "completing"}

    def _left_on(self, name: str) -> list[psutil.Process]:
        """Return what slurmd left: its children, the step daemons and the processes of jobs, which all carry two marks."""
        return marked(f"SLURM_CONF={self.conf}", f"SLURMD_NODENAME={name}")


class Clusters:
    """All clusters of one folder, with the daemons that they share. A context manager."""

    def __init__(self, folder: Path, shapes: Sequence[Shape], ports: Mapping[str, Sequence[int]], *, outlive: bool) -> None:
        """Describe what lies in a folder; nothing starts. `ports`: by cluster, and "" for slurmdbd."""
        self.folder = folder
        self._shapes, self._ports, self._outlive, self._temporary = tuple(shapes), ports, outlive, False
        host, own_address = _host()
        self._place = Place(
            folder=folder,
            host=host,
            address=own_address or "127.0.0.1",
            host_is_loopback=own_address is not None,
            user=pwd.getpwuid(os.geteuid()).pw_name,
            munge_socket=f"{folder}/munge/socket",
            dbd_port=ports[""][0],
            dbd_private="jobs,usage" if any("PrivateData" in (shape.extra or {}) for shape in shapes) else "",
        )
        self._munge, self._mariadb, self._dbd = self._shared()
        self.each = {shape.name: self._cluster(shape, ports[shape.name]) for shape in shapes}

    @classmethod
    def start(cls, folder: Path | None = None, *, shapes: Sequence[Shape] = SHAPES, outlive: bool = False) -> Self:
        """Start everything below `folder`, which must be empty or absent; without one a temporary folder is used.

        `outlive`: the daemons stay when this program ends, for `attach`.
        """
        temporary = folder is None
        if folder is None:
            # Sockets need a short path, which TMPDIR may not be.
            short = tempfile.gettempdir() if len(tempfile.gettempdir()) < _SHORT else "/tmp"  # noqa: S108
            folder = Path(tempfile.mkdtemp(prefix="nx-", dir=short))
        folder = folder.absolute()
        if len(os.fsencode(folder)) > 60:
            raise ClusterError(f"{folder} is too long a path for unix sockets: 60 bytes are the most")
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ClusterError(f"{folder} is not empty")
        folder.chmod(0o755)  # munge wants its socket within everybody's reach
        numbers = iter(free_ports(1 + sum(1 + len(shape.nodes) for shape in shapes)))
        ports = {"": [next(numbers)], **{shape.name: [next(numbers) for _ in (0, *shape.nodes)] for shape in shapes}}
        self = cls(folder, shapes, ports, outlive=outlive)
        self._temporary = temporary
        try:
            self._write()
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    @classmethod
    def attach(cls, folder: Path) -> Self:
        """Return the clusters that another program started in `folder`."""
        record = json.loads((folder / RECORD).read_text())
        shapes = [Shape(**{**shape, "nodes": tuple(shape["nodes"])}) for shape in record["shapes"]]
        return cls(folder.absolute(), shapes, record["ports"], outlive=True)

    @property
    def alpha(self) -> Cluster:
        """The cluster that forgets finished jobs after a minute."""
        return self.each["alpha"]

    @property
    def beta(self) -> Cluster:
        """The cluster with larger arrays and gpus."""
        return self.each["beta"]

    def start_dbd(self) -> None:
        """Start slurmdbd and return when it answers."""
        self._dbd.start(lambda: accepts(("127.0.0.1", self._place.dbd_port)), outlive=self._outlive)

    def stop_dbd(self) -> None:
        """Stop slurmdbd: sacct fails, the controllers keep their records until it is back."""
        self._dbd.stop(30)

    def processes(self) -> dict[str, psutil.Process]:
        """Return the daemons that run, by name."""
        owned = {daemon.name: daemon for daemon in (self._munge, self._mariadb, self._dbd)}
        for cluster in self.each.values():
            owned[f"slurmctld {cluster.name}"] = cluster.controller
            owned |= {f"slurmd {name}": slurmd for name, slurmd in cluster.slurmds.items()}
        found = {name: daemon.process() for name, daemon in owned.items()}
        return {name: process for name, process in found.items() if process is not None}

    def close(self) -> None:
        """Stop all that runs in the folder; a temporary folder goes too. Closing twice is fine."""
        self._stop()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _shared(self) -> tuple[Daemon, Daemon, Daemon]:
        """Return munged, mariadbd and slurmdbd."""
        munge, data = self.folder / "munge", self.folder / "mariadb"
        munge_argv = [
            "munged",
            "--foreground",
            f"--socket={self._place.munge_socket}",
            *(f"--{what}-file={munge / what}" for what in ("key", "log", "pid", "seed")),
        ]
        mariadb_argv = [
            "mariadbd",
            "--no-defaults",
            f"--datadir={data}",
            f"--socket={self.folder}/mysql.socket",
            f"--pid-file={self.folder}/mysql.pid",
            self._own_tmpdir(),
            "--skip-networking",
            "--innodb-log-file-size=64M",
            "--innodb-buffer-pool-size=128M",
            "--innodb-lock-wait-timeout=900",  # slurmdbd asks for it
            "--innodb-flush-log-at-trx-commit=0",  # what a power cut loses is no loss here
            *self._as_root(),
        ]
        dbd_env = {"SLURM_CONF": f"{self.folder}/dbd/slurm.conf", "MYSQL_UNIX_PORT": f"{self.folder}/mysql.socket"}
        return (
            Daemon(self.folder, "munged", munge_argv),
            Daemon(self.folder, "mariadbd", mariadb_argv),
            Daemon(self.folder, "slurmdbd", ["slurmdbd", "-D"], env=dbd_env),
        )

    def _cluster(self, shape: Shape, ports: Sequence[int]) -> Cluster:
        home = self.folder / shape.name
        conf = home / "slurm.conf"
        own = {"SLURM_CONF": str(conf)}
        return Cluster(
            name=shape.name,
            conf=conf,
            bin=home / "bin",
            env={**clean_environment(), **own},
            nodes=shape.nodes,
            controller=Daemon(home, "slurmctld", ["slurmctld", "-D"], env=own),
            slurmds={
                node: Daemon(
                    home, node, [*shape.before, *own_machine(home, node), program("slurmd"), "-D", "-N", node],
                    env={**own, "SLURMD_NODENAME": node},
                )
                for node in shape.nodes
            },
            listens={node: (self._place.address, port) for node, port in zip(shape.nodes, ports[1:], strict=True)},
            outlive=self._outlive,
        )

    def _write(self) -> None:
        """Write every configuration file, key and wrapper."""
        record = {"shapes": [asdict(shape) for shape in self._shapes], "ports": self._ports}
        (self.folder / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        munge = self.folder / "munge"
        munge.mkdir(mode=0o755)
        _private(munge / "key", secrets.token_bytes(128))
        dbd = self.folder / "dbd"
        dbd.mkdir()
        _private(dbd / "slurmdbd.conf", slurmdbd_conf(self._place).encode())
        for shape in self._shapes:
            cluster, (port, *node_ports) = self.each[shape.name], self._ports[shape.name]
            home = cluster.conf.parent
            for folder in ("bin", "log", "state", *(f"spool/{node}" for node in shape.nodes)):
                (home / folder).mkdir(parents=True)
            cluster.conf.write_text(slurm_conf(self._place, shape, port=port, node_ports=node_ports))
            (home / "gres.conf").write_text(gres_conf(shape))
            (home / "cgroup.conf").write_text(cgroup_conf(shape))
            for command in _COMMANDS:
                wrapper = cluster.bin / command
                conf = shlex.quote(str(cluster.conf))
                wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={conf}; export SLURM_CONF\nexec {program(command)} "$@"\n')
                wrapper.chmod(0o755)

    def _start(self) -> None:
        """Start from the bottom: who is who, the database, accounting, controllers, nodes."""
        self._munge.start(lambda: accepts(self._place.munge_socket), outlive=self._outlive)
        self._make_database()
        self._mariadb.start(lambda: accepts(f"{self.folder}/mysql.socket"), outlive=self._outlive)
        self.start_dbd()
        clusters = list(self.each.values())
        self._register(clusters)
        for cluster in clusters:
            cluster.start_controller()
        for cluster in clusters:
            for node in cluster.nodes:
                cluster.launch_node(node)
        for cluster in clusters:
            cluster.wait_idle()

    def _own_tmpdir(self) -> str:
        """Return the word for a folder of its own: MariaDB begins with removing what others have in one that is shared."""
        folder = self.folder / "mariadb-tmp"
        folder.mkdir(exist_ok=True)
        return f"--tmpdir={folder}"

    def _make_database(self) -> None:
        argv = [
            program("mariadb-install-db"),
            "--no-defaults",
            f"--datadir={self.folder}/mariadb",
            "--skip-test-db",
            "--skip-name-resolve",
            "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={self._place.user}",
            self._own_tmpdir(),
            "--innodb-log-file-size=64M",
            *self._as_root(),
        ]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise ClusterError(f"mariadb-install-db ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def _register(self, clusters: Sequence[Cluster]) -> None:
        """Tell accounting about the clusters, and about us as a user of the account `science`."""
        ask = clusters[0].run
        names = ",".join(cluster.name for cluster in clusters)
        ask("sacctmgr", "--immediate", "add", "cluster", names, check=True)
        ask("sacctmgr", "--immediate", "add", "account", "science", f"cluster={names}", check=True)
        ask("sacctmgr", "--immediate", "add", "user", self._place.user, "account=science", f"cluster={names}", check=True)

    def _as_root(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []

    def _stop(self) -> None:
        for cluster in self.each.values():
            cluster.close()
        for daemon in (self._dbd, self._mariadb, self._munge):
            daemon.kill()  # nobody reads the database again


def _host() -> tuple[str, str | None]:
    """Return this host's short name, and the loopback address that it means, if it means one."""
    host = socket.gethostname().split(".")[0]
    with suppress(OSError):
        address = socket.gethostbyname(host)
        if address.startswith("127."):
            return host, address
    return host, None


def _private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
