"""What of a file does not count: the `ignore = [...]` of an output.

- `/.../` is a regular expression: lines in which it is found are left out of any text format. RE2 matches it, in time
  that grows with the length of the line and with nothing else.
- In JSON, `.meta.date` is a value by its path; `[*]` is any element of an array, `..date` a key at any depth.
- In CSV it is the name of a column; in files with named parts (NetCDF, HDF5, FITS, .npz) that of a header field, an
  attribute or a variable.
- In XML and every other file an entry without slashes is a regular expression for lines, too.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.errors import CompareError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["JsonPath", "fault_of", "json_paths", "names", "pattern_fault", "patterns"]

#: Bytes of memory that the automaton of one expression may take.
_MEMORY = 1 << 20
_STEP = re.compile(r'\.(?:"((?:[^"\\]|\\.)*)"|([^.\[\]"]+))|\[\*?\]')
#: Suffixes of files of which an entry can only be a regular expression.
_PATTERNS_ALONE = frozenset({"dat", "log", "out", "pdb", "svg", "txt", "xml"})
#: Stands in a path for any element of an array.
ELEMENT = "[*]"


class JsonPath(NamedTuple):
    """Where a value stands in a document."""

    steps: tuple[str, ...]  # keys, and ELEMENT for the elements of an array
    anywhere: bool  # whether they may begin at any depth

    def takes(self, path: Sequence[str]) -> bool:
        """Say whether the value at a path is meant."""
        if self.anywhere:
            return tuple(path[-len(self.steps) :]) == self.steps
        return tuple(path) == self.steps


def patterns(entries: Sequence[str], *, bare: bool) -> Callable[[bytes], bool] | None:
    """Return what says whether a line is left out; None where no entry is for lines.

    With `bare`, entries without slashes are regular expressions as well. Raises CompareError for one that is none.
    """
    texts = [_inner(entry) if _is_pattern(entry) else entry for entry in entries if bare or _is_pattern(entry)]
    if not texts:
        return None
    compiled = [_compiled(text) for text in texts]

    def left_out(line: bytes) -> bool:
        return any(search(line) for search in compiled)

    return left_out


def names(entries: Sequence[str]) -> frozenset[str]:
    """Return the entries that are names, of columns or of parts."""
    return frozenset(entry for entry in entries if not _is_pattern(entry))


def json_paths(entries: Sequence[str]) -> tuple[JsonPath, ...]:
    """Return the entries that are paths in JSON; those of other formats are left out."""
    return tuple(path for path in map(_path, entries) if path is not None)


def fault_of(entry: str, suffix: str) -> str | None:
    """Return what is wrong with an entry for files of a suffix (lower case, no dot); None for nothing."""
    if _is_pattern(entry):
        return pattern_fault(_inner(entry))
    if suffix in {"json", "jsonl", "ndjson"} and _path(entry) is None:
        return "no path in JSON"
    if suffix in _PATTERNS_ALONE:
        return pattern_fault(entry)
    return None


def pattern_fault(text: str) -> str | None:
    """Return what is wrong with a regular expression; None for nothing."""
    try:
        _compiled(text)
    except CompareError as error:
        return str(error.got)
    return None


def _is_pattern(entry: str) -> bool:
    return len(entry) > 2 and entry.startswith("/") and entry.endswith("/")


def _inner(entry: str) -> str:
    return entry[1:-1]


def _compiled(text: str) -> Callable[[bytes], object]:
    """Return the search of a regular expression in bytes; CompareError for what RE2 does not take."""
    import re2  # noqa: PLC0415 - only where lines are ignored

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    options.encoding = re2.Options.Encoding.LATIN1  # a byte is a character: no encoding is guessed
    try:
        compiled = re2.compile(text.encode(), options)
    except re2.error as error:
        why = error.args[0] if error.args else "no regular expression"
        got = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        raise CompareError(
            f"not a regular expression: {text!a}", got=got, wanted="one of RE2, without back references and look-around"
        ) from None
    search: Callable[[bytes], object] = compiled.search
    return search


def _path(entry: str) -> JsonPath | None:
    """Return the path that an entry spells; None where it spells none."""
    anywhere = entry.startswith("..")
    text = entry[1:] if anywhere else entry
    steps, at = [], 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            return None
        quoted, plain = match.groups()
        if quoted is not None:
            try:
                steps.append(str(json.loads(f'"{quoted}"')))
            except ValueError:
                return None
        else:
            steps.append(plain or ELEMENT)
        at = match.end()
    if not steps:
        return None
    return JsonPath(steps=tuple(steps), anywhere=anywhere)
