"""`publish`: an archive with a page, a badge and catalogue entries; what does not hold, or lacks its particulars, is refused."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from homes import Home
from invenio_server import TOKEN, Repository, running

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = """[job]
name = "drift"
command = ["sh", "-c", "if mkdir '{folder}/first' 2>/dev/null; then echo 3.15 > pi.txt; else echo 3.14 > pi.txt; fi; echo done"]
[publication]
title = "Pi <to> six digits"
license = "cc-by-4.0"
description = "Pi, computed twice."
[[publication.creators]]
family_name = "Lovelace"
given_name = "Ada"
[[outputs]]
path = "pi.txt"
"""
FILES = {
    ".zenodo.json", "CITATION.cff", "SHA256SUMS", "agreement.svg", "badge.svg", "datacite.json", "differences.txt", "report.html",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home with an archive, as a folder and as a tar, of a job whose first execution differs; nobody may change it."""
    one = Home(tmp_path_factory.mktemp("publisher"))
    for name in ("alice", "bob", "carol"):
        assert one.call("node", "init", "--name", name, "--owner", name).code == 0
    assert one.submit(JOB.replace("{folder}", str(one.folder)), "--wait").code == 0
    for name in ("folder", "file.tar"):
        assert one.call("archive", 1, "--out", one.folder / name).code == 0
    yield one
    one.end()


@pytest.fixture
def repository() -> Iterator[Repository]:
    """Yield a repository; at its end it was asked for nothing that its documentation does not have."""
    with running() as one:
        yield one
        assert one.refused == []


def test_a_deposit_holds_all_that_people_and_catalogues_want(home: Home, tmp_path: Path) -> None:
    """Without a home, from a folder and from a tar: the same archive, which its checksums name, and which verifies."""
    nowhere = {"NEXAPOD_HOME": str(tmp_path / "nowhere")}
    for source in ("folder", "file.tar"):
        deposit = tmp_path / f"of-{source}"
        document = json.loads(home.call("publish", home.folder / source, "--to", deposit, "--json", env=nowhere).out)
        archive = f"nexapod-{document['uuid']}.tar"
        assert {file["name"] for file in document["files"]} == {*FILES, archive} == set(os.listdir(deposit))
        assert (document["summary"], document["verified"]) == ("2 of 3 agree, one machine", True)
        assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=deposit, check=False).returncode == 0
        assert home.call("verify", deposit / archive, env=nowhere).code == 0
        assert (deposit / archive).read_bytes() == (home.folder / "file.tar").read_bytes()
        page = (deposit / "report.html").read_text()
        for words in ("Pi &lt;to&gt; six digits", "Lovelace, Ada", "accepted 3.14, rejected 3.15", archive, document["uuid"], "carol"):
            assert words in page, words
        assert "rejected 3.15" in (deposit / "differences.txt").read_text()
        assert json.loads((deposit / "datacite.json").read_text())["titles"] == [{"title": "Pi <to> six digits"}]
    assert not (tmp_path / "nowhere").exists()


def test_a_deposit_is_as_open_as_its_owner_is_used_to(home: Home, tmp_path: Path) -> None:
    """The umask says who may read it; nobody else may write to it."""
    for umask, folder, file in (("022", 0o755, 0o644), ("077", 0o700, 0o600), ("000", 0o755, 0o644)):
        before = ("sh", "-c", f'umask {umask} && exec "$0" "$@"')
        assert home.call("publish", home.folder / "file.tar", "--to", tmp_path / umask, before=before).code == 0
        assert stat.S_IMODE((tmp_path / umask).stat().st_mode) == folder
        assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / umask).iterdir()} == {file}


def test_keys_that_were_given_are_named_as_such(home: Home, tmp_path: Path) -> None:
    """And of the others the page says that nobody vouches for them."""
    key = tmp_path / "alice.pem"
    key.write_text(home.call("key", "export", "alice", "--format", "pem").out)
    coordinator = home.folder / "folder/data/proof/coordinator.spki"
    assert home.call("publish", home.folder / "folder", "--to", tmp_path / "d", "--key", key, "--key", coordinator).code == 0
    page = (tmp_path / "d/report.html").read_text()
    assert page.count("given by you") == 2
    assert page.count("as the coordinator has it") == 2
    assert "could not be checked" not in page


def test_who_ran_it_again_is_on_the_page_and_the_badge(home: Home, tmp_path: Path) -> None:
    """In a home of another reader, whose statement came into the archive; as an unknown key unless the publisher knows it."""
    archive = shutil.copytree(home.folder / "folder", tmp_path / "archive")
    reader = Home(tmp_path, "reader")
    assert reader.call("node", "init", "--name", "zed").code == 0
    assert reader.call("reproduce", archive, "--trust", "--out", tmp_path / "said.dsse.json").code == 0
    (tmp_path / "zed.pem").write_text(reader.call("key", "export", "coordinator", "--format", "pem").out)
    reader.end()
    assert home.call("archive", "add", tmp_path / "said.dsse.json", archive).code == 0
    document = home.json("publish", archive, "--to", tmp_path / "unknown")
    assert document["summary"] == "2 of 3 agree, one machine, reproduced once by unknown keys"
    document = home.json("publish", archive, "--to", tmp_path / "known", "--key", tmp_path / "zed.pem")
    assert document["summary"] == "2 of 3 agree, one machine, reproduced once"
    page = (tmp_path / "known/report.html").read_text()
    assert "zed (site local)" in page
    assert "nobody vouches for that" not in page
    assert home.call("verify", next((tmp_path / "known").glob("*.tar"))).code == 0


def test_what_does_not_hold_is_refused_and_nothing_is_left(home: Home, tmp_path: Path) -> None:
    """One byte of a result: refused with its name; insisted on, the page begins with it."""
    broken = shutil.copytree(home.folder / "folder", tmp_path / "broken")
    (broken / "data/results/0/pi.txt").write_text("3.16\n")
    done = home.call("publish", broken, "--to", tmp_path / "d")
    assert (done.code, done.out) == (1, "")
    assert "the archive does not hold, and is not published: got " in done.err
    assert ".tar, archive: 'data/results/0/pi.txt' was changed" in done.err
    assert os.listdir(tmp_path) == ["broken"]
    assert home.call("publish", broken, "--to", tmp_path / "d", "--unverified").code == 0
    page = (tmp_path / "d/report.html").read_text()
    alarm, _, rest = page.partition("<h1>")
    assert "This result does not verify." in alarm
    assert "data/results/0/pi.txt" in alarm
    assert "Nothing that it says is repeated here." in rest
    assert str(tmp_path) not in page
    assert "agree" not in (tmp_path / "d/badge.svg").read_text()


@pytest.mark.parametrize("source", ["folder", "file.tar"])
def test_a_disk_without_room_leaves_nothing(home: Home, tmp_path: Path, source: str) -> None:
    """Neither half a deposit nor what was to become one; what went wrong is said."""
    done = home.call("publish", home.folder / source, "--to", tmp_path / "d", before=("prlimit", "--fsize=20000"))
    assert (done.code, done.out) == (2, "")
    assert "d cannot be written: got File too large" in done.err
    assert os.listdir(tmp_path) == []


def test_a_wrong_uuid_is_published_only_with_a_warning(home: Home, tmp_path: Path) -> None:
    """The archive is whole, and of another job than the publisher means."""
    argv = ("publish", home.folder / "file.tar", "--to", tmp_path / "d", "--uuid", "01a22b15-bc72-76cf-8453-faa750cb078e")
    done = home.call(*argv)
    assert done.code == 1
    assert "the archive does not hold, and is not published: got 1, job: it is another job" in done.err
    assert not (tmp_path / "d").exists()
    assert home.call(*argv, "--unverified").code == 0
    assert "This result does not verify." in (tmp_path / "d/report.html").read_text()
    assert "does not verify" in (tmp_path / "d/badge.svg").read_text()


def test_particulars_are_named_where_they_are_missing(home: Home, tmp_path: Path) -> None:
    """A file says what the job's descriptor does not, or says it otherwise."""
    assert home.submit('[job]\ncommand = ["true"]\n[quorum]\ndistinct = "run"\n', "--wait").code == 0
    assert home.call("archive", 2, "--out", tmp_path / "plain").code == 0
    done = home.call("publish", tmp_path / "plain", "--to", tmp_path / "d")
    assert done.code == 2
    assert "got no title, no creators, no license, no description" in done.err
    assert "--metadata FILE" in done.err
    about = tmp_path / "about.toml"
    about.write_text('[publication]\ntitle = "True"\nlicense = "MIT"\ndescription = "D"\ncreators = [{name = "A, B"}]\n')
    assert home.call("publish", tmp_path / "plain", "--to", tmp_path / "d", "--metadata", about).code == 0
    assert "<h1>True</h1>" in (tmp_path / "d/report.html").read_text()
    about.write_text('[publication]\ntitle = "Otherwise"\n')
    assert home.call("publish", home.folder / "folder", "--to", tmp_path / "e", "--metadata", about).code == 0
    page = (tmp_path / "e/report.html").read_text()
    assert "<h1>Otherwise</h1>" in page
    assert "Lovelace, Ada" in page


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["folder"], 2, "publish it where?"),
        (["folder", "--to", "d", "--publish"], 2, "--publish is for a draft in a repository"),
        (["nothing", "--to", "d"], 66, "no archive that can be read"),
        (["file.tar", "--to", "folder"], 2, "is there already"),
        (["file.tar", "--to", "folder", "--dry-run"], 2, "is there already"),
        (["file.tar", "--to", "d", "--metadata", "nothing.toml"], 65, "nothing.toml cannot be read"),
        (["file.tar", "--to", "d", "--metadata", "file.tar"], 65, "file.tar"),
        (["file.tar", "--to", "d", "--key", "file.tar"], 2, "file.tar"),
        (["file.tar", "--invenio", "http://example.org", "--to", "d"], 2, "a token is sent over TLS only"),
        (["file.tar", "--invenio", "https://example.org", "--to", "d"], 2, "the repository wants a token"),
        (["file.tar", "--invenio", "https://example.org", "--to", "d", "--token-file", "file.tar"], 2, "others can read"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_is(home: Home, argv: list[str], code: int, words: str) -> None:
    """With what was got, and what to do; nothing is written, and nothing is sent."""
    before = sorted(os.listdir(home.folder))
    done = home.call("publish", *argv)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert sorted(os.listdir(home.folder)) == before


def test_a_dry_run_writes_and_sends_nothing(home: Home, repository: Repository) -> None:
    """It checks the archive, and names what would be made; no token is wanted."""
    before = sorted(os.listdir(home.folder))
    done = home.call("publish", "file.tar", "--invenio", repository.url, "--dry-run")
    assert done.code == 0
    assert "a draft of it would be made" in done.out
    assert "datacite.json" in done.out
    assert repository.requests == []
    assert sorted(os.listdir(home.folder)) == before


def test_a_deposit_becomes_a_draft_and_then_a_record(home: Home, repository: Repository, tmp_path: Path) -> None:
    """The folder is made once; a second run finds it and the draft as they are, and publishes. The token is in no output."""
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    argv = ("publish", home.folder / "file.tar", "--invenio", repository.url, "--to", tmp_path / "d", "--token-file", token)
    draft = home.call(*argv, env={"http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"})
    assert draft.code == 0, draft.err  # no proxy is asked: without TLS it would read the token
    assert "nobody sees it but you" in draft.out
    assert repository.records == {}
    record = home.call(*argv, "--publish", "--json")
    assert record.code == 0
    assert json.loads(record.out)["record"]["published"] is True
    assert TOKEN not in draft.out + draft.err + record.out + record.err
    (found,) = repository.records.values()
    assert set(found["files"]) == set(os.listdir(tmp_path / "d"))
    assert found["metadata"]["publisher"] == "127.0.0.1"
    assert found["metadata"]["creators"][0]["person_or_org"]["family_name"] == "Lovelace"
    assert home.json(*argv, "--publish")["record"]["kept"] == len(found["files"])


def test_a_folder_that_was_changed_is_no_deposit_to_go_on_with(home: Home, repository: Repository, tmp_path: Path) -> None:
    """Nor is that of another archive, nor one with other particulars: nothing is sent of them."""
    argv = ("publish", home.folder / "file.tar", "--to", tmp_path / "d", "--invenio", repository.url)
    token = {"NEXAPOD_INVENIO_TOKEN": TOKEN}
    assert home.call("publish", home.folder / "file.tar", "--to", tmp_path / "d").code == 0
    about = tmp_path / "about.toml"
    about.write_text('[publication]\ntitle = "Otherwise"\n')
    done = home.call(*argv, "--metadata", about, env=token)
    assert (done.code, repository.requests) == (2, [])
    assert "was made of other particulars" in done.err
    (tmp_path / "d/notes.txt").write_text("mine")
    done = home.call(*argv, env=token)
    assert (done.code, repository.requests) == (2, [])
    assert "is not the deposit that was made: got notes.txt" in done.err
