"""Statements of those who ran an archived job again, in its archive: checked one by one, and added.

They lie outside what the coordinator signed, for they come later and from others. Each says which archive it is about,
and is called by its key and its digest: one that was changed, renamed, or made for another archive is a fault.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexapod_batch.coordinator.archives import bag_format as bag
from nexapod_batch.coordinator.archives.contents import Item
from nexapod_batch.coordinator.archives.members import TarMembers
from nexapod_batch.coordinator.archives.writing import appended
from nexapod_batch.errors import UsageError, VerificationError
from nexapod_batch.files import atomic, careful
from nexapod_batch.trust.keys import key_id
from nexapod_batch.trust.reproduction import MAX_REPRODUCTION, file_name, open_reproduction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.coordinator.archives.members import Members
    from nexapod_batch.coordinator.verification.job_evidence import Evidence
    from nexapod_batch.trust.reproduction import Reproduction

__all__ = ["add", "check_reproductions", "keys_of_reproductions", "read_statement"]


def read_statement(path: Path) -> tuple[bytes, Reproduction]:
    """Return the bytes of a statement, and what it says; VerificationError unless it is one that was signed.

    Raises:
        UsageError: It cannot be read.

    """
    try:
        sealed = careful.read(os.path.realpath(path), MAX_REPRODUCTION)
    except OSError as error:
        raise UsageError(f"{path} cannot be read", got=error.strerror, wanted="a reproduction statement") from error
    return sealed, open_reproduction(sealed)


def check_reproductions(
    members: Members, sha256: str, job: tuple[str, str], given: Mapping[str, bytes], evidence: Evidence
) -> list[dict[str, Any]]:
    """Check the statements in an archive, of this digest and with this job (UUID and digest); return what they say."""
    found = []
    for name in sorted(members.sizes):
        if name.startswith(bag.REPRODUCTIONS):
            try:
                sealed = members.read(name, MAX_REPRODUCTION)
                reproduction = _checked(sealed, name.removeprefix(bag.REPRODUCTIONS), sha256, job)
            except (OSError, VerificationError) as error:
                evidence.add("reproduction", name, [" ".join(str(error).split())[:300]])
                continue
            described = _described(reproduction, given)
            evidence.add("reproduction", name, [], text=described["text"])
            found.append(described)
    return found


def keys_of_reproductions(members: Members) -> set[str]:
    """Return the ids of the keys that signed the statements in an archive, of those that can be read."""
    found = set()
    for name in members.sizes:
        if name.startswith(bag.REPRODUCTIONS):
            with suppress(OSError, VerificationError):
                found.add(key_id(open_reproduction(members.read(name, MAX_REPRODUCTION)).public))
    return found


def _checked(sealed: bytes, name: str, sha256: str, job: tuple[str, str]) -> Reproduction:
    """Return what a statement says; VerificationError unless it is about this archive, and called as it should be."""
    reproduction = open_reproduction(sealed)
    if name != file_name(sealed, reproduction):
        raise VerificationError("it is not called as it should be", wanted=file_name(sealed, reproduction))
    wanted = (sha256, *job)
    got = (reproduction.archive, reproduction.job_uuid, reproduction.job_sha256)
    if got != wanted:
        raise VerificationError("it is about another archive", got=got[0], wanted=sha256)
    return reproduction


def _described(reproduction: Reproduction, given: Mapping[str, bytes]) -> dict[str, Any]:
    key = key_id(reproduction.public)
    agreed = sum(task.agreed for task in reproduction.tasks)
    origin = "given by you" if key in given else "unattributed: whose key that is, nobody vouches for"
    text = f"{agreed} of {len(reproduction.tasks)} tasks agree, signed by {key} ({reproduction.who}), {origin}"
    return {
        "key": key, "who": reproduction.who, "from": origin, "agreed": reproduction.agreed, "text": text,
        "time_ms": reproduction.time_ms, "tasks": [task._asdict() for task in reproduction.tasks],
    }  # fmt: skip


def add(path: Path, members: Members, sha256: str, job: tuple[str, str], sealed: bytes) -> str:
    """Put a statement into an archive that was checked; return its name there.

    VerificationError where it is about another archive.

    Raises:
        UsageError: It is there already.

    """
    reproduction = open_reproduction(sealed)
    name = bag.REPRODUCTIONS + file_name(sealed, reproduction)
    _checked(sealed, name.removeprefix(bag.REPRODUCTIONS), sha256, job)
    if name in members.sizes:
        raise UsageError(f"{path} has this statement already", got=name)
    if isinstance(members, TarMembers):
        top = f"{members.top}/"
        appended(Path(os.path.realpath(path)), members.end, Item(top + name, sealed, len(sealed)))
    else:
        folder = members.path / bag.REPRODUCTIONS
        made = not folder.exists()
        folder.mkdir(exist_ok=True)
        try:
            atomic.write(members.path / name, sealed)
        except BaseException:
            if made:
                shutil.rmtree(folder, ignore_errors=True)
            raise
    return name
