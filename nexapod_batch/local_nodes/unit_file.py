"""The systemd user unit of a node: where it lies, and how it is taken away again."""

from __future__ import annotations

import os
from pathlib import Path

from nexapod_batch.errors import UsageError

__all__ = ["MARK", "find", "folder", "name_of", "quoted", "remove"]

#: How the first line of a unit of ours begins.
MARK = "# Made by nexapod-batch node unit "
_PATIENCE_S = 60


def name_of(node: str) -> str:
    """Return what the unit of a node is called."""
    return f"nexapod-node-{node}.service"


def folder() -> Path:
    """Return where systemd looks for units of this account."""
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(config, "systemd/user")


def find(node: str) -> Path | None:
    """Return the unit file of a node; None without one. UsageError where somebody else wrote it."""
    file = folder() / name_of(node)
    try:
        first = file.read_bytes()[: len(MARK)]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{file} cannot be read", got=str(error), hint="mend or remove it yourself") from error
    if first != MARK.encode():
        raise UsageError(f"{file} is not of nexapod-batch", hint="remove it yourself, then the same command again")
    return file


def remove(file: Path) -> str:
    """Stop a unit, and remove its file with the link that enabled it; return what is left to be done, or ""."""
    from nexapod_batch.files import answers  # noqa: PLC0415 - who removes a node only

    told = ""
    try:
        failed = answers.ask(["systemctl", "--user", "disable", "--now", file.name], timeout_s=_PATIENCE_S).status != 0
    except OSError as error:
        failed = not isinstance(error, FileNotFoundError)  # without systemd nobody runs it
    if failed:
        told = f"systemctl --user stop {file.name}"
    for path in (file, *file.parent.glob(f"*.wants/{file.name}")):
        path.unlink(missing_ok=True)
    return told


def quoted(word: str) -> str:
    """Return one word as systemd reads it; `$` means nothing to it here, by the `:` before the command."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{word.replace("%", "%%")}"'
