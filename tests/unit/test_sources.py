"""Fetching inputs: what web servers do wrong, and that no other bytes than the wanted ones ever get a name."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from clusters.certificates import Authority
from web_server import WebServer, web_server

from nexapod_batch.errors import NexapodError, TryAgainError, UnreachableError
from nexapod_batch.model.job_source import is_listing
from nexapod_batch.sources import SourceError, SourceSettings
from nexapod_batch.sources.fetching import fetch
from nexapod_batch.sources.https import HttpsSource
from nexapod_batch.sources.resuming import RESUMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(DATA).hexdigest()
HERE = SourceSettings(private_hosts=("localhost",))


class Heard:
    """Progress, written down."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.said: list[str] = []
        self.bytes = 0

    def start(self, _what: str, _total: int | None) -> None:
        """Begin anew."""
        self.bytes = 0

    def advance(self, count: int) -> None:
        """Count."""
        self.bytes += count

    def say(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return who signs the server's certificate."""
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture
def web(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """Yield a server that is trusted here."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with web_server(*authority.issue("server", "localhost")) as served:
        served.files["data.bin"], served.tags["data.bin"] = DATA, '"one"'
        yield served


def brought(web: WebServer, folder: Path, name: str = "data.bin", settings: SourceSettings = HERE, sha256: str = "") -> tuple[str, Heard]:
    """Fetch a file; return its digest and what was heard."""
    heard = Heard()
    digest = fetch(HttpsSource(), f"{web.url}/{name}", folder, settings, heard, sha256=sha256, pause=lambda _: None)
    assert hashlib.sha256((folder / digest).read_bytes()).hexdigest() == digest
    return digest, heard


def names(folder: Path) -> list[str]:
    """Return what lies in a folder but for locks."""
    return sorted(name for name in os.listdir(folder) if not name.endswith(".lock"))


def test_a_file_is_brought_once(web: WebServer, tmp_path: Path) -> None:
    """Under its digest; who knows it asks nobody again."""
    digest, heard = brought(web, tmp_path)
    assert (digest, heard.bytes, names(tmp_path)) == (DIGEST, len(DATA), [DIGEST])
    brought(web, tmp_path, sha256=DIGEST)
    assert len(web.asked) == 1


@pytest.mark.parametrize("tag", ['"one"', "", 'W/"one"'])
def test_a_connection_that_breaks(web: WebServer, tmp_path: Path, tag: str) -> None:
    """It goes on where it broke off where the server can say that it is the same file still; else from the start."""
    web.tags["data.bin"], web.cuts["data.bin"] = tag, [1000, 300_000]
    digest, heard = brought(web, tmp_path)
    assert (digest, heard.bytes, len(heard.said)) == (DIGEST, len(DATA), 2)
    ranges = [wanted for _, wanted, _ in web.asked]
    assert ranges == ([None, "bytes=1000-", "bytes=301000-"] if tag == '"one"' else [None, None, None])


def test_another_run_goes_on(web: WebServer, tmp_path: Path) -> None:
    """What came before it was given up is not fetched again."""
    web.cuts["data.bin"] = [1000] * (RESUMES + 1)
    with pytest.raises(UnreachableError, match=f"broke off {RESUMES + 1} times"):
        brought(web, tmp_path)
    web.cuts.clear()
    brought(web, tmp_path)
    assert web.asked[-1][1] == f"bytes={1000 * (RESUMES + 1)}-"
    assert names(tmp_path) == [DIGEST]


@pytest.mark.parametrize("shorter", [False, True])
def test_a_file_that_changes_meanwhile(web: WebServer, tmp_path: Path, *, shorter: bool) -> None:
    """Bytes of two versions are never joined."""
    web.cuts["data.bin"] = [100_000] * (RESUMES + 1)
    with pytest.raises(UnreachableError):
        brought(web, tmp_path)
    new = b"new" if shorter else DATA[::-1]
    web.cuts.clear()
    web.files["data.bin"], web.tags["data.bin"] = new, '"two"'
    assert brought(web, tmp_path)[0] == hashlib.sha256(new).hexdigest()


#: Fetches what a URL names, and prints its digest; fails where another process fetches it meanwhile.
FETCH = """
import os, sys
from pathlib import Path
from nexapod_batch.sources import SourceSettings
from nexapod_batch.sources.fetching import fetch
from nexapod_batch.sources.https import HttpsSource
url, folder, sha256 = sys.argv[1:]
class Alone:
    def start(self, what, total):
        os.mkdir(f"{folder}/inside")
        self.left = total
    def advance(self, count):
        self.left -= count
        if not self.left:
            os.rmdir(f"{folder}/inside")
    def say(self, text):
        pass
print(fetch(HttpsSource(), url, Path(folder), SourceSettings(private_hosts=("localhost",)), Alone(), sha256=sha256))
"""


@pytest.mark.parametrize(("sha256", "requests"), [(DIGEST, 1), ("", 6)])
def test_many_processes_fetch_the_same_file(web: WebServer, tmp_path: Path, sha256: str, requests: int) -> None:
    """One after the other; who knows what is meant asks for it no more. Nothing is left but the file."""
    argv = [sys.executable, "-c", FETCH, f"{web.url}/data.bin", str(tmp_path), sha256]
    several = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    said = [one.communicate(timeout=120) for one in several]
    assert [out for out, _ in said] == [f"{DIGEST}\n"] * 6, said
    assert os.listdir(tmp_path) == [DIGEST]
    assert len(web.asked) == requests


@pytest.mark.parametrize("what", ["a link", "a fifo", "a folder"])
@pytest.mark.parametrize("name", ["the file", "a part of it"])
def test_what_is_no_file_is_no_hindrance(web: WebServer, tmp_path: Path, name: str, what: str) -> None:
    """In the place of a file that is kept, or of a part of one: it is not read, nor written through, nor waited for."""
    part = f".fetch-{hashlib.sha256(f'{web.url}/data.bin'.encode()).hexdigest()[:32]}"
    place = tmp_path / (DIGEST if name == "the file" else part)
    outside = tmp_path.with_name(f"{tmp_path.name}-outside")
    outside.write_bytes(b"mine")
    if what == "a folder":
        place.mkdir()
        (place / "x").touch()
    elif what == "a fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(outside)
    assert brought(web, tmp_path, sha256=DIGEST)[0] == DIGEST
    assert not (tmp_path / DIGEST).is_symlink()
    assert outside.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == [DIGEST]


#: What the server does -> the error, and a part of what it says.
REFUSED: dict[str, tuple[dict[str, dict[str, object]], type[NexapodError], str]] = {
    "404": ({"answers": {"data.bin": (404, {})}}, SourceError, "does not exist"),
    "403": ({"answers": {"data.bin": (403, {})}}, SourceError, "asks for a login"),
    "400": ({"answers": {"data.bin": (400, {})}}, SourceError, "was refused"),
    "429": ({"answers": {"data.bin": (429, {"Retry-After": "17"})}}, TryAgainError, "try again after 17 seconds"),
    "503": ({"answers": {"data.bin": (503, {})}}, UnreachableError, "cannot answer now"),
    "to a file": ({"redirects": {"data.bin": "file:///etc/passwd"}}, SourceError, "was refused"),
    "to a file of a host": ({"redirects": {"data.bin": "ftp://localhost/x"}}, SourceError, "leads elsewhere"),
    "to plain HTTP": ({"redirects": {"data.bin": "http://localhost/x"}}, SourceError, "leads elsewhere"),
    "in a circle": ({"redirects": {"data.bin": "/data.bin"}}, SourceError, "was refused"),
    "more than announced": ({"lengths": {"data.bin": None}}, SourceError, "is too large"),
    "too much announced": ({"lengths": {"data.bin": 1 << 50}}, SourceError, "is too large"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_servers_do_wrong(web: WebServer, tmp_path: Path, name: str) -> None:
    """One clear error each, and nothing gets a name."""
    deeds, kind, wanted = REFUSED[name]
    for attribute, table in deeds.items():
        getattr(web, attribute).update(table)
    settings = HERE._replace(max_bytes=len(DATA) - 1) if "announced" in name else HERE
    with pytest.raises(NexapodError) as refusal:
        brought(web, tmp_path, settings=settings)
    assert isinstance(refusal.value, kind)
    assert wanted in str(refusal.value)
    assert not [one for one in names(tmp_path) if not one.startswith(".")]


def test_another_digest(web: WebServer, tmp_path: Path) -> None:
    """What is not what was meant is dropped, all of it."""
    with pytest.raises(SourceError, match="is not what was meant"):
        brought(web, tmp_path, sha256="0" * 64)
    assert names(tmp_path) == []


def test_private_addresses(web: WebServer, tmp_path: Path) -> None:
    """They are refused before anything is asked, unless the account allows the host."""
    with pytest.raises(SourceError, match="localhost is a private address"):
        brought(web, tmp_path, settings=SourceSettings())
    assert web.asked == []


def test_a_certificate_of_another_name(authority: Authority, web: WebServer, tmp_path: Path) -> None:
    """It is no answer, and nothing was sent; another try would find the same, so that there is none."""
    assert web.asked == []
    with web_server(*authority.issue("other", "other.example")) as other, pytest.raises(SourceError, match="certificate"):
        brought(other, tmp_path)
    assert other.asked == []


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8", "application/xhtml+xml"])
def test_a_web_page_in_the_place_of_a_file(web: WebServer, tmp_path: Path, kind: str) -> None:
    """A portal, or a page that asks for a login, is no input; what is called a page, or pinned, is."""
    web.kinds |= dict.fromkeys(("data.bin", "index.html", "pinned"), kind)
    web.files |= {"index.html": DATA, "pinned": DATA}
    with pytest.raises(SourceError, match="answers with a web page"):
        brought(web, tmp_path)
    assert names(tmp_path) == []
    assert brought(web, tmp_path, "index.html")[0] == DIGEST
    (tmp_path / DIGEST).unlink()
    assert brought(web, tmp_path, "pinned", sha256=DIGEST)[0] == DIGEST


def test_a_size_that_grows(web: WebServer, tmp_path: Path) -> None:
    """The rest of a longer file is not joined with the start of a shorter one, whatever its ETag says."""
    web.cuts["data.bin"] = [100_000]
    grown = DATA + b"more"

    def grow(_: float) -> None:
        web.files["data.bin"] = grown

    digest = fetch(HttpsSource(), f"{web.url}/data.bin", tmp_path, HERE, Heard(), pause=grow)
    assert digest == hashlib.sha256(grown).hexdigest()
    assert [wanted for _, wanted, _ in web.asked] == [None, "bytes=100000-", None]


def test_a_redirect_to_a_private_address(web: WebServer, authority: Authority, tmp_path: Path) -> None:
    """That the first host may be private says nothing of the next: it is sent nothing."""
    with web_server(*authority.issue("inner", "127.0.0.1")) as inner:
        inner.files["data.bin"] = DATA
        web.redirects["data.bin"] = inner.url.replace("localhost", "127.0.0.1") + "/data.bin"
        with pytest.raises(SourceError, match=r"127\.0\.0\.1 is a private address"):
            brought(web, tmp_path)
        assert inner.asked == []
    assert names(tmp_path) == []


def test_logins(web: WebServer, tmp_path: Path) -> None:
    """They come from ~/.netrc, and no redirect carries them to another host."""
    (tmp_path / ".netrc").write_text("machine localhost login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    settings = HERE._replace(environ={"HOME": str(tmp_path)}, private_hosts=("localhost", "127.0.0.1"))
    folder = tmp_path / "kept"
    folder.mkdir()
    brought(web, folder, settings=settings)
    web.redirects["away"] = f"{web.url}/data.bin"
    brought(web, folder, "away", settings=settings)
    assert [login is not None for _, _, login in web.asked] == [True, True, False]


@pytest.mark.parametrize(("url", "is_one"), [
    ("https://[2606:4700::1111]/x", False), ("https://host/x?y=[1]*", False), ("s3://b/x*", True), ("s3://b/[ab]", True), ("/here/*", False),
])  # fmt: skip
def test_urls_that_are_patterns(url: str, *, is_one: bool) -> None:
    """By their path alone."""
    assert is_listing(url) is is_one


@pytest.mark.parametrize(("url", "wanted"), [
    ("https://me:secret@host/x", "logins are no part"), ("https:///x", "names no host"), ("https://host/a b", "characters"),
    ("https://h\u00f6st/x", "characters"), ("https://%6cocalhost/x", "characters"), ("https://host/x\n", "characters"),
    ("https://[::1/x", "is no URL"), ("https://host:port/x", "is no URL"), ("https://host:99999/x", "is no URL"), ("https://host:0/x", "names no host"),
])  # fmt: skip
def test_urls_that_are_none(url: str, wanted: str) -> None:
    """They are told before anybody is asked."""
    assert wanted in HttpsSource().refusal(url)
    assert HttpsSource().refusal("https://host/x?y=1") == ""
