"""How to have `reconcile` run regularly: a cron line, a systemd user timer, a scrontab entry. Text only.

Timers start with a PATH of their own, in which no scheduler's commands are: the entry names the folders of this one.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from nexapod_batch import interpreter

__all__ = ["entry"]

#: Where a timer looks anyhow.
_USUAL = ("/usr/local/bin", "/usr/bin", "/bin")
#: What says where the state of an account is.
_PLACES = ("NEXAPOD_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
#: Characters of a line that every cron takes.
_MAX_LINE = 990


def entry(how: str) -> list[str]:
    """Return the lines for `cron`, `systemd` or `scrontab`, with the paths of this installation."""
    command = f"{shlex.join([*_environment(), _program()])} reconcile --quiet --max-seconds 240"
    if how == "cron":
        return ["# crontab -e", *_cron(command)]
    if how == "scrontab":
        return ["# scrontab -e", "#SCRON --time=00:05:00", "#SCRON --mem=512M", *_cron(command)]
    return [
        "# ~/.config/systemd/user/nexapod-batch.service",
        "[Unit]",
        "Description=nexapod-batch reconcile",
        "[Service]",
        "Type=oneshot",
        "KillMode=process",  # the workers that it starts go on
        f"ExecStart=/usr/bin/env {_systemd(command)}",
        "",
        "# ~/.config/systemd/user/nexapod-batch.timer",
        "[Unit]",
        "Description=nexapod-batch reconcile, every five minutes",
        "[Timer]",
        "OnCalendar=*:0/5",
        "Persistent=true",
        "[Install]",
        "WantedBy=timers.target",
        "",
        "# then: systemctl --user daemon-reload && systemctl --user enable --now nexapod-batch.timer",
    ]


def _environment() -> list[str]:
    """Return the environment that a timer lacks: where commands are, and where the state is."""
    found = ["env", f"PATH={':'.join(_folders(os.environ.get('PATH', '')))}"]
    named = [(name, os.environ[name]) for name in _PLACES if os.environ.get(name)]
    return [*found, *(f"{name}={os.path.abspath(place)}" for name, place in named)]


def _folders(path: str) -> list[str]:
    """Return the folders of a PATH that are there, each once, and the usual ones."""
    there = [one.rstrip("/") for one in path.split(":") if one.startswith("/") and os.path.isdir(one)]
    return list(dict.fromkeys([*(one for one in there if one), *_USUAL]))


def _program() -> str:
    """Return this program's absolute path."""
    return str(Path(interpreter.own()).with_name("nexapod-batch"))


def _cron(command: str) -> list[str]:
    escaped = command.replace("%", "\\%")  # cron ends the line at %
    line = f"*/5 * * * * {escaped}"
    if len(line) <= _MAX_LINE:
        return [line]
    return ["# too long for some crons: shorten PATH to the folders of the scheduler's commands", line]


def _systemd(command: str) -> str:
    return command.removeprefix("env ").replace("%", "%%").replace("$", "$$")
