"""Files that a command or a script names and that lie beside it: they become the inputs of its job."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["input_rows", "named_files", "output_rows", "words_of_script"]

#: What separates words of a shell script, as far as names of files go.
_SEPARATORS = r"[\s;|&<>()\"'`=,]+"
#: Words of one script that are looked at, and characters that a path has at most.
_MAX_WORDS, _MAX_LENGTH = 5_000, 1_024


def words_of_script(script: str) -> list[str]:
    """Return the words of a script that may be names of files, in their order; comments are left out."""
    words: list[str] = []
    for line in script.splitlines():
        if not line.lstrip().startswith("#"):
            words += re.split(_SEPARATORS, line)
    return words[:_MAX_WORDS]


def named_files(arguments: Iterable[str], folder: Path) -> list[str]:
    """Return the words that name plain files below the folder, each once."""
    found: dict[str, None] = {}
    for word in arguments:
        path = word.removeprefix("./")
        if not path or path.startswith(("/", "~", "-")) or len(path) > _MAX_LENGTH or "\0" in path:
            continue
        if ".." in path.split("/"):
            continue
        try:
            if (folder / path).is_file():
                found[path] = None
        except OSError:
            continue
    return list(found)


def input_rows(files: Sequence[str], given: Sequence[str]) -> list[dict[str, Any]]:
    """Return the `[[inputs]]` of files that were found, and of those that were given: `SOURCE` or `SOURCE:TARGET`.

    Raises:
        UsageError: One is not of that form.

    """
    rows: dict[str, dict[str, Any]] = {path: {"source": path} for path in files}
    for text in given:
        source, colon, target = text.rpartition(":")
        if not colon or "://" in text:
            rows[text] = {"source": text}
            continue
        if not source or not target:
            raise UsageError("not an input", got=repr(text), wanted="FILE, or FILE:NAME_IN_THE_WORK_FOLDER")
        rows[source] = {"source": source, "target": target}
    return list(rows.values())


def output_rows(given: Sequence[str]) -> list[dict[str, Any]]:
    """Return the `[[outputs]]` of `PATH` or `PATH:COMPARE[,KEY=NUMBER]`, as in `x.csv:significant,digits=8`.

    Raises:
        UsageError: One is not of that form.

    """
    rows = []
    for text in given:
        path, colon, rule = text.partition(":")
        row: dict[str, Any] = {"path": path}
        if colon:
            compare, *more = rule.split(",")
            row["compare"] = compare
            for pair in more:
                key, equals, number = pair.partition("=")
                if not equals:
                    wanted = "PATH:COMPARE,KEY=NUMBER, as in out.csv:significant,digits=8"
                    raise UsageError("not an output", got=repr(text), wanted=wanted)
                row[key] = _number(number)
        rows.append(row)
    return rows


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
