"""A deposit as a record of InvenioRDM: a draft, its files, and, where that is asked for, published.

Nothing is published before every file is there as it is here, and nothing is deleted that this did not put there. What
broke off is taken up again: the draft is noted beside the deposit, and files that are there already stay.
"""

from __future__ import annotations

import http.client
import json
import urllib.parse
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.errors import NexapodError, UnreachableError, UsageError
from nexapod_batch.files import atomic, careful
from nexapod_batch.publication.deposit import digest_of
from nexapod_batch.publication.web import RefusedError, field_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nexapod_batch.publication.web import Web

__all__ = ["Record", "note_of", "upload"]

_MAX_NOTE = 1 << 16


class Record(NamedTuple):
    """What became of a deposit there."""

    id: str
    page: str  # where people find it
    published: bool
    kept: int  # files that were there already


class _Local(NamedTuple):
    """A file as it is here."""

    path: Path
    size: int
    md5: str  # what the repository says of files

    def is_at(self, entry: dict[str, Any]) -> bool:
        """Whether an entry of the repository is this file, whole."""
        same = entry.get("checksum") == f"md5:{self.md5}" and entry.get("size") == self.size
        return same and entry.get("status") == "completed"


def note_of(folder: Path) -> Path:
    """Return where the draft of a deposit is noted: beside it, for it is no part of it."""
    return folder.with_name(f"{folder.name}.draft.json")


def upload(
    web: Web, files: Sequence[Path], body: dict[str, Any], note: Path, *, publish: bool, say: Callable[[str], None]
) -> Record:
    """Bring files into a draft of the repository, the one that is noted or a new one; publish it where that is asked.

    `body` is what the draft says of itself. UsageError for a draft that holds files of others.

    Raises:
        NexapodError: The repository refused, cannot be reached, or does not have what was sent.

    """
    draft = _draft(web, body, note, say)
    if draft.get("is_published") is True:
        say("it is published already")
        return _record(web, draft, kept=len(files))
    path = f"/api/records/{_quoted(_id(draft))}/draft"
    local = {file.name: _local(file) for file in files}
    kept = _clear(web, path, local)
    for name, file in local.items():
        if name not in kept:
            say(f"{name} ({file.size:,} bytes)")
            _send(web, path, name, file)
    _check_all(web, path, local)
    if not publish:
        return _record(web, draft, kept=len(kept))
    return _record(web, _published(web, path, draft), kept=len(kept))


def _draft(web: Web, body: dict[str, Any], note: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the draft that was noted, with what it says brought up to date; or the record, or else a new draft."""
    known = _noted(note, web.url)
    if known:
        found = _look(web, f"/api/records/{_quoted(known)}/draft")
        if found is not None and found.get("is_published") is not True:
            say(f"going on with draft {known}")
            return _accepted(_object(web.call("PUT", f"/api/records/{_quoted(known)}/draft", body)))
        found = found or _look(web, f"/api/records/{_quoted(known)}")
        if found is not None:
            return {**found, "is_published": True}
    draft = _object(web.call("POST", "/api/records", body))
    atomic.write(note, json.dumps({"url": web.url, "id": _id(draft)}).encode() + b"\n")
    say(f"draft {_id(draft)}")
    return _accepted(draft)


def _noted(note: Path, url: str) -> str:
    """Return the id of the draft that was noted for a repository; "" where none was."""
    try:
        found = json.loads(careful.read(note, _MAX_NOTE))
        if found["url"] == url and isinstance(found["id"], str):
            return found["id"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return ""


def _look(web: Web, path: str) -> dict[str, Any] | None:
    """Return what is there; None where nothing is."""
    try:
        return _object(web.call("GET", path))
    except RefusedError as error:
        if error.status in {404, 410}:
            return None
        raise


def _accepted(draft: dict[str, Any]) -> dict[str, Any]:
    """Return a draft; NexapodError where the repository keeps it and finds its words wanting."""
    wrong = field_errors(draft)
    if wrong:
        raise NexapodError("the repository does not accept the metadata", got="; ".join(wrong), hint="--metadata FILE")
    return draft


def _clear(web: Web, path: str, local: dict[str, _Local]) -> set[str]:
    """Return the names that are there as they are here; remove those of ours that are not. UsageError for others'."""
    kept = set()
    for entry in _entries(web, path):
        name = entry["key"]
        if name not in local:
            hint = "remove them there, or begin anew: remove the note of the draft beside the deposit"
            raise UsageError("the draft holds files that are not of this deposit", got=name, hint=hint)
        if local[name].is_at(entry):
            kept.add(name)
        else:
            web.call("DELETE", f"{path}/files/{_quoted(name)}")
    return kept


def _send(web: Web, path: str, name: str, file: _Local) -> None:
    """Bring one file; NexapodError where the repository has another one then."""
    place = f"{path}/files/{_quoted(name)}"
    try:
        web.call("POST", f"{path}/files", [{"key": name}])
    except RefusedError as error:
        there = error.status == http.client.BAD_REQUEST and name in {entry["key"] for entry in _entries(web, path)}
        if not there:  # else an earlier answer was lost
            raise
    web.call("PUT", f"{place}/content", file=file.path)
    try:
        web.call("POST", f"{place}/commit")
    except RefusedError:
        if not any(entry["key"] == name and file.is_at(entry) for entry in _entries(web, path)):
            raise


def _check_all(web: Web, path: str, local: dict[str, _Local]) -> None:
    """NexapodError unless exactly our files are there, whole."""
    entries = {entry["key"]: entry for entry in _entries(web, path)}
    wrong = sorted(name for name in local if name not in entries or not local[name].is_at(entries[name]))
    wrong += sorted(entries.keys() - local.keys())
    if wrong:
        hint = "run the same command again: nothing was published, and what is wrong is sent anew"
        raise NexapodError("the draft does not hold what was sent", got=", ".join(wrong[:10]), hint=hint)


def _published(web: Web, path: str, draft: dict[str, Any]) -> dict[str, Any]:
    """Publish a draft, once: where the answer is lost, it is looked up whether it was done."""
    record = f"/api/records/{_quoted(_id(draft))}"
    try:
        return {**_object(web.call("POST", f"{path}/actions/publish")), "is_published": True}
    except RefusedError as error:
        found = _look(web, record) if error.status in {404, 409, 410} else None  # the first try may have done it
        if found is None:
            raise
        return {**found, "is_published": True}


def _entries(web: Web, path: str) -> list[dict[str, Any]]:
    found = _object(web.call("GET", f"{path}/files")).get("entries")
    entries: list[Any] = found if isinstance(found, list) else [None]
    if not all(isinstance(one, dict) and isinstance(one.get("key"), str) for one in entries):
        raise UnreachableError(f"{web.url} does not list the files of a draft as InvenioRDM does")
    return entries


def _record(web: Web, found: dict[str, Any], *, kept: int) -> Record:
    published = found.get("is_published") is True
    place = "records" if published else "uploads"
    return Record(_id(found), f"{web.url}/{place}/{_quoted(_id(found))}", published, kept)


def _local(path: Path) -> _Local:
    return _Local(path, path.stat().st_size, digest_of(path, "md5"))


def _id(found: dict[str, Any]) -> str:
    value = found.get("id")
    if not isinstance(value, str) or not value:
        raise UnreachableError("the repository does not say the id of the draft")
    return value


def _object(found: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON spells
    if not isinstance(found, dict):
        raise UnreachableError("the repository does not answer as InvenioRDM does", wanted="a JSON object")
    return found


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")
