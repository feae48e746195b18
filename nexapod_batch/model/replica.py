"""The name of a replica, and what a launch of replicas is called on its way to a node."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CHANGED", "NOT_FETCHED", "Assignment", "Bundle", "Continuation", "ReplicaName"]

#: What a node says, among other words, of an input that it was to fetch and could not.
NOT_FETCHED = "cannot be fetched here"
#: What it says of an input whose copy is not what was pinned, before the digests of what it got and wanted.
CHANGED = "was changed: got sha256"

_NAME = re.compile(r"([1-9][0-9]{0,17})_(0|[1-9][0-9]{0,17})\.([1-9][0-9]{0,5})")


class ReplicaName(Struct, frozen=True):
    """`42_7.1`: job 42, task 7, first replica. Never reused; a retry is a new replica."""

    job: int
    task: int
    number: int

    def __str__(self) -> str:
        """Return the printed form."""
        return f"{self.job}_{self.task}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> ReplicaName:
        """Return the name that `text` spells; ValueError for anything else."""
        match = _NAME.fullmatch(text)
        if match is None:
            msg = f"not a replica name: {text!r}"
            raise ValueError(msg)
        return cls(*map(int, match.groups()))


class Continuation(NamedTuple):
    """From where a replica goes on: what an earlier one of its task left on the same node when it was stopped."""

    number: int  # of the earlier replica
    files: tuple[tuple[str, str], ...]  # (path in the work folder, lower-case hex SHA-256), sorted


class Assignment(NamedTuple):
    """One replica of a bundle."""

    task: int
    number: int
    nonce: str  # 32 hex digits, fresh for each replica
    parameters: Mapping[str, str]  # array values of the task
    continues: Continuation | None = None  # None: it begins at the beginning


class Bundle(NamedTuple):
    """What a coordinator asks of one runner: replicas of one job, under one launch key."""

    launch: str  # launch key: 32 hex digits
    audience: str  # key id of the node that may run it
    not_after: int  # seconds since 1970; nothing is started later
    job_id: int
    job_uuid: str
    document: bytes  # canonical job document; its SHA-256 is the job digest
    input_paths: Mapping[str, str]  # SHA-256 of an input -> absolute path where the runner finds it
    replicas: tuple[Assignment, ...]
    subkey: str  # id of the key that signs the statements of this launch, and of no other
    foreign: bool = False  # the job is somebody else's: its commands are confined
