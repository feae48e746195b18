"""JSON as tokens with sorted keys, in memory of about the size of an object, which is bounded.

Commas and colons carry nothing and are left out. `NaN`, `Infinity` and `-Infinity`, as Python writes them, are numbers.
A key that an object has twice is refused: readers disagree on which one counts.
"""

from __future__ import annotations

import json
import re
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

from nexapod_batch.compare.formats.json_documents import Documents, documents_of
from nexapod_batch.compare.ignoring import ELEMENT, json_paths
from nexapod_batch.compare.numbers import value_of
from nexapod_batch.compare.stream import CHUNK, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.numbers import Batch, Lent, Token

__all__ = ["Place", "read"]

_TOKEN = re.compile(
    rb'[ \t\r\n]+|[{}\[\],:]|"(?:[^"\\\x00-\x1f]++|\\.)*+"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?'
    rb"|true|false|null|NaN|-?Infinity"
)
#: Behind a number, the characters that show that it does not go on: `e+5` may follow.
_BEHIND = 3
_DEPTH = 1_000
#: Bytes of a string or a number; bytes and keys that are kept to put the keys of objects in order.
_LONGEST, _MOST_KEPT, _MOST_KEYS = 1 << 26, 1 << 30, 5_000_000
_BATCH = 4_096
#: Bytes of a line that is read as a whole: what is made of one may take eighty times as much memory.
_LONGEST_LINE = 1 << 18
_OPEN, _CLOSE = (b"{", b"["), (b"}", b"]")


class Place:
    """The path of the next value, as `.runs[3].energy`."""

    def __init__(self) -> None:
        """Start before the document."""
        self._stack: list[bytes | int | None] = []  # index in an array; key in an object, None where a key comes next

    def passed(self, batch: Batch | Lent) -> None:
        """Move behind these tokens."""
        stack = self._stack
        for token in batch:
            if token == b"{":
                stack.append(None)
            elif token == b"[":
                stack.append(0)
            elif stack and stack[-1] is None and token != b"}":
                stack[-1] = token if isinstance(token, bytes) else b""
            else:
                self._ended(token)

    def _ended(self, token: Token) -> None:
        """Move to what follows a value, or the end of an array or object."""
        stack = self._stack
        if token in _CLOSE:
            stack.pop()
        if stack:
            top = stack[-1]
            stack[-1] = top + 1 if isinstance(top, int) else None

    def __str__(self) -> str:
        """Return the path; the document itself is `.`."""
        keys = (key for key in self._stack if key is not None)
        return "".join(f"[{key}]" if isinstance(key, int) else f".{json.loads(key)}" for key in keys) or "."


def read(source: Source, suffix: str) -> tuple[Place, Iterator[list[Token] | Documents]]:
    """Return the place and the batches of one document, or of JSON Lines."""
    rule = source.rule
    together = suffix != "json" and not rule.quoted_numbers
    return Place(), _by_lines(source) if together else _batches(source, _Builder(source, many=suffix != "json"))


def _batches(source: Source, builder: _Builder) -> Iterator[list[Token]]:
    """Yield the tokens of what there is to read."""
    yield from _taken(source, builder, 1)
    builder.end()
    yield from _split(builder.drain())


def _by_lines(source: Source) -> Iterator[list[Token] | Documents]:
    """Yield lines that are documents, and the tokens of all others, in which no token goes on in another line."""
    builder, number, rest = _Builder(source, many=True), 1, b""
    while chunk := source.read(CHUNK):
        lines, rest = _whole_lines(rest + chunk)
        if lines:
            yield from _documents(lines, builder, number)
            number += lines.count(b"\n")
        elif len(rest) > _LONGEST_LINE:
            source.put_back(rest)
            break
    else:
        source.put_back(rest)
    yield from _taken(source, builder, number)
    builder.end()
    yield from _split(builder.drain())


def _whole_lines(text: bytes) -> tuple[bytes, bytes]:
    """Return lines with their ends, and what follows."""
    end = text.rfind(b"\n") + 1
    return text[:end], text[end:]


def _documents(lines: bytes, builder: _Builder, number: int) -> Iterator[list[Token] | Documents]:
    """Yield whole lines, of which the first has a number: half by half where they are not all documents."""
    values = documents_of(lines) if builder.is_between else None
    if values is not None:
        yield from _split(builder.drain())
        yield Documents(lines, values, partial(_tokens, builder.source, number), builder.ignored)
        return
    middle = lines.find(b"\n", len(lines) // 2, -1) + 1 or lines.rfind(b"\n", 0, len(lines) // 2) + 1
    if middle and builder.is_between:
        yield from _documents(lines[:middle], builder, number)
        yield from _documents(lines[middle:], builder, number + lines.count(b"\n", 0, middle))
    else:
        yield from _taken(_inner(builder.source, lines), builder, number)


def _tokens(source: Source, number: int, lines: bytes) -> list[Token]:
    """Return the tokens of lines that are documents, of which the first has a number."""
    found: list[Token] = []
    inner = _inner(source, lines)
    builder = _Builder(inner, many=True)
    for batch in _taken(inner, builder, number):
        found += batch
    for batch in _split(builder.drain()):
        found += batch
    return found


def _inner(source: Source, lines: bytes) -> Source:
    return Source(BytesIO(lines), source.name, source.rule)


def _taken(source: Source, builder: _Builder, first: int) -> Iterator[list[Token]]:
    """Yield the tokens of a text, of which the first line has a number, and leave the last ones to the builder."""
    for token, line in _scan(source, first):
        builder.take(token, line)
        if len(builder.ready) >= _BATCH:
            yield from _split(builder.drain())


def _scan(source: Source, line: int) -> Iterator[tuple[bytes, int]]:
    """Yield the tokens as they stand, with their lines, of which the first one is given."""
    text, at, step = b"", 0, CHUNK
    while True:
        more = source.read(step)
        text, at = text[at:] + more, 0
        # A token that ends with the text may go on in the next chunk.
        while (match := _TOKEN.match(text, at)) and (match.end() + _BEHIND <= len(text) or not more):
            token, at = match[0], match.end()
            if token[0] in b" \t\r\n":
                line += token.count(b"\n")
            else:
                yield token, line
        if not more:
            if at < len(text):
                source.refuse(repr(text[at : at + 20]), "JSON", line=line)
            return
        if not match and text[at : at + 1] not in (b'"', b"") and len(text) - at > 16:
            source.refuse(repr(text[at : at + 20]), "JSON", line=line)
        if len(text) - at > _LONGEST:
            source.refuse(f"a value of more than {_LONGEST} bytes", "JSON", line=line)
        # A long string is looked at again with each chunk: doubled chunks keep that linear.
        step = CHUNK if at else max(step, len(text))


class _Object:
    """An object whose members are still coming."""

    def __init__(self) -> None:
        self.members: dict[bytes, bytes] = {}
        self.key = b""
        self.parts: list[bytes] = []  # of the member's value: tokens, or several of them joined by newlines
        self.loose = 0  # how many of `parts` were added since they were joined

    def add(self, piece: bytes) -> None:
        self.parts.append(piece)
        self.loose += 1
        if self.loose >= _BATCH:  # many small bytes objects cost far more than their text
            self.parts[-self.loose :] = [b"\n".join(self.parts[-self.loose :])]
            self.loose = 0

    def close_member(self) -> None:
        self.members[self.key] = b"\n".join(self.parts)
        self.parts, self.loose = [], 0


class _Builder:
    """Checks the grammar and puts keys in order. Tokens outside all objects are ready at once."""

    def __init__(self, source: Source, *, many: bool) -> None:
        self.ready: list[bytes] = []
        self.source, self._many = source, many
        self._stack: list[_Object | None] = []  # None for an array
        self._objects: list[_Object] = []
        self._kept = self._keys = 0  # bytes of the outermost object, and keys of those that are open
        self._want = "a value"
        self._seen = False
        self.ignored = json_paths(source.rule.ignore)
        self._quoted = source.rule.quoted_numbers

    @property
    def is_between(self) -> bool:
        """Say whether no document is begun."""
        return not self._stack

    def drain(self) -> list[bytes]:
        """Return what is ready and forget it."""
        ready, self.ready = self.ready, []
        return ready

    def end(self) -> None:
        """Check that the text ended where a document may end."""
        if self._stack or not (self._seen or self._many):
            self.source.refuse("the end", self._want)

    def take(self, token: bytes, line: int) -> None:
        """Take the next token."""
        want = self._want
        self._kept = self._kept + len(token) if self._objects else 0
        if self._kept > _MOST_KEPT or self._keys > _MOST_KEYS:
            wanted = f"at most {_MOST_KEPT} bytes and {_MOST_KEYS} keys, or JSON Lines"
            self.source.refuse("an object that is too large", wanted, line=line)
        if want == "a comma or the end":
            self._after_value(token, line)
        elif want == "a colon":
            self._need(token == b":", token, line)
            self._want = "a value"
        elif want.startswith("a key"):
            if token == b"}" and want == "a key or }":
                self._close(token)
            else:
                self._need(token[:1] == b'"', token, line)
                self._key(_string(token, self.source, line), line)
        elif token == b"]" and want == "a value or ]":
            self._close(token)
        elif token in _OPEN:
            self._open(token, line)
        else:
            self._value(token, line)

    def _value(self, token: bytes, line: int) -> None:
        self._need(token not in (b"}", b"]", b",", b":") and (bool(self._stack) or self._more()), token, line)
        if token[:1] != b'"':
            self._put(_number(token))
        elif self._quoted and value_of(token[1:-1]) is not None:
            self._put(token[1:-1])
        else:
            self._put(_string(token, self.source, line))
        self._ended()

    def _need(self, good: bool, token: bytes, line: int) -> None:
        if not good:
            self.source.refuse(repr(token[:20]), f"{self._want} of JSON", line=line)

    def _more(self) -> bool:
        return self._many or not self._seen

    def _put(self, piece: bytes) -> None:
        if self._objects:
            self._objects[-1].add(piece)
        else:
            self.ready.append(piece)

    def _open(self, token: bytes, line: int) -> None:
        self._need(bool(self._stack) or self._more(), token, line)
        if len(self._stack) >= _DEPTH:
            self.source.refuse(f"more than {_DEPTH} levels", "JSON of fewer", line=line)
        if token == b"[":
            self._put(token)
            self._stack.append(None)
            self._want = "a value or ]"
        else:
            self._stack.append(_Object())
            self._objects.append(self._stack[-1])  # type: ignore[arg-type] # just made
            self._want = "a key or }"

    def _key(self, key: bytes, line: int) -> None:
        top = self._objects[-1]
        if key in top.members:
            self.source.refuse(f"key {key[:40].decode()} twice", "each key once", line=line)
        top.key = key
        self._keys += 1
        self._want = "a colon"

    def _after_value(self, token: bytes, line: int) -> None:
        top = self._stack[-1]
        if token == b",":
            if top is not None:
                self._close_member(top)
            self._want = "a value" if top is None else "a key"
        else:
            self._need(token == (b"]" if top is None else b"}"), token, line)
            if top is not None:
                self._close_member(top)
            self._close(token)

    def _close_member(self, top: _Object) -> None:
        """End a member of the innermost object; nothing of one that is ignored is kept, but for its key."""
        top.close_member()
        if self.ignored:
            path = [ELEMENT if level is None else str(json.loads(level.key)) for level in self._stack]
            if any(one.takes(path) for one in self.ignored):
                top.members[top.key] = b""

    def _close(self, token: bytes) -> None:
        top = self._stack.pop()
        if top is not None:
            self._objects.pop()
            self._keys -= len(top.members)
            members = (piece for key in sorted(top.members) if top.members[key] for piece in (key, top.members[key]))
            token = b"\n".join((b"{", *members, b"}"))
        self._put(token)
        self._ended()

    def _ended(self) -> None:
        if self._stack:
            self._want = "a comma or the end"
        else:
            self._want, self._seen = "a value", True


def _string(token: bytes, source: Source, line: int) -> bytes:
    """Return the one ASCII spelling of a string."""
    if token.isascii() and b"\\" not in token and b"\x7f" not in token:
        return token  # it is that already
    try:
        return json.dumps(json.loads(token)).encode()
    except ValueError:
        source.refuse(repr(token[:20]), "a JSON string in UTF-8", line=line)


def _number(token: bytes) -> bytes:
    """Return a number so that `1E5`, which elsewhere may be a name, is one: with the sign of its exponent."""
    mantissa, mark, exponent = token.lower().partition(b"e")
    if mark and exponent.isdigit():
        return mantissa + b"e+" + exponent
    return token


def _split(pieces: list[bytes]) -> Iterator[list[Token]]:
    """Yield the tokens of joined pieces in batches; no token contains a newline."""
    text = b"\n".join(pieces)
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + CHUNK)
        end = len(text) if end < 0 else end
        yield list(text[start:end].split(b"\n"))
        start = end + 1
