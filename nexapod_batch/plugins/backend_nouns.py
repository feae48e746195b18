"""What backends are told and what they answer: the nouns of their port."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from nexapod_batch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path, PurePath

    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.model.site import Site

__all__ = [
    "HOPELESS", "BackendState", "Finding", "Launch", "LaunchStatus", "Mark", "NodeContext", "Probing",
    "Sending",
]  # fmt: skip

#: What the reason of a launch says that was refused for good: nothing changes by itself.
HOPELESS = "a retry alone would not help"


class BackendState(StrEnum):
    """PSI/J's six states, and one for a launch that the backend never saw."""

    UNKNOWN = "UNKNOWN"  # not there: launch again
    NEW = "NEW"
    QUEUED = "QUEUED"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"  # the runner ended; what it did not report is lost
    FAILED = "FAILED"  # the runner or its host died
    CANCELED = "CANCELED"


class Sending(Protocol):
    """What hears how far inputs are that are sent to a node, for people."""

    def begin(self, files: int, size: int) -> None:
        """Hear how many files and bytes are to be sent; those that are there already are none of them."""
        ...

    def sent(self, size: int) -> None:
        """Hear that so many bytes more were sent."""
        ...


class NodeContext(Struct, frozen=True, kw_only=True):
    """A node and where its files lie on this side."""

    node: Node
    spool: Path  # inbox/ claims/ cancel/ reports/ refused/ and node.json
    work: Path  # work folders
    state: Path  # what the backend itself keeps, for all nodes of the site
    remote_spool: PurePath  # the spool as the node's runners see it; another path when they are on another machine
    remote_work: PurePath
    site: Site | None = None  # None: this machine
    on: Site | None = None  # another site, whose scheduler starts what this one needs
    sending: Sending | None = None  # hears how far `stage` is; None: nobody is there
    spare_mib: int = 0  # what copies of inputs may have together where `unstage` keeps more than is needed

    @property
    def its_site(self) -> Site:
        """Return the site, for a backend whose nodes all come from site files; ConfigError where there is none."""
        if self.site is None:
            hint = f"a node of backend {self.node.backend} comes from a site file"
            raise ConfigError(f"node {self.node.name} has no site", hint=hint)
        return self.site


class Launch(Struct, frozen=True, kw_only=True):
    """One launch for the backend: a key, the signed bundle, and what it needs."""

    key: str
    envelope: bytes  # DSSE envelope of the bundle
    seed: bytes  # of the key of this launch: lies beside the bundle until the runner takes it; b"" when it was taken
    job: Job
    replicas: int
    inputs: frozenset[str] = frozenset()  # SHA-256 of the inputs of these replicas
    host_set: tuple[int, int] | None = None  # (i, n): only on the i-th of n disjoint sets of the node's hosts


class LaunchStatus(Struct, frozen=True, kw_only=True):
    """What the backend knows of a launch: state and why, and what the scheduler calls it.

    `reason` is a sentence for people; `code` names it for programs, as in `slurm.waits`: the backend, a dot, a word.
    """

    state: BackendState
    reason: str = ""
    code: str = ""  # "": a reason without a code of its own
    native: str = ""  # the scheduler's id of it
    native_state: str = ""  # the scheduler's word for its state
    native_reason: str = ""  # the scheduler's word for why
    hosts: tuple[str, ...] | None = None  # where a launch with a host set ran; None: not told yet; (): never told
    #: FAILED before anything of it began: why. Where a few in a row say the same, numbers aside, the node gets a rest.
    never_began: str = ""
    task_fault: bool = False  # FAILED: the task's own doing (over its time or memory, refused for good), not the node's
    anew: bool = False  # FAILED: it says nothing of any of its replicas: what did not report is placed anew


class Mark(StrEnum):
    """What a probe makes of what it found."""

    OK = "ok"
    WARN = "warn"  # works, and will surprise somebody
    FAIL = "fail"
    SKIP = "skip"  # not looked at, and why


class Finding(Struct, frozen=True, kw_only=True):
    """What one probe of a site found."""

    mark: Mark
    probe: str
    text: str  # what was found
    hint: str = ""  # what to do
    stops: bool = False  # FAIL: while this is so, no job there can end well
    unreachable: bool = False  # FAIL: the scheduler cannot be reached, so that nothing else can be found out


class Probing(Struct, frozen=True, kw_only=True):
    """How a site is to be probed."""

    sample: Job  # what would be run: its words for the site and its resources count
    jobs: bool  # whether test jobs may be started
    dry_run: bool  # call nothing, say what would be called
    timeout_s: float  # for each test job
    tell: Callable[[str], None]  # hears what is waited for
