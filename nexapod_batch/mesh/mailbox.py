"""The coordinator's side of a node that joined: what is to go there, what it said, all of it files in the node's spool.

| path | written by | what |
|---|---|---|
| `outbox/<message>` | backend | a message, until the node acknowledges it |
| `given/<launch>` | server | the node has this launch: its lease has begun |
| `delegations/<launch>` | server | the node's signature for the key of the launch, verified |
| `said/<launch>` | server | what the node said of it last |
| `committed/`, `bound/` | server, pass | commitments to reports (`commitment_files`) |
| `networks/<network>` | server | it called from there, `_` for `/`; until that is in the registry |
| `reports/<segment>` | server | report lines, byte for byte as the node has them |
| `brought/<replica>` | server | which blobs are the files of a replica |
| `wanted/<replica>` | backend | its files were asked for: at most so many bytes, 0 where nobody said |
| `offered/<sha256>` | backend | a link to an input that the node may read |
| `blobs/<sha256>` | server | what the node sent |
| `live/<replica>.out` | server | what somebody follows of a log that still grows |
| `cosigned.json` | server | the newest head of the ledger that the node signed for, and in which epoch |
| `followed` | server | the epoch in which the node named all launches that it holds |
| `seen` | server | its time is that of the node's last call |
| `node-note.json` | server | what the node said of itself: folder, why it is paused |

Every step may be repeated: a crash between two of them is mended by the node's next call.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import DecodeError, Struct
from msgspec import json as msgjson

from nexapod_batch import log
from nexapod_batch.errors import VerificationError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import base_of, own_folder
from nexapod_batch.mesh import commitment_files, holding, listening, live_logs
from nexapod_batch.mesh.commitment_files import COMMITTED
from nexapod_batch.mesh.delegating import delegation_message, signature_of
from nexapod_batch.mesh.messages import Answer, Message, Said, is_message_name
from nexapod_batch.mesh.segments import keep_lines
from nexapod_batch.model.networks import KEPT_NETWORKS
from nexapod_batch.spool import layout
from nexapod_batch.trust.bundle import BUNDLE_TYPE, MAX_BUNDLE, decode_bundle
from nexapod_batch.trust.dsse import open_envelope
from nexapod_batch.trust.statement_rules import is_hex, safe_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from nexapod_batch.mesh.messages import Held, WorkCall

__all__ = [
    "BELL", "BLOBS", "BROUGHT", "DELEGATIONS", "FOLDERS", "OFFERED", "WANTED", "Cosigned", "Mailbox", "Note", "ring",
]  # fmt: skip

OUTBOX, GIVEN, DELEGATIONS, SAID = "outbox", "given", "delegations", "said"
NETWORKS = "networks"
BROUGHT, OFFERED, BLOBS, WANTED = "brought", "offered", "blobs", "wanted"
FOLDERS = (*layout.FOLDERS, OUTBOX, GIVEN, DELEGATIONS, SAID, COMMITTED, NETWORKS, BROUGHT, OFFERED, BLOBS, WANTED)
SEEN, NOTE, FOLLOWED, COSIGNED = "seen", "node-note.json", "followed", "cosigned.json"
#: Rung in the folder of all spools when there is something new in an outbox.
BELL = ".bell"
#: Bytes of messages in one answer; a single one may be larger.
_ANSWER = 8 << 20
_MAX_MESSAGE = 2 * MAX_BUNDLE
_SETTLED = frozenset({"COMPLETED", "FAILED", "CANCELED"})
_STATES = frozenset({"UNKNOWN", "NEW", "QUEUED", "ACTIVE"}) | _SETTLED
_TEXT = 4000  # characters of a reason that are kept


class Note(Struct, frozen=True, kw_only=True):
    """What a node said of itself."""

    folder: str = ""  # absolute path there, below which it keeps inputs
    fetched: str = ""  # and those that it fetches by itself; "" where all are brought
    cannot: dict[str, str] = {}  # runtime -> why it does not work there
    paused: str = ""  # why nothing may start
    left: bool = False  # it said that it leaves


class Cosigned(Struct, frozen=True, kw_only=True):
    """A head of the ledger that a node signed for."""

    note: str = ""  # C2SP tlog-cosignature; "" where it signed for none
    epoch: int = 0  # in which it did


def ring(spools: Path) -> None:
    """Let a server look into the outboxes below this folder."""
    bell = spools / BELL
    try:
        os.utime(bell)
    except FileNotFoundError:
        atomic.write(bell, b"", mode=0o600, durable=False)


class Mailbox:
    """The mailbox of one node."""

    def __init__(self, spool: Path) -> None:
        """Know where it lies."""
        self.spool = spool

    def make(self) -> None:
        """Make the folders where they are missing."""
        own_folder(self.spool, *FOLDERS, below=base_of(self.spool))

    # ---- the backend's side

    def put(self, message: Message) -> None:
        """Put a message into the outbox, once; OSError when it cannot be written.

        A launch waits for no disk: its row is durable, and by that it is handed over again where a power cut takes it.
        """
        path = self.spool / OUTBOX / message.name
        if not path.exists():
            atomic.write(path, msgjson.encode(message), mode=0o600, durable=message.bundle is None)
            ring(self.spool.parent)

    def put_bundle(self, message: Message, launch: str) -> None:
        """Put a launch into the outbox, unless the node has it."""
        if not (self.spool / GIVEN / launch).exists():
            self.put(message)

    def withdraw(self, name: str) -> None:
        """Take back a message that was not acknowledged."""
        (self.spool / OUTBOX / name).unlink(missing_ok=True)

    def withdraw_all_but(self, launches: Collection[str]) -> None:
        """Take back what waits for the node, except for these launches."""
        kept = {f"launch-{launch}" for launch in launches}
        with suppress(FileNotFoundError):
            for name in os.listdir(self.spool / OUTBOX):
                if name not in kept and is_message_name(name):
                    self.withdraw(name)

    def waits(self, launch: str) -> bool:
        """Say whether a launch is in the outbox."""
        return (self.spool / OUTBOX / f"launch-{launch}").exists()

    def waiting(self, launch: str) -> Message | None:
        """Return the message with a launch, where it is in the outbox."""
        name = f"launch-{launch}"
        if not layout.is_launch_key(launch):
            return None
        try:
            return self._decoded(name, careful.read(self.spool / OUTBOX / name, _MAX_MESSAGE))
        except OSError:
            return None

    def has(self, launch: str) -> bool:
        """Say whether the node acknowledged a launch."""
        return (self.spool / GIVEN / launch).exists()

    def said(self, launch: str) -> Said | None:
        """Return what the node said of a launch last; None where it said nothing."""
        try:
            return msgjson.decode(careful.read(self.spool / SAID / launch, 64 << 10), type=Said)
        except (OSError, DecodeError):
            return None

    def silent_s(self, now: float) -> float | None:
        """Return for how many seconds the node has not called; None where it never did."""
        seen = self._seen_at()
        return None if seen is None else max(0.0, now - seen)

    def unheard_s(self, now: float) -> float | None:
        """Return for how many of these seconds the server listened; None where the node never called."""
        seen = self._seen_at()
        return None if seen is None else listening.silent_s(seen, now, listening.heard(self.spool.parent))

    def _seen_at(self) -> float | None:
        try:
            return (self.spool / SEEN).stat().st_mtime
        except OSError:
            return None

    def followed(self) -> int:
        """Return the newest epoch in which the node has named all that it holds; 0 where it never had to."""
        try:
            return int(careful.read(self.spool / FOLLOWED, 32))
        except (OSError, ValueError):
            return 0

    def cosigned(self) -> Cosigned:
        """Return the newest head of the ledger with the node's signature, unverified; nothing where it gave none."""
        try:
            return msgjson.decode(careful.read(self.spool / COSIGNED, 128 << 10), type=Cosigned)
        except (OSError, DecodeError):
            return Cosigned()

    def keep_cosigned(self, cosigned: Cosigned) -> None:
        """Keep a head of the ledger that the node signed for."""
        atomic.write(self.spool / COSIGNED, msgjson.encode(cosigned), mode=0o600, durable=False)

    def note(self) -> Note:
        """Return what the node said of itself."""
        try:
            return msgjson.decode(careful.read(self.spool / NOTE, 64 << 10), type=Note)
        except (OSError, DecodeError):
            return Note()

    def bytes_asked_for(self) -> int | None:
        """Return how many bytes of files were asked for; 0: of some nobody said how many, None: of none."""
        sizes = []
        for name in [name for name in os.listdir(self.spool / WANTED) if name[0] != "."]:
            with suppress(FileNotFoundError):
                text = careful.read(self.spool / WANTED / name, 32).strip()
                sizes.append(int(text) if text.isdigit() else 0)
        if not sizes:
            return None
        return sum(sizes) if all(sizes) else 0

    def drop(self, launch: str) -> None:
        """Forget a launch that is over; not that the node signed for its key: it may report late."""
        self._remove(launch, (OUTBOX, GIVEN, SAID))

    def expire(self, launch: str) -> None:
        """Forget everything of a launch that was over so long ago that nothing of it can come any more."""
        self._remove(launch, (OUTBOX, GIVEN, SAID, DELEGATIONS))

    def _remove(self, launch: str, folders: tuple[str, ...]) -> None:
        for folder in folders:
            name = f"launch-{launch}" if folder == OUTBOX else launch
            (self.spool / folder / name).unlink(missing_ok=True)

    # ---- the server's side

    def version(self) -> int:
        """Return a value that changes when a message is put into the outbox or taken out."""
        return os.stat(self.spool / OUTBOX).st_mtime_ns

    def take(self, call: WorkCall, public: bytes, coordinators: dict[str, bytes], now: float) -> dict[str, int]:
        """Keep what a node says; return how far each segment that it named is kept. Durable when this returns.

        VerificationError for what no agent says, TryAgainError where the disk takes no more.
        """
        for held in call.holds:
            self._hold(held, public, coordinators)
        for name in call.acknowledged:
            self._acknowledge(name, call, public, coordinators)
        for launch, why in call.refused.items():
            self._refuse(launch, why)
        commitment_files.keep(self.spool, call.committed)
        if call.holds_no_more:
            atomic.write(self.spool / FOLLOWED, b"%d\n" % call.epoch, mode=0o600)
        kept = {}
        for piece in call.lines:
            kept[piece.segment] = keep_lines(self.spool, piece)
        for launch, said in call.launches.items():
            self._keep_word(launch, said)
        for replica, files in call.brought.items():
            self._keep_files(replica, files)
        for log_piece in call.logs:
            live_logs.keep(self.spool, log_piece)
        self._see(call, now)
        return kept

    def commitments(self) -> Iterator[tuple[Path, dict[str, str]]]:
        """Yield each file of commitments that waits, as they came, and what it says; a bad one says nothing."""
        return commitment_files.in_folder(self.spool, COMMITTED)

    def note_network(self, network: str) -> None:
        """Keep that the node called from a network."""
        folder = self.spool / NETWORKS
        own_folder(folder, below=base_of(self.spool))
        if len(os.listdir(folder)) < KEPT_NETWORKS:
            atomic.write(folder / network.replace("/", "_"), b"", mode=0o600)

    def networks(self) -> list[str]:
        """Return the networks that are not in the registry yet, sorted."""
        with suppress(FileNotFoundError):
            return sorted(name.replace("_", "/") for name in os.listdir(self.spool / NETWORKS) if name[0] != ".")
        return []

    def forget_networks(self, seen: Iterable[str]) -> None:
        """Forget networks that are in the registry."""
        for network in seen:
            (self.spool / NETWORKS / network.replace("/", "_")).unlink(missing_ok=True)

    def look(self, busy: Collection[str] = ()) -> tuple[Message, ...]:
        """Return messages for the node: launches first, as many as fit into one answer; none with a name in `busy`."""
        return tuple(self._messages(frozenset(busy)))

    def answer(self, kept: dict[str, int], why: str = "") -> Answer:
        """Return the answer to a call that was taken in."""
        messages = self.look()
        return Answer(messages=messages, kept=kept, why="" if messages else why)

    def _messages(self, busy: frozenset[str]) -> Iterator[Message]:
        size = 0
        names = [name for name in os.listdir(self.spool / OUTBOX) if is_message_name(name) and name not in busy]
        for name in sorted(names, key=lambda one: (not one.startswith("launch-"), one)):
            with suppress(FileNotFoundError):  # withdrawn meanwhile
                data = careful.read(self.spool / OUTBOX / name, _MAX_MESSAGE)
                if size and size + len(data) > _ANSWER:
                    return
                message = self._decoded(name, data)
                if message is not None:
                    size += len(data)
                    yield message

    def _decoded(self, name: str, data: bytes) -> Message | None:
        """Return a message of the outbox; None, and it is gone, where a power cut left no more than its name."""
        try:
            return msgjson.decode(data, type=Message)
        except DecodeError:
            log.warning(__name__, "a message was lost on its way to the disk", name=name)
            self.withdraw(name)
            return None

    def _acknowledge(self, name: str, call: WorkCall, public: bytes, coordinators: dict[str, bytes]) -> None:
        """Take a message out of the outbox; of a launch the node's signature is kept first, then that it has it."""
        path = self.spool / OUTBOX / name
        try:
            message = self._decoded(name, careful.read(path, _MAX_MESSAGE))
        except FileNotFoundError:  # acknowledged before
            return
        if message is None:
            return
        if message.bundle is not None:
            launch = message.bundle.launch
            payload = open_envelope(message.bundle.envelope.encode(), BUNDLE_TYPE, coordinators, limit=MAX_BUNDLE)
            wanted = delegation_message(decode_bundle(payload.payload), bytes.fromhex(message.bundle.seed))
            signed = signature_of(call.delegations.get(launch, ""), wanted, public, launch)
            atomic.write(self.spool / DELEGATIONS / launch, signed, mode=0o600)
            self.keep_given(launch)
        path.unlink(missing_ok=True)

    def _hold(self, held: Held, public: bytes, coordinators: dict[str, bytes]) -> None:
        """Keep a launch that the node has: the lease goes on, or begins here. What does not verify is left out."""
        try:
            signature = holding.check(held, public, coordinators)
        except VerificationError as error:  # of a key that the coordinator has no longer
            log.warning(__name__, "a launch that a node holds is not ours", launch=held.launch[:40], error=error.what)
            return
        atomic.write(self.spool / DELEGATIONS / held.launch, signature, mode=0o600)
        holding.keep(self.spool.parent, held)
        self.keep_given(held.launch)
        self.withdraw(f"launch-{held.launch}")

    def _refuse(self, launch: str, why: str) -> None:
        """Keep that a node never runs a launch, and take that out of the outbox."""
        if layout.is_launch_key(launch) and self.waits(launch):
            self.keep_given(launch)
            self._keep_word(launch, Said(state="FAILED", reason=why, code="agent.refused"))
            self.withdraw(f"launch-{launch}")

    def _keep_word(self, launch: str, said: Said) -> None:
        if not layout.is_launch_key(launch) or said.state not in _STATES:
            raise VerificationError("what is said of a launch makes no sense", got=said.state[:40])
        if not self.has(launch):  # another's, or forgotten
            return
        short = Said(state=said.state, reason=said.reason[:_TEXT], code=said.code[:60])
        known = self.said(launch)
        if known != short and (known is None or known.state not in _SETTLED):
            durable = short.state in _SETTLED
            atomic.write(self.spool / SAID / launch, msgjson.encode(short), mode=0o600, durable=durable)

    def _keep_files(self, replica: str, files: Mapping[str, str]) -> None:
        """Keep which blobs are the files of a replica, where they were asked for and are all here."""
        if "/" in replica or not (self.spool / WANTED / replica).exists():
            return
        for name, digest in files.items():
            if not safe_name(name) or not is_hex(digest, 64):
                raise VerificationError("a file is sent under a name that leads elsewhere", got=repr(name[:80]))
        if all((self.spool / BLOBS / digest).exists() for digest in files.values()):
            atomic.write(self.spool / BROUGHT / replica, msgjson.encode(files), mode=0o600)

    def _see(self, call: WorkCall, now: float) -> None:
        """Note that the node called, and what it said of itself, where that changed."""
        self.keep_seen(now)
        if call.folder:
            paused, cannot = call.paused[:_TEXT], dict(call.cannot)
            note = Note(folder=call.folder, fetched=call.fetched, cannot=cannot, paused=paused, left=call.leaves)
            self.keep_note(note)

    def keep_seen(self, now: float) -> None:
        """Note that the node called at a time (seconds since 1970)."""
        seen = self.spool / SEEN
        try:
            os.utime(seen, (now, now))
        except FileNotFoundError:
            atomic.write(seen, b"", mode=0o600, durable=False)

    def keep_given(self, launch: str) -> None:
        """Note that the node has a launch."""
        atomic.write(self.spool / GIVEN / launch, b"", mode=0o600)

    def keep_note(self, note: Note) -> None:
        """Keep what a node said of itself, where that is something else than before."""
        if note != self.note():
            atomic.write(self.spool / NOTE, msgjson.encode(note), mode=0o600)
