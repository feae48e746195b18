"""Reading TOML with a cap, and finding the line of a key again.

Guarantees: `decode` raises nothing but the error class it was given; numbers with a fraction keep the text they were
written with (`Literal`), so that `8.0` in an array of parameters stays `8.0`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import tomli

from nexapod_batch.errors import DescriptorError, Problem
from nexapod_batch.files.own import open_file
from nexapod_batch.schema.literal import Literal

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MAX_BYTES", "decode", "key_lines", "read_owned", "read_text"]

#: The largest file that is read. Hand-written descriptors are a hundred times smaller.
MAX_BYTES = 64 * 1024


def read_text(path: Path, error: type[DescriptorError] = DescriptorError, *, own: bool = False) -> str:
    """Return the text of a file of at most MAX_BYTES; raise `error` when it cannot be read as such.

    With `own` it is a file that configures: ForeignPathError unless only this account and root can change it.
    """
    return read_owned(path, error, own=own)[0]


def read_owned(
    path: Path, error: type[DescriptorError] = DescriptorError, *, own: bool = False
) -> tuple[str, int]:
    """Return the text of a file, as `read_text` does, and the uid of the owner of what was read."""
    name = str(path).encode("utf-8", "backslashreplace").decode()
    try:
        if path.exists() and not path.is_file():
            raise error(f"{name} cannot be read", got="a folder or special file", wanted="a TOML file")
        with os.fdopen(open_file(path), "rb") if own else path.open("rb") as stream:
            owner = os.fstat(stream.fileno()).st_uid
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or str(cause)
        hint = "check the path" if path.is_absolute() or _is_somewhere() else "the current folder is gone: cd to one"
        raise error(f"{name} cannot be read: {reason.lower()}", hint=hint) from cause
    _check_size(len(data), name, error)
    try:
        return data.decode("utf-8-sig"), owner
    except UnicodeDecodeError as cause:
        line = data.count(b"\n", 0, cause.start) + 1
        raise error(f"{name} is not UTF-8", got=f"byte 0x{data[cause.start]:02x} on line {line}") from cause


def _is_somewhere() -> bool:
    """Say whether the current folder is there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def decode(text: str, name: str, error: type[DescriptorError] = DescriptorError) -> dict[str, Any]:
    """Return the document of a TOML text; raise `error` for broken, too large or unencodable text."""
    try:
        _check_size(len(text.encode()), name, error)
        return tomli.loads(text, parse_float=Literal)
    except tomli.TOMLDecodeError as cause:
        line = getattr(cause, "lineno", None)
        problem = Problem("", getattr(cause, "msg", None) or str(cause), line)
        raise error(f"{name} is not valid TOML", problems=(problem,), hint="see https://toml.io") from cause
    except (ValueError, RecursionError, OverflowError) as cause:
        reason = "nested too deeply" if isinstance(cause, RecursionError) else str(cause)
        raise error(f"{name} is not valid TOML", got=reason[:200], hint="see https://toml.io") from cause


def _check_size(size: int, name: str, error: type[DescriptorError]) -> None:
    if size > MAX_BYTES:
        raise error(
            f"{name} is too large",
            got="more than 64 KiB",
            wanted=f"at most {MAX_BYTES} bytes",
            hint="keep long lists of parameters in a file: array.values",
        )


_BARE = r"[A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'"
_KEY = rf"(?:{_BARE})(?:[ \t]*\.[ \t]*(?:{_BARE}))*"
_HEADER = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_KEY})[ \t]*\]\]?")
_ASSIGN = re.compile(rf"[ \t]*({_KEY})[ \t]*=")
_PIECE = re.compile(_BARE)
_SKIP = re.compile(
    r"#[^\n]*|\"\"\"(?:[^\\]|\\.)*?\"{3,5}|'''.*?'{3,5}|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[\[{]|[\]}]|\n", re.DOTALL
)


def key_lines(text: str) -> dict[str, int]:
    """Return key path -> line for every key written at the start of a line of valid TOML; `outputs[0].path` style."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    text = text.removeprefix("\ufeff")
    position, line, prefix = 0, 1, ""
    while position < len(text):
        if header := _HEADER.match(text, position):
            prefix = _header_path(header[2], double=header[1] == "[[", counts=counts)
            lines.setdefault(prefix, line)
            position = header.end()
        elif assign := _ASSIGN.match(text, position):
            path = prefix
            for piece in _pieces(assign[1]):
                path = f"{path}.{piece}" if path else piece
                lines.setdefault(path, line)
            position = assign.end()
        start = position
        position = _end_of_statement(text, position)
        line += text.count("\n", start, position)
    return lines


def _end_of_statement(text: str, position: int) -> int:
    depth = 0
    for token in _SKIP.finditer(text, position):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n" and depth <= 0:
            return token.end()
    return len(text)


def _pieces(key: str) -> list[str]:
    return [piece.strip("\"'") for piece in _PIECE.findall(key)]


def _header_path(key: str, *, double: bool, counts: dict[str, int]) -> str:
    path = ""
    pieces = _pieces(key)
    for number, piece in enumerate(pieces):
        path = f"{path}.{piece}" if path else piece
        if double and number == len(pieces) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = f"{path}[{counts[path]}]"
    return path
