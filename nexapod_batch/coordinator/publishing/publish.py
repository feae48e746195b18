"""`publish`: an archive, checked once more, with everything that people and catalogues want beside it.

What is published is what was checked: the archive is copied first, and the copy is looked at. An archive that does not
hold is refused, unless whoever publishes it insists; then the page begins with that.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch import log
from nexapod_batch.coordinator.archives import bag_format as bag
from nexapod_batch.coordinator.archives.check import check_archive
from nexapod_batch.coordinator.archives.contents import Item
from nexapod_batch.coordinator.archives.members import TarMembers, open_members
from nexapod_batch.coordinator.archives.writing import tar_file
from nexapod_batch.coordinator.evidence.export_format import JOB
from nexapod_batch.coordinator.publishing.facts_of_archive import facts_of
from nexapod_batch.errors import NexapodError, UsageError, VerificationError
from nexapod_batch.files import careful
from nexapod_batch.model.document import from_document
from nexapod_batch.model.publication import Publication
from nexapod_batch.publication import deposit
from nexapod_batch.publication.catalogue import Entry, check_complete
from nexapod_batch.publication.deposit import digest_of
from nexapod_batch.trust.nesting import loads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.archives.members import Members
    from nexapod_batch.ledger.note import NoteKey

__all__ = ["Deposit", "Wanted", "deposited", "planned"]

#: Problems that a refusal names.
_NAMED = 3
#: Bytes of a small file, at most; bytes that are copied at once.
_MAX_SMALL = _BLOCK = 1 << 20


class Wanted(NamedTuple):
    """What is to be published, and how."""

    archive: Path
    date: str  # of today: 2026-11-30
    publication: Publication | None = None  # what is said of it now; fields that say nothing are the job's own
    keys: Mapping[str, bytes] = {}  # that the publisher got elsewhere, by id
    uuid: str | None = None  # of the job, where the publisher knows it
    witnesses: Sequence[NoteKey] = ()
    unverified: bool = False  # publish it although it does not hold


class Deposit(NamedTuple):
    """A deposit: its entry for catalogues, and its files."""

    entry: Entry
    files: dict[str, int]  # bytes by name
    folder: Path | None  # None: it was only planned


def planned(wanted: Wanted, folder: Path | None = None) -> Deposit:
    """Return what would be deposited, in `folder` if that is known; nothing is written. Errors as of `deposited`."""
    name = _archive_name(wanted.archive)
    if folder is not None and not (folder / deposit.SUMS).is_file():
        deposit.refuse_existing(folder)
    with open_members(wanted.archive) as members:
        size = sum(members.sizes.values())
    entry = _entry(wanted, wanted.archive, name, size=size)
    sizes = {name: size} | {file: len(data) for file, data in deposit.contents(entry).items()}
    return Deposit(entry, dict(sorted(sizes.items())), None)


def deposited(wanted: Wanted, folder: Path) -> Deposit:
    """Make a deposit in a new folder; of the same archive in one that is there, only look at it.

    VerificationError where the archive does not hold; NotFoundError where there is none; UsageError where something
    that catalogues want to know is missing, or the folder is another one.
    """
    name = _archive_name(wanted.archive)
    check_complete(_merged(_own(wanted.archive), wanted.publication))  # before anything large is copied and read
    if (folder / deposit.SUMS).is_file():
        return _again(wanted, folder, name)
    with deposit.new_folder(folder) as stage:
        _copy(wanted.archive, stage / name)
        entry = _entry(wanted, stage / name, name, size=(stage / name).stat().st_size)
        deposit.write(stage, deposit.contents(entry))
    log.info(__name__, "deposit made", job=entry.facts.job, folder=folder)
    return Deposit(entry, _sizes(folder), folder)


def _again(wanted: Wanted, folder: Path, name: str) -> Deposit:
    """Return the deposit that is there, if it is the one that would be made."""
    hint = "remove it, or give another --to"
    files = deposit.listed(folder)
    if name not in files or _tags(folder / name) != _tags(wanted.archive):
        raise UsageError(f"{folder} is the deposit of another archive", wanted=name, hint=hint)
    wanted = wanted._replace(date=_date(folder) or wanted.date)
    entry = _entry(wanted, folder / name, name, size=(folder / name).stat().st_size)
    made = {file: data for file, data in deposit.contents(entry).items() if not _is(folder / file, data)}
    if made:
        raise UsageError(f"{folder} was made of other particulars", got=", ".join(sorted(made)), hint=hint)
    return Deposit(entry, _sizes(folder), folder)


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def _is(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def _date(folder: Path) -> str:
    """Return the day on which a deposit was made, as it says."""
    try:
        document = json.loads((folder / deposit.DATACITE).read_bytes())
        return str(document["dates"][0]["date"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return ""


def _archive_name(path: Path) -> str:
    """Return what an archive is called where it is published: by the job's UUID, as the archive has it."""
    with open_members(path) as members:
        uuid = bag.parse_bag_info(_read(members, bag.BAG_INFO)).get("External-Identifier", "").removeprefix("urn:uuid:")
    if not uuid or not uuid.replace("-", "").isalnum() or not uuid.isascii():
        hint = f"nexapod-batch verify {path}"
        raise VerificationError(f"{path} does not say which job it is of", got=uuid[:80], hint=hint)
    return f"{bag.bag_name(uuid)}.tar"


def _own(path: Path) -> Publication | None:
    """Return what the job of an archive says of itself, before it is checked; None where it cannot be read."""
    with open_members(path) as members:
        try:
            return from_document(loads(members.read(f"{bag.PROOF}{JOB}", bag.MAX_TEXT))).publication
        except (OSError, KeyError, TypeError, ValueError, AttributeError, NexapodError):
            return None  # the check says what is wrong


def _tags(path: Path) -> bytes:
    """Return what names everything in an archive, and what was added to it since."""
    with open_members(path) as members:
        added = sorted(name for name in members.sizes if name.startswith(bag.REPRODUCTIONS))
        return b"\0".join([_read(members, name) for name in (bag.TAGS, *added)])


def _read(members: Members, name: str) -> bytes:
    """Return a small file of an archive.

    Raises:
        VerificationError: There is none.

    """
    try:
        return members.read(name, _MAX_SMALL)
    except OSError as error:
        hint = f"nexapod-batch verify {members.path}"
        raise VerificationError(f"{members.path} is no archive", got=f"{name}: {error.strerror}", hint=hint) from error


def _copy(archive: Path, target: Path) -> None:
    """Write an archive as a tar file: a folder in the order in which `archive` would have, a tar as it is."""
    with open_members(archive) as members:
        if isinstance(members, TarMembers):
            with open(careful.open_plain(members.path), "rb") as source, target.open("xb") as sink:
                shutil.copyfileobj(source, sink, _BLOCK)
            return
        first, last = (bag.README, bag.BAG_INFO, bag.BAGIT), (bag.MANIFEST, bag.SIGNATURE, bag.TAGS)
        payload = sorted((name for name in members.sizes if name.startswith(bag.PAYLOAD)), key=str.encode)
        known = {*first, *last, *payload}
        others = sorted((name for name in members.sizes if name not in known), key=str.encode)
        with tar_file(target, target.name.removesuffix(".tar")) as writer:
            for name in (*first, *payload, *last, *others):
                writer.add(Item(name, members.path / name, members.sizes.get(name, 0)))


def _entry(wanted: Wanted, archive: Path, name: str, *, size: int) -> Entry:
    """Return the entry of an archive that was checked."""
    checked = check_archive(archive, wanted.keys, wanted.uuid, wanted.witnesses)
    sha256 = digest_of(archive) if archive.is_file() else ""
    facts = facts_of(checked, wanted.keys, archive, name, sha256)
    if facts.problems and not wanted.unverified:
        raise VerificationError(
            "the archive does not hold, and is not published",
            got="; ".join(facts.problems[:_NAMED]),
            hint=f"nexapod-batch verify {wanted.archive} says all of it; --unverified publishes it with a warning",
        )
    publication = _merged(_own(archive), wanted.publication)
    check_complete(publication)
    return Entry(facts, publication, wanted.date, ((name, size),))


def _merged(own: Publication | None, now: Publication | None) -> Publication:
    """Return what is said now, and for the rest what was said when the job was submitted."""
    said = {} if now is None else {field: value for field, value in now._asdict().items() if value}
    return (own or Publication())._replace(**said)
