"""Uploads to a repository: whole or not published at all, taken up where they broke off, and a token that goes nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from invenio_server import TOKEN, Fault, Repository, running
from publications import entry

from nexapod_batch.errors import NexapodError, TryAgainError, UnreachableError, UsageError
from nexapod_batch.publication import catalogue
from nexapod_batch.publication.invenio import Record, note_of, upload
from nexapod_batch.publication.web import RefusedError, Web

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What is uploaded: an empty file and a hidden one among them.
FILES = {"pi.tar": b"x" * 300_000, "report.html": b"<!doctype html>", ".zenodo.json": b"{}\n", "empty": b""}
#: The requests of one undisturbed upload that publishes: the draft, the list, three for each file, the list, the deed.
REQUESTS = 2 + 3 * len(FILES) + 2


@pytest.fixture
def repository() -> Iterator[Repository]:
    """Yield a repository; at its end it was asked for nothing that its documentation does not have."""
    with running() as one:
        yield one
        assert one.refused == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with files to upload."""
    path = tmp_path / "deposit"
    path.mkdir()
    for name, data in FILES.items():
        (path / name).write_bytes(data)
    return path


def bring(repository: Repository, folder: Path, *, publish: bool = True, **changes: Any) -> Record:
    """Upload the folder, without a pause between tries."""
    web = Web(repository.url, TOKEN, pause=changes.get("pause", lambda _: None))
    body = catalogue.invenio(entry(), "127.0.0.1")
    return upload(web, sorted(folder.iterdir()), body, note_of(folder), publish=publish, say=lambda _: None)


def published(repository: Repository) -> list[str]:
    """Return the names of the files of the one record; each as it is here."""
    (record,) = repository.records.values()
    assert all(one["size"] == len(FILES[name]) for name, one in record["files"].items())
    return sorted(record["files"])


def test_a_draft_is_not_published_unless_that_is_asked_for(repository: Repository, folder: Path) -> None:
    """Its files are there, and its page; the same again sends nothing twice, and then it can be published."""
    record = bring(repository, folder, publish=False)
    assert (record.published, record.page) == (False, f"{repository.url}/uploads/{record.id}")
    assert repository.records == {}
    before = len(repository.requests)
    again = bring(repository, folder)
    assert (again.id, again.published, again.kept) == (record.id, True, len(FILES))
    assert not [one for one in repository.requests[before:] if one.endswith("/content")]
    assert published(repository) == sorted(FILES)


def test_what_is_published_stays_as_it_is(repository: Repository, folder: Path) -> None:
    """A third run finds the record, and changes nothing."""
    first = bring(repository, folder)
    assert bring(repository, folder) == first._replace(kept=len(FILES))
    assert len(repository.records) == 1
    assert repository.drafts == {}


@pytest.mark.parametrize("done", [False, True], ids=["before it is done", "after it is done"])
@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_every_request_may_fail_once(folder: Path, status: int, done: bool) -> None:
    """Whichever it is, and wherever it breaks: in the end there is one record with all files."""
    for number in range(1, REQUESTS + 1):
        with running() as repository:
            repository.faults = [Fault(number, status, done)]
            note_of(folder).unlink(missing_ok=True)
            assert bring(repository, folder).published
            assert published(repository) == sorted(FILES)
            assert repository.refused == []


def test_what_broke_off_is_taken_up_again(folder: Path) -> None:
    """After any request, as when the program was killed: the next run goes on with the same draft, and publishes it once."""
    for number in range(2, REQUESTS + 1):
        with running() as repository:
            repository.faults = [Fault(one, 403) for one in range(number, 100)]
            note_of(folder).unlink(missing_ok=True)
            with pytest.raises(RefusedError):
                bring(repository, folder)
            assert repository.records == {}
            repository.faults = []
            bring(repository, folder)
            assert published(repository) == sorted(FILES)
            assert repository.drafts == {}


def test_a_file_that_changed_is_sent_anew(repository: Repository, folder: Path) -> None:
    """What the repository has of it is removed first; the others stay."""
    bring(repository, folder, publish=False)
    (folder / "report.html").write_bytes(b"<!DOCTYPE html>")
    before = len(repository.requests)
    assert bring(repository, folder).kept == len(FILES) - 1
    sent = [one for one in repository.requests[before:] if one.endswith("/content")]
    assert len(sent) == 1
    assert sent[0].endswith("/report.html/content")


def test_nothing_of_others_is_published_or_deleted(repository: Repository, folder: Path) -> None:
    """A file that somebody put into the draft by hand stops it, and stays."""
    record = bring(repository, folder, publish=False)
    files = repository.drafts[record.id]["files"]
    files["notes.txt"] = {"key": "notes.txt", "status": "completed", "checksum": "md5:0", "size": 1}
    with pytest.raises(UsageError, match=r"files that are not of this deposit: got notes\.txt"):
        bring(repository, folder)
    assert "notes.txt" in files
    assert repository.records == {}


def test_a_draft_that_is_wanting_is_not_published(repository: Repository, folder: Path) -> None:
    """A repository keeps such a draft and says what is missing: it is passed on, before any file is sent."""
    repository.lenient_errors = [{"field": "metadata.title", "messages": ["Missing data."]}]
    with pytest.raises(NexapodError, match=r"metadata\.title: \['Missing data\.'\]"):
        bring(repository, folder)
    assert repository.records == {}
    assert not [one for one in repository.requests if one.endswith("/content")]


def test_a_repository_that_is_busy_is_waited_for(repository: Repository, folder: Path) -> None:
    """Longer from try to try, so many times and no more; a run of the same command is what is left then."""
    pauses: list[float] = []
    repository.faults = [Fault(number, 429) for number in range(1, 100)]
    with pytest.raises(TryAgainError, match="429"):
        bring(repository, folder, pause=pauses.append)
    assert pauses == [0.5, 1, 2, 4, 8]


def test_a_repository_that_is_not_there_is_named(repository: Repository, folder: Path) -> None:
    """When nothing answers at all."""
    repository.faults = [Fault(number, 0) for number in range(1, 100)]
    with pytest.raises(UnreachableError, match="cannot be reached"):
        bring(repository, folder)


@pytest.mark.parametrize("status", [301, 302, 307])
def test_no_redirect_is_followed(repository: Repository, folder: Path, status: int) -> None:
    """The token was given for one server: no request goes on from there, wherever it is told to."""
    repository.faults = [Fault(1, status)]
    with pytest.raises(RefusedError):
        bring(repository, folder)
    assert repository.requests == ["POST /api/records"]


def test_a_wrong_token_is_said_to_be_one(repository: Repository, folder: Path) -> None:
    """And it does not stand in the message."""
    web = Web(repository.url, "another-token", pause=lambda _: None)
    with pytest.raises(RefusedError, match="has the token expired") as caught:
        upload(web, sorted(folder.iterdir()), {}, note_of(folder), publish=True, say=lambda _: None)
    assert "another-token" not in str(caught.value)


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b"{}", b'{"id": 3}', b'{"id": ""}', b"[" * 100_000], ids=range(7))
def test_answers_of_something_else_are_no_traceback(repository: Repository, folder: Path, answer: bytes) -> None:
    """A page, nothing, or JSON of another kind: an address of something else than InvenioRDM."""
    repository.raw = answer
    with pytest.raises(UnreachableError):
        bring(repository, folder)


@pytest.mark.parametrize(
    "url",
    [
        "http://zenodo.org", "ftp://zenodo.org", "zenodo.org", "", "https://", "https://me:pw@zenodo.org", "https://zenodo.org?q=1",
        "https://zenodo.org#x", "file:///etc/passwd", "https://[::1", "https://zenodo.org:port", "https://zeno\ndo.org",
    ],
)  # fmt: skip
def test_a_token_is_not_sent_to_just_any_address(url: str) -> None:
    """Only with TLS, but to this machine itself; and only to what is an address."""
    with pytest.raises(UsageError):
        Web(url, TOKEN)


@pytest.mark.parametrize("url", ["https://zenodo.org", "https://zenodo.org/", "https://zenodo.org/api", "http://127.0.0.1:5000", "http://localhost"])
def test_addresses_as_people_have_them(url: str) -> None:
    """With and without a slash, and with the path of the interface."""
    assert not Web(url, TOKEN).url.endswith(("/", "/api"))


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"url": 1}', '{"url": "https://elsewhere.org", "id": "abcde-00009"}', "[" * 100_000])
def test_a_note_that_is_none_begins_a_new_draft(repository: Repository, folder: Path, note: str) -> None:
    """Or one of another repository: it is not asked for what it never had."""
    note_of(folder).write_text(note)
    assert bring(repository, folder).published
    assert json.loads(note_of(folder).read_text())["url"] == repository.url
