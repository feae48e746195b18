"""What the process on a node that fetches inputs has in its environment: never a login for somebody else's job."""

from __future__ import annotations

import pytest

from nexapod_batch.runner.execution.fetched_inputs import _environment
from nexapod_batch.spool.node_config import Fetching

LOGINS = {
    "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token", "AWS_PROFILE": "mine",
    "AWS_SHARED_CREDENTIALS_FILE": "/x", "AWS_ENDPOINT_URL": "http://inner", "NETRC": "/x/netrc", "HOME": "/x",
}  # fmt: skip


@pytest.fixture(autouse=True)
def logins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have logins, and a proxy."""
    monkeypatch.setattr("nexapod_batch.birth.given", None)
    for name, value in {**LOGINS, "https_proxy": "http://old:1", "NO_PROXY": "*", "UNRELATED": "x"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("foreign", "logins_may_be_used"), [(True, True), (False, False), (True, False)])
def test_jobs_of_others(foreign: bool, logins_may_be_used: bool) -> None:
    """Neither variables, nor files, nor what the site sets for its own people; buckets are read without a signature."""
    fetching = Fetching(folder="/f", logins=logins_may_be_used, env={"AWS_ACCESS_KEY_ID": "of the site", "SSL_CERT_FILE": "/ca"})
    found = _environment(fetching, foreign=foreign)
    assert {name for name in found if name.startswith("AWS_")} == {"AWS_SKIP_SIGNATURE"}
    assert (found["AWS_SKIP_SIGNATURE"], found["NETRC"]) == ("true", "/dev/null")
    assert found["HOME"] != LOGINS["HOME"]
    assert (found["SSL_CERT_FILE"], found["https_proxy"]) == ("/ca", "http://old:1")
    assert "UNRELATED" not in found


def test_jobs_of_ones_own() -> None:
    """What the account has, and above it what the site sets."""
    found = _environment(Fetching(folder="/f", env={"AWS_PROFILE": "of the site"}), foreign=False)
    assert {name: found[name] for name in LOGINS} == {**LOGINS, "AWS_PROFILE": "of the site"}


def test_a_proxy_of_the_site() -> None:
    """It is for all hosts, whatever the environment excepts."""
    found = _environment(Fetching(folder="/f", proxy="http://new:2"), foreign=False)
    assert [found[name] for name in ("http_proxy", "https_proxy", "HTTPS_PROXY")] == ["http://new:2"] * 3
    assert not {"no_proxy", "NO_PROXY"} & set(found)
