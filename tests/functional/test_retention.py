"""`[retention]`: how long the work folders of accepted and of other tasks stay."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.commands.upkeep import retention

if TYPE_CHECKING:

    from homes import Home

HOUR, DAY = 3_600, 86_400
#: Larger than what travels with a report, so that there is a work folder.
BIG = "head -c 9000 /dev/zero >out"
JOB = '[job]\nname = "big"\ncommand = ["sh", "-c", "{command}"]\n[[outputs]]\npath = "out"\n[quorum]\ndistinct = "run"\n'
GOOD = JOB.format(command=BIG)
#: Fails at once, with a log that is larger than what travels.
BAD = (
    '[job]\nname = "bad"\ncommand = ["sh", "-c", "head -c 9000 /dev/zero; exit 1"]\n'
    '[quorum]\nagree = 1\nmax_replicas = 1\nmax_errors = 0\ndistinct = "run"\n'
)


def folders(home: Home) -> int:
    """Return how many work folders of replicas there are."""
    return sum(1 for path in home.path.glob("work/*/[0-9]*") if path.is_dir())


def settings(home: Home, text: str) -> None:
    """Write the settings of the home."""
    home.path.mkdir(mode=0o700, exist_ok=True)
    (home.path / "config.toml").write_text(f"[retention]\n{text}\n")


def later(home: Home, seconds: int, *, dry_run: bool = False) -> int:
    """Run `gc` as if it were later; return how many work folders it counts."""
    with open_coordinator(Paths.of(home.path)) as c:
        c.clock = lambda: time.time() + seconds
        return retention.gc(c, dry_run=dry_run)["work_folders"]


def test_folders_of_accepted_tasks_go_at_once(home: Home) -> None:
    """Without settings the pass that publishes removes them."""
    assert home.submit(GOOD, "--wait").code == 0
    assert folders(home) == 0
    assert (home.path / "results/1/0/out").stat().st_size == 9_000


def test_folders_of_accepted_tasks_stay_as_long_as_asked(home: Home) -> None:
    """`work` counts from the end of a replica; a dry run counts what gc would remove."""
    settings(home, 'work = "01:00:00"')
    assert home.submit(GOOD, "--wait").code == 0
    assert home.json("gc", "--dry-run")["work_folders"] == 0
    assert home.json("gc")["work_folders"] == 0
    assert folders(home) == 2
    assert later(home, HOUR + 60, dry_run=True) == 2
    assert folders(home) == 2
    assert later(home, HOUR + 60) == 2
    assert folders(home) == 0


def test_folders_of_failed_tasks_stay_a_week(home: Home) -> None:
    """Somebody may want to look; `work` has nothing to do with them."""
    settings(home, "work = 0")
    assert home.submit(BAD, "--wait").code == 1
    assert later(home, 6 * DAY) == 0
    assert folders(home) == 1
    assert later(home, 8 * DAY) == 1
    assert folders(home) == 0


def test_folders_of_failed_tasks_stay_as_long_as_asked(home: Home) -> None:
    """`failed` has nothing to do with accepted tasks; the variable wins over the file."""
    settings(home, 'failed = "2-00:00:00"\nwork = "3-00:00:00"')
    assert home.submit(BAD, "--wait").code == 1
    assert home.submit(GOOD, "--wait").code == 0
    assert later(home, 2 * DAY - 60, dry_run=True) == 0
    assert later(home, 2 * DAY + 60, dry_run=True) == 1
    assert later(home, 3 * DAY + 60, dry_run=True) == 3
    done = home.call("gc", "--json", env={"NEXAPOD_RETENTION_FAILED": "0"})
    assert json.loads(done.out)["work_folders"] == 1
    assert folders(home) == 2


def test_nothing_is_removed_on_settings_that_cannot_be_read(home: Home) -> None:
    """`gc` says what is wrong with them; a pass that publishes calls it a fault, and publishes."""
    settings(home, "work = 0")  # submit reads them, too
    assert home.submit(GOOD, "--parsable").code == 0
    settings(home, "work = -1")
    end = time.monotonic() + 120
    while not (home.path / "results/1/0").is_dir():
        assert time.monotonic() < end, "nothing was published"
        done = home.call("reconcile", "--json")
    assert "work folders stay" in done.out
    assert folders(home) == 2
    done = home.call("gc")
    assert (done.code, "config.toml" in done.err) == (78, True)
    assert folders(home) == 2
    settings(home, "work = 0")
    assert home.json("gc")["work_folders"] == 2
