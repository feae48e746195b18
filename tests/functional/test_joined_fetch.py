"""Machines that joined fetch inputs by themselves where their owner lets them: through a proxy, and with no login of theirs."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from clusters.certificates import Authority
from connect_proxy import connect_proxy
from homes import PROGRAM
from servers import environment, running
from web_server import web_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import Running

DATA = b"1,2\n" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


@contextmanager
def node(server: Running, home: Path, *options: str, **env: str) -> Iterator[dict[str, str]]:
    """Join a server from a home of its own and work for it until the block ends; yield what `node join` says."""
    whole = {**environment(home), **env}
    argv = [PROGRAM, *server.join.split()[1:], "--name", home.name, "--owner", home.name, *options, "--json"]
    said: dict[str, str] = json.loads(subprocess.run(argv, env=whole, capture_output=True, check=True, timeout=120).stdout)
    with (home.parent / f"{home.name}.run.err").open("ab") as log:
        process = subprocess.Popen([PROGRAM, "node", "run", "--page-port", "off"], env=whole, stdout=log, stderr=log)
    try:
        yield said
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.mark.slow
def test_one_fetches_and_another_is_brought_it(tmp_path: Path) -> None:
    """Of two machines the one whose owner said so asks through his proxy, without the login that he has for the host."""
    authority = Authority(tmp_path / "ca")
    with ExitStack() as stack:
        far = stack.enter_context(web_server(*authority.issue("far", "data.example")))
        proxy = stack.enter_context(connect_proxy())
        far.files["data.csv"] = DATA
        proxy.hosts["data.example:443"] = "127.0.0.1", int(far.url.rpartition(":")[2])
        server = stack.enter_context(running(tmp_path / "c"))
        netrc = tmp_path / "netrc"
        netrc.write_text("machine data.example login me password secret\n")
        netrc.chmod(0o600)
        trusts = {"SSL_CERT_FILE": str(authority.certificate)}
        stack.enter_context(node(server, tmp_path / "one", "--fetch", "--fetch-proxy", proxy.url, NETRC=str(netrc), **trusts))
        stack.enter_context(node(server, tmp_path / "two"))
        folder = tmp_path / "job"
        folder.mkdir()
        (folder / "job.toml").write_text(
            'schema = 1\n[job]\ncommand = ["cp", "in", "out"]\n[[inputs]]\nsource = "https://data.example/data.csv"\ntarget = "in"\n'
            f'sha256 = "{DIGEST}"\n[[outputs]]\npath = "out"\n'
        )
        env = {**environment(server.home), "https_proxy": proxy.url, **trusts}
        argv = [PROGRAM, "submit", str(folder / "job.toml"), "--wait"]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
    assert [(name, login) for name, _, login in far.asked] == [("data.csv", None)] * 2
    kept = {name: os.listdir(tmp_path / name / "agent" / name / "inputs") for name in ("one", "two")}
    assert kept == {"one": [], "two": [DIGEST]}
    assert (tmp_path / "one/agent/one/fetched" / DIGEST).read_bytes() == DATA
    assert (tmp_path / "c/results/1/0/out").read_bytes() == DATA


@pytest.mark.parametrize(("options", "wanted"), [
    (("--fetch-proxy", "http://127.0.0.1:1"), "add --fetch"),
    (("--fetch", "--fetch-proxy", "http://me:secret@127.0.0.1:1"), "without a login"),
    (("--fetch", "--fetch-cache", "much"), "--fetch-cache"),
])  # fmt: skip
def test_what_an_owner_cannot_mean(tmp_path: Path, options: tuple[str, ...], wanted: str) -> None:
    """It is told before anybody is asked."""
    argv = [PROGRAM, "node", "join", "https://127.0.0.1:1", *options]
    done = subprocess.run(argv, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    assert wanted in done.stderr
