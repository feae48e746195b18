"""Lines of report segments: each is verified alone, without the database, so that several processes can share them.

A segment is read up to its last complete line; the line is the commit of its writer.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import marshal
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.files import careful
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.quorum.machines import Boot
from nexapod_batch.spool.segment_reader import KEEP, MAX_LINE, Block, beginning, blocks
from nexapod_batch.trust import nesting
from nexapod_batch.trust.dsse import open_envelope
from nexapod_batch.trust.keys import KEY_BYTES
from nexapod_batch.trust.statement import PAYLOAD_TYPE, ContainerUse, GpuUse, Machine, Outcome, Statement, Subject
from nexapod_batch.trust.statement_decoder import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "END", "Block", "Left", "Line", "Refused", "Report", "Started", "beginning", "blocks", "machine_of", "read_all",
    "read_block",
]  # fmt: skip

#: The last line of a runner that ended by itself.
END = b'{"end":true}'
#: Bytes passed over at once.
_BLOCK = 256 * 1024
#: Bad lines of a block after which the rest of it waits for the next pass: what is all junk takes no time of others.
_JUNK = 1_000
#: Unread bytes from which on other processes help: below, starting them takes longer than what they save.
_MANY = 1024 * 1024
_EMPTY = hashlib.sha256(b"").hexdigest()
_TOO_LONG = Reason(code=Code.REPORT_TOO_LONG, parameters={"max_bytes": MAX_LINE})


_REPLICA, _OUTCOME = (Statement._fields.index(name) for name in ("replica", "outcome"))
#: The fields that are nouns, or lists of them, by their place.
_NOUNS: dict[int, type[Any]] = {
    Statement._fields.index("container"): ContainerUse,
    Statement._fields.index("machine"): Machine,
}
_LISTS: dict[int, type[Any]] = {Statement._fields.index("subjects"): Subject, Statement._fields.index("gpus"): GpuUse}


class Report(NamedTuple):
    """A verified report: what of it goes into the database, the signed bytes, and the files that came along.

    Made of plain values, because it travels between processes.
    """

    position: int  # of its line in the segment
    replica: tuple[int, int, int]  # job, task, number
    said: tuple[Any, ...]  # the fields of its statement, as plain values: `statement` has them
    gpus: str | None  # as the store has them
    machine: str  # which one it ran on, as `quorum.machines.Boot` writes it; "" where nobody can tell
    payload: bytes
    signature: bytes
    key: bytes  # that verified it: the raw public key
    carried: bytes | None  # JSON: name -> base64

    @property
    def statement(self) -> Statement:
        """Return the statement."""
        fields = list(self.said)
        fields[_REPLICA] = ReplicaName(*self.replica)
        fields[_OUTCOME] = Outcome(fields[_OUTCOME])
        for at, made in _NOUNS.items():
            if fields[at] is not None:
                fields[at] = made._make(fields[at])
        for at, made in _LISTS.items():
            if fields[at]:
                fields[at] = tuple([made._make(one) for one in fields[at]])
        return Statement._make(fields)


class Started(NamedTuple):
    """A start note."""

    replica: tuple[int, int, int]


class Refused(NamedTuple):
    """A line that is no good."""

    position: int
    reason: str  # as the store has it
    line: bytes  # its beginning


class Ended(NamedTuple):
    """The runner's last word: nothing follows."""


class Left(NamedTuple):
    """What follows from a position on was left for the next pass."""

    position: int


Line: TypeAlias = Report | Started | Refused | Ended | Left


_KINDS: tuple[type[Line], ...] = (Report, Started, Refused, Ended, Left)


def read_block(block: Block, keys: Mapping[str, bytes]) -> list[Line]:
    """Return what each line of a block says; `keys` are for lines of runners that offer none."""
    with careful.stream(block.path) as stream:
        stream.seek(block.start)
        if block.endless:
            return [Refused(block.start, _TOO_LONG.stored(), stream.read(KEEP))]
        found: list[Line] = []
        position, junk = block.start, 0
        while position < block.end:
            line = stream.readline(min(MAX_LINE + 1, block.end - position))
            if not line:  # the file is shorter by now
                break
            found.append(_read(line.removesuffix(b"\n"), position, keys))
            position += len(line)
            while line and not line.endswith(b"\n") and position < block.end:  # too long: the rest is passed over
                line = stream.readline(min(_BLOCK, block.end - position))
                position += len(line)
            junk += isinstance(found[-1], Refused)
            if junk >= _JUNK and position < block.end:
                found.append(Left(position))
                break
    return found


def read_all(found: Sequence[tuple[Block, Mapping[str, bytes]]]) -> Iterator[list[Line] | OSError]:
    """Yield the lines of each block, verified with the keys beside it, in order; the error where one cannot be read.

    With much to read every core helps. Threads would not: a signature is checked in 40 us, between which each thread
    waits for the interpreter. Forked, the helpers have everything imported; they touch neither the database nor
    anything that others see, and what one that died did not send is read here.
    """
    size = sum(block.end - block.start for block, _ in found)
    helpers = min(len(os.sched_getaffinity(0)), size // _MANY, 8)
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:  # as with SSH: a fork may copy a lock that is held
        helpers = 0
    with _forked(found, helpers if helpers > 1 else 0) as streams:
        for number, (block, keys) in enumerate(found):
            try:
                yield _received(streams[number % helpers]) if streams else read_block(block, keys)
            except (EOFError, ValueError, TypeError):
                streams.clear()
                yield read_block(block, keys)
            except OSError as error:
                yield error


def _received(stream: BinaryIO) -> list[Line]:
    """Return what a helper, this same program, sent of its next block."""
    return [_KINDS[kind]._make(said) for kind, said in marshal.load(stream)]  # noqa: S302


@contextmanager
def _forked(found: Sequence[tuple[Block, Mapping[str, bytes]]], helpers: int) -> Iterator[list[BinaryIO]]:
    """Start helpers, each for every so-manieth block; yield the streams through which they send."""
    streams: list[BinaryIO] = []
    opened, pids = [], []
    try:
        for first in range(helpers):
            ours, theirs = os.pipe()
            with suppress(OSError):  # room for the next blocks, so that nobody waits for the other
                fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 1 << 20)
            pid = os.fork()
            if pid == 0:
                with suppress(BaseException):  # whatever it is, the other side reads what is missing
                    os.nice(5)  # who writes to the database goes first: the others wait for it at the end
                    _send(found[first::helpers], theirs)
                os._exit(0)
            os.close(theirs)
            opened.append(open(ours, "rb", buffering=1 << 20))  # noqa: SIM115 - closed below
            pids.append(pid)
        streams += opened
        yield streams
    finally:
        for stream in opened:
            stream.close()  # a helper that still sends ends by it
        for pid in pids:
            os.waitpid(pid, 0)


def _send(found: Sequence[tuple[Block, Mapping[str, bytes]]], fd: int) -> None:
    with open(fd, "wb") as sink:
        for block, keys in found:
            lines = read_block(block, keys)
            sink.write(marshal.dumps([(_KINDS.index(type(line)), tuple(line)) for line in lines]))
            sink.flush()


def _read(line: bytes, position: int, keys: Mapping[str, bytes]) -> Line:
    try:
        return _parse(line, position, keys)
    except VerificationError as error:
        reason = Reason(code=Code.REPORT_REFUSED, parameters={"error": Reason.of_error(error)})
    except Exception as error:  # noqa: BLE001 - whatever one line does, the others are read
        reason = Reason(code=Code.REPORT_UNREADABLE, parameters={"kind": type(error).__name__})
    return Refused(position, reason.stored(), line[:KEEP])


def _parse(line: bytes, position: int, keys: Mapping[str, bytes]) -> Line:
    """Return the verified report of a line, or its start note."""
    if len(line) > MAX_LINE:
        raise VerificationError("line too long", got=f"more than {MAX_LINE} bytes", wanted="one report")
    try:
        document = nesting.loads(line)
        if "start" in document:
            name = ReplicaName.parse(document["start"])
            return Started((name.job, name.task, name.number))
        if line == END:
            return Ended()
    except (ValueError, TypeError, KeyError) as error:
        raise VerificationError("not a report line", got=f"{error}"[:200]) from error
    if not isinstance(document, dict):
        raise VerificationError("not a report line", got=type(document).__name__, wanted="an object")
    offered = document.get("key")
    key = keys if offered is None else _offered(offered)
    opened = open_envelope(document, PAYLOAD_TYPE, key)
    said = decode(opened.payload)
    carried = document.get("carried")
    if carried is not None:
        _check_carried(carried, said)
        carried = orjson.dumps(carried)
    name = said.replica
    return Report(
        position, (name.job, name.task, name.number), _plain(said), _gpus(said), machine_of(said), opened.payload,
        opened.signature, key[opened.key_id], carried,
    )  # fmt: skip


def _offered(text: object) -> dict[str, bytes]:
    """Return the key that a line offers; whether it may speak for the replica the coordinator looks up."""
    try:
        public = binascii.a2b_base64(str(text), strict_mode=True)
    except ValueError:
        public = b""
    if len(public) != KEY_BYTES:
        raise VerificationError("the key of a report is none", wanted=f"{KEY_BYTES} bytes in base64")
    return {"the key beside it": public}


def _plain(said: Statement) -> tuple[Any, ...]:
    """Return the fields of a statement as values that travel between processes."""
    fields: list[Any] = list(said)
    fields[_REPLICA] = None  # it stands beside
    fields[_OUTCOME] = said.outcome.value
    for at in _NOUNS:
        if fields[at] is not None:
            fields[at] = tuple(fields[at])
    for at in _LISTS:
        if fields[at]:
            fields[at] = tuple(map(tuple, fields[at]))
    return tuple(fields)


def machine_of(said: Statement) -> str:
    """Return on which machine a replica ran, as it is stored; "" where nobody could tell."""
    if said.machine is None:
        return ""
    return str(Boot(said.machine.boot, said.machine.id, said.machine.booted_ms, said.finished_ms))


def _gpus(said: Statement) -> str | None:
    return orjson.dumps([one._asdict() for one in said.gpus]).decode() if said.gpus else None


def _check_carried(carried: object, statement: Statement) -> None:
    """Refuse carried files that are not those that were signed: the signature does not cover the carrying."""
    if not isinstance(carried, dict):
        raise VerificationError("carried files are no object", got=type(carried).__name__)
    if statement.manifest:
        raise VerificationError("carried files of a manifest", wanted="a report without them")
    wanted = {"stdout": statement.stdout_sha256, "stderr": statement.stderr_sha256}
    wanted.update({subject.name: subject.sha256 for subject in statement.subjects})
    if missing := wanted.keys() - carried.keys():
        got = f"no {nesting.quoted(min(missing))}"
        raise VerificationError("carried files are missing", got=got, wanted="all or none")
    for name, text in carried.items():
        if text == "" and wanted.get(name) == _EMPTY:
            continue
        try:
            digest = hashlib.sha256(base64.b64decode(text, validate=True)).hexdigest()
        except (binascii.Error, TypeError, ValueError) as error:
            raise VerificationError(f"carried file {nesting.quoted(name)} is not base64", got=str(error)) from error
        if wanted.get(name) != digest:
            raise VerificationError(
                f"carried file {nesting.quoted(name)} is not what was signed", got=digest, wanted=wanted.get(name)
            )
