"""A third party's backend that breaks: its site is at fault, told once, and everything else goes on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from homes import Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A backend that does nothing well, until the environment says in which method it breaks, and how.
CODE = """
import os
import time

from nexapod_batch.plugins import BackendState, LaunchStatus

class Odd:
    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        def method(*given, **named):
            where, _, how = os.environ.get("ODD", "").partition(":")
            if name == where:
                exec(how)
            answers = {
                "launch_size": lambda context, job, replicas: replicas,
                "unstage": lambda *_: 0,
                "describe": lambda *_, **__: "odd",
                "stage": lambda context, inputs: {digest: str(path) for digest, path in inputs.items()},
                "launch": lambda context, launches: {one.key: f"odd-{one.key}" for one in launches},
                "status": lambda context, keys: {key: LaunchStatus(state=BackendState.QUEUED) for key in keys},
                "probe": lambda *_: (),
                "discover": lambda *_: "",
            }
            return answers.get(name, lambda *_, **__: None)(*given, **named)
        return method
"""
SITE = """schema = 1
[site]
name = "far"
[scheduler]
type = "odd"
[[partitions]]
name = "p"
hosts = 2
max_time = "1:00:00"
max_cpus = 4
max_mem = "4G"
"""
FAR = '[job]\nname = "far"\ncommand = ["true"]\n[quorum]\nagree = 1\ndistinct = "run"\n[schedule]\nsites = ["far"]\n'
NEAR = '[job]\nname = "near"\ncommand = ["true"]\n[quorum]\nagree = 1\ndistinct = "run"\n[schedule]\nsites = ["local"]\n'


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with a site of the odd backend; workers end afterwards."""
    made = Home(tmp_path)
    plugin = tmp_path / "plugin"
    (plugin / "odd-1.dist-info").mkdir(parents=True)
    (plugin / "odd_backend.py").write_text(CODE)
    (plugin / "odd-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (plugin / "odd-1.dist-info" / "entry_points.txt").write_text("[nexapod_batch.backends]\nodd = odd_backend:Odd\n")
    made.env["PYTHONPATH"] = f"{plugin}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    (made.path / "sites.d").mkdir(mode=0o700, parents=True)
    (made.path / "sites.d" / "far.toml").write_text(SITE)
    assert made.call("node", "init").code == 0
    yield made
    made.end()


@pytest.mark.parametrize(
    "odd",
    [
        "status:raise RuntimeError('boom')", "launch:raise SystemExit(3)", "prepare:raise ValueError('x' * 9999)",
        "stage:raise EOFError", "launch_size:raise KeyError('k')", "collect:[].pop()",
    ],
)  # fmt: skip
def test_a_backend_that_breaks_stops_nobody_else(home: Home, odd: str) -> None:
    """A job of its site waits; one of this machine is accepted; the fault is told in one line, and once."""
    env = {"ODD": odd}
    far = home.call("submit", home.descriptor(FAR, "far.toml"), env=env)
    assert far.code == 0, far.err
    done = home.call("submit", home.descriptor(NEAR, "near.toml"), "--wait", env=env)
    assert done.code == 0, done.err
    first = home.call("reconcile", env=env)
    assert first.err.count("backend odd failed in") <= 1
    assert home.call("reconcile", "--quiet", env=env).err == ""  # told before
    states = {job["name"]: job["state"] for job in home.jobs()}
    assert states["near"] == "accepted"
    assert states["far"] in {"waiting", "active"}
    told = [one.err.count("backend odd failed in") for one in (far, done, first)]
    assert max(told) == 1  # whoever waits hears of what stands, too


def test_cancelling_what_breaks_is_owed(home: Home) -> None:
    """The job is cancelled, the person hears that the backend did not, and each pass tells it again until it has heard."""
    assert home.call("submit", home.descriptor(FAR, "far.toml")).code == 0
    done = home.call("cancel", "1", env={"ODD": "cancel:raise RuntimeError('boom')"})
    assert done.code == 0
    assert "has not heard it yet, and every pass tells it again: site far: backend odd failed in cancel()" in done.err
    again = home.call("reconcile", env={"ODD": "cancel:raise RuntimeError('boom')"})
    assert "failed in cancel()" in again.err
    heard = home.folder / "heard"
    home.call("reconcile", env={"ODD": f"cancel:open({str(heard)!r}, 'a').write(repr(given[1]) + '\\n')"})
    home.call("reconcile", env={"ODD": f"cancel:open({str(heard)!r}, 'a').write(repr(given[1]) + '\\n')"})
    assert heard.read_text().count("1_0.1") == 1
