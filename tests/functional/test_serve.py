"""The server as an operator meets it: what it prints, what it answers to whom, and how it ends."""

from __future__ import annotations

import re
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
from homes import PROGRAM
from prometheus_client.parser import text_string_to_metric_families
from servers import Running, environment, running
from spools import until

from nexapod_batch.mesh import listening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one home for all tests of this file."""
    with running(tmp_path_factory.mktemp("serve") / "home") as started:
        yield started


def test_what_is_printed(server: Running) -> None:
    """The URL, the line with which a node joins, and the administrator's token."""
    assert re.fullmatch(r"https://127\.0\.0\.1:\d+", server.url)
    assert re.fullmatch(
        rf"nexapod-batch node join {re.escape(server.url)} --fingerprint SHA256:[A-Za-z0-9+/]{{43}} --token nxp_\S+", server.join
    )
    assert re.fullmatch(r"nxp_[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{43}", server.token)


def test_it_notes_that_it_listens(server: Running) -> None:
    """So that nodes are silent only as long as they could have been heard."""
    spools = server.home / "spool"
    until(lambda: listening.heard(spools), "the note of a server that listens")


def test_the_fingerprint_is_that_of_the_key_for_tls(server: Running) -> None:
    """As openssl works it out, and as curl pins it."""
    pem = ssl.get_server_certificate(("127.0.0.1", server.port))
    key = subprocess.run(["openssl", "x509", "-noout", "-pubkey"], input=pem.encode(), capture_output=True, check=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key, capture_output=True, check=True).stdout
    digest = subprocess.run(["openssl", "dgst", "-sha256", "-binary"], input=der, capture_output=True, check=True).stdout
    encoded = subprocess.run(["openssl", "base64"], input=digest, capture_output=True, check=True).stdout.decode()
    shown = re.search(r"SHA256:(\S+)", server.join)
    assert shown is not None
    assert shown[1] == encoded.strip().rstrip("=")


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/v1/health", "", 200),
        ("/v1/openapi.json", "", 200),
        ("/v1/problems/sign-in", "", 200),
        ("/v1/problems/none", "", 404),
        ("/v1/status", "", 401),
        ("/status", "", 401),
        ("/v1/status", None, 200),
        ("/status", None, 200),
        ("/v1/status", "nxp_" + "A" * 43, 401),
        ("/v1/status", "anything", 401),
        ("/v1/health", "nxp_" + "A" * 43, 401),
        ("/", "", 404),
    ],
)
def test_who_may_see_what(server: Running, path: str, token: str | None, status: int) -> None:
    """Without a token only what says nothing of anybody."""
    assert server.ask("GET", path, token=token).status == status


def test_health_is_a_real_read(server: Running) -> None:
    """How long it took, and how old the last pass and the last write are."""
    found = server.ask("GET", "/v1/health").json
    assert found["ok"] is True
    assert found["read_ms"] > 0
    assert found["last_write_s"] >= 0


def test_metrics_are_those_of_prometheus(server: Running) -> None:
    """Its own parser reads them; no label can grow without end."""
    found = {family.name: family for family in text_string_to_metric_families(server.ask("GET", "/metrics").body.decode())}
    assert {"nexapod_http_requests", "nexapod_open_jobs", "nexapod_last_pass_timestamp_seconds"} <= found.keys()
    labels = {name for family in found.values() for sample in family.samples for name in sample.labels}
    assert labels <= {"version", "method", "status", "tier", "state"}
    assert server.ask("GET", "/metrics", token="").status == 401


def test_a_problem_says_what_the_command_line_would(server: Running) -> None:
    """With an address that leads to what the kind means."""
    found = server.ask("DELETE", "/v1/health")
    assert found.status == 405
    assert found.headers["allow"] == "GET, HEAD"
    assert found.headers["content-type"] == "application/problem+json"
    assert found.json["wanted"] == "GET, HEAD"
    assert server.ask("GET", found.json["type"]).json["status"] == 405


def test_the_join_token_is_good_for_nothing_else(server: Running) -> None:
    """It stands in a line that people hand on."""
    token = server.join.rpartition(" ")[2]
    assert server.ask("GET", "/v1/status", token=token).status == 403


def test_serving_again_needs_no_init_and_shows_no_token(tmp_path: Path) -> None:
    """The same key, so the same fingerprint; the token that was shown is still good."""
    home = tmp_path / "home"
    with running(home) as first:
        pass
    with running(home, init=False) as second:
        assert second.join.partition("SHA256:")[2] == first.join.partition("SHA256:")[2].partition(" ")[0]
        assert second.ask("GET", "/v1/status", token=first.token).status == 200
    assert second.process.returncode == 0


def test_a_home_has_one_server(server: Running) -> None:
    """A second one is told where the first is, and takes nothing away from it."""
    again = server.command("serve", "--init", "--host", "127.0.0.1", "--port", "0", check=False)
    assert again.returncode == 75
    assert server.url in again.stderr
    assert server.ask("GET", "/v1/me").status == 200


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    """And is not replaced by one that is made."""
    argv = [PROGRAM, "serve", "--init", "--port", "0", "--tls-cert", "x.pem"]
    done = subprocess.run(argv, env=environment(tmp_path / "none"), capture_output=True, text=True, check=False)
    assert (done.returncode, "--tls-key" in done.stderr) == (2, True)
    assert not (tmp_path / "none").exists()


def test_the_unit_serves_with_the_same_options(tmp_path: Path) -> None:
    """As systemd reads it; nothing is made."""
    argv = [PROGRAM, "serve", "--port", "5001", "--name", "lab one", "--public", "--init", "--unit"]
    done = subprocess.run(argv, env=environment(tmp_path / "none"), capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert f'ExecStart=:/usr/bin/env "{PROGRAM}" "serve" "--port" "5001" "--name" "lab one" "--public"' in lines
    assert f'Environment="NEXAPOD_HOME={tmp_path}/none"' in lines
    assert not (tmp_path / "none").exists()


def test_without_a_coordinator_init_is_asked_for(tmp_path: Path) -> None:
    """Nothing is made by accident."""
    argv = [PROGRAM, "serve", "--port", "0"]
    done = subprocess.run(argv, env=environment(tmp_path / "none"), capture_output=True, text=True, check=False)
    assert done.returncode == 66
    assert "serve --init" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("names", "shown"), [((), "NAME-OF-THE-PROXY"), (("--name", "lab.example"), "lab.example")], ids=["no name", "a name"]
)
def test_behind_a_proxy_nodes_join_that(tmp_path: Path, names: tuple[str, ...], shown: str) -> None:
    """The port where the server listens and its own key lead no node to it; the first line is for the proxy."""
    with running(tmp_path / "home", "--behind-proxy", *names) as server:
        words = server.join.split()
    assert words[:5] == ["nexapod-batch", "node", "join", f"https://{shown}", "--token"]
    assert (len(words), server.port > 0) == (6, True)
