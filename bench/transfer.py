"""What a large output costs on its way from a node to its server, beside `curl` to a bare server that hashes.

`bench/mesh.py transfer` runs it. Both go over TLS on the loopback, with one key, in turn. Ours signs each part, stores
it, and compares the SHA-256 of the whole, durable, at the end; the bare one reads and hashes. Memory is what each side
of ours needs at its peak more than before.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common import line
from servers import environment, running

from nexapod_batch.mesh.mailbox import WANTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import Running

__all__ = ["compare"]

TURNS, MOST_MIB = 3, 64
FILE = "output.bin"

#: A node that sends one file; it tells in how many seconds, and how many KiB it needed more for that.
NODE = """
import json, sys, time
from pathlib import Path
from nexapod_batch.agent import transfer
from nexapod_batch.agent.client import Client
from nexapod_batch.trust.dsse import Signer
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
url, pin, seed, folder, name = sys.argv[1:]
client = Client(url, pin, Signer.from_seed(bytes.fromhex(seed)))
client.ask("HEAD", "/v1/blobs/" + "0" * 64)
before, begun = peak(), time.perf_counter()
transfer.send(client, Path(folder), name)
print(json.dumps([time.perf_counter() - begun, peak() - before]))
"""

#: A server that hashes what it gets, over TLS; arguments: certificate and key.
BARE = """
import hashlib, socket, sys, uvicorn
async def app(scope, receive, send):
    digest = hashlib.sha256()
    while True:
        message = await receive()
        digest.update(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"64")]})
    await send({"type": "http.response.body", "body": digest.hexdigest().encode()})
sock = socket.socket(); sock.bind(("127.0.0.1", 0)); sock.listen(); print(sock.getsockname()[1], flush=True)
config = uvicorn.Config(app, loop="uvloop", http="httptools", lifespan="off", log_config=None, access_log=False,
    ssl_certfile=sys.argv[1], ssl_keyfile=sys.argv[2])
uvicorn.Server(config).run([sock])
"""


def peak_kib(pid: int) -> int:
    """Return the most resident memory that a process has had."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])


def sent(server: Running, seed: bytes, folder: Path) -> tuple[float, int]:
    """Return for how many seconds a node sends a file, and how many KiB more that takes it."""
    words = server.join.split()
    pin = words[words.index("--fingerprint") + 1]
    argv = [sys.executable, "-c", NODE, server.url, pin, seed.hex(), str(folder), FILE]
    done = subprocess.run(argv, env=environment(server.home), check=True, capture_output=True, text=True)
    seconds, kib = json.loads(done.stdout)
    return seconds, kib


@contextmanager
def bare(folder: Path) -> Iterator[int]:
    """Yield the port of a server that hashes and does nothing else; certificate and key lie in a folder."""
    argv = [sys.executable, "-c", BARE, str(folder / "tls.crt"), str(folder / "tls.key")]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline() if process.stdout else 0)
    finally:
        process.terminate()
        process.wait()


def curl_s(port: int, file: Path) -> float:
    """Return for how many seconds `curl` puts a file there."""
    begun = time.perf_counter()
    argv = ["curl", "--silent", "--fail", "--insecure", "--upload-file", str(file), f"https://127.0.0.1:{port}/"]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def compare(home: Path, seed: bytes, mib: int) -> None:
    """Print both sides, in turn, for a file of so many MiB; the node with a key of `seed` is registered in a home."""
    folder = home.parent / "work"
    folder.mkdir()
    spool = home / "spool" / "node-0"
    (spool / WANTED / "1_0.1").touch()
    times, grown = [], []
    with running(home, "--rate", "100000") as server, bare(home / "server") as port:
        server.ask("GET", "/v1/me")
        before = peak_kib(server.process.pid)
        for _ in range(TURNS):
            with (folder / FILE).open("wb") as stream:
                for _ in range(mib):
                    stream.write(os.urandom(1 << 20))
            theirs = curl_s(port, folder / FILE)
            ours, kib = sent(server, seed, folder)
            times.append((ours, theirs))
            grown.append(kib)
        more = peak_kib(server.process.pid) - before
    ours, theirs = (statistics.median(side) for side in zip(*times, strict=True))
    turns = " ".join(f"{other / own:.2f}" for own, other in times)
    print(f"turns: {turns}", file=sys.stderr)
    rate = f"{mib / ours:.0f} MiB/s, durable"
    line(f"an output of {mib} MiB to the server", rate, f"{mib / theirs:.0f} MiB/s, curl, hashed", theirs / ours, ">= 0.6")
    for side, kib in (("node", max(grown)), ("server", more)):
        line(f"memory of that, the {side}", f"{kib / 1024:.0f} MiB", f"{MOST_MIB} MiB", kib / 1024 / MOST_MIB, "<= 1")
