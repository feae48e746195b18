"""What is wrong with a script by its bytes, in words that neither the kernel nor a shell has for it."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "WINDOWS_LINES", "beginning", "ends_as_on_windows", "has_windows_lines", "read_by_shell", "trouble",
    "why_not_started",
]  # fmt: skip

WINDOWS_LINES = "its lines end as on Windows (CR LF): a shell takes the CR for part of words; convert it with dos2unix"
_WINDOWS_LINE = "its first line ends as on Windows (CR LF), which no interpreter's name does: convert it with dos2unix"
_NO_SCRIPT = "it is neither a program of this machine nor a script: a script begins with #! and its interpreter"
_FIRST_LINE = 256  # bytes of a script in which the kernel looks for its interpreter
_LOOKED_AT = 64 << 10  # bytes of a script in which line ends are looked for
_UTF8_MARK, _UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
#: The first line of a script that a shell runs, by itself or through env.
_SHELL = re.compile(rb"#![^\n]*\b(?:ba|da|a|k|mk|z)?sh\b[^\n]*\n")
_SHELLS = frozenset({"ash", "bash", "dash", "ksh", "mksh", "sh", "zsh"})
_MAX_SHOWN = 80  # characters of an interpreter's name


def beginning(path: str) -> bytes:
    """Return how a file begins; nothing of what cannot be read, or is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return b""
    try:
        return os.read(fd, _LOOKED_AT)
    except OSError:
        return b""
    finally:
        os.close(fd)


def ends_as_on_windows(start: bytes) -> str:
    """Return that the first line of a script ends in CR LF, as a sentence; "" where it does not."""
    return _WINDOWS_LINE if _first_line(start).endswith("\r") else ""


def has_windows_lines(start: bytes) -> bool:
    """Say whether a shell's script has lines behind its first that end in CR LF."""
    return bool(_SHELL.match(start)) and b"\r\n" in start


def read_by_shell(words: Sequence[str]) -> str:
    """Return the file that a command has a shell read, as in `bash run.sh`; "" where it does not."""
    if len(words) > 1 and os.path.basename(words[0]) in _SHELLS and not words[1].startswith("-"):
        return words[1]
    return ""


def trouble(start: bytes) -> str:
    """Return why a text that begins so does not run as it is meant to; "" where nothing is seen."""
    if start.startswith(_UTF8_MARK):
        return "it begins with a byte order mark, behind which no #! counts: save it as UTF-8 without BOM"
    if start.startswith(_UTF16_MARKS):
        return "it is text in UTF-16: save it as UTF-8 without BOM"
    if start.startswith(b"#!") and b"\n" not in start[:_FIRST_LINE] and len(start) >= _FIRST_LINE:
        return f"its first line is longer than the {_FIRST_LINE - 1} bytes that the kernel reads of it"
    if has_windows_lines(start):
        return ends_as_on_windows(start) or WINDOWS_LINES
    return ends_as_on_windows(start)


def why_not_started(program: str, error: Exception) -> str:
    """Return why a program that is there cannot be started, where its beginning is to blame; else what was told.

    Of a script the kernel says "No such file or directory", and means the interpreter that its first line names.
    """
    start = beginning(program)
    first = _first_line(start)
    if first.endswith("\r"):
        return _WINDOWS_LINE
    interpreter = first.removeprefix("#!").strip().split(" ")[0][:_MAX_SHOWN]
    if isinstance(error, FileNotFoundError):
        missing = repr(interpreter) if first else "that its header names (it may be built for another system)"
        return f"there is no interpreter {missing}"
    if isinstance(error, OSError) and error.errno == errno.ENOEXEC:
        return trouble(start) or (_NO_SCRIPT if start else "it is empty")
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return f"its interpreter {interpreter!r} is a script itself, and so are too many behind that"
    if isinstance(error, PermissionError) and interpreter:
        return f"its interpreter {interpreter!r} is no program that may be run here"
    return str(error)


def _first_line(start: bytes) -> str:
    """Return the `#!` line of a script, as far as the kernel would read it; "" for anything else."""
    line = start[:_FIRST_LINE].partition(b"\n")[0]
    return line.decode("utf-8", "replace") if line.startswith(b"#!") else ""
