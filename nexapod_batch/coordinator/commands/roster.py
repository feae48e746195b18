"""`key roster`: drafting, signing and accepting rosters; the one that is trusted here lies in the home."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.coordinator.commands import roster_files
from nexapod_batch.coordinator.steps.heads import ledger_key
from nexapod_batch.coordinator.verification.export_files import given_keys
from nexapod_batch.errors import NotFoundError, UsageError
from nexapod_batch.files import atomic, careful
from nexapod_batch.ledger import roster as rosters

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.ledger.roster import Anchors, Roster

__all__ = ["accept", "draft", "sign", "trusted"]


def draft(
    c: Coordinator, out: Path, members: Sequence[Path], threshold: int | None, expires: str, anchors: Anchors
) -> Roster:
    """Write the next version of the trusted roster, or the first one, for its members to sign.

    `members` are files with their public keys in PEM form; without any, and without a threshold, they are those of the
    trusted one. Without any coordinator it names this one.

    Raises:
        UsageError: There is a file, or something of it cannot be.

    """
    if out.exists():
        raise UsageError(f"{out} exists", hint="name a new file")
    previous = _kept(c)
    before = None if previous is None else rosters.opened(previous)
    keys = list(given_keys(members).values()) or ([] if before is None else list(before.keys))
    if not keys:
        raise UsageError("a roster has members", wanted="--member FILE, once for each of them")
    if threshold is None:
        threshold = len(keys) // 2 + 1 if before is None else before.threshold
    if not anchors.coordinators:
        anchors = anchors._replace(coordinators=(str(ledger_key(c)),))
    data = rosters.draft(keys, threshold, _time(c, expires), anchors, previous)
    atomic.write(out, data)
    return rosters.opened(data)


def sign(c: Coordinator, file: Path) -> Roster:
    """Add this coordinator's signature to a roster; UsageError where it is no member."""
    data = rosters.signed(_read(file), c.signer, _kept(c))
    atomic.write(file, data)
    return rosters.opened(data)


def accept(c: Coordinator, files: Sequence[Path]) -> Roster:
    """Trust the last of these rosters, each of which must follow the one before; nothing is kept where one does not.

    Raises:
        NotFoundError: There is no such file, or none was given.
        VerificationError: Too few signed one, it has expired, or it does not follow.

    """
    now, previous = datetime.fromtimestamp(c.clock(), UTC), _kept(c)
    found = None
    accepted: list[tuple[int, bytes]] = []
    for number, file in enumerate(files, 1):
        data = _read(file)
        # only the last one must be good today: those before led to it
        found = rosters.checked(data, previous, now if number == len(files) else datetime.fromtimestamp(0, UTC))
        accepted.append((found.version, data))
        previous = data
    if found is None or previous is None:
        raise NotFoundError("no roster was given", wanted="FILE...")
    for version, data in accepted:
        roster_files.keep(c.paths.home, version, data)
    atomic.write(_place(c), previous)
    log.info(__name__, "roster accepted", version=found.version, members=len(found.keys))
    return found


def trusted(c: Coordinator) -> Roster:
    """Return the roster that is trusted here, if it is good today.

    Raises:
        NotFoundError: There is none.
        VerificationError: It has expired.

    """
    data = _kept(c)
    if data is None:
        raise NotFoundError("no roster is trusted here", hint="nexapod-batch key roster accept FILE")
    return rosters.checked(data, None, datetime.fromtimestamp(c.clock(), UTC))


def _time(c: Coordinator, text: str) -> datetime:
    """Return the beginning of a day; UsageError for what is none, or is over."""
    try:
        found = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise UsageError("--expires", got=repr(text), wanted="a day, as in 2027-12-31") from error
    if found <= datetime.fromtimestamp(c.clock(), UTC):
        raise UsageError("the roster would have expired already", got=text, wanted="a day to come")
    return found


def _place(c: Coordinator) -> Path:
    return roster_files.trusted(c.paths.home)


def _kept(c: Coordinator) -> bytes | None:
    try:
        return careful.read(_place(c), rosters.MAX_ROSTER)
    except FileNotFoundError:
        return None


def _read(file: Path) -> bytes:
    try:
        return careful.read(file.resolve(), rosters.MAX_ROSTER)
    except OSError as error:
        raise NotFoundError(f"{file} cannot be read", got=error.strerror, wanted="a roster") from error
