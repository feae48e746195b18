"""What travels between a node and its coordinator, as msgspec structs: JSON on the wire. Pure.

A node has one channel, `POST /v1/work`: its state goes in, messages come out. A message stays with the coordinator
until a later call names it as acknowledged; a lost answer is therefore sent again, and every message may come twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sized  # noqa: TC003 - msgspec reads the annotations

from msgspec import Struct, field

from nexapod_batch.errors import VerificationError
from nexapod_batch.mesh.commitment import check_commitments

__all__ = [
    "FIRST_EPOCH", "MAX_LINES", "MAX_POLL", "MOST_WORDS", "PROTOCOL", "RUNTIMES", "Answer", "Bundle", "Follow",
    "Held", "Joined", "Lines", "LogPiece", "Message", "Registration", "Said", "Wanted", "WorkCall", "check_call",
    "check_folder", "is_message_name",
]  # fmt: skip

#: The version of what is said here; an agent of another one is told to be updated.
PROTOCOL = 2
#: Bytes of the body of one call, and of the report lines in it.
MAX_POLL, MAX_LINES = 4 << 20, 2 << 20
#: The epoch of a coordinator in whose place nobody ever stepped.
FIRST_EPOCH = 1
_NAME = re.compile(r"[a-z]{2,8}-[0-9A-Za-z_.-]{1,100}", re.ASCII)
_MOST = 10_000  # entries of one list
#: Runtimes of which a node may say that they do not work there, and in how many characters.
RUNTIMES, MOST_WORDS = ("apptainer", "bare"), 500


class Registration(Struct, frozen=True, kw_only=True):
    """A machine that wants to become a node. Signed as a request by the very key that it names."""

    public_key: str  # hex, raw Ed25519
    name: str
    profile: str  # the signed hardware profile: an envelope
    tier: str
    cpus: int
    mem_mib: int
    gpus: int = 0
    folder: str = ""  # absolute path below which it keeps inputs
    fetched: str = ""  # and those that it fetches by itself; "" where all of them are to be brought
    owner: str = ""  # who answers for it, as it says; an admin may say otherwise
    confine: str = "all"  # commands without a container that it confines: all, or those of foreign jobs
    token: str = ""  # that lets it join at once
    protocol: int = PROTOCOL


class Joined(Struct, frozen=True, kw_only=True):
    """What became of a registration."""

    state: str  # active, or pending
    name: str
    coordinator_key: str  # hex: the key that signs the bundles of this coordinator
    code: str = ""  # pending: what an admin approves
    owner: str = ""


class Lines(Struct, frozen=True, kw_only=True):
    """A piece of a report segment; one without text asks how far it is kept."""

    segment: str
    at: int  # byte at which it begins
    text: str = ""


class Said(Struct, frozen=True, kw_only=True):
    """What the node says of a launch: a state of `plugins.BackendState`, and why."""

    state: str
    reason: str = ""
    code: str = ""


class LogPiece(Struct, frozen=True, kw_only=True):
    """A piece of a log that still grows."""

    replica: str
    stream: str  # stdout or stderr
    at: int  # byte at which it begins
    data: bytes


class Held(Struct, frozen=True, kw_only=True):
    """A launch that a node has, for a coordinator that may not know of it."""

    launch: str
    envelope: str  # of the signed bundle
    delegation: str  # what the node signed for the key of the launch
    signature: str  # by the node, hex


class Arriving(Struct, frozen=True, kw_only=True):
    """How far the inputs of a launch are that a node brings."""

    launch: str
    here: int  # bytes of them, with those that were there before
    since: int  # when it began, seconds since 1970


class WorkCall(Struct, frozen=True, kw_only=True):
    """One call of a node: what it has to say, and for how long it would wait for something to do."""

    poll: str  # 32 hex digits: the same ones again get the same answer
    protocol: int = PROTOCOL
    epoch: int = FIRST_EPOCH  # the newest that the node knows; of a call with another one nothing is taken
    holds: tuple[Held, ...] = ()  # launches that it has, after another coordinator took over
    holds_no_more: bool = False  # in this epoch it has named all that it has
    folder: str = ""  # absolute path below which the node keeps inputs
    fetched: str = ""  # and those that it fetches by itself; "" where all of them are to be brought
    cannot: Mapping[str, str] = field(default_factory=dict)  # runtime -> why it does not work there
    acknowledged: tuple[str, ...] = ()  # names of messages that are durable there
    refused: Mapping[str, str] = field(default_factory=dict)  # launch -> why it is never run there
    delegations: Mapping[str, str] = field(default_factory=dict)  # launch -> the node's signature, hex
    committed: Mapping[str, str] = field(default_factory=dict)  # replica -> commitment to its report (`commitment`)
    lines: tuple[Lines, ...] = ()
    launches: Mapping[str, Said] = field(default_factory=dict)
    brought: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # replica -> name of a file -> SHA-256
    logs: tuple[LogPiece, ...] = ()  # of what runs, where somebody follows it
    busy: tuple[str, ...] = ()  # messages that it has and cannot acknowledge yet: they are not handed out again now
    arriving: Arriving | None = None
    paused: str = ""  # why nothing may start there
    wait_s: float = 0.0  # 0: an answer at once, without messages
    leaves: bool = False  # it wants nothing any more

    @property
    def is_quiet(self) -> bool:
        """Say that it brings no news."""
        return not (self.leaves or self.holds_no_more or any(self.lists))

    @property
    def lists(self) -> tuple[Sized, ...]:
        """Everything in it of which there may be several."""
        return (
            self.holds, self.acknowledged, self.refused, self.delegations, self.committed, self.lines, self.launches,
            self.brought, self.logs,
        )  # fmt: skip


class Bundle(Struct, frozen=True, kw_only=True):
    """A launch for the node."""

    launch: str
    envelope: str  # of the signed bundle
    seed: str  # of the launch's key, hex


class Wanted(Struct, frozen=True, kw_only=True):
    """Files of a replica that the coordinator asks for."""

    replica: str
    names: tuple[str, ...] | None  # None: all that were declared
    logs: bool
    max_bytes: int


class Follow(Struct, frozen=True, kw_only=True):
    """A replica whose logs somebody follows while it runs, and how many bytes of each are here."""

    replica: str
    stdout: int
    stderr: int


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message to a node; of its parts one is there."""

    name: str
    bundle: Bundle | None = None
    cancel: str = ""  # a list of cancellations (`spool.cancellations`)
    forget: tuple[str, ...] = ()  # launches that are over and taken in
    expire: tuple[str, ...] = ()  # launches whose bundles have expired
    remove: tuple[str, ...] = ()  # replicas whose work folders are needed no more
    discard: tuple[str, ...] = ()  # segments that were taken in
    wanted: Wanted | None = None
    follow: Follow | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """What a call of a node is answered."""

    messages: tuple[Message, ...] = ()
    kept: Mapping[str, int] = field(default_factory=dict)  # segment -> bytes of it that are durable here
    why: str = ""  # why there is nothing to do
    again_s: float = 0.0  # after so many seconds the node may call again
    epoch: int = FIRST_EPOCH  # of this coordinator
    since: int = 0  # when that began, ms since 1970; 0: nobody ever took over


def is_message_name(text: str) -> bool:
    """Say whether a text can be the name of a message, which is the name of a file as well."""
    return _NAME.fullmatch(text) is not None


def check_folder(folder: str) -> None:
    """Raise VerificationError unless a text is an absolute path, or empty."""
    if folder and (not folder.startswith("/") or not folder.isprintable() or len(folder) > 1000):
        raise VerificationError("folder is no absolute path", got=repr(folder[:80]))


def _check_numbers(call: WorkCall) -> None:
    if call.epoch < FIRST_EPOCH:
        raise VerificationError("there is no such epoch", got=call.epoch, wanted=f"{FIRST_EPOCH} or a later one")
    if call.wait_s < 0:
        raise VerificationError("nobody waits for less than no time", got=call.wait_s, wanted="wait_s of 0 or more")


def check_call(call: WorkCall) -> None:
    """Raise VerificationError for a call that no agent makes: too much of something, or names that lead elsewhere."""
    if max(map(len, (*call.lists, call.busy))) > _MOST or sum(map(len, call.brought.values())) > _MOST:
        raise VerificationError("the call says too much at once", wanted=f"at most {_MOST} of anything")
    if not re.fullmatch(r"[0-9a-f]{32}", call.poll, re.ASCII):
        raise VerificationError("poll is not 32 hex digits")
    if not all(map(is_message_name, call.acknowledged)):
        raise VerificationError("what is acknowledged is no name of a message")
    if any(name not in RUNTIMES or len(why) > MOST_WORDS for name, why in call.cannot.items()):
        raise VerificationError("what is said of runtimes makes no sense", wanted=f"one of: {', '.join(RUNTIMES)}")
    _check_numbers(call)
    check_folder(call.folder)
    check_folder(call.fetched)
    check_commitments(call.committed)
    if sum(len(piece.text) for piece in call.lines) > MAX_LINES:
        raise VerificationError("too many lines in one call", wanted=f"at most {MAX_LINES} bytes")
