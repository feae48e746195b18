"""What an owner wants for themselves: on battery, while their programs run, with memory and CPUs left to them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.errors import ConfigError
from nexapod_batch.runner.owner import machine_state
from nexapod_batch.runner.owner.rules import Machine, Running, Seen, Standing, given, judge
from nexapod_batch.runner.owner.sessions import least_idle_s
from nexapod_batch.runner.processes import niceness
from nexapod_batch.spool import layout, owner_settings
from nexapod_batch.spool.owner_settings import Clock, OwnerSettings, Stop

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CLOCK = Clock(now=1_800_000_000.0, boot="b", uptime=1000.0)
TASK = Running(turn=1, cpus=1, mem_mib=100)
BATTERY, EMPTY = {"type": "Battery", "status": "Discharging"}, {"type": "Mains", "online": "0"}


@pytest.mark.parametrize(
    ("wishes", "machine", "why", "suspends"),
    [
        (OwnerSettings(on_battery="pause"), Machine(on_battery=True), "is paused while the machine runs on battery", True),
        (OwnerSettings(on_battery="run"), Machine(on_battery=True), "", False),
        (OwnerSettings(), Machine(on_battery=True), "", False),
        (OwnerSettings(pause_while=("a", "b")), Machine(programs=("a", "b")), "is paused while a and b run,", True),
        (OwnerSettings(pause_while=("a",)), Machine(), "", False),
        (OwnerSettings(idle_for=60), Machine(idle_s=59.9), "is paused until nobody has used the machine for 60 s", True),
        (OwnerSettings(idle_for=60), Machine(idle_s=60.0), "", False),
        (OwnerSettings(idle_for=60), Machine(), "", False),
        (OwnerSettings(free_mem=1024), Machine(free_mem_mib=1023), "starts nothing while less than 1GiB of memory", False),
        (OwnerSettings(free_mem=1024), Machine(free_mem_mib=1024), "", False),
        (OwnerSettings(free_disk=1024), Machine(free_disk_mib=0), "starts nothing while less than 1GiB of disk space", False),
        (OwnerSettings(free_disk=1024), Machine(), "", False),
        (OwnerSettings(stop=Stop.FINISH), Machine(), "is stopped by its owner", False),
        (OwnerSettings(stop=Stop.NOW), Machine(), "is stopped by its owner", False),
    ],
)
def test_what_the_machine_is_like_pauses_the_node(
    wishes: OwnerSettings, machine: Machine, why: str, *, suspends: bool
) -> None:
    """Each wish has its reason; what suspending does not mend keeps new work out alone."""
    ruling, _ = judge(wishes, Seen(clock=CLOCK, machine=machine), 4, 8192, [TASK], Standing())
    assert (ruling.paused.why if ruling.paused else "").startswith(why)
    assert bool(why) == bool(ruling.paused)
    assert suspends == bool(ruling.suspend)
    assert not ruling.give_up


@pytest.mark.parametrize(
    ("wishes", "cpus"),
    [
        (OwnerSettings(), 4),
        (OwnerSettings(free_cpus=1), 3),
        (OwnerSettings(free_cpus=1, max_cpus=2), 2),
        (OwnerSettings(free_cpus=3, max_cpus=2), 1),
        (OwnerSettings(free_cpus=9), 1),
    ],
)
def test_cpus_are_left_to_the_owner(wishes: OwnerSettings, cpus: int) -> None:
    """The stricter of two limits counts, and one CPU is always given."""
    assert given(wishes, 4, 8192) == (cpus, 8192)


@pytest.mark.parametrize(
    ("supplies", "on_battery"),
    [
        ({}, False),
        ({"AC": EMPTY, "BAT0": BATTERY}, True),
        ({"BAT0": BATTERY}, True),
        ({"AC": {"type": "Mains", "online": "1"}, "BAT0": BATTERY}, False),
        ({"AC": EMPTY, "ucsi": {"type": "USB", "online": "1"}, "BAT0": BATTERY}, False),
        ({"AC": EMPTY, "BAT0": {"type": "Battery", "status": "Not charging"}}, False),
        ({"BAT0": {"type": "Battery", "status": "Full"}, "BAT1": BATTERY}, True),
        ({"mouse": {**BATTERY, "scope": "Device"}}, False),
        ({"AC": {"type": "Mains"}, "BAT0": {}}, False),
    ],
)
def test_the_battery_is_what_feeds_the_machine(
    tmp_path: Path, supplies: Mapping[str, Mapping[str, str]], *, on_battery: bool
) -> None:
    """As the kernel's files say it, in a tree that is mounted where they are: a mouse's battery is not the machine's."""
    for name, files in supplies.items():
        folder = tmp_path / "power_supply" / name
        folder.mkdir(parents=True)
        for file, content in files.items():
            (folder / file).write_text(content + "\n")
    look = "from nexapod_batch.runner.owner import machine_state; print(machine_state.on_battery())"
    script = 'mount --bind "$1" /sys/class && exec "$2" -c "$3"'
    argv = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    done = subprocess.run(
        [*argv, "sh", "-c", script, "sh", tmp_path, sys.executable, look], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{on_battery}\n"


@pytest.mark.parametrize("name", ["blender", "a-program-with-a-long-name", "däne"])
@pytest.mark.parametrize("kind", ["program", "script"])
def test_a_named_program_is_seen_while_it_runs_and_is_not_ours(tmp_path: Path, name: str, kind: str) -> None:
    """By its file's name, in full where the kernel cuts it, for a script as well; what a replica runs is not meant."""
    program = tmp_path / name
    if kind == "program":
        shutil.copy(shutil.which("sleep") or "", program)
        argv = [str(program), "60"]
    else:
        program.write_text("#!/bin/sh\necho\nread line\n")
        program.chmod(0o755)
        argv = [str(program)]
    wanted = (name, f"{name}-else")

    def seen(environment: dict[str, str]) -> str:
        code = f"from nexapod_batch.runner.owner import machine_state; print(ascii(machine_state.running_programs({wanted!r})))"
        with subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            if kind == "script":
                assert process.stdout is not None
                process.stdout.readline()
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            process.kill()
        return done.stdout.strip()

    assert seen({"PATH": os.environ["PATH"]}) == ascii((name,))
    assert seen({"PATH": os.environ["PATH"], "NEXAPOD_NODE": "mine"}) == "()"


def test_memory_and_disk_are_what_the_kernel_says(tmp_path: Path) -> None:
    """Only what a wish depends on is looked at; a folder that is not there is not known."""
    found = machine_state.look(OwnerSettings(free_mem=1, free_disk=1), str(tmp_path))
    assert found.free_mem_mib is not None
    assert found.free_disk_mib is not None
    assert 0 < found.free_mem_mib < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    assert 0 <= found.free_disk_mib <= shutil.disk_usage(tmp_path).total >> 20
    assert machine_state.look(OwnerSettings(free_disk=1), str(tmp_path / "none")) == Machine()
    assert machine_state.look(OwnerSettings(), str(tmp_path)) == Machine()
    assert [machine_state.matters(one) for one in (OwnerSettings(), OwnerSettings(free_disk=1))] == [False, True]


def test_somebody_who_types_is_seen(tmp_path: Path) -> None:
    """A terminal that was just read makes the machine used; nothing but reads counts."""
    code = (
        "import os, pty, tty\nfrom nexapod_batch.runner.owner import machine_state\n"
        "master, slave = pty.openpty()\ntty.setraw(slave)\n"
        "os.utime(os.ttyname(slave), (0, 0))\nos.write(master, b'x')\nos.read(slave, 1)\n"
        "print(machine_state.idle_s() < 30)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "True\n"


SESSION = "CLASS={0}\nTYPE={1}\nACTIVE={2}\n"


@pytest.mark.parametrize(
    ("session", "told", "idle"),
    [
        (SESSION.format("user", "wayland", 1), "IdleHint=no\\nIdleSinceHint=0\\nLockedHint=no\\n", "0.0"),
        (SESSION.format("user", "x11", 1), "IdleHint=yes\\nIdleSinceHint=99000000\\nLockedHint=no\\n", "ages"),
        (SESSION.format("user", "x11", 1), "IdleHint=no\\nIdleSinceHint=0\\nLockedHint=yes\\n", "None"),
        (SESSION.format("user", "x11", 0), "IdleHint=no\\n", "None"),
        (SESSION.format("greeter", "x11", 1), "IdleHint=no\\n", "None"),
        (SESSION.format("user", "tty", 1), "IdleHint=no\\n", "None"),
        (SESSION.format("user", "x11", 1), "", "None"),
    ],
)
def test_a_desktop_that_is_used_is_seen(tmp_path: Path, session: str, told: str, idle: str) -> None:
    """As logind tells it of the session on the screen: greeters, locked screens and silence are no use."""
    sessions, program = tmp_path / "run/sessions", tmp_path / "loginctl"
    sessions.mkdir(parents=True)
    (sessions / "c1").write_text(session)
    program.write_text(f'#!/bin/sh\n[ "$1 $2" = "show-session c1" ] && printf "{told}"\n')
    program.chmod(0o755)
    code = (
        "from nexapod_batch.runner.owner.sessions import desktop_idle_s\nidle = desktop_idle_s()\n"
        "print('ages' if idle is not None and idle > 1e9 else idle)"
    )
    script = 'mount -t tmpfs none /run && mkdir /run/systemd && cp -r "$1" /run/systemd/ && exec "$2" -c "$3"'
    argv = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    done = subprocess.run(
        [*argv, "sh", "-c", script, "sh", sessions, sys.executable, code],
        capture_output=True, text=True, check=True, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.stdout == f"{idle}\n"


def test_the_session_that_was_used_last_counts() -> None:
    """Of several desktops; nonsense is not known."""
    two = "IdleHint=yes\nIdleSinceHint=90000000\n\nIdleHint=yes\nIdleSinceHint=95000000\n"
    assert least_idle_s(two, 100.0) == 5.0
    assert least_idle_s("IdleHint=yes\nIdleSinceHint=never\n\nwhat\n", 100.0) is None


def test_every_wish_is_kept_in_the_file(tmp_path: Path) -> None:
    """What is written is read again, and a stop beside it; what nobody understands is refused."""
    wishes = OwnerSettings(
        cpu="idle", free_cpus=2, free_mem=4096, free_disk=100, on_battery="pause", pause_while=("a", "b"), idle_for=300,
        stop=Stop.FINISH,
    )  # fmt: skip
    owner_settings.save(tmp_path, wishes)
    assert owner_settings.load(tmp_path) == wishes
    assert owner_settings.is_stopped(tmp_path)
    (tmp_path / layout.OWNER_SETTINGS).write_text('{"schema": 1, "limits": {}, "snoozes": [], "stop": "perhaps"}')
    with pytest.raises(ConfigError, match="wrong shape"):
        owner_settings.load(tmp_path)
    assert not owner_settings.is_stopped(tmp_path)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("blender", ("blender",)),
        ("blender, steam", ("blender", "steam")),
        ('["blender", "Mass Effect.exe"]', ("blender", "Mass Effect.exe")),
        ("a,a", ("a",)),
        ("", None),
        ("a,", None),
        ("/usr/bin/blender", None),
        (",".join(map(str, range(101))), None),
    ],
)
def test_names_of_programs(text: str, names: tuple[str, ...] | None) -> None:
    """With commas, or as TOML writes a list; no folders, and not without end."""
    check = owner_settings.KEYS["pause_while"]
    if names is None:
        with pytest.raises(ValueError, match="names of programs"):
            check(text)
    else:
        assert check(text) == names


def test_commands_run_on_cpus_that_nobody_wants() -> None:
    """SCHED_IDLE for this process, for what it starts, and for one that came before."""
    code = (
        "import os, subprocess\nfrom nexapod_batch.runner.processes import niceness\n"
        "other = subprocess.Popen(['sleep', '60'])\n"
        "wanted = niceness.Niceness(nice=0, idle_io=False, idle_cpu=True)\n"
        "niceness.keep_back([other.pid], wanted)\n"
        "print(os.sched_getscheduler(other.pid) == os.SCHED_IDLE)\nother.kill()\n"
        "niceness.stand_back(wanted)\nprint(niceness.own().idle_cpu)\n"
        "print(subprocess.run(['chrt', '-p', str(os.getpid())], capture_output=True, text=True).stdout.count('SCHED_IDLE'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\nTrue\n1\n"
    assert not niceness.Niceness(nice=0, idle_io=False).any
