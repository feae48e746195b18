"""Inputs that nodes fetch by themselves, because their site says so: what they run, keep, and tell when they cannot."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from clusters.certificates import Authority
from connect_proxy import connect_proxy
from spools import until
from web_server import web_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from homes import Home
    from web_server import WebServer

DATA = b"1,2\n" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return who signs the server's certificate."""
    return Authority(tmp_path / "ca")


@pytest.fixture
def web(authority: Authority) -> Iterator[WebServer]:
    """Yield a server with a file."""
    with web_server(*authority.issue("server", "localhost")) as served:
        served.files["data.csv"] = DATA
        yield served


def site(home: Home, authority: Authority, about: str = 'fetch = "node"', trusts: bool = True) -> None:
    """Write the file of a site of this machine, whose environment trusts the server or does not."""
    folder = home.path / "sites.d"
    folder.mkdir(parents=True, exist_ok=True)
    home.path.chmod(0o700)
    env = f'[environment]\nenv = {{ SSL_CERT_FILE = "{authority.certificate}" }}\n' if trusts else ""
    (folder / "desk.toml").write_text(
        f'schema = 1\n[site]\nname = "desk"\n{about}\n[scheduler]\ntype = "local"\n{env}[[partitions]]\nname = "p"\ntier = "cpu"\nmax_cpus = 2\n'
    )
    home.env["NEXAPOD_SOURCES_PRIVATE_HOSTS"] = "localhost"


def job(home: Home, web: WebServer, sha256: str = DIGEST, more: str = "", name: str = "data.csv") -> Path:
    """Write a descriptor that copies the file."""
    return home.descriptor(
        f'[job]\ncommand = ["cp", "in.csv", "out.csv"]\n[quorum]\ndistinct = "run"\n{more}[[inputs]]\nsource = "{web.url}/{name}"\n'
        f'target = "in.csv"\nsha256 = "{sha256}"\n[[outputs]]\npath = "out.csv"\n',
        "job.toml",
    )


def cache(home: Home) -> list[Path]:
    """Return what the node keeps."""
    return sorted((home.path / "spool" / "desk" / "fetched").glob("[0-9a-f]*"))


def test_the_node_fetches_once(home: Home, web: WebServer, authority: Authority) -> None:
    """Nothing is fetched here; two replicas of two jobs cost one request, and the statement names the digest."""
    site(home, authority)
    for number in (1, 2):
        done = home.call("submit", job(home, web), "--site", "desk", "--wait")
        assert done.code == 0, done.err
        assert "inputs[0] is fetched by the nodes" in done.err
        assert (home.path / f"results/{number}/0/out.csv").read_bytes() == DATA
    assert [name for name, _, _ in web.asked] == ["data.csv"]
    assert [file.name for file in cache(home)] == [DIGEST]
    assert not (home.path / "inputs" / DIGEST).exists()
    assert home.call("verify", 1).code == 0
    told = [replica["reason"] for replica in home.json("show", 1)["tasks"][0]["replicas"]]
    assert told == ["fetched by the node: 1 of 1 inputs"] * 2


#: What became of a file that the node keeps.
DAMAGE: dict[str, Callable[[Path], object]] = {
    "edited": lambda kept: kept.write_bytes(DATA.replace(b"2", b"3")),
    "cut": lambda kept: kept.write_bytes(DATA[:-1]),
    "emptied": lambda kept: kept.write_bytes(b""),
    "a link to other bytes": lambda kept: (kept.unlink(), kept.symlink_to("/etc/hostname")),
    "a link to the same bytes": lambda kept: kept.symlink_to(kept.rename(kept.with_name("moved"))),
    "a link to nothing": lambda kept: (kept.unlink(), kept.symlink_to("nothing")),
    "a fifo": lambda kept: (kept.unlink(), os.mkfifo(kept)),
    "a folder": lambda kept: (kept.unlink(), kept.mkdir(), (kept / "x").write_bytes(DATA)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_file_that_was_damaged_is_fetched_again(home: Home, web: WebServer, authority: Authority, what: str) -> None:
    """What is kept is digested each time that it is used; what differs never reaches a command, and nothing waits for it."""
    site(home, authority)
    assert home.call("submit", job(home, web), "--site", "desk", "--wait").code == 0
    (kept,) = cache(home)
    DAMAGE[what](kept)
    assert home.call("submit", job(home, web), "--site", "desk", "--wait").code == 0
    assert (home.path / "results/2/0/out.csv").read_bytes() == DATA
    assert not kept.is_symlink()
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == DIGEST
    assert len(web.asked) == 2
    assert [replica["execution"] for replica in home.json("show", 2)["tasks"][0]["replicas"]] == ["reported"] * 2


def test_what_was_not_used_for_longest_goes_first(home: Home, web: WebServer, authority: Authority) -> None:
    """A node keeps no more than its site lets it; what is gone is fetched when it is wanted again."""
    site(home, authority, 'fetch = "node"\nfetch_cache = "1MiB"')
    files = {name: name.encode() * (600 << 10) for name in "abc"}
    web.files |= files
    for name, data in files.items():
        wanted = job(home, web, hashlib.sha256(data).hexdigest(), name=name)
        assert home.call("submit", wanted, "--site", "desk", "--wait").code == 0
        assert [file.name for file in cache(home)] == [hashlib.sha256(data).hexdigest()]


def test_what_the_node_cannot_fetch_is_fetched_here(home: Home, web: WebServer, authority: Authority) -> None:
    """A node that does not trust the server costs an attempt; then its inputs are brought, and it says so."""
    site(home, authority, trusts=False)
    trusting = {"SSL_CERT_FILE": str(authority.certificate)}
    done = home.call("submit", job(home, web), "--site", "desk", "--wait", env=trusting)
    assert done.code == 0, done.err
    assert (home.path / "results/1/0/out.csv").read_bytes() == DATA
    assert (home.path / "inputs" / DIGEST).exists()
    (task,) = home.json("show", 1)["tasks"]
    lost = [replica["reason"] for replica in task["replicas"] if replica["execution"] == "lost"]
    assert lost
    assert all("input 'in.csv' cannot be fetched here" in json.dumps(reason) for reason in lost)


def test_the_node_fetches_through_a_proxy(home: Home, authority: Authority) -> None:
    """A host that only the proxy knows is reached through it, over TLS from end to end; nothing else is asked."""
    with web_server(*authority.issue("far", "data.example")) as far, connect_proxy() as proxy:
        far.files["data.csv"] = DATA
        proxy.hosts["data.example:443"] = "127.0.0.1", int(far.url.rpartition(":")[2])
        site(home, authority, f'fetch = "proxy"\nfetch_proxy = "{proxy.url}"')
        far.url = "https://data.example"
        done = home.call("submit", job(home, far), "--site", "desk", "--wait")
        assert done.code == 0, done.err
    assert (proxy.asked, [name for name, _, _ in far.asked]) == (["data.example:443"], ["data.csv"])
    assert [file.name for file in cache(home)] == [DIGEST]
    assert not (home.path / "inputs" / DIGEST).exists()


@pytest.mark.slow
def test_a_disk_that_is_full(home: Home, web: WebServer, authority: Authority) -> None:
    """The node drops what it keeps, says why it cannot fetch, and gets the input brought; a command never sees half of it."""
    site(home, authority)
    home.env["SSL_CERT_FILE"] = str(authority.certificate)
    assert home.call("submit", job(home, web), "--site", "desk", "--wait").code == 0
    folder = cache(home)[0].parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", folder], check=True)
    try:
        (folder / ("0" * 64)).write_bytes(b"0" * 1000)
        done = home.call("submit", job(home, web), "--site", "desk", "--wait")
        assert done.code == 0, done.err
        assert cache(home) == []
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
    lost = [replica["reason"] for replica in home.json("show", 2)["tasks"][0]["replicas"] if replica["execution"] == "lost"]
    assert lost
    assert all("no space for an input" in reason for reason in lost)


@pytest.mark.slow
def test_another_file_than_the_pinned_one(home: Home, web: WebServer, authority: Authority) -> None:
    """Neither the node nor we take it: the job waits, and passes tell why."""
    site(home, authority)
    web.files["data.csv"] = DATA[:-1]
    home.env["SSL_CERT_FILE"] = str(authority.certificate)
    assert home.call("submit", job(home, web), "--site", "desk").code == 0
    until(lambda: "is not what was meant" in home.call("reconcile").err, "the fault to be told")
    assert not cache(home)


@pytest.mark.parametrize(
    ("about", "wanted"),
    [
        ('fetch = "elsewhere"', "here, node, proxy"),
        ('fetch = "proxy"', "site.fetch_proxy: missing"),
        ('fetch = "node"\nfetch_proxy = "http://127.0.0.1:9"', "site.fetch_proxy: means nothing here"),
        ('fetch = "proxy"\nfetch_proxy = "http://me:secret@127.0.0.1:9"', "site.fetch_proxy"),
    ],
)
def test_site_files(home: Home, authority: Authority, about: str, wanted: str) -> None:
    """What a site says of fetching is one of three words, with a proxy where one is named and no login."""
    site(home, authority, about)
    done = home.call("site", "check", "desk", "--dry-run")
    assert done.code == 78, done.out
    assert wanted in done.err + done.out
