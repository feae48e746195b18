"""A node with its spool and keys in a temporary folder, bundles for it, and its reports."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexapod_batch import interpreter
from nexapod_batch.files import keyfile
from nexapod_batch.model.document import canonical, to_document
from nexapod_batch.model.job import Job, Tier
from nexapod_batch.model.node import Node
from nexapod_batch.model.replica import Assignment, Bundle
from nexapod_batch.plugins import Launch, NodeContext
from nexapod_batch.spool import launch_keys, layout
from nexapod_batch.trust.bundle import BUNDLE_TYPE, encode_bundle
from nexapod_batch.trust.dsse import Signer, open_envelope, seal
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Statement
from nexapod_batch.trust.statement_decoder import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COORDINATOR = Signer.from_seed(b"c" * 32)
DEADLINE_S = 90.0


@dataclass
class Report:
    """One verified report line."""

    statement: Statement
    carried: dict[str, bytes] | None


@dataclass
class House:
    """One node: `home/spool`, `home/work`, its key, and the workers started for it."""

    home: Path
    cpus: int = 2
    mem_mib: int = 4096
    idle_exit_s: float = 0.2
    trail_s: float = 30
    before: tuple[str, ...] = ()  # words before the command line of a worker
    program: str = "nexapod_batch.runner"  # the module that a worker is
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    subkeys: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make folders, key and node.json."""
        self.spool, self.work = self.home / "spool", self.home / "work"
        for name in layout.FOLDERS:
            (self.spool / name).mkdir(parents=True)
        self.work.mkdir()
        self.key = keyfile.create(self.home / "key", "test")
        document = {
            "schema": 1,
            "name": "testnode",
            "keys": [self.key.key_id],
            "coordinators": [COORDINATOR.key_id],
            "coordinator_keys": {COORDINATOR.key_id: COORDINATOR.public.hex()},
            "host": socket.gethostname(),
            "cpus": self.cpus,
            "mem_mib": self.mem_mib,
            "work": str(self.work),
            "backend": "local",
            "classes": {"os-arch": "linux-test"},
            "idle_exit_s": self.idle_exit_s,
            "trail_s": self.trail_s,
        }
        (self.spool / layout.NODE_CONFIG).write_text(json.dumps(document))

    def context(self) -> NodeContext:
        """Return what a backend is told of the node."""
        node = Node(
            id=1,
            name="testnode",
            key_id=self.key.key_id,
            public_key=self.key.public,
            site="here",
            owner="me",
            host=socket.gethostname(),
            tier=Tier.CPU,
            backend="local",
            cpus=self.cpus,
            mem_mib=self.mem_mib,
        )
        return NodeContext(
            node=node, spool=self.spool, work=self.work, state=self.spool, remote_spool=self.spool,
            remote_work=self.work,
        )  # fmt: skip

    def launch(
        self,
        job: Job,
        replicas: int = 1,
        *,
        signer: Signer = COORDINATOR,
        not_after: float | None = None,
        audience: str | None = None,
        paths: Mapping[str, str] | None = None,
        job_id: int = 1,
        job_uuid: str = "0190-test",
    ) -> Launch:
        """Return a launch of the first replicas of tasks 0, 1, 2, ..."""
        seed = secrets.token_bytes(32)
        subkey = Signer.from_seed(seed)
        self.subkeys[subkey.key_id] = subkey.public
        bundle = Bundle(
            launch=secrets.token_hex(16),
            audience=audience or self.key.key_id,
            not_after=int(time.time() + 1000 if not_after is None else not_after),
            job_id=job_id,
            job_uuid=job_uuid,
            document=canonical(to_document(job)),
            input_paths=dict(paths or {}),
            replicas=tuple(
                Assignment(task=task, number=1, nonce=secrets.token_hex(16), parameters={}) for task in range(replicas)
            ),
            subkey=subkey.key_id,
        )
        envelope = seal(signer, BUNDLE_TYPE, encode_bundle(bundle))
        inputs = frozenset(job_input.sha256 for job_input in job.inputs)
        return Launch(key=bundle.launch, envelope=envelope, seed=seed, job=job, replicas=replicas, inputs=inputs)

    def put(self, launch: Launch) -> str:
        """Put a launch into the inbox as a backend does; return its key."""
        (self.spool / layout.key(launch.key)).write_bytes(launch_keys.as_text(launch.seed))
        (self.home / launch.key).write_bytes(launch.envelope)
        (self.home / launch.key).replace(self.spool / layout.bundle(launch.key))
        return launch.key

    def start(self) -> subprocess.Popen[bytes]:
        """Start a worker."""
        with (self.spool / layout.WORKER_LOG).open("ab") as log:
            worker = subprocess.Popen(
                [*self.before, *interpreter.module(self.program, str(self.spool))],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    def run(self, job: Job, replicas: int = 1, **more: Any) -> list[Report]:  # noqa: ANN401 - those of `launch`
        """Run one launch to its end and return the reports, by task."""
        self.put(self.launch(job, replicas, **more))
        assert self.start().wait(timeout=DEADLINE_S) == 0, self.log()
        return self.reports()

    def lines(self) -> list[dict[str, Any]]:
        """Return every complete line of every segment."""
        found = []
        for path in sorted((self.spool / layout.REPORTS).glob("*.jsonl")):
            found += [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        return found

    def reports(self) -> list[Report]:
        """Return every report, its signature verified with the key of its launch, sorted by task."""
        found = []
        for line in self.lines():
            if "payload" in line:
                carried = line.pop("carried", None)
                opened = open_envelope(line, PAYLOAD_TYPE, self.subkeys)
                assert base64.b64decode(line["key"]) == self.subkeys[opened.key_id]
                files = carried and {name: base64.b64decode(text) for name, text in carried.items()}
                found.append(Report(decode(opened.payload), files))
        return sorted(found, key=lambda report: report.statement.replica.task)

    def log(self) -> str:
        """Return what the workers said."""
        path = self.spool / layout.WORKER_LOG
        if path.exists():
            return path.read_text()
        return ""

    def end(self) -> None:
        """Kill the workers that still run."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.terminate()
                worker.wait(timeout=DEADLINE_S)


def until(condition: Callable[[], Any], what: str) -> Any:  # noqa: ANN401 - what the condition returns
    """Poll until `condition()` is true and return its value; fail when it does not come."""
    end = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {DEADLINE_S:.0f} s for: {what}"
        os.sched_yield()
        time.sleep(0.005)
    return value


def alive(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
