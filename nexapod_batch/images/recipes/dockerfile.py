"""A Dockerfile, read strictly: what cannot be converted is named by line, the rest is spelt so that spython gets it.

spython turns a Dockerfile into a definition file, but takes every line as it comes: several stages, archives, flags and
lists pass through it as nonsense. So each instruction is looked at here first, and written anew in its plainest form.
Pure: nothing is read, run or asked. Source: the Dockerfile reference of Docker's documentation.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch.errors import ImageError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Instruction", "Plain", "instructions", "plain"]

_WORD = re.compile(r"[A-Za-z]+", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ARCHIVE = re.compile(r"\.(tar|tgz|tbz2?|txz|gz|bz2|xz|zst)$", re.ASCII)
_HEREDOC = re.compile(r"<<-?\s*['\"]?(\w+)", re.ASCII)
_WITH_HEREDOC = {"RUN", "COPY", "ADD"}
#: What has no meaning for a container that is started as a program by an account.
_DROPPED = {"EXPOSE", "VOLUME", "STOPSIGNAL", "MAINTAINER"}


class Instruction(Struct, frozen=True, kw_only=True):
    """One instruction, its continuation lines joined."""

    line: int  # of its first word
    word: str  # upper case
    rest: str


class Plain(Struct, kw_only=True):
    """A Dockerfile as spython reads it, and what it cannot say."""

    base: str = ""  # what FROM names
    lines: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)  # NAME="value" of ENV, which RUN must see as well
    warnings: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    folder: str = "/"  # what WORKDIR said last
    ran: bool = False  # a RUN was there
    arguments: dict[str, str] = field(default_factory=dict)  # ARG before FROM

    def text(self) -> str:
        """Return the lines."""
        return "\n".join(self.lines) + "\n"

    def refuse(self, one: Instruction, why: str) -> None:
        """Keep a fault."""
        self.problems.append(Problem(one.word, why, one.line))


def plain(text: str, name: str) -> Plain:
    """Return a Dockerfile in its plainest form; ImageError names every line that cannot be converted."""
    found = Plain()
    for one in instructions(text):
        if one.word not in _DROPPED:
            _convert(found, one)
    if not found.base and not found.problems:
        found.problems.append(Problem("FROM", "is missing"))
    if found.problems:
        count = len(found.problems)
        raise ImageError(
            f"{name} cannot be converted: {count} problem{'s' * (count != 1)}", problems=tuple(found.problems),
            hint="write an Apptainer definition file instead, or build with Docker and push to a registry",
        )  # fmt: skip
    return found


def _convert(found: Plain, one: Instruction) -> None:
    if not found.base and one.word not in {"FROM", "ARG"}:
        found.refuse(one, "stands before FROM")
    elif _HEREDOC.search(one.rest) and one.word in _WITH_HEREDOC:
        found.refuse(one, "a here-document cannot be converted: put the text into a file")
    elif one.word not in _RULES:
        found.refuse(one, "is no instruction that can be converted")
    else:
        _RULES[one.word](found, one)


def instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions; comments and blank lines between continued lines belong to none."""
    escape = re.match(r"\s*#\s*escape\s*=\s*([`\\])\s*$", text.split("\n", 1)[0])
    continued = escape[1] if escape else "\\"
    parts: list[str] = []
    start, until = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if until:  # inside a here-document
            until = "" if bare == until else until
            continue
        if not bare or bare.startswith("#"):
            continue
        start = start or number
        goes_on = bare.endswith(continued)
        parts.append(bare[:-1].rstrip() if goes_on else bare)
        if not goes_on:
            one = _instruction(" ".join(parts), start)
            until = _end_of_heredoc(one)
            yield one
            parts, start = [], 0
    if parts:
        yield _instruction(" ".join(parts), start)


def _end_of_heredoc(one: Instruction) -> str:
    """Return the line that ends the here-document of an instruction; "" when it has none."""
    here = _HEREDOC.search(one.rest) if one.word in _WITH_HEREDOC else None
    return "" if here is None else here[1]


def _instruction(text: str, line: int) -> Instruction:
    word, _, rest = text.partition(" ")
    return Instruction(line=line, word=word.upper() if _WORD.fullmatch(word) else word[:40], rest=rest.strip())


def _from(found: Plain, one: Instruction) -> None:
    words = one.rest.split()
    if found.base:
        found.refuse(one, "a second stage cannot be converted")
    elif not words or words[0].startswith("--"):
        what = words[0].partition("=")[0] if words else "an empty name"
        found.refuse(one, f"{what} cannot be converted")
    else:
        known = found.arguments
        found.base = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda at: known.get(at[1] or at[2], at[0]), words[0])
        if "$" in found.base:
            found.refuse(one, f"{found.base} names an ARG without a value")
        found.lines.append(f"FROM {found.base}")


def _arg(found: Plain, one: Instruction) -> None:
    for name, value in _pairs(found, one):
        if not _VARIABLE.fullmatch(name):
            found.refuse(one, f"{name!r} is no name of a variable")
        elif value is None:
            found.refuse(one, f"{name} has no default")
        elif not found.base:
            found.arguments[name] = value
        else:
            found.lines.append(f"ARG {name}={_quoted(found, one, value)}")
            found.environment.append(found.lines[-1].partition(" ")[2])


def _env(found: Plain, one: Instruction) -> None:
    if "=" not in one.rest.split(" ", 1)[0]:  # the old form: ENV NAME the rest of the line
        name, _, value = one.rest.partition(" ")
        pairs: list[tuple[str, str | None]] = [(name, value.strip())]
    else:
        pairs = _pairs(found, one)
    for variable, text in pairs:
        if not _VARIABLE.fullmatch(variable):
            found.refuse(one, f"{variable!r} is no name of a variable")
        found.lines.append(f"ENV {variable}={_quoted(found, one, text or '')}")
        found.environment.append(found.lines[-1].partition(" ")[2])


def _label(found: Plain, one: Instruction) -> None:
    found.lines += [f"LABEL {name} {value or ''}".rstrip() for name, value in _pairs(found, one)]


def _run(found: Plain, one: Instruction) -> None:
    if one.rest.startswith("--"):
        found.refuse(one, f"{one.rest.split()[0].partition('=')[0]} cannot be converted")
        return
    found.ran = True
    found.lines.append(f"RUN {_command(one.rest)}")


def _copy(found: Plain, one: Instruction) -> None:
    flags, words = _flags(found, one)
    _look_at_flags(found, one, flags)
    if len(words) < 2:
        found.refuse(one, "names no source or no target")
        return
    *sources, target = words
    for source in sources:
        if reason := _not_a_source(one, source):
            found.refuse(one, f"{source} {reason}")
    if found.ran:
        found.warnings.append(f"line {one.line}: {one.word} happens before every RUN")
    into = "/" if target.endswith("/") or target in {".", ".."} or len(sources) > 1 else ""
    place = posixpath.normpath(posixpath.join(found.folder, target)).rstrip("/") + into or "/"
    # What Docker makes of a folder is known only where it lies: recipes.py adds the /. that copies its contents.
    found.lines += [f"COPY {source} {place}" for source in sources]


def _look_at_flags(found: Plain, one: Instruction, flags: list[str]) -> None:
    for flag in flags:
        if flag == "--chown":
            found.warnings.append(f"line {one.line}: --chown is left out: files belong to whoever reads the image")
        elif flag != "--link":
            where = " another stage or image" if flag == "--from" else ""
            found.refuse(one, f"{flag}{where} cannot be converted")


def _not_a_source(one: Instruction, source: str) -> str:
    if re.match(r"[a-z]+://|git@", source):
        return "is fetched from elsewhere: fetch it in a RUN, or before"
    if one.word == "ADD" and _ARCHIVE.search(source):
        return "would be unpacked: unpack it, and COPY the folder"
    if " " in source:
        return "has a blank in its name"
    if posixpath.normpath("/" + source.lstrip("/")) == "/.." or source.startswith("..") or "/../" in source:
        return "lies outside the folder of the Dockerfile"
    return ""


def _workdir(found: Plain, one: Instruction) -> None:
    found.folder = posixpath.normpath(posixpath.join(found.folder, one.rest))
    found.lines.append(f"WORKDIR {found.folder}")


def _start(found: Plain, one: Instruction) -> None:
    found.lines.append(f"{one.word} {_command(one.rest)}")


def _user(found: Plain, one: Instruction) -> None:
    found.warnings.append(f"line {one.line}: USER is left out: a container runs as the account that starts it")


def _healthcheck(found: Plain, one: Instruction) -> None:
    if one.rest.upper() != "NONE":
        found.refuse(one, "cannot be converted: nobody asks a batch job how it is")


def _never(found: Plain, one: Instruction) -> None:
    found.refuse(one, "cannot be converted")


_RULES: dict[str, Callable[[Plain, Instruction], None]] = {
    "FROM": _from, "ARG": _arg, "ENV": _env, "LABEL": _label, "RUN": _run, "COPY": _copy, "ADD": _copy,
    "WORKDIR": _workdir, "CMD": _start, "ENTRYPOINT": _start, "USER": _user, "HEALTHCHECK": _healthcheck,
    "ONBUILD": _never, "SHELL": _never,
}  # fmt: skip


def _pairs(found: Plain, one: Instruction) -> list[tuple[str, str | None]]:
    """Return NAME=value of an instruction, with the quotes gone; None for a name alone."""
    try:
        words = shlex.split(one.rest)
    except ValueError:
        found.refuse(one, "a quote is not closed")
        return []
    if not words:
        found.refuse(one, "is empty")
    pairs = [word.partition("=") for word in words]
    return [(name, value if equals else None) for name, equals, value in pairs]


def _quoted(found: Plain, one: Instruction, value: str) -> str:
    """Return a value between double quotes, in which the shell expands variables, as Docker does."""
    if any(char in value for char in '"`\\'):
        found.refuse(one, "a quote or backslash in a value cannot be converted")
    return f'"{value}"'


def _list(rest: str) -> list[str] | None:
    """Return the words of the JSON form; None for any other form."""
    if not rest.startswith("["):
        return None
    try:
        words = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _command(rest: str) -> str:
    """Return a command as a shell takes it, whichever form it was written in."""
    words = _list(rest)
    return rest if words is None else shlex.join(words)


def _flags(found: Plain, one: Instruction) -> tuple[list[str], list[str]]:
    """Return the flags of COPY or ADD without their values, and what follows."""
    rest, flags = one.rest, []
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        flags.append(flag.partition("=")[0])
        rest = rest.lstrip()
    words = _list(rest)
    if words is not None:
        return flags, words
    try:
        return flags, shlex.split(rest)
    except ValueError:
        found.refuse(one, "a quote is not closed")
        return flags, ["", ""]
