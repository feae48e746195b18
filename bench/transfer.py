"""What a large file costs on its way from a node to its server and back, beside `curl` and a bare server.

`bench/mesh.py transfer` runs it. All go over TLS on the loopback, with one key, in turn. Ours signs each part, stores
it, and compares the SHA-256 of the whole, durable, at the end; of the others the bare server reads and hashes what it
gets, and what it sends, `curl` hands to `openssl`, which hashes. Memory is what each side of ours needs at its peak more
than before.
"""

from __future__ import annotations

import hashlib
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

from nexapod_batch.mesh.mailbox import BLOBS, OFFERED, WANTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import Running

__all__ = ["compare"]

TURNS, MOST_MIB = 3, 64
FILE = "output.bin"

#: A node that sends one file, or brings one; it tells in how many seconds, and how many KiB it needed more for that.
NODE = """
import json, sys, time
from pathlib import Path
from nexapod_batch.agent import transfer
from nexapod_batch.agent.client import Client
from nexapod_batch.trust.dsse import Signer
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
url, pin, seed, folder, name, act = sys.argv[1:]
client = Client(url, pin, Signer.from_seed(bytes.fromhex(seed)))
client.ask("HEAD", "/v1/blobs/" + "0" * 64)
before, begun = peak(), time.perf_counter()
if act == "send":
    transfer.send(client, Path(folder), name)
else:
    transfer.download(client, Path(folder), name, lambda: None)
print(json.dumps([time.perf_counter() - begun, peak() - before]))
"""

#: A server that hashes what it gets, or sends a file, over TLS; arguments: certificate, key, the file.
BARE = """
import hashlib, os, socket, sys, uvicorn
async def give(send):
    with open(sys.argv[3], "rb") as stream:
        headers = [(b"content-length", b"%d" % os.fstat(stream.fileno()).st_size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while piece := stream.read(1 << 20):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
async def app(scope, receive, send):
    if scope["method"] == "GET":
        await give(send)
        return
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


def moved(server: Running, seed: bytes, folder: Path, name: str, act: str) -> tuple[float, int]:
    """Return for how many seconds a node sends a file, or brings one, and how many KiB more that takes it."""
    words = server.join.split()
    pin = words[words.index("--fingerprint") + 1]
    argv = [sys.executable, "-c", NODE, server.url, pin, seed.hex(), str(folder), name, act]
    done = subprocess.run(argv, env=environment(server.home), check=True, capture_output=True, text=True)
    seconds, kib = json.loads(done.stdout)
    return seconds, kib


@contextmanager
def bare(folder: Path, file: Path) -> Iterator[int]:
    """Yield the port of a server that hashes, or sends a file; certificate and key lie in a folder."""
    argv = [sys.executable, "-c", BARE, str(folder / "tls.crt"), str(folder / "tls.key"), str(file)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline() if process.stdout else 0)
    finally:
        process.terminate()
        process.wait()


def curl_s(port: int, file: Path, act: str) -> float:
    """Return for how many seconds `curl` puts a file there, or gets one and has it hashed."""
    curl = ["curl", "--silent", "--fail", "--insecure", f"https://127.0.0.1:{port}/"]
    begun = time.perf_counter()
    if act == "send":
        subprocess.run([*curl, "--upload-file", str(file)], check=True, stdout=subprocess.DEVNULL)
    else:
        with subprocess.Popen(curl, stdout=subprocess.PIPE) as process:
            argv = ["openssl", "dgst", "-sha256"]
            subprocess.run(argv, stdin=process.stdout, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def made(file: Path, mib: int) -> str:
    """Make a file of so many MiB; return its SHA-256."""
    digest = hashlib.sha256()
    with file.open("wb") as stream:
        for _ in range(mib):
            block = os.urandom(1 << 20)
            digest.update(block)
            stream.write(block)
        os.fsync(stream.fileno())  # what is still to be written of it is nobody's fault
    return digest.hexdigest()


def show(what: str, mib: int, times: list[tuple[float, float]], beside: str) -> None:
    """Print the medians of one direction."""
    ours, theirs = (statistics.median(side) for side in zip(*times, strict=True))
    turns = " ".join(f"{other / own:.2f}" for own, other in times)
    print(f"turns: {turns}", file=sys.stderr)
    rate = f"{mib / ours:.0f} MiB/s, durable"
    line(f"{what} of {mib} MiB", rate, f"{mib / theirs:.0f} MiB/s, {beside}", theirs / ours, ">= 0.6")


def compare(home: Path, seed: bytes, mib: int) -> None:
    """Print both sides, in turn, for a file of so many MiB; the node with a key of `seed` is registered in a home."""
    folder = home.parent / "work"
    folder.mkdir()
    spool, file = home / "spool" / "node-0", folder / FILE
    (spool / WANTED / "1_0.1").touch()
    times: dict[str, list[tuple[float, float]]] = {"send": [], "bring": []}
    grown: list[int] = []
    with running(home, "--rate", "100000") as server, bare(home / "server", file) as port:
        server.ask("GET", "/v1/me")
        before = peak_kib(server.process.pid)
        for _ in range(TURNS):
            digest = made(file, mib)
            (spool / OFFERED / digest).symlink_to(file)
            for act, name in (("send", FILE), ("bring", digest)):
                theirs = curl_s(port, file, act)
                ours, kib = moved(server, seed, folder, name, act)
                times[act].append((ours, theirs))
                grown.append(kib)
            (spool / BLOBS / digest).unlink()
            (folder / digest).unlink()
        more = peak_kib(server.process.pid) - before
    show("an output, to the server", mib, times["send"], "curl, hashed")
    show("an input, to a node", mib, times["bring"], "curl into openssl, hashed")
    for side, kib in (("node", max(grown)), ("server", more)):
        line(f"memory of that, the {side}", f"{kib / 1024:.0f} MiB", f"{MOST_MIB} MiB", kib / 1024 / MOST_MIB, "<= 1")
