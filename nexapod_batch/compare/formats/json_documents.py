"""Documents of JSON Lines rounded together: the fast way for large files, which decides nothing by itself.

`form` gives the very bytes that reading token by token gives, or None; a property test holds it to that. orjson reads
each line, and what it takes otherwise is looked for in the text: keys that an object has twice, whole numbers that no
eight bytes hold, numbers that a double holds as 0 alone.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring_ascii
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from nexapod_batch.compare.ignoring import ELEMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nexapod_batch.compare.blocks import Known
    from nexapod_batch.compare.ignoring import JsonPath
    from nexapod_batch.compare.numbers import Token

__all__ = ["Documents", "documents_of"]

#: Levels of a document that is rounded so.
_DEPTH = 50
#: A key whose colon does not stand right behind it cannot be counted.
_FAR_COLON = re.compile(rb'"[ \t\r]+:')
_NOUGHTS = bytes.maketrans(b"123456789", b"000000000")
#: Digits of what may be a whole number that orjson takes for a double, and of what may be one that a double holds as 0.
_LONG, _LONGEST = b"0" * 19, b"0" * 90
_TOO_LARGE = re.compile(rb"-[1-9][0-9]{18}|(?<![.0-9])[1-9][0-9]{19}")
_SMALL = re.compile(rb"[eE]-[0-9]{3}")
#: Whole numbers below this are doubles.
_EXACT = 10**15
#: Texts and kinds of objects that are remembered.
_MOST_KNOWN = 4_096
_CONSTANTS = {True: b"true", False: b"false", None: b"null"}


class _UnsettledError(Exception):
    """What must be read token by token."""


class Documents(NamedTuple):
    """Whole lines, of which each is one document or blank."""

    raw: bytes
    values: Sequence[Any]  # what orjson makes of them
    read: Callable[[bytes], list[Token]]  # returns the tokens of such lines
    ignored: tuple[JsonPath, ...]  # members that do not count

    def tokens(self) -> list[Token]:
        """Return the tokens, with sorted keys."""
        return self.read(self.raw)

    def form(self, style: bytes, exact_integers: bool, known: Known) -> bytes | None:  # noqa: ARG002 - `known` has it
        """Return the normal form, a blank behind each token; None where it must be read token by token."""
        writing = _Writing(style, known.normal, self.ignored)
        try:
            for value in self.values:
                writing.add(value, _DEPTH)
        except _UnsettledError:
            return None
        if writing.members != self.raw.count(b'":') or _has_far_colon(self.raw):
            return None  # a key may be there twice
        return _checked(self.raw, writing.text(), style % 0.0)


def documents_of(lines: bytes) -> list[Any] | None:
    """Return the documents of whole lines; None where a line is not one document."""
    try:
        return [orjson.loads(line) for line in lines.split(b"\n") if line.strip(b" \t\r")]
    except orjson.JSONDecodeError:
        return None


def _has_far_colon(raw: bytes) -> bool:
    """Say whether a blank may stand between a key and its colon: behind most quotes stands none at all."""
    return any(mark in raw for mark in (b'" ', b'"\t', b'"\r')) and _FAR_COLON.search(raw) is not None


def _checked(raw: bytes, form: bytes, zero: bytes) -> bytes | None:
    """Return the form of a text without signs of zeros; None where a number or a string may need another look."""
    digits = raw.translate(_NOUGHTS)
    if _LONG in digits and _TOO_LARGE.search(raw):
        return None
    zero += b" "
    if zero in form and (_LONGEST in digits or _SMALL.search(raw)):
        return None
    negative = b"-" + zero
    if negative not in form:
        return form
    if negative in raw or b"\\u" in raw:
        return None  # it may stand in a string
    return form.replace(negative, zero)


class _Key(NamedTuple):
    """How a key is written, with what stands before it."""

    name: str
    alone: bytes
    number: bytes  # with a number behind it
    text: bytes  # with a string behind it


class _Object(NamedTuple):
    """How objects with certain keys are written."""

    keys: tuple[_Key, ...]  # in their order
    values: Callable[[dict[str, Any]], tuple[Any, ...]]  # of an object, in that order


class _Writing:
    """A pattern for printf and its values, put together document by document."""

    def __init__(self, style: bytes, normal: Callable[[Token], bytes], ignored: tuple[JsonPath, ...]) -> None:
        self.members = 0
        self._ignored = ignored
        self._path: list[str] = []  # of the object whose members are added
        self._pattern: list[bytes] = []
        self._values: list[Any] = []
        self._number = style + b" "
        self._limit = min(_EXACT, 10 ** (int(style[2:-1]) + 1)) if style[-1:] == b"e" else _EXACT
        self._normal = normal
        self._objects: dict[tuple[tuple[str, ...], tuple[str, ...]], _Object] = {}
        self._texts: dict[str, bytes] = {}

    def text(self) -> bytes:
        """Return everything, with a blank behind each token."""
        return b"".join(self._pattern) % tuple(self._values)

    def add(self, value: Any, depth: int) -> None:  # noqa: ANN401 - what JSON may hold
        """Add one value, below which there may be so many levels."""
        kind = type(value)
        if kind is float:
            self._pattern.append(self._number)
            self._values.append(value)
        elif kind is str:
            self._pattern.append(b"%b ")
            self._values.append(self._quoted(value))
        elif kind is int:
            self._whole(value)
        elif kind is dict:
            self._object(value, depth - 1)
        elif kind is list:
            self._array(value, depth - 1)
        else:
            self._pattern.append(_CONSTANTS[value] + b" ")

    def _whole(self, value: int) -> None:
        if -self._limit < value < self._limit:
            self._pattern.append(self._number)
            self._values.append(value)
        else:
            self._pattern.append(b"%b ")
            self._values.append(self._normal(value))

    def _object(self, value: dict[str, Any], depth: int) -> None:
        if depth < 0:
            raise _UnsettledError
        self.members += len(value)
        which = tuple(value), tuple(self._path) if self._ignored else ()
        how = self._objects.get(which)
        if how is None:
            how = _object(self._counting(value), self._number)
            if len(self._objects) < _MOST_KNOWN:
                self._objects[which] = how
        write, take, limit = self._pattern.append, self._values.append, self._limit
        for key, member in zip(how.keys, how.values(value), strict=True):
            kind = type(member)
            if kind is float or (kind is int and -limit < member < limit):
                write(key.number)
                take(member)
            elif kind is str:
                write(key.text)
                take(self._quoted(member))
            else:
                write(key.alone)
                self._path.append(key.name)
                self.add(member, depth)
                self._path.pop()
        write(b"} " if how.keys else b"{ } ")

    def _counting(self, keys: Iterable[str]) -> list[str]:
        """Return the keys of an object that are not ignored."""
        return [key for key in keys if not any(one.takes([*self._path, key]) for one in self._ignored)]

    def _array(self, value: list[Any], depth: int) -> None:
        if depth < 0:
            raise _UnsettledError
        self._pattern.append(b"[ ")
        kinds = set(map(type, value))
        if kinds == {float} or (kinds == {int} and -self._limit < min(value) and max(value) < self._limit):
            self._pattern.append(self._number * len(value))
            self._values += value
        else:
            self._path.append(ELEMENT)
            for element in value:
                self.add(element, depth)
            self._path.pop()
        self._pattern.append(b"] ")

    def _quoted(self, value: str) -> bytes:
        text = self._texts.get(value)
        if text is None:
            text = encode_basestring_ascii(value).encode()
            if len(self._texts) < _MOST_KNOWN:
                self._texts[value] = text
        return text


def _object(keys: list[str], number: bytes) -> _Object:
    """Return how objects with keys are written, of which others do not count."""
    quoted = sorted((encode_basestring_ascii(key).encode(), key) for key in keys)
    written = []
    for at, (text, name) in enumerate(quoted):
        alone = b"{ " * (at == 0) + text.replace(b"%", b"%%") + b" "
        written.append(_Key(name, alone, alone + number, alone + b"%b "))
    names = [key for _, key in quoted]
    return _Object(tuple(written), itemgetter(*names) if len(names) > 1 else _members(names))


def _members(names: list[str]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """Return what gives the values of an object with one key, or none."""
    return lambda value: tuple(value[name] for name in names)
