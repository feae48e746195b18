"""What nodes that joined cost a server, and what work through them costs: polls, memory, executions, latency.

    python bench/mesh.py [polls] [memory] [executions] [latency] [transfer]

Everything has its counterpart in the same run. CPU time is read from /proc, so that a busy machine changes little.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import transfer
from common import PROGRAM, array_of_true, header, line
from functional.test_mesh import joined, working
from server import cpu_s
from servers import environment, running

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator.context import open_coordinator
from nexapod_batch.coordinator.nodes.record import record
from nexapod_batch.hardware import machine
from nexapod_batch.mesh import signatures
from nexapod_batch.mesh.mailbox import Mailbox, Note
from nexapod_batch.model.hardware import Offer
from nexapod_batch.model.job import Tier
from nexapod_batch.model.joined import site_name
from nexapod_batch.model.node import JOINED, Node
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.profile import seal_offer
from nexapod_client import NexaPodClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from servers import Running

POLLERS, POLLS, IDLE, MORE_IDLE = 500, 8_000, 2_000, 5_000
CONNECTIONS, WARM = 8, 400
FOLDER = "/inputs"
TASKS, AGENTS = 2_000, 4
SAMPLES = 31
OUTPUT_MIB = int(os.environ.get("BENCH_MIB", "1024"))
LATENCIES = ("from submit to a node that waits", "from a report to its verdict")

#: Starlette with the check of signatures that ours makes, for keys argv[1] in hex; it answers a poll with a constant.
BARE = """
import json, socket, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from nexapod_batch.mesh import signatures
from nexapod_batch.trust.keys import key_id
keys = {key_id(bytes.fromhex(line)): bytes.fromhex(line) for line in open(sys.argv[1])}
async def work(request):
    body = await request.body()
    signed = signatures.parse(request.headers)
    digest = request.headers["content-digest"]
    signatures.check(signed, keys[signed.key_id], "POST", request.headers["host"], "/v1/work", digest=digest)
    assert digest == signatures.content_digest(body)
    said = json.loads(body)
    return Response(b'{"messages":[],"kept":{},"why":"no job is open","again_s":0.0}', media_type="application/json")
sock = socket.socket(); sock.bind(("127.0.0.1", 0)); sock.listen(); print(sock.getsockname()[1], flush=True)
app = Starlette(routes=[Route("/v1/work", work, methods=["POST"])])
uvicorn.Server(uvicorn.Config(app, loop="uvloop", http="httptools", lifespan="off", log_config=None, access_log=False)).run([sock])
"""

class Nodes(NamedTuple):
    """Nodes that are registered in a home and run nowhere."""

    home: Path
    signers: list[Signer]


def registered(folder: Path, number: int, seeds: Sequence[bytes] = ()) -> Nodes:
    """Register so many nodes in a new home, without a server; with keys of these seeds where some are given."""
    home = folder / "home"
    profile, _ = machine.take(folder)
    offer = Offer(profile=profile)
    signers = [Signer.from_seed(seed) for seed in seeds or [os.urandom(32) for _ in range(number)]]
    with open_coordinator(Paths(home, (home,), home / "results")) as c, c.store.atomic():
        for count, signer in enumerate(signers):
            name = f"node-{count}"
            node = Node(
                id=0, name=name, key_id=signer.key_id, public_key=signer.public, site=site_name(name),
                owner=f"owner {count}", host=name, tier=Tier.CPU, backend=JOINED, cpus=1, mem_mib=256,
                classes=offer.classes,
            )  # fmt: skip
            record(c, node, seal_offer(signer, offer))
            box = Mailbox(c.paths.spool(name))
            box.make()
            box.keep_note(Note(folder=FOLDER))
    return Nodes(home, signers)


def poll(signer: Signer, port: int, wait_s: float) -> bytes:
    """Return a signed poll without news, as bytes on the wire."""
    body = json.dumps({"poll": os.urandom(16).hex(), "folder": FOLDER, "wait_s": wait_s}).encode()
    host = f"127.0.0.1:{port}"
    head = signatures.headers(
        signer, "POST", host, "/v1/work", body, created=int(time.time()), nonce=os.urandom(16).hex()
    )
    fields = {"host": host, **head, "content-type": "application/json", "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST /v1/work HTTP/1.1\r\n{lines}\r\n".encode() + body


def whole_answer(connection: socket.socket) -> None:
    """Read one answer to its end; it must be a good one."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(data.decode())
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)


def polls(signers: Sequence[Signer], pid: int, port: int, number: int) -> float:
    """Return the CPU of a server, in microseconds, for one of many polls over a few connections."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    made = [poll(signers[count % len(signers)], port, 0) for count in range(number + WARM)]
    before = 0.0
    for begin, end in ((0, WARM), (WARM, WARM + number)):
        before = cpu_s(pid)
        for count in range(begin, end, CONNECTIONS):
            together = list(zip(connections, made[count : count + CONNECTIONS], strict=False))
            for connection, data in together:
                connection.sendall(data)
            for connection, _ in together:
                whole_answer(connection)
    for connection in connections:
        connection.close()
    return (cpu_s(pid) - before) * 1e6 / number


def compare_polls() -> None:
    """Signed polls without work, beside bare Starlette with the same check of signatures."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        nodes = registered(Path(folder), POLLERS)
        server = stack.enter_context(running(nodes.home, "--rate", "10000000"))
        keys = Path(folder) / "keys"
        keys.write_text("".join(f"{signer.public.hex()}\n" for signer in nodes.signers))
        bare = subprocess.Popen([sys.executable, "-c", BARE, str(keys)], stdout=subprocess.PIPE, text=True)
        stack.callback(bare.wait)
        stack.callback(bare.terminate)
        port = int(bare.stdout.readline() if bare.stdout else 0)
        rates = []
        for _ in range(3):
            ours = 1e6 / polls(nodes.signers, server.process.pid, server.port, POLLS)
            rates.append((ours, 1e6 / polls(nodes.signers, bare.pid, port, POLLS)))
    ours, theirs = (statistics.median(side) for side in zip(*rates, strict=True))
    line("signed polls on one core, no work", f"{ours:.0f}/s", f"{theirs:.0f}/s, bare Starlette", ours / theirs, ">= 0.5")


def resident_kib(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


def idle_kib(number: int, *, secure: bool) -> float:
    """Return the memory of a server for each of many nodes that wait in a poll."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with tempfile.TemporaryDirectory() as folder:
        nodes = registered(Path(folder), number)
        with running(nodes.home, "--rate", "10000000") as server, ExitStack() as stack:
            pid = server.process.pid
            server.ask("GET", "/v1/me")
            ask_at_once(nodes.signers[0], server.port)
            before = resident_kib(pid)
            for signer in nodes.signers:
                connection: socket.socket = socket.create_connection(("127.0.0.1", server.port))
                if secure:
                    connection = context.wrap_socket(connection)
                connection.sendall(poll(signer, server.port, 50))
                stack.callback(connection.close)
            time.sleep(5)
            return (resident_kib(pid) - before) / number


def ask_at_once(signer: Signer, port: int) -> None:
    """Let a server read the keys of all nodes."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(poll(signer, port, 0))
        whole_answer(connection)


def compare_memory() -> None:
    """Memory of nodes that wait."""
    for number, secure in ((IDLE, False), (IDLE, True), (MORE_IDLE, False), (MORE_IDLE, True)):
        kib = idle_kib(number, secure=secure)
        how = "over TLS" if secure else "behind a proxy"
        line(f"{number} idle nodes {how}, each", f"{kib:.1f} KiB", "30 KiB", kib / 30, "<= 1")


@contextmanager
def at_work(server: Running, folder: Path, number: int, confine: str) -> Iterator[list[Path]]:
    """Let so many nodes work for a server, each of an owner and of a home of its own; yield their folders."""
    with ExitStack() as stack:
        found = []
        for count in range(number):
            home = folder / f"node-{count}"
            said = joined(server, home, "--name", f"node-{count}", "--owner", f"owner {count}")
            settings = Path(said["folder"]) / "agent.json"
            settings.write_text(json.dumps({**json.loads(settings.read_text()), "confine": confine}))
            stack.enter_context(working(home))
            found.append(settings.parent)
        yield found


def submitted(home: Path, job: Path) -> float:
    """Return for how many seconds a job took from submit to its end, by the command line."""
    start = time.perf_counter()
    argv = [PROGRAM, "submit", str(job), "--wait"]
    subprocess.run(argv, env=environment(home), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def joined_executions(folder: Path, confine: str) -> float:
    """Return executions a second from submit to accepted, through nodes that joined."""
    job = folder / "job.toml"
    job.write_text(array_of_true(TASKS).replace('distinct = "run"', 'distinct = "node"'))
    with running(folder / "c", "--rate", "100000") as server, at_work(server, folder, AGENTS, confine):
        return 2 * TASKS / submitted(server.home, job)


def local_executions(folder: Path, confine: str) -> float:
    """Return the same through the backend `local`."""
    job = folder / "job.toml"
    job.write_text(array_of_true(TASKS))
    argv = [PROGRAM, "node", "init", "--confine", confine]
    subprocess.run(argv, env=environment(folder / "l"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return 2 * TASKS / submitted(folder / "l", job)


def compare_executions() -> None:
    """Work through nodes that joined, beside the backend `local`: bare on both sides, then confined on both."""
    for confine, how in (("never", "bare"), ("all", "confined")):
        pairs = []
        for _ in range(2):
            with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
                pairs.append((joined_executions(Path(folder), confine), local_executions(Path(folder), confine)))
        ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        name = f"{2 * TASKS} executions through {AGENTS} nodes that joined, {how}"
        line(name, f"{ours:.0f}/s", f"{theirs:.0f}/s, local", ours / theirs, ">= 0.5")


def newest_s(folder: Path, pattern: str) -> float:
    """Return when the newest of some files was written; 0 where there is none."""
    times = [0.0]
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)


def trip_s(client: NexaPodClient, home: Path, node: Path, job: int) -> tuple[float, float]:
    """Return for how many seconds a job travels to a node that waits, and its report until there is a verdict."""
    begun, reported = time.time(), 0.0
    client.submit_job({"command": "true", "quorum": {"agree": 1}})
    while not (ended := finished_s(home, job)):
        reported = max(reported, newest_s(node, "spool/reports/*.jsonl"))
        time.sleep(0.01)
    return newest_s(node, "held/*.json") - begun, ended - reported


def compare_latency() -> None:
    """How long work takes to a node that waits, and a report to a verdict."""
    trips = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        server = stack.enter_context(running(folder / "c", "--rate", "100000"))
        (node,) = stack.enter_context(at_work(server, folder, 1, "never"))
        client = stack.enter_context(NexaPodClient(server.url, token=server.token))
        for count in range(1, SAMPLES + 2):
            time.sleep(0.5)  # so that everybody waits
            trips.append(trip_s(client, server.home, node, count))
    for what, times, bar in zip(LATENCIES, zip(*trips[1:], strict=True), (0.05, 0.15), strict=True):
        median = statistics.median(times)
        line(f"{what}, median of {SAMPLES}", f"{1000 * median:.0f} ms", f"{1000 * bar:.0f} ms", median / bar, "<= 1")


def finished_s(home: Path, job: int) -> float:
    """Return when a job ended; 0 while it has not."""
    with closing(sqlite3.connect(f"file:{home / 'state.db'}?mode=ro", uri=True, timeout=60)) as database:
        (row,) = database.execute("SELECT finished_at FROM job WHERE id = ?", (job,)).fetchall() or [(None,)]
    return (row[0] or 0) / 1000


def compare_transfer() -> None:
    """How fast a large output comes from a node, and what memory that takes."""
    seed = os.urandom(32)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        nodes = registered(Path(folder), 1, [seed])
        transfer.compare(nodes.home, seed, OUTPUT_MIB)


def main() -> None:
    """Measure and print."""
    parts = {
        "polls": compare_polls, "memory": compare_memory, "executions": compare_executions,
        "latency": compare_latency, "transfer": compare_transfer,
    }  # fmt: skip
    header()
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
