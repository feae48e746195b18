"""Compute nodes whose clocks are wrong by hours: libfaketime gives such a clock to whatever a batch script starts."""

from __future__ import annotations

import base64
import json
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from real.slurm_homes import SlurmHome, queue, until

if TYPE_CHECKING:

    from clusters.slurm import Cluster
    from clusters.sshd import Sshd

HOURS = 3
(LIBRARY,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")


def wrong(sign: str, *more: str) -> dict[str, list[str]]:
    """Return the part of a site file that sets the clock of its compute nodes wrong."""
    return {"setup": [*more, f"export LD_PRELOAD={LIBRARY} FAKETIME={sign}{HOURS}h"]}


def span(home: SlurmHome) -> tuple[float, float]:
    """Return when the only statement says that its replica began, and how long that took, in seconds."""
    (line,) = home.lines("alpha")
    said: dict[str, Any] = json.loads(base64.b64decode(line["payload"]))["predicate"]["runDetails"]["metadata"]
    began, ended = (datetime.fromisoformat(said[key]).timestamp() for key in ("startedOn", "finishedOn"))
    return began, ended - began


@pytest.mark.parametrize("pack", [2_000, 1])
@pytest.mark.parametrize("sign", ["+", "-"])
def test_a_job_is_accepted_all_the_same(home: SlurmHome, alpha: Cluster, sign: str, pack: int) -> None:
    """The statement has that clock's times, and everything that is counted here is right."""
    home.site(alpha, environment=wrong(sign), pack={"tasks": pack})
    began = time.time()
    done = home.submit(home.tasks(1, "sleep 2", time_s=30), "--wait")
    took = time.time() - began
    assert (done.code, done.complaints) == (0, ""), done.err
    there, lasted = span(home)
    skew = HOURS * 3600 if sign == "+" else -HOURS * 3600
    assert abs(there - began - skew) < took + 5
    assert 2 <= lasted < took
    (replica,) = home.json("show", 1)["tasks"][0]["replicas"]
    assert 2_000 <= replica["wall_ms"] < took * 1000
    job = home.json("show", 1)["job"]
    submitted, finished = (datetime.fromisoformat(job[key]).timestamp() for key in ("submitted", "finished"))
    assert 0 <= finished - submitted <= took + 1
    assert 2 <= home.json("report", 1)["wall_s"] < took
    assert home.call("verify", 1).code == 0


@pytest.mark.parametrize("sign", ["+", "-"])
def test_many_runners_and_a_cancellation(home: SlurmHome, alpha: Cluster, tmp_path: Path, sign: str) -> None:
    """Runners hear of it although the time of its file is no time of theirs, and the launches are dropped."""
    home.site(alpha, environment=wrong(sign))
    gate = tmp_path / "gate"
    job = home.start(home.tasks(12, f"[ $NEXAPOD_TASK -lt 6 ] || while [ ! -e '{gate}' ]; do sleep 0.1; done", quorum="replicas = 2\nagree = 2\n").replace("agree = 1\n", "", 1))
    home.drive(lambda: home.job(job)["n_accepted"] == 6, "half of it to be accepted")
    assert home.call("cancel", job).code == 0
    home.drive(lambda: home.job(job)["finished_at"], "the rest to end")
    assert (home.job(job)["n_accepted"], home.job(job)["n_cancelled"]) == (6, 6)
    until(lambda: queue(alpha) == [], "the queue to be empty")
    assert max(home.executed().values()) == 1


@pytest.mark.parametrize("sign", ["+", "-"])
@pytest.mark.parametrize("ended", [True, False])
def test_who_ran_out_of_time_is_told_right(home: SlurmHome, alpha: Cluster, sign: str, *, ended: bool) -> None:
    """A warning at the end is the task's own error; one long before, as of a preemption, is nobody's: it runs again."""
    lasts = 120 if ended else 3000  # as newer versions of Slurm tell their jobs
    times = f"export SLURM_JOB_START_TIME=$(date +%s) SLURM_JOB_END_TIME=$(( $(date +%s) + {lasts} ))"
    home.site(alpha, environment=wrong(sign, times), pack={"tasks": 1})
    command = '[ "${PWD##*.}" != 1 ] || sleep 600'
    job = home.start(home.tasks(1, command, time_s=None, quorum="max_errors = 0\n"))
    home.ran(1)
    home.drive(lambda: home.replicas(job)[0] == "running", "it to be seen running")
    alpha.run("scancel", "--signal=USR2", "--batch", queue(alpha)[0], check=True)
    home.ended(job, "failed" if ended else "accepted")
    assert home.replicas(job) == (["errored"] if ended else ["lost", "reported"])
    said = home.reasons(job)[0]
    assert ("over the scheduler's time limit: stopped after " in said) is ended


def test_a_check_tells_how_far_apart_the_clocks_are(home: SlurmHome, alpha: Cluster, sshd: Sshd) -> None:
    """Which way, how far, and what to do, also over SSH; the rest of the check is well."""
    reached = {"host": sshd.host, "port": sshd.port, "key": str(sshd.key), "known_hosts": str(sshd.known_hosts)}
    for sign, word, more in (("+", "ahead of", {}), ("-", "behind", {}), ("+", "ahead of", {"ssh": reached})):
        if more:
            more |= {"scheduler": {"transport": "ssh"}, "filesystem": {"work_dir": str(home.path / "far")}}
        home.site(alpha, environment=wrong(sign), **more)
        found = {one["probe"]: one for one in home.json("site", "check", "alpha")["findings"]}
        assert found["clock"]["mark"] == "warn"
        hours = float(found["clock"]["text"].removeprefix("the compute node's is at least ").split()[0]) / 3600
        assert HOURS - 0.1 < hours <= HOURS
        assert f" s {word} ours" in found["clock"]["text"]
        assert "let chrony or NTP set the clocks of both" in found["clock"]["hint"]
        assert found["test job"]["mark"] == "ok"


@pytest.mark.parametrize("sign", ["+", "-"])
def test_a_deadline_shorter_than_the_difference(home: SlurmHome, alpha: Cluster, sign: str) -> None:
    """Behind, it works; ahead, the runner refuses what has expired by its clock, and says to look at the clocks."""
    home.site(alpha, environment=wrong(sign))
    quorum = 'deadline = "1:00:00"\nmax_lost = 1\n'
    job = home.start(home.tasks(1, quorum=quorum))
    home.ended(job, "accepted" if sign == "-" else "failed")
    if sign == "+":
        reasons = home.reasons(job)  # each with the time at which it was refused
        assert len(reasons) > 0
        for reason in reasons:
            assert "the bundle has expired: got " in reason
            assert "check the clocks of both machines" in reason
        assert home.executed() == {}
