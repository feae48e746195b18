"""Thousands of nodes that have nothing to do, against a real server over TLS: what they cost it, and whether all are answered.

    python bench/idle.py [nodes] [seconds]

Each node starts as a real one does (keys, roster, the ledger's head) and polls as a real one does, with signed requests over a
connection of its own; no worker runs. Figures for twice as many are extrapolated.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import ssl
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from common import header, line
from mesh import FOLDER, ask_at_once, registered, resident_kib
from server import cpu_s
from servers import running

from nexapod_batch.agent.taking import POLL_S
from nexapod_batch.mesh import signatures
from nexapod_batch.mesh.messages import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers import Running

    from nexapod_batch.trust.dsse import Signer

NODES, SECONDS = 5_000, 120
#: Files that this process needs besides the connections.
SPARE = 500
HASTE = 64  # connections that are made at the same time
START = (("GET", "/v1/ledger/keys", b""), ("GET", "/v1/roster?after=0", b""), ("POST", "/v1/witness", b"{}"))
#: What a good server answers: there is no roster.
GOOD = frozenset({200, 404})


def request(signer: Signer, port: int, method: str, path: str, body: bytes) -> bytes:
    """Return a signed request, as bytes on the wire."""
    host, nonce = f"127.0.0.1:{port}", os.urandom(16).hex()
    head = signatures.headers(signer, method, host, path, body, created=int(time.time()), nonce=nonce)
    fields = {"host": host, **head, "content-type": "application/json", "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def poll(signer: Signer, port: int) -> bytes:
    """Return a signed poll without news."""
    said = {"poll": os.urandom(16).hex(), "protocol": PROTOCOL, "folder": FOLDER, "wait_s": POLL_S}
    return request(signer, port, "POST", "/v1/work", json.dumps(said).encode())


class Crowd:
    """Nodes that wait, and what they were answered."""

    def __init__(self, signers: Sequence[Signer], port: int) -> None:
        """Begin with nobody there."""
        self._signers, self._port, self.end = signers, port, float("inf")
        self.answers: Counter[int] = Counter()  # by status; 0: none came
        self.polls = self.waiting = 0
        self.settled = asyncio.Event()  # all wait, or one could not
        self._doors = asyncio.Semaphore(HASTE)
        self._tls = ssl.create_default_context()
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE

    async def run(self, signer: Signer) -> None:
        """Let one node start, and wait again and again until the end."""
        await asyncio.sleep(random.uniform(0, POLL_S))  # noqa: S311 - jitter
        try:
            async with self._doors:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
                for method, path, body in START:
                    writer.write(request(signer, self._port, method, path, body))
                    self.answers[await answered(reader)] += 1
            self.waiting += 1
            if self.waiting == len(self._signers):
                self.settled.set()
            while time.monotonic() < self.end:
                writer.write(poll(signer, self._port))
                self.answers[await answered(reader)] += 1
                self.polls += 1
            writer.close()
        except (OSError, EOFError):
            self.answers[0] += 1
            self.settled.set()

    def all(self) -> asyncio.Future[list[None]]:
        """Let all of them run."""
        return asyncio.gather(*[self.run(signer) for signer in self._signers])


async def answered(reader: asyncio.StreamReader) -> int:
    """Read one answer to its end; return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split()[1])


async def measured(signers: Sequence[Signer], server: Running, seconds: float) -> None:
    """Let nodes wait for so long, and print what that costs the server."""
    pid, number = server.process.pid, len(signers)
    before = resident_kib(pid)
    crowd = Crowd(signers, server.port)
    everybody = crowd.all()
    await crowd.settled.wait()
    polls, cpu, start = crowd.polls, cpu_s(pid), time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - start
    rate, load = (crowd.polls - polls) / took, (cpu_s(pid) - cpu) / took
    kib = (resident_kib(pid) - before) / number
    crowd.end = 0.0
    await everybody
    bad = sum(times for status, times in crowd.answers.items() if status not in GOOD)
    line(f"{number:,} idle nodes over TLS: answers that are none or bad", str(bad), f"{crowd.answers.total():,} in all", bad, "0")
    line("polls, each second", f"{rate:.0f}", f"{number / POLL_S:.0f}, as they are to come", rate * POLL_S / number, "-")
    line("CPU of the server (of one core)", f"{100 * load:.0f} %", f"{200 * load:.0f} % for {2 * number:,}, extrapolated", load, "-")
    more = f"30 KiB; {2 * number * kib / 1024:.0f} MiB for {2 * number:,}, extrapolated"
    line("memory of the server, each", f"{kib:.1f} KiB", more, kib / 30, "<= 1")


def main() -> None:
    """Measure and print."""
    number, seconds = [*map(int, sys.argv[1:]), *(NODES, SECONDS)[len(sys.argv) - 1 :]]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < number + SPARE:
        raise SystemExit(f"only {most} files may be open here (ulimit -n); {number + SPARE} are wanted")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    header()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        nodes = registered(Path(folder), number)
        with running(nodes.home, "--rate", "10000000") as server:
            ask_at_once(nodes.signers[0], server.port)
            asyncio.run(measured(nodes.signers, server, seconds))


if __name__ == "__main__":
    main()
