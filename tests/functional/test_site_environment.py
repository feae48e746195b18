"""What a site of this machine itself sets for commands: no script starts their runner, so its file does."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from homes import Home


def site(home: Home, environment: str) -> None:
    """Write the file of a site of this machine."""
    folder = home.path / "sites.d"
    folder.mkdir(parents=True, exist_ok=True)
    home.path.chmod(0o700)
    (folder / "desk.toml").write_text(
        f'schema = 1\n[site]\nname = "desk"\n[scheduler]\ntype = "local"\n[environment]\n{environment}\n'
        '[[partitions]]\nname = "p"\ntier = "cpu"\nmax_cpus = 2\n'
    )


def test_commands_get_what_is_set_and_passed(home: Home) -> None:
    """A new value counts for what starts afterwards; what is not passed does not arrive; the statement has its digest."""
    job = home.descriptor(
        '[job]\ncommand = ["sh", "-c", "echo $SHOWN $HIDDEN"]\n[quorum]\ndistinct = "run"\n', "job.toml"
    )
    for number, value in ((1, "first"), (2, "second")):
        site(home, f'env = {{ SHOWN = "{value}", HIDDEN = "no" }}\npass = ["SHOWN", "NOT_SET"]')
        done = home.call("submit", job, "--site", "desk", "--wait")
        assert done.code == 0, done.err
        assert (home.path / f"results/{number}/0/stdout").read_text() == f"{value}\n"
        out = home.path / f"proof-{number}"
        assert home.call("attestations", number, "--out", out).code == 0
        payloads = [base64.b64decode(json.loads(file.read_bytes())["payload"]) for file in out.glob("*.dsse.json")]
        digest = hashlib.sha256(value.encode()).hexdigest().encode()
        assert sum(digest in payload for payload in payloads) == 2


@pytest.mark.parametrize("line", ['modules = ["gcc"]', 'setup = ["ulimit -c 0"]'], ids=["modules", "setup"])
def test_what_only_a_script_can_do_is_refused(home: Home, line: str) -> None:
    """The site's file says where, and what can be said instead."""
    site(home, line)
    job = home.descriptor('[job]\ncommand = ["true"]\n[quorum]\ndistinct = "run"\n', "job.toml")
    done = home.call("submit", job, "--site", "desk")
    assert done.code != 0
    assert f"environment.{line.split(maxsplit=1)[0]}: means nothing here" in done.err
