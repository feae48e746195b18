"""How to have `reconcile` run regularly: a cron line, a systemd user timer, a scrontab entry. Text only."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from nexapod_batch import interpreter

__all__ = ["entry"]


def entry(how: str) -> list[str]:
    """Return the lines for `cron`, `systemd` or `scrontab`, with the paths of this installation."""
    command = f"{shlex.join([*_home(), _program()])} reconcile --quiet --max-seconds 240"
    if how == "cron":
        return ["# crontab -e", f"*/5 * * * * {_cron(command)}"]
    if how == "scrontab":
        return ["# scrontab -e", "#SCRON --time=00:05:00", "#SCRON --mem=512M", f"*/5 * * * * {_cron(command)}"]
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


def _home() -> list[str]:
    """Return the environment that a bare shell lacks."""
    home = os.environ.get("NEXAPOD_HOME")
    return ["env", f"NEXAPOD_HOME={os.path.abspath(home)}"] if home else []


def _program() -> str:
    """Return this program's absolute path."""
    return str(Path(interpreter.own()).with_name("nexapod-batch"))


def _cron(command: str) -> str:
    return command.replace("%", "\\%")  # cron ends the line at %


def _systemd(command: str) -> str:
    return command.removeprefix("env ").replace("%", "%%").replace("$", "$$")
