"""What an owner's wishes mean: rules in words, and as properties over any sequence of what may be seen."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nexapod_batch.errors import ConfigError
from nexapod_batch.model import hours
from nexapod_batch.runner.owner.rules import (
    CALM_S,
    MOST_CALM_S,
    Machine,
    Ruling,
    Running,
    Seen,
    Standing,
    judge,
    moment,
    pause,
)
from nexapod_batch.spool import layout, owner_settings
from nexapod_batch.spool.owner_settings import Clock, OwnerSettings, Snooze

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0  # 2027-01-15 08:00 UTC, a Friday
GPU, OTHER = "GPU-aaaa", "GPU-bbbb"


def clock(after: float = 0.0) -> Clock:
    """Return the clocks some seconds later."""
    return Clock(now=NOW + after, boot="b", uptime=1000.0 + after)


def seen(after: float = 0.0, **loads: float) -> Seen:
    """Return what is seen some seconds later; `gpu` and `other` are what the owner's programs use."""
    uuids = {"gpu": GPU, "other": OTHER}
    return Seen(
        clock=clock(after),
        zone=UTC,
        loads={uuids[name]: load for name, load in loads.items()},
        names={GPU: "GPU 0", OTHER: "GPU 1"},
    )


def snooze(seconds: float, device: str = "") -> Snooze:
    """Return a snooze that was just asked for."""
    return Snooze(device=device, seconds=seconds, at=NOW, boot="b", uptime=1000.0)


def ruling(want: OwnerSettings, what: Seen, *running: Running, before: Standing | None = None) -> tuple[Ruling, Standing]:
    """Rule on a node of 4 CPUs and 8 GiB."""
    return judge(want, what, 4, 8192, running, before or Standing())


CPU1 = Running(turn=1, cpus=1, mem_mib=1000)
CPU2 = Running(turn=2, cpus=1, mem_mib=1000)
ON_GPU = Running(turn=3, cpus=1, mem_mib=1000, devices=(GPU,))


def test_without_wishes_everything_runs() -> None:
    """No wish, no rule: but a GPU that its owner uses much of is left, unless that is wished otherwise."""
    assert ruling(OwnerSettings(), seen(gpu=20.0), CPU1, ON_GPU)[0] == Ruling(cpus=4, mem_mib=8192)
    assert ruling(OwnerSettings(gpu_busy=100), seen(gpu=100.0), CPU1, ON_GPU)[0] == Ruling(cpus=4, mem_mib=8192)
    assert set(ruling(OwnerSettings(), seen(gpu=21.0), CPU1, ON_GPU)[0].suspend) == {ON_GPU.turn}


def test_a_snooze_suspends_cpus_and_gives_up_gpus_after_the_grace() -> None:
    """A stopped process keeps its GPU memory: it goes when the grace is over, the others wait."""
    want = OwnerSettings(snoozes=(snooze(7200),), grace=30)
    found, standing = ruling(want, seen(), CPU1, ON_GPU)
    assert found.paused is not None
    assert found.paused.why == "is snoozed by its owner until 10:00"
    assert (set(found.suspend), dict(found.give_up)) == ({1, 3}, {})
    found, standing = ruling(want, seen(29), CPU1, ON_GPU, before=standing)
    assert not found.give_up
    found, standing = ruling(want, seen(30), CPU1, ON_GPU, before=standing)
    assert set(found.give_up) == {3}
    found, _ = ruling(want, seen(7201), CPU1, before=standing)
    assert (found.paused, found.suspend) == (None, {})


def test_hours_close_and_open_the_node() -> None:
    """Outside its hours a node starts nothing, and says when it will."""
    want = OwnerSettings(hours=hours.parse("22:00-07:00"))
    found, _ = ruling(want, seen(), CPU1)
    assert found.paused is not None
    assert (found.paused.why, found.paused.until) == ("may work 22:00-07:00 only, says its owner", NOW + 14 * 3600)
    assert set(found.suspend) == {1}
    assert ruling(want, seen(15 * 3600), CPU1)[0].paused is None


def test_a_snoozed_gpu_leaves_the_rest_alone() -> None:
    """Only what runs on that device is touched."""
    on_other = replace(ON_GPU, turn=4, devices=(OTHER,))
    found, _ = ruling(OwnerSettings(snoozes=(snooze(60, GPU),)), seen(), CPU1, ON_GPU, on_other)
    assert (found.paused, set(found.closed), set(found.suspend)) == (None, {GPU}, {3})
    assert found.closed[GPU].why == "GPU 0 is snoozed by its owner until 08:01"


def test_a_gpu_that_its_owner_uses_is_left_at_once_and_taken_again_when_it_was_calm() -> None:
    """Above the threshold it is closed; it opens when nothing was seen for CALM_S."""
    want = OwnerSettings(gpu_busy=10, grace=60)
    found, standing = ruling(want, seen(gpu=10.0), ON_GPU)
    assert not found.suspend
    found, standing = ruling(want, seen(1, gpu=73.0), ON_GPU, before=standing)
    assert found.suspend == {3: "its owner uses GPU 0 (73 %, more than 10 %)"}
    found, standing = ruling(want, seen(1 + CALM_S / 2, gpu=0.0), ON_GPU, before=standing)
    assert set(found.suspend) == {3}
    found, standing = ruling(want, seen(1 + CALM_S, gpu=0.0), ON_GPU, before=standing)
    assert (found.suspend, found.closed) == ({}, {})


def test_a_gpu_that_is_used_in_bursts_is_left_alone_ever_longer() -> None:
    """Bursts of 3 s every 25 s cost one start, not one each; a day later it is as at first."""
    standing, starts, closed = Standing(), 0, True
    for second in range(600):
        load = 80.0 if second % 25 < 3 else 0.0
        found, standing = ruling(OwnerSettings(), seen(second, gpu=load), ON_GPU, before=standing)
        starts += closed and not found.suspend
        closed = bool(found.suspend)
    assert starts == 1
    found, standing = ruling(OwnerSettings(), seen(86_400, gpu=0.0), ON_GPU, before=standing)
    assert not found.suspend
    _, standing = ruling(OwnerSettings(), seen(86_401, gpu=80.0), ON_GPU, before=standing)
    found, _ = ruling(OwnerSettings(), seen(86_402 + CALM_S, gpu=0.0), ON_GPU, before=standing)
    assert not found.suspend


@pytest.mark.parametrize("evictions", [1, 2, 3, 5, 12])
def test_the_calm_doubles_with_each_eviction(evictions: int) -> None:
    """Each time that what runs must leave again, twice as long, up to a limit."""
    standing, now = Standing(), 0.0
    for number in range(evictions):
        _, standing = ruling(OwnerSettings(), seen(now, gpu=80.0), ON_GPU, before=standing)
        calm = min(CALM_S * 2**number, MOST_CALM_S)
        found, standing = ruling(OwnerSettings(), seen(now + calm - 1, gpu=0.0), ON_GPU, before=standing)
        assert set(found.suspend) == {ON_GPU.turn}
        found, standing = ruling(OwnerSettings(), seen(now + calm, gpu=0.0), ON_GPU, before=standing)
        assert not found.suspend
        now += calm + 1


def test_a_use_that_drove_nobody_away_lengthens_nothing() -> None:
    """An owner who plays while nothing of ours is there leaves the calm as it is."""
    standing = Standing()
    for second in range(0, 600, 30):
        _, standing = ruling(OwnerSettings(), seen(second, gpu=80.0), before=standing)
    found, _ = ruling(OwnerSettings(), seen(570 + CALM_S, gpu=0.0), ON_GPU, before=standing)
    assert not found.suspend


def test_fewer_cpus_suspend_the_youngest() -> None:
    """What is beyond the limit waits for what is not; what never fits is given up."""
    large = Running(turn=5, cpus=3, mem_mib=0)
    found, standing = ruling(OwnerSettings(max_cpus=1), seen(), CPU1, CPU2, large)
    assert found.cpus == 1
    assert found.suspend == {
        2: "its owner gives 1 CPU, others that run use them",
        5: "its owner gives 1 CPU, this needs 3",
    }
    found, _ = ruling(OwnerSettings(max_cpus=1), seen(30), CPU1, CPU2, large, before=standing)
    assert set(found.give_up) == {5}


def test_less_memory_gives_up_the_youngest() -> None:
    """Suspending frees no memory."""
    small = Running(turn=5, cpus=1, mem_mib=100)
    found, standing = ruling(OwnerSettings(max_mem=1500, grace=0), seen(), CPU1, CPU2, small)
    assert set(found.suspend) == set(found.give_up) == {2}
    assert standing.since == {2: 1000.0}


def test_a_moment_is_told_as_short_as_it_can_be() -> None:
    """Today by its time, this week by its day, else by its date."""
    assert moment(NOW + 3600, NOW, UTC) == "09:00"
    assert moment(NOW + 86_400, NOW, UTC) == "Sat 08:00"
    assert moment(NOW + 8 * 86_400, NOW, UTC) == "2027-01-23 08:00"


@pytest.mark.parametrize(
    ("later", "left"),
    [
        (clock(60), 40),
        (Clock(now=NOW - 1e6, boot="b", uptime=1060.0), 40),  # the clock was set back
        (Clock(now=NOW + 1e6, boot="b", uptime=1060.0), 40),  # or forward: not ended too early
        (Clock(now=NOW + 60, boot="c", uptime=5.0), 40),  # rebooted
        (Clock(now=NOW - 1e6, boot="c", uptime=5.0), 95),  # rebooted with a clock that went wrong
        (Clock(now=NOW + 60, boot="b", uptime=10.0), 40),  # a boot without an id of its own
    ],
)
def test_a_snooze_ends_whatever_the_clock_does(later: Clock, left: float) -> None:
    """Within a boot only the forward clock counts; after it the snooze is never longer than was asked for."""
    assert snooze(100).left(later) == pytest.approx(left)


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9), st.floats(0, 86_400), st.sampled_from(["b", "c"]))
def test_no_clock_makes_a_snooze_longer(jump: float, uptime: float, seconds: float, boot: str) -> None:
    """What is left is never more than was asked for, and nothing once the machine was up for that long."""
    left = snooze(seconds).left(Clock(now=NOW + jump, boot=boot, uptime=uptime))
    assert left <= seconds + 1e-6
    assert left <= 0 or uptime <= 1000 + seconds + 1e-6


# ---- properties

snoozes = st.builds(snooze, seconds=st.integers(0, 200), device=st.sampled_from(["", GPU, OTHER]))
wants = st.builds(
    OwnerSettings,
    max_cpus=st.none() | st.integers(1, 5),
    max_mem=st.none() | st.integers(1, 9000),
    hours=st.sampled_from([(), hours.parse("08:01-08:03"), hours.parse("22-8")]),
    gpu_busy=st.integers(0, 100),
    grace=st.integers(0, 60),
    snoozes=st.lists(snoozes, max_size=3).map(tuple),
)
lanes = st.lists(
    st.builds(
        Running,
        turn=st.integers(1, 10),
        cpus=st.integers(1, 4),
        mem_mib=st.integers(0, 8000),
        devices=st.sampled_from([(), (GPU,), (OTHER,), (GPU, OTHER)]),
    ),
    max_size=5,
    unique_by=lambda one: one.turn,
)
looks = st.lists(
    st.tuples(st.floats(0.1, 40), st.dictionaries(st.sampled_from([GPU, OTHER]), st.floats(0, 100))),
    min_size=1,
    max_size=12,
)


@given(wants, lanes, looks)
def test_what_goes_on_is_what_the_owner_allows(
    want: OwnerSettings, running: list[Running], steps: list[tuple[float, dict[str, float]]]
) -> None:
    """Nothing runs on a closed GPU, in a pause, or beyond CPUs and memory; what is given up had its grace."""
    now, standing, since = 0.0, Standing(), dict[int, float]()
    for step, loads in steps:
        now += step
        what = Seen(clock=clock(now), zone=UTC, loads=loads)
        found, standing = judge(want, what, 4, 8192, running, standing)
        going = [one for one in running if one.turn not in found.suspend]
        assert (found.paused is None) or not going
        assert sum(one.cpus for one in going) <= found.cpus <= (want.max_cpus or 4)
        assert sum(one.mem_mib for one in going) <= found.mem_mib <= (want.max_mem or 8192)
        busy = {uuid for uuid, load in loads.items() if load > want.gpu_busy}
        assert busy <= set(found.closed)
        assert not any(set(one.devices) & set(found.closed) for one in going)
        since = {turn: since.get(turn, now) for turn in found.suspend}
        assert all(now - since[turn] >= want.grace - 1e-6 for turn in found.give_up)
        keeps = [one for one in running if not one.devices and one.turn in found.give_up]
        assert all(one.cpus > found.cpus or one.mem_mib > 0 for one in keeps)  # only what suspending does not help
        assert all({**found.suspend, **found.give_up}.values())


@given(looks, st.integers(0, 99))
def test_a_gpu_does_not_flap(steps: list[tuple[float, dict[str, float]]], limit: int) -> None:
    """Between a sight of the owner's use and the opening of the GPU there are CALM_S at least."""
    now, standing, last = 0.0, Standing(), dict[str, float]()
    for step, loads in steps:
        now += step
        last |= {uuid: now for uuid, load in loads.items() if load > limit}
        found, standing = judge(
            OwnerSettings(gpu_busy=limit), Seen(clock=clock(now), loads=loads), 4, 8192, [], standing
        )
        assert set(found.closed) == {uuid for uuid, when in last.items() if now - when < CALM_S - 1e-6} or any(
            abs(now - when - CALM_S) < 1e-6 for when in last.values()
        )


# ---- the file


@given(wants)
def test_what_is_written_is_read(want: OwnerSettings) -> None:
    """A file holds all of the wishes."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        owner_settings.save(Path(folder), want)
        assert owner_settings.load(Path(folder)) == want


def test_a_snooze_without_end_is_written_and_read(tmp_path: Path) -> None:
    """Until its owner says otherwise, whatever the clocks do, and after a reboot as well."""
    one = Snooze(device="", seconds=owner_settings.FOREVER, at=NOW, boot="b", uptime=1000.0)
    owner_settings.save(tmp_path, OwnerSettings(snoozes=(one,)))
    (read,) = owner_settings.load(tmp_path).snoozes
    assert read == one
    assert read.left(Clock(now=NOW + 1e9, boot="other", uptime=5.0)) == owner_settings.FOREVER


#: Prints how far the clock on the wall is from UTC, as it is set anew while a process runs.
ZONE = """
import os, shutil, time
from datetime import datetime
from nexapod_batch.spool import layout, owner_settings
for name in ("Etc/UTC", "Etc/GMT-2", "Etc/GMT+5"):
    shutil.copy("/usr/share/zoneinfo/" + name, "/etc/new")
    os.utime("/etc/new", (0, len(name)))
    os.replace("/etc/new", "/etc/localtime")
    now = owner_settings.clock().now
    print(round(datetime.fromtimestamp(now).astimezone().utcoffset().total_seconds() / 3600))
"""


def test_the_clock_on_the_wall_is_where_the_owner_is() -> None:
    """A process that runs follows a machine whose time zone is set anew."""
    alone = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /etc && exec "$@"', "sh"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no /etc of its own can be made here")
    env = {name: value for name, value in os.environ.items() if name != "TZ"}
    done = subprocess.run([*alone, sys.executable, "-c", ZONE], capture_output=True, text=True, check=False, env=env)
    assert done.stdout.split() == ["0", "2", "-5"], done.stderr


def test_no_file_is_no_wish(tmp_path: Path) -> None:
    """Most nodes have none."""
    assert owner_settings.load(tmp_path) == OwnerSettings()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "wrong shape"),
        ('{"schema": 2}', "another version"),
        ('{"schema": 1, "limits": {"max_cpu": 1}, "snoozes": []}', "not known"),
        ('{"schema": 1, "limits": {"max_cpus": 0}, "snoozes": []}', "from 1 to"),
        ('{"schema": 1, "limits": {"hours": "8-8"}, "snoozes": []}', "ends when it starts"),
        ('{"schema": 1, "limits": {}, "snoozes": [{"device": "", "seconds": 1e99}]}', "wrong shape"),
        (
            '{"schema": 1, "limits": {}, "snoozes": [{"device":"","seconds":1e9,"at":0,"boot":"","uptime":0}]}',
            "seconds of a snooze",
        ),
    ],
)
def test_a_file_that_is_not_understood_is_refused_whole(tmp_path: Path, text: str, words: str) -> None:
    """What an owner wanted is never guessed from half a file."""
    (tmp_path / layout.OWNER_SETTINGS).write_text(text)
    with pytest.raises(ConfigError, match=words):
        owner_settings.load(tmp_path)


def test_the_longest_snooze_counts() -> None:
    """Several snoozes of one thing are as long as the longest."""
    found = pause(OwnerSettings(snoozes=(snooze(60), snooze(600), snooze(9000, GPU))), clock(), Machine(), UTC)
    assert found is not None
    assert found.until == NOW + 600
