"""One machine with two addresses is one machine, wherever hosts count."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nexapod_batch.files.machine_id import identity
from nexapod_batch.lifecycle import Execution, TaskState
from nexapod_batch.model.job import Domain, QuorumPolicy
from nexapod_batch.quorum import Vote, decide
from nexapod_batch.quorum.domains import independence
from nexapod_batch.quorum.machines import Boot, same_machine
from nexapod_batch.wording import sentence

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Boot("b", "m", 0, HOUR), Boot("b", "m", 0, 2 * HOUR), True),
        (Boot("b", "m", 0, HOUR), Boot("b", "in a container", 0, HOUR), True),
        (Boot("b", "", 0, HOUR), Boot("b", "", 0, HOUR), True),
        (Boot("b", "m", 0, HOUR), Boot("c", "m", 2 * HOUR, 3 * HOUR), True),  # started again in between
        (Boot("c", "m", 2 * HOUR, 3 * HOUR), Boot("b", "m", 0, HOUR), True),
        (Boot("b", "m", 0, HOUR), Boot("c", "m", HOUR - 1000, 2 * HOUR), True),  # a clock that was set meanwhile
        (Boot("b", "m", 0, HOUR), Boot("c", "m", 1000, HOUR), False),  # two machines of one image, up together
        (Boot("b", "m", 0, HOUR), Boot("c", "n", 2 * HOUR, 3 * HOUR), False),
        (Boot("b", "", 0, HOUR), Boot("c", "", 2 * HOUR, 3 * HOUR), False),
        (Boot("b", "m", 0, HOUR), None, False),
        (None, None, False),
    ],
)
def test_which_boots_are_of_one_machine(one: Boot | None, other: Boot | None, same: bool) -> None:
    """The boot settles it; the machine's id counts where the machine may have been started again."""
    assert same_machine(one, other) is same
    assert same_machine(other, one) is same


def test_a_boot_is_kept_as_text() -> None:
    """What was written is read back; an old report has none."""
    boot = Boot("0a" * 16, "", 1_700_000_000_000, 1_700_000_000_123)
    assert Boot.parse(str(boot)) == boot
    assert Boot.parse("") is None


def votes(*places: tuple[str, str], site: str = "s") -> list[Vote]:
    """Return replicas that agree, by host and boot; boot "" says nothing."""
    return [
        Vote(
            number=number,
            domain={Domain.HOST: host, Domain.NODE: "n", Domain.SITE: site or str(number), Domain.OWNER: "o"},
            execution=Execution.REPORTED,
            answer=b"A",
            machine=Boot(boot, "", 0, HOUR) if boot else None,
            where=host,
        )
        for number, (host, boot) in enumerate(places, 1)
    ]


@pytest.mark.parametrize(
    ("places", "counted"),
    [
        ([("eth0", "b"), ("ib0", "b")], 1),
        ([("eth0", "b"), ("ib0", "c")], 2),
        ([("eth0", "b"), ("ib0", "")], 2),  # an old runner
        ([("a", "b"), ("a", "c")], 1),
        ([("a", "b"), ("b", "b"), ("c", "d")], 2),
        ([("a", "b"), ("b", "c"), ("b", "b"), ("a", "c")], 2),
        ([("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")], 1),
    ],
)
def test_hosts_count_machines(places: list[tuple[str, str]], counted: int) -> None:
    """Two addresses of one machine support an answer once, in any order."""
    policy = QuorumPolicy(agree=2, distinct=(Domain.HOST,), max_replicas=len(places))
    for some in (votes(*places), votes(*places[::-1])):
        found = decide(policy, some)
        assert found.agree == counted
        assert found.state is (TaskState.ACCEPTED if counted > 1 else TaskState.INCONCLUSIVE)


def test_the_reason_names_the_addresses() -> None:
    """Who reads why a quorum was not met sees which addresses are one machine."""
    policy = QuorumPolicy(agree=2, distinct=(Domain.HOST,), max_replicas=2)
    found = decide(policy, votes(("10.0.0.1", "b"), ("10.1.0.1", "b")))
    assert sentence(found.reason).startswith("no quorum: 1 of 2 answers agree (10.0.0.1 and 10.1.0.1 are one machine), 2 needed")


@pytest.mark.parametrize("site", ["s", ""])
def test_agreement_on_one_machine_is_said_whatever_counts(site: str) -> None:
    """Where hosts do not count the words tell all the same, also of two sites on one machine."""
    two = votes(("eth0", "b"), ("ib0", "b"), site=site)
    assert sentence(independence(two)) == "both on one machine (eth0, ib0): reproducible there, not independent"


def test_this_machine_has_one_identity_for_each_job() -> None:
    """Every process of this machine says the same of it, another thing in another job, and never its ids as they are."""
    code = "from nexapod_batch.files.machine_id import identity; print(identity('j1'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    mine = identity("j1")
    assert mine is not None
    assert run.stdout.startswith(f"Machine(boot='{mine.boot}'")
    other = identity("j2")
    assert other is not None
    assert other.boot != mine.boot
    assert Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "") not in mine.boot


@pytest.mark.skipif(os.geteuid() != 0, reason="bind mounts need root")
@pytest.mark.parametrize("text", ["", "uninitialized\n", "0" * 32, "\xff\xfe"])
def test_a_machine_without_an_id_is_known_by_its_boot(tmp_path: Path, text: str) -> None:
    """Images that were never started have an id that says nothing: it is left out, and nothing fails."""
    (tmp_path / "id").write_text(text, "latin-1")
    code = "from nexapod_batch.files.machine_id import identity; m = identity('j'); print(len(m.boot), repr(m.id))"
    script = 'mount --bind "$0" /etc/machine-id && exec "$@"'
    argv = ["unshare", "-m", "sh", "-c", script, str(tmp_path / "id"), sys.executable, "-c", code]
    run = subprocess.run(argv, capture_output=True, text=True, check=True, cwd="/")
    assert run.stdout == "32 ''\n"
