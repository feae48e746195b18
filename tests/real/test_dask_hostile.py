"""Hostile workers and schedulers of Dask: whatever they say is refused in words, and nothing of it leaves its place."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import socket
import stat
import struct
import threading
import zlib
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from clusters import lying_worker
from clusters.dask import DaskCluster, separates
from conformance.test_dask_backend import DaskHouse
from forging import line_of, stolen_key
from living_folders import below, states
from real.dask_homes import DaskHome
from spools import until

from nexapod_batch.errors import NexapodError, SchedulerError
from nexapod_batch.files import keyfile
from nexapod_batch.model.job import Job, Output, QuorumPolicy
from nexapod_batch.model.reason import Reason
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.plugins import Backend, BackendState, load
from nexapod_batch.trust.dsse import Signer, seal
from nexapod_batch.trust.statement import PAYLOAD_TYPE
from nexapod_batch.trust.statement_decoder import decode
from nexapod_batch.trust.statement_encoder import encode
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.plugins import Launch, LaunchStatus

ENDED = {BackendState.COMPLETED, BackendState.FAILED}


class Liar(DaskCluster):
    """A cluster of which `w1` lies, and `w2` does not; each has a storage of its own."""

    def lie(self, text: str) -> None:
        """Let the liar twist its answers by the function `lie(head, answer)`; "" makes it honest."""
        file = self.folder / "lie.py"
        if text:
            (self.folder / "lie.part").write_text(text)
            (self.folder / "lie.part").replace(file)
        else:
            file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that each worker has for itself."""
    return tmp_path_factory.mktemp("there")


@pytest.fixture(scope="module")
def liars(tmp_path_factory: pytest.TempPathFactory, there: Path) -> Iterator[Liar]:
    """Yield the cluster."""
    if not separates():
        pytest.skip("mount namespaces are not allowed here: workers cannot have storages of their own")
    with Liar.start(tmp_path_factory.mktemp("dask"), workers=0) as made:
        made.start_worker("w1", 1, own=there, more=["--preload", lying_worker.__file__])
        made.start_worker("w2", 1, own=there)
        yield made


@pytest.fixture
def cluster(liars: Liar) -> Iterator[Liar]:
    """Give the cluster, honest before and after."""
    yield liars
    liars.lie("")


@pytest.fixture
def house(tmp_path: Path, cluster: Liar, there: Path) -> Iterator[DaskHouse]:
    """Give a node of the cluster."""
    made = DaskHouse(tmp_path, cluster=cluster, shared=False, local_dir=str(there))
    yield made
    (made.home / "go").touch()


@pytest.fixture
def backend(house: DaskHouse) -> Backend:
    """Give a backend that has prepared the node and knows nothing yet."""
    made: Backend = load("backend", "dask")
    made.prepare(house.context(), json.loads((house.spool / "node.json").read_bytes()))
    return made


#: What the liar answers when it is asked what lies in its spools, or who it is.
LOOKS = {
    "nothing": "b''",
    "no JSON": "b'\\xff\\x00junk'",
    "a pickle": "{'spools': {}}",
    "another kind": "b'[]\\n'",
    "no spools": "twisted(spools=5)",
    "a spool with a path": "twisted(spools={'../../x': first()})",
    "a report with a size below nothing": "twisted(spools={spool: {**first(), 'reports': {'a.jsonl': -1}} for spool in ['w1']})",
    "a size that is no number": "twisted(spools={spool: {**first(), 'reports': {'a.jsonl': 'NaN'}} for spool in ['w1']})",
    "a storage with a path": "twisted(storage='../../etc')",
    "deep": "b'[' * 100000",
    "large": "b'{}' + bytes(80 << 20)",
    "a line without end": "twisted(spools={'w1': {**first(), 'reports': {'a.jsonl': 50 << 20}}})",
}
_LIE = """
import json
def lie(head, answer):
    if head["op"] == "read":
        return b"{{}}\\n" + b"x" * head["size"]
    if head["op"] != "look":
        return answer
    said = json.loads(answer)
    def first():
        return dict(inbox=[], claims={{}}, refused={{}}, reports={{}}, holder=None)
    def twisted(**more):
        return json.dumps({{**said, **more}}).encode() + b"\\n"
    return {what}
"""


@pytest.mark.parametrize("what", LOOKS.values(), ids=LOOKS.keys())
def test_a_worker_whose_answers_cannot_be_used_is_named(backend: Backend, house: DaskHouse, cluster: Liar, what: str) -> None:
    """What it has is lost, the reason names it; the other worker goes on; nothing is written elsewhere."""
    launches = [house.launch(Job(name="t", script=_waits(house))) for _ in range(2)]
    backend.launch(house.context(), launches)
    until(lambda: len(list(house.home.glob("at.*"))) == 2, "both to start")
    before = _files(house)
    cluster.lie(_LIE.format(what=what))
    (house.home / "go").touch()
    told = _ended(backend, house, launches)
    assert [one.state for one in told].count(BackendState.COMPLETED) == 1, told
    (failed,) = [one for one in told if one.state is BackendState.FAILED]
    address = failed.native
    assert address in failed.reason
    assert failed.code == "dask.worker_faulty"  # it is there: it did not leave
    with pytest.raises(SchedulerError, match=address):
        backend.collect(house.context())
    new = _files(house) - before
    assert sum(one.st_size for one in states(house.home / one for one in new).values()) < 8 << 20
    assert {one.parts[:2] for one in new} <= {("go",), ("spool", "reports"), ("state", "dask")}


def test_what_lies_is_asked_again(backend: Backend, house: DaskHouse, cluster: Liar) -> None:
    """From the first meeting on: nothing is bound to a liar, and another process meets it again."""
    cluster.lie(_LIE.format(what="b'junk\\n'"))
    job = Job(name="t", command=("true",), quorum=QuorumPolicy(agree=1))
    launches = [house.launch(job) for _ in range(3)]
    backend.launch(house.context(), launches)
    told = _ended(backend, house, launches)
    lost = [house.launch(job) for one in told if one.state is BackendState.FAILED]  # is replaced, as everywhere
    backend.launch(house.context(), lost)
    told = [one for one in (*told, *_ended(backend, house, lost)) if one.state is BackendState.COMPLETED]
    assert len(told) == 3, told
    assert len({one.native for one in told}) == 1, told
    cluster.lie("")
    later: Backend = load("backend", "dask")
    more = [house.launch(job) for _ in range(4)]
    later.launch(house.context(), more)
    assert "127.0.0.2" in " ".join(one.native for one in _ended(later, house, more))


#: What the liar says of the files of a replica: (name, size) of each.
FILES = [
    [["../escape", 5]], [["/{home}/escape", 5]], [["sub/../../escape", 5]], [["out/", 5]], [["", 5]], [["out", -1]],
    [["out", 1e300]], [["out", "5"]], [["out", True]], [[5, 5]], [5], 5, [["out", 1 << 60]], [["out", 1 << 40]],
    [["out", 5], ["more", 5]],
]  # fmt: skip


@pytest.mark.parametrize("names", [["out"], None], ids=["named", "whole"])
def test_files_stay_where_they_belong(backend: Backend, house: DaskHouse, cluster: Liar, names: list[str] | None) -> None:
    """Names that lead elsewhere, sizes that are none, more than was asked for: refused, and nothing is made of it."""
    job = Job(name="t", script="head -c 100000 /dev/zero > out", outputs=(Output(path="out"),))
    while True:
        launch = house.launch(job)
        backend.launch(house.context(), [launch])
        (told,) = _ended(backend, house, [launch])
        if told.native.startswith("tcp://127.0.0.2"):
            break
    before = _files(house)
    for files in FILES:
        said = json.loads(json.dumps(files).replace("{home}", str(house.home)))
        cluster.lie(_FIND.format(more={"files": said}))
        if names is None and files == FILES[-1]:
            continue
        with pytest.raises(NexapodError) as caught:
            backend.fetch(house.context(), "1_0.1", names=names, max_bytes=1 << 30)
        assert "127.0.0.2" in str(caught.value), files
    for more in ({"root": "/etc"}, {"root": 5}, {"beside": {".out": "x"}}, {"beside": 5}):
        cluster.lie(_FIND.format(more=more))
        with pytest.raises(NexapodError, match=r"127\.0\.0\.2"):
            backend.fetch(house.context(), "1_0.1", names=names, max_bytes=1 << 30)
    assert {one.parts[:2] for one in _files(house) - before} <= {("work", "1_0.1"), ("work", "1_0.1.out"), ("work", "1_0.1.err")}
    assert not (house.home / "escape").exists()
    cluster.lie("")
    backend.fetch(house.context(), "1_0.1", names=names, max_bytes=1 << 30)
    assert (house.work / "1_0.1" / "out").read_bytes() == bytes(100_000)


_FIND = """
import json
def lie(head, answer):
    if head["op"] == "find":
        return json.dumps({{**json.loads(answer), **{more}}}).encode() + b"\\n"
    return answer
"""

_INSERT = """
import json
JUNK = open({junk!r}, "rb").read()
def lie(head, answer):
    line, _, data = answer.partition(b"\\n")
    if head["op"] == "look":
        said = json.loads(line)
        for spool in said["spools"].values():
            spool["reports"] = {{name: size + len(JUNK) for name, size in spool["reports"].items()}}
        return json.dumps(said).encode() + b"\\n"
    if head["op"] == "read" and head["path"].endswith(".jsonl"):
        with open(head["path"], "rb") as stream:
            whole = JUNK + stream.read()
        return b"{{}}\\n" + whole[head["offset"] : head["offset"] + head["size"]]
    return answer
"""


def test_forged_and_foreign_reports_are_refused(tmp_path: Path, cluster: Liar, there: Path) -> None:
    """A stranger's key, the node's own key, altered bytes, another replica's name under the key of its launch, junk: all are kept and named."""
    home = DaskHome(tmp_path)
    home.pool(cluster.address, dask={"local_dir": str(there)}, partition={"workers": ["w1"], "hosts": 1})
    gate = tmp_path / "gate"
    try:
        home.ended(home.start(home.tasks(1)))
        (line,) = home.lines("pool")
        job = home.start(home.tasks(2, f"while [ ! -e '{gate}' ]; do sleep 0.02; done"))
        key = stolen_key(home, f"{job}_0.1")
        home.ran(2)
        junk = tmp_path / "junk"
        junk.write_bytes(b"\n".join(_forged(line, job, home, key)) + b"\n")
        cluster.lie(_INSERT.format(junk=str(junk)))
        gate.touch()
        home.ended(job)
        assert home.replicas(job) == ["reported"] * 2
        reasons = " ".join(sentence(Reason.parse(row["reason"])) for row in home.rows("SELECT reason FROM quarantine"))
        for word in ("signature", "nonce", "not a report line", "no replica", "carried", "not signed by the key of its launch"):
            assert word in reasons
        assert home.rows("SELECT blame FROM node")[0]["blame"] >= 1  # for what the key of that launch signed
        said = home.call("doctor")
        assert "not signed by the key of its launch" in said.out + said.err
        assert "blamed" in home.call("node", "ls").out
    finally:
        home.end()


def _forged(line: dict[str, Any], job: int, home: DaskHome, key: Signer) -> list[bytes]:
    """Return lines that no honest runner writes, made from a genuine one."""
    genuine = {name: line[name] for name in ("payload", "payloadType", "signatures", "key")}
    statement = decode(base64.b64decode(line["payload"]))
    own = keyfile.load(next(one for one in (home.path / "keys").glob("*pool*") if one.suffix != ".pub"))
    other = encode(statement._replace(replica=ReplicaName(job, 0, 1)))
    unknown = encode(statement._replace(replica=ReplicaName(job, 7, 1)))
    altered = bytearray(base64.b64decode(line["payload"]))
    altered[len(altered) // 2] ^= 1
    return [
        b"junk", b"{}", b"\x00" * 1000, b'{"start": "../../x"}', b'{"end": true}',
        seal(Signer.from_seed(b"s" * 32), PAYLOAD_TYPE, other),
        *(line_of(one, said) for one in (own, key) for said in (other, unknown)),
        json.dumps({**genuine, "payload": base64.b64encode(altered).decode()}).encode(),
        json.dumps({**genuine, "carried": {"../../x": "YQ==", "stdout": "YQ==", "stderr": ""}}).encode(),
    ]  # fmt: skip


class _Bomb:
    """What makes a file where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


@contextmanager
def _server(*frames: bytes) -> Iterator[str]:
    """Yield the address of what says these bytes to whoever connects."""
    with ExitStack() as held:
        server = held.enter_context(socket.create_server(("127.0.0.1", 0)))

        def serve() -> None:
            with suppress(OSError):  # until it is shut down
                while True:
                    client = held.enter_context(server.accept()[0])
                    client.sendall(b"".join(frames))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _message(*frames: bytes) -> bytes:
    """Return frames as Dask's protocol sends them."""
    head = struct.pack(f"{len(frames) + 1}Q", len(frames), *map(len, frames))
    return struct.pack("Q", len(head)) + head + b"".join(frames)


def _pickled(proof: Path, data: bytes = b"x", **more: Any) -> bytes:
    """Return a message with a pickle that makes a file where it is opened."""
    head = {"num-sub-frames": 1, "pickled-obj": pickle.dumps(_Bomb(str(proof))), **more}
    return _message(msgpack.dumps({"__Pickled__": 1}), msgpack.dumps(head), data)


SCHEDULERS = {
    "a pickle": (_pickled, "pickle"),
    "a bomb": (lambda proof: _pickled(proof, zlib.compress(bytes(100 << 20), 1), compression=["zlib"]), "larger than"),
    "another compression": (lambda proof: _pickled(proof, compression=["snappy"]), "compressed with"),
    "a large message": (lambda _: struct.pack("Q", 1 << 60), ""),
    "a large part": (lambda _: struct.pack("QQQ", 16, 1, 1 << 50), ""),
    "a web server": (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
    "junk": (lambda _: struct.pack("Q", 100) + bytes(range(100)), ""),
}


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_hostile_scheduler_is_refused_before_its_words_are_opened(tmp_path: Path, kind: str) -> None:
    """No pickle is opened, nothing larger than a message may be is read or blown up; what it was is said."""
    from nexapod_backends.dask.scheduler.client import Wire  # 400 ms

    make, words = SCHEDULERS[kind]
    proof = tmp_path / "proof"
    with _server(make(proof)) as address:
        wire = Wire(lambda: (address, {}), 1.0, "test")
        with pytest.raises(SchedulerError) as caught:
            wire.workers()
    assert words in str(caught.value)
    assert "cannot be used" in str(caught.value)
    assert not proof.exists()


def test_no_room_is_made_for_what_is_too_large() -> None:
    """The length is judged before memory is taken for it."""
    from distributed.comm import tcp
    from nexapod_backends.dask.scheduler.protocol_guard import MOST, TooLargeError

    with pytest.raises(TooLargeError, match="let in"):
        asyncio.run(tcp.read_bytes_rw(None, MOST + 1))
    with pytest.raises(TooLargeError, match="let in"):
        tcp.unpack_frames(struct.pack("QQQ", 2, MOST, 1), partial=True)


def _waits(house: DaskHouse) -> str:
    return f"touch {house.home}/at.$$; while [ ! -e {house.home}/go ]; do sleep 0.02; done"


def _ended(backend: Backend, house: DaskHouse, launches: list[Launch]) -> list[LaunchStatus]:
    """Wait until launches ended; return what is told of each."""
    keys = [one.key for one in launches]
    found: dict[str, LaunchStatus] = {}

    def ended() -> bool:
        found.update(backend.status(house.context(), keys))
        return all(one.state in ENDED for one in found.values())

    until(ended, f"all launches to end: {found}")
    return [found[key] for key in keys]


def _files(house: DaskHouse) -> set[Path]:
    return {path.relative_to(house.home) for path, found in states(below(house.home)).items() if stat.S_ISREG(found.st_mode)}
