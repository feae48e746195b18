"""Whether somebody uses a desktop of this machine, as logind knows it from the desktop.

Only desktops know of mouse and keys in a graphical session. Most of them tell logind when nobody has used them for a
while, which is asked through its own program: no library, no bus of ours. A session that is locked, or not the one on
the screen, is not used; a desktop that never says that it is idle counts as used for as long as it is on the screen.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["desktop_idle_s", "least_idle_s"]

_SESSIONS = Path("/run/systemd/sessions")
_GRAPHICAL = frozenset({"x11", "wayland", "mir"})
_ASKED = ("IdleHint", "IdleSinceHint", "LockedHint")
_PATIENCE_S = 1.0
_AGAIN_S = 60.0  # before logind is asked again that did not answer
_MOST_BYTES = 65536


class _Patience:
    """Until when logind is not asked, by the clock that only runs forward."""

    not_before = 0.0


def desktop_idle_s() -> float | None:
    """Return the seconds since somebody used a desktop; None where there is none in use, or nobody knows."""
    found = _on_screen()
    program = shutil.which("loginctl") if found else None
    if program is None or time.monotonic() < _Patience.not_before:
        return None
    told = _ask([program, "show-session", *found, *(f"--property={name}" for name in _ASKED)])
    if told is None:
        _Patience.not_before = time.monotonic() + _AGAIN_S
        return None
    return least_idle_s(told, time.time())


def least_idle_s(text: str, now: float) -> float | None:
    """Return how long the session that was used last has been idle; `text` is what `loginctl show-session` says."""
    idle = []
    for block in text.split("\n\n"):
        told = _fields(block)
        if told.get("LockedHint") == "yes":
            continue
        since = told.get("IdleSinceHint", "")
        if told.get("IdleHint") == "no":
            idle.append(0.0)
        elif told.get("IdleHint") == "yes" and since.isascii() and since.isdigit():
            idle.append(max(0.0, now - int(since) / 1e6))
    return min(idle, default=None)


def _on_screen() -> list[str]:
    """Return the sessions of people with a desktop that is on a screen now."""
    found = []
    with suppress(OSError):
        for file in sorted(_SESSIONS.iterdir()):
            with suppress(OSError):
                told = _fields(file.read_bytes()[:_MOST_BYTES].decode("utf-8", "replace"))
                if told.get("CLASS") == "user" and told.get("ACTIVE") == "1" and told.get("TYPE") in _GRAPHICAL:
                    found.append(file.name)
    return found


def _ask(argv: Sequence[str]) -> str | None:
    """Return what a program says; None where it fails or takes too long."""
    from nexapod_batch.files import answers  # noqa: PLC0415 - 10 ms that only an owner with this wish pays

    with suppress(OSError):
        done = answers.ask(argv, timeout_s=_PATIENCE_S)
        if done.stdout:  # the worker may have collected it: then its exit code is not known
            return done.stdout.decode("utf-8", "replace")
    return None


def _fields(text: str) -> Mapping[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
