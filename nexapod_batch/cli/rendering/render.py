"""What a command says, in two formats behind one door, so that no command asks which.

stdout is data, stderr is talk. Documents are plain JSON objects; the text form of each is a pure function in
`renderers`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import click

from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.terminal import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "Document", "JsonOutput", "Output", "SilentOutput", "TextOutput", "be_as_usual", "be_quiet",
    "note", "note_new", "output", "set_color",
]  # fmt: skip

#: A JSON object.
Document = dict[str, Any]
#: Makes of an object what fits in a row.
Flat: TypeAlias = "Callable[[Document], Document]"


#: How the command talks, as its options say.
_talk = {"quiet": "", "color": "auto"}


class Output(Protocol):
    """One format of stdout."""

    def document(self, document: Document, describe: Callable[[Document], Iterable[str]]) -> None:
        """Print one object; `describe` turns it into lines for people."""
        ...

    def part(self, document: Document, describe: Callable[[Document], Iterable[str]]) -> None:
        """Tell people how far the command is; programs get one object, at the end."""
        ...

    def rows(self, kind: str, rows: Sequence[Document], columns: Sequence[str], flat: Flat = dict) -> None:
        """Print a list of objects under the name `kind`; people see the named columns of what `flat` makes of each."""
        ...

    def lines(self, kind: str, lines: Sequence[str]) -> None:
        """Print lines as they are, under the name `kind` where names are printed."""
        ...


class TextOutput:
    """For people: aligned columns, control characters shown, colour only on a terminal without `NO_COLOR`."""

    def __init__(self) -> None:
        """Ask once whether stdout takes colour."""
        self._colour = _takes_colour()

    def document(self, document: Document, describe: Callable[[Document], Iterable[str]]) -> None:
        """Print the lines that describe it."""
        self._print(describe(document))

    def part(self, document: Document, describe: Callable[[Document], Iterable[str]]) -> None:
        """Print the lines that describe it."""
        self._print(describe(document))

    def rows(self, kind: str, rows: Sequence[Document], columns: Sequence[str], flat: Flat = dict) -> None:
        """Print a table; for an empty one say so on stderr, and nothing on stdout."""
        if rows:
            self._print(renderers.table([flat(row) for row in rows], columns, _width()))
        else:
            note(f"no {kind.replace('_', ' ')}")

    def lines(self, kind: str, lines: Sequence[str]) -> None:  # noqa: ARG002 - a name is for programs
        """Print the lines."""
        if lines:
            self._print(lines)

    def _print(self, lines: Iterable[str]) -> None:
        safe = "\n".join(map(clean, lines))
        if safe:
            click.echo(renderers.colour(safe) if self._colour else safe, color=self._colour)


class JsonOutput:
    """For programs: one JSON object with `"schema": 1`."""

    def document(self, document: Document, describe: Callable[[Document], Iterable[str]]) -> None:  # noqa: ARG002
        """Print the object."""
        import json

        click.echo(json.dumps({"schema": 1, **document}, indent=2 if sys.stdout.isatty() else None))

    def part(self, document: Document, describe: Callable[[Document], Iterable[str]]) -> None:
        """Print nothing."""

    def rows(self, kind: str, rows: Sequence[Document], columns: Sequence[str], flat: Flat = dict) -> None:  # noqa: ARG002
        """Print all fields of all rows."""
        self.document({kind: list(rows)}, renderers.nothing)

    def lines(self, kind: str, lines: Sequence[str]) -> None:
        """Print the lines as a list of strings."""
        self.document({kind: list(lines)}, renderers.nothing)


class SilentOutput(JsonOutput):
    """For `--parsable`: the command prints one bare value itself."""

    def document(self, document: Document, describe: Callable[[Document], Iterable[str]]) -> None:
        """Print nothing."""


def output(as_json: bool) -> Output:
    """Return the renderer that `--json` asks for."""
    if as_json:
        return JsonOutput()
    return TextOutput()


def be_as_usual() -> None:
    """Forget what options of an earlier command in this process said."""
    _talk.update(quiet="", color="auto")


def be_quiet() -> None:
    """Say nothing more on stderr but errors."""
    _talk["quiet"] = "yes"


def set_color(when: str) -> None:
    """Colour what is printed `always`, `never`, or, with `auto`, as the terminal and the environment say."""
    _talk["color"] = when


def _width() -> int | None:
    """Return the columns of the terminal that stdout is; None where it is none."""
    if not sys.stdout.isatty():
        return None
    from shutil import get_terminal_size

    return get_terminal_size().columns


def _takes_colour() -> bool:
    """Say whether stdout is coloured: as the option says, else NO_COLOR, else FORCE_COLOR, else on a terminal."""
    when = _talk["color"]
    if when in {"always", "never"}:
        return when == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def note(message: str) -> None:
    """Say something to people, on stderr, unless they asked for quiet."""
    if _talk["quiet"]:
        return
    click.echo("\n".join(map(clean, message.splitlines())), err=True)


def note_new(message: str, already_told: Iterable[str]) -> None:
    """Say something to people that is no part of what they were told before."""
    if not any(message in one for one in already_told):
        note(message)
