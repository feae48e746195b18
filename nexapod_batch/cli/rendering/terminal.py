"""Words that a stranger chose, on a person's terminal: nothing of them moves the cursor, recolours, hides or reorders.

Names, reasons, errors and logs come from jobs, nodes and files. Characters that a terminal acts upon, or that cannot be
seen, are spelt out instead (an escape as `x1b` behind a backslash).
"""

from __future__ import annotations

import io
import re
import sys
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["LogPrinter", "clean"]

#: Bytes of a log that are read at once.
_CHUNK = 1 << 16
# Compiled by the first use: that costs more than most commands need of this module.
#: Control characters but the tab, direction marks, line separators, lone surrogates, and what Unicode calls
#: Default_Ignorable_Code_Point (DerivedCoreProperties.txt): zero-width characters, fillers, variation selectors, tags.
_UNSEEN = (
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff]"
)


def clean(line: str) -> str:
    """Return the line with everything spelt out that is not to be seen as it is; tabs stay."""
    if line.isascii() and line.isprintable():
        return line
    return re.sub(_UNSEEN, lambda found: ascii(found[0])[1:-1], line)


class LogPrinter:
    """Prints what a task wrote: as it is into files and pipes, and on a terminal so that it can do nothing there.

    On a terminal every kind of line end begins a new line, so that a progress bar is a list of its states.
    """

    def __init__(self, *, raw: bool = False) -> None:
        """Print bytes as they are where stdout is no terminal, or when `raw` asks for it."""
        self._raw = raw or not sys.stdout.isatty()
        self._decoder = io.IncrementalNewlineDecoder(getincrementaldecoder("utf-8")("backslashreplace"), translate=True)

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Print the next part; with `final` also what was held back, as half a character is."""
        if self._raw:
            click.echo(data, nl=False)
            return
        text = self._decoder.decode(data, final)
        click.echo("\n".join(map(clean, text.split("\n"))), nl=False)

    def copy(self, source: BinaryIO) -> None:
        """Print all that is left of a file."""
        while data := source.read(_CHUNK):
            self.feed(data)
        self.feed(b"", final=True)
