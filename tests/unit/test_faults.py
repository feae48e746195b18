"""Faults of one pass: every step tells its own, as a reason, and a site out of reach is one fault."""

from __future__ import annotations

import json

import pytest

from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.errors import ConfigError, NexapodError, PluginFaultError, Problem, SchedulerError, UnreachableError
from nexapod_batch.model.job import Tier
from nexapod_batch.model.node import Node
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.wording import one_line, sentence

NODES = [
    Node(
        id=number, name=f"n{number}", key_id="k", public_key=b"", site="far", owner="o", host="h", tier=Tier.HPC,
        backend="slurm", cpus=1, mem_mib=1,
    )
    for number in (1, 2)
]  # fmt: skip


def lines(faults: Faults) -> dict[str, str]:
    """Return the faults as people see them, by key."""
    return {key: one_line(reason) for key, reason in faults.by_key().items()}


def test_each_step_tells_its_own() -> None:
    """Two steps that fail for two reasons are two lines; each says in fields what failed, on which node and how."""
    faults = Faults()
    faults.of_node(Code.LAUNCH_FAULT, NODES[0], SchedulerError("sbatch failed", got="7", hint="wait"))
    faults.of_node(Code.STATUS_FAULT, NODES[0], OSError(5, "broken", "/x"))
    assert lines(faults) == {
        "launch:n1": "node n1: launch failed: sbatch failed: got 7 -> wait",
        "status:n1": "node n1: broken: /x",
    }
    launch = faults.by_key()["launch:n1"].document()
    assert launch["code"] == "fault.launch"
    assert launch["parameters"]["node"] == "n1"
    error = {"kind": "SchedulerError", "what": "sbatch failed", "got": "7", "hint": "wait"}
    assert launch["parameters"]["error"] == {"code": "error", "parameters": error}


@pytest.mark.parametrize("kind", [UnreachableError, ConfigError, PluginFaultError])
def test_a_site_out_of_reach_is_told_of_once(kind: type[NexapodError]) -> None:
    """Whatever step came first, the key is the site's: the next pass knows that it was told."""
    faults = Faults()
    for code in (Code.SETTINGS_FAULT, Code.STATUS_FAULT, Code.COLLECT_FAULT, Code.LAUNCH_FAULT):
        for node in NODES:
            faults.of_node(code, node, kind("site far: login cannot be reached", hint="wait"))
    faults.of_node(Code.FORGET_FAULT, NODES[1], UnreachableError("the connection was lost"))
    faults.of_node(Code.REPORTS_FAULT, NODES[1], OSError(5, "broken"))  # its files are away with the rest
    assert lines(faults) == {"site:far": "site far: login cannot be reached -> wait"}
    assert faults.knows(kind("site far: login cannot be reached", hint="wait"))
    assert not faults.knows(kind("site far: login cannot be reached", hint="another"))
    assert not faults.knows(kind("another"))


def test_a_fault_of_one_kind_gives_way_to_the_next_of_it() -> None:
    """What one job or node has of a kind is one fault; another job has its own."""
    faults = Faults()
    for job, what in ((1, "first"), (1, "second"), (2, "third")):
        faults.add(Code.DECIDE_FAULT, str(job), task=f"{job}_0", error=Reason.of_error(SchedulerError(what)))
    faults.add(Code.RETENTION_FAULT, error=Reason.of_error(ConfigError("no time")))
    assert lines(faults) == {
        "decide:1": "task 1_0 waits: second",
        "decide:2": "task 2_0 waits: third",
        "retention": "work folders stay: no time",
    }
    assert len(faults) == 3


LONG = "x" * 5_000


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SchedulerError("a", got=None, wanted=3, hint="b"), "a: wanted 3\n  -> b"),
        (ConfigError("a", problems=(Problem("b.c", "d", 4), Problem("", "e"))), "a\n  line 4: b.c: d\n  e"),
        (OSError(13, "Permission denied", "/root/x"), "Permission denied: /root/x"),
        (OSError(28, "No space left on device", b"/\xff"), "No space left on device: /\\udcff"),
        (OSError("torn"), "torn"),
        (OSError(), "OSError"),
        (ValueError(), "ValueError"),
        (NexapodError("\ud800"), "\\ud800"),
        (NexapodError(LONG), LONG[:1_000]),
    ],
)
def test_an_error_is_data_and_says_what_it_said(error: Exception, expected: str) -> None:
    """Its parts are kept, shortened, in what every database and every encoding takes."""
    reason = Reason.of_error(error)
    assert sentence(reason) == sentence(Reason.parse(reason.stored())) == expected
    assert reason.parameters["kind"] == type(error).__name__
    json.dumps(reason.document()).encode()


def test_the_file_of_a_site_shows_its_first_problem() -> None:
    """With its line, and how to see the others."""
    error = ConfigError("bad", problems=(Problem("ssh.port", "too high", 3), Problem("x", "unknown", 4)))
    parameters = {"site": "far", "file": "/etc/far.toml", "error": Reason.of_error(error)}
    faults = Faults()
    faults.of_site("far", Reason(code=Code.SITE_FILE_FAULT, parameters=parameters))
    assert lines(faults) == {
        "site:far": "/etc/far.toml:3: ssh.port: too high (and 1 more: nexapod-batch site check far)"
    }
    assert faults.knows(error)
