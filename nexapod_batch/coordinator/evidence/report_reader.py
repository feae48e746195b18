"""Lines of report segments: each is verified alone, without the database, so that several processes can share them.

A segment is read up to its last complete line; the line is the commit of its writer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias, TypeVar

import orjson
from msgspec import Struct

from nexapod_batch.coordinator.evidence.common_line import read_common_line
from nexapod_batch.errors import VerificationError
from nexapod_batch.files import careful
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.quorum.machines import Boot
from nexapod_batch.spool.segment_reader import KEEP, MAX_LINE, Block, beginning, blocks
from nexapod_batch.trust import nesting
from nexapod_batch.trust.dsse import open_envelope, open_single
from nexapod_batch.trust.keys import KEY_BYTES
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Statement, sizes_of
from nexapod_batch.trust.statement_decoder import decode
from nexapod_batch.trust.trail import decode_note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.evidence.common_line import CommonLine
    from nexapod_batch.trust.dsse import Opened

__all__ = [
    "END", "Block", "Left", "Line", "Refused", "Report", "Started", "Trailed", "beginning", "blocks", "gpus_of",
    "machine_of", "read_block",
]  # fmt: skip

#: The last line of a runner that ended by itself.
END = b'{"end":true}'
#: Bad lines of a block after which the rest of it waits for the next pass: what is all junk takes no time of others.
_JUNK = 1_000
_EMPTY = hashlib.sha256(b"").hexdigest()
_TOO_LONG = Reason(code=Code.REPORT_TOO_LONG, parameters={"max_bytes": MAX_LINE})
#: Lines that are read together: step by step for all of them, so that each step finds its code in the nearest cache.
_TOGETHER = 32


class Report(Struct, frozen=True, array_like=True, tag=True):
    """A verified report: what it says, the signed bytes, and the files that came along."""

    position: int  # of its line in the segment
    statement: Statement
    gpus: str | None  # as the store has them
    machine: str  # which one it ran on, as `quorum.machines.Boot` writes it; "" where nobody can tell
    payload: bytes
    signature: bytes
    key: bytes  # that verified it: the raw public key
    carried: bytes | None  # JSON: name -> base64


class Started(Struct, frozen=True, array_like=True, tag=True):
    """A start note."""

    replica: tuple[int, int, int]  # job, task, number


class Trailed(Struct, frozen=True, array_like=True, tag=True):
    """A note of the logs of a replica that runs; its HMAC was not checked."""

    position: int
    replica: tuple[int, int, int]  # job, task, number
    note: bytes  # the line


class Refused(Struct, frozen=True, array_like=True, tag=True):
    """A line that is no good."""

    position: int
    reason: str  # as the store has it
    line: bytes  # its beginning


class Ended(Struct, frozen=True, array_like=True, tag=True):
    """The runner's last word: nothing follows."""


class Left(Struct, frozen=True, array_like=True, tag=True):
    """What follows from a position on was left for the next pass."""

    position: int


Line: TypeAlias = Report | Started | Trailed | Refused | Ended | Left
#: What the key is called that a line offers.
_BESIDE = "the key beside it"
_Step = TypeVar("_Step", "_Raw", "_Sealed | _Plain", "_Verified")
_Next = TypeVar("_Next")


class _Raw(NamedTuple):
    """A line as it was read."""

    position: int
    line: bytes
    keys: Mapping[str, bytes]  # that may have signed it, unless it offers one


class _Sealed(NamedTuple):
    """A line that holds a report; nothing of it was verified."""

    position: int
    line: bytes
    document: dict[str, Any]
    keys: Mapping[str, bytes]


class _Plain(NamedTuple):
    """A line that holds a report in the common spelling; nothing of it was verified."""

    position: int
    line: bytes
    common: CommonLine
    key: bytes  # that it offers


class _Verified(NamedTuple):
    """A line whose signature is good; nothing of what was signed was parsed."""

    position: int
    line: bytes
    opened: Opened
    key: bytes
    carried: object


def read_block(block: Block, keys: Mapping[str, bytes]) -> list[Line]:
    """Return what each line of a block says; `keys` are for lines of runners that offer none."""
    with careful.stream(block.path) as stream:
        stream.seek(block.start)
        if block.endless:
            return [Refused(block.start, _TOO_LONG.stored(), stream.read(KEEP))]
        found: list[Line] = []
        junk = 0
        lines = _lines(stream, block, keys)
        while several := list(islice(lines, min(_TOGETHER, _JUNK - junk))):
            read = _read(several)
            found += read
            junk += sum(isinstance(line, Refused) for line in read)
        following = next(lines, None)
        if following is not None:
            found.append(Left(following.position))
    return found


def _lines(stream: BinaryIO, block: Block, keys: Mapping[str, bytes]) -> Iterator[_Raw]:
    """Yield the lines of a block, which is short enough to be read at once."""
    position = block.start
    lines = stream.read(block.end - block.start).split(b"\n")
    if not lines[-1]:  # behind the last newline; where there is another text, the file is shorter by now
        lines.pop()
    for line in lines:
        yield _Raw(position, line, keys)
        position += len(line) + 1


def _read(several: Sequence[_Raw]) -> list[Line]:
    """Return what each of several lines says: all are parsed, then all are verified, then what was signed is parsed."""
    parsed = [_attempt(_parse, line) for line in several]
    verified = [_attempt(_verify, line) if isinstance(line, _Sealed | _Plain) else line for line in parsed]
    return [_attempt(_report, line) if isinstance(line, _Verified) else line for line in verified]


def _attempt(step: Callable[[_Step], _Next], line: _Step) -> _Next | Refused:
    """Return what a step makes of a line; a line that it raises for is refused."""
    try:
        return step(line)
    except VerificationError as error:
        reason = Reason(code=Code.REPORT_REFUSED, parameters={"error": Reason.of_error(error)})
    except Exception as error:  # noqa: BLE001 - whatever one line does, the others are read
        reason = Reason(code=Code.REPORT_UNREADABLE, parameters={"kind": type(error).__name__})
    return Refused(line.position, reason.stored(), line.line[:KEEP])


def _parse(raw: _Raw) -> Started | Trailed | Ended | _Sealed | _Plain:
    """Return the note of a line, or the report that is still to be verified."""
    common = read_common_line(raw.line)
    if common is None or common.payloadType != PAYLOAD_TYPE:
        return _parse_any(raw)
    return _Plain(raw.position, raw.line, common, _offered(common.key))


def _parse_any(raw: _Raw) -> Started | Trailed | Ended | _Sealed:
    """Do so for any spelling."""
    position, line, keys = raw
    if len(line) > MAX_LINE:
        raise VerificationError("line too long", got=f"more than {MAX_LINE} bytes", wanted="one report")
    try:
        document = nesting.loads(line)
        if "start" in document:
            name = ReplicaName.parse(document["start"])
            return Started((name.job, name.task, name.number))
        if "trail" in document:
            name = ReplicaName.parse(decode_note(document).replica)
            return Trailed(position, (name.job, name.task, name.number), line)
        if line == END:
            return Ended()
    except (ValueError, TypeError, KeyError) as error:
        raise VerificationError("not a report line", got=f"{error}"[:200]) from error
    if not isinstance(document, dict):
        raise VerificationError("not a report line", got=type(document).__name__, wanted="an object")
    offered = document.get("key")
    return _Sealed(position, line, document, keys if offered is None else {_BESIDE: _offered(offered)})


def _verify(sealed: _Sealed | _Plain) -> _Verified:
    """Return the line when a key verifies what was signed."""
    if isinstance(sealed, _Plain):
        position, line, common, key = sealed
        single = open_single(PAYLOAD_TYPE, common.payload, common.signatures[0].sig, _BESIDE, key)
        if single is not None:
            return _Verified(position, line, single, key, common.carried)
        sealed = _Sealed(position, line, nesting.loads(line), {_BESIDE: key})  # what is wrong is said below
    opened = open_envelope(sealed.document, PAYLOAD_TYPE, sealed.keys)
    key = sealed.keys[opened.key_id]
    return _Verified(sealed.position, sealed.line, opened, key, sealed.document.get("carried"))


def _report(verified: _Verified) -> Report:
    """Return the report of a line that was verified."""
    opened, carried = verified.opened, verified.carried
    said = decode(opened.payload)
    files = None
    if carried is not None:
        _check_carried(carried, said)
        files = orjson.dumps(carried)
    return Report(
        verified.position, said, gpus_of(said), machine_of(said), opened.payload, opened.signature, verified.key, files,
    )  # fmt: skip


def _offered(text: object) -> bytes:
    """Return the key that a line offers; whether it may speak for the replica the coordinator looks up."""
    try:
        public = binascii.a2b_base64(str(text), strict_mode=True)
    except ValueError:
        public = b""
    if len(public) != KEY_BYTES:
        raise VerificationError("the key of a report is none", wanted=f"{KEY_BYTES} bytes in base64")
    return public


def machine_of(statement: Statement) -> str:
    """Return on which machine a replica ran, as it is stored; "" where nobody could tell."""
    if statement.machine is None:
        return ""
    return str(Boot(statement.machine.boot, statement.machine.id, statement.machine.booted_ms, statement.finished_ms))


def gpus_of(statement: Statement) -> str | None:
    """Return the GPUs of a replica as they are stored; None for none."""
    if statement.gpus:
        return orjson.dumps([gpu._asdict() for gpu in statement.gpus]).decode()
    return None


def _check_carried(carried: object, statement: Statement) -> None:
    """Refuse carried files that are not those that were signed: the signature does not cover the carrying."""
    if not isinstance(carried, dict):
        raise VerificationError("carried files are no object", got=type(carried).__name__)
    if statement.manifest:
        raise VerificationError("carried files of a manifest", wanted="a report without them")
    wanted = {"stdout": statement.stdout_sha256, "stderr": statement.stderr_sha256}
    wanted.update({subject.name: subject.sha256 for subject in statement.subjects})
    wanted.update({file.name: file.sha256 for file in statement.saved})
    sizes = sizes_of(statement)
    if missing := wanted.keys() - carried.keys():
        got = f"no {nesting.quoted(min(missing))}"
        raise VerificationError("carried files are missing", got=got, wanted="all or none")
    for name, text in carried.items():
        if text == "" and wanted.get(name) == _EMPTY and not sizes.get(name):
            continue
        try:
            data = base64.b64decode(text, validate=True)
            digest = hashlib.sha256(data).hexdigest()
        except (binascii.Error, TypeError, ValueError) as error:
            raise VerificationError(f"carried file {nesting.quoted(name)} is not base64", got=str(error)) from error
        if wanted.get(name) != digest:
            raise VerificationError(
                f"carried file {nesting.quoted(name)} is not what was signed", got=digest, wanted=wanted.get(name)
            )
        size = sizes.get(name)
        if size is not None and size != len(data):
            raise VerificationError(
                f"carried file {nesting.quoted(name)} is not as long as was signed",
                got=f"{len(data)} bytes",
                wanted=f"{size} bytes",
            )
