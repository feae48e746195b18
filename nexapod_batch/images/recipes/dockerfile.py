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

    def refuse(self, instruction: Instruction, why: str) -> None:
        """Keep a fault."""
        self.problems.append(Problem(instruction.word, why, instruction.line))


def plain(text: str, name: str) -> Plain:
    """Return a Dockerfile in its plainest form; ImageError names every line that cannot be converted."""
    found = Plain()
    for instruction in instructions(text):
        if instruction.word not in _DROPPED:
            _convert(found, instruction)
    if not found.base and not found.problems:
        found.problems.append(Problem("FROM", "is missing"))
    if found.problems:
        count = len(found.problems)
        raise ImageError(
            f"{name} cannot be converted: {count} problem{'s' * (count != 1)}", problems=tuple(found.problems),
            hint="write an Apptainer definition file instead, or build with Docker and push to a registry",
        )  # fmt: skip
    return found


def _convert(recipe: Plain, instruction: Instruction) -> None:
    if not recipe.base and instruction.word not in {"FROM", "ARG"}:
        recipe.refuse(instruction, "stands before FROM")
    elif _HEREDOC.search(instruction.rest) and instruction.word in _WITH_HEREDOC:
        recipe.refuse(instruction, "a here-document cannot be converted: put the text into a file")
    elif instruction.word not in _RULES:
        recipe.refuse(instruction, "is no instruction that can be converted")
    else:
        _RULES[instruction.word](recipe, instruction)


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


def _end_of_heredoc(instruction: Instruction) -> str:
    """Return the line that ends the here-document of an instruction; "" when it has none."""
    here = _HEREDOC.search(instruction.rest) if instruction.word in _WITH_HEREDOC else None
    if here is None:
        return ""
    return here[1]


def _instruction(text: str, line: int) -> Instruction:
    word, _, rest = text.partition(" ")
    return Instruction(line=line, word=word.upper() if _WORD.fullmatch(word) else word[:40], rest=rest.strip())


def _from(recipe: Plain, instruction: Instruction) -> None:
    words = instruction.rest.split()
    if recipe.base:
        recipe.refuse(instruction, "a second stage cannot be converted")
    elif not words or words[0].startswith("--"):
        what = words[0].partition("=")[0] if words else "an empty name"
        recipe.refuse(instruction, f"{what} cannot be converted")
    else:
        known = recipe.arguments
        recipe.base = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda at: known.get(at[1] or at[2], at[0]), words[0])
        if "$" in recipe.base:
            recipe.refuse(instruction, f"{recipe.base} names an ARG without a value")
        recipe.lines.append(f"FROM {recipe.base}")


def _arg(recipe: Plain, instruction: Instruction) -> None:
    for name, value in _pairs(recipe, instruction):
        if not _VARIABLE.fullmatch(name):
            recipe.refuse(instruction, f"{name!r} is no name of a variable")
        elif value is None:
            recipe.refuse(instruction, f"{name} has no default")
        elif not recipe.base:
            recipe.arguments[name] = value
        else:
            recipe.lines.append(f"ARG {name}={_quoted(recipe, instruction, value)}")
            recipe.environment.append(recipe.lines[-1].partition(" ")[2])


def _env(recipe: Plain, instruction: Instruction) -> None:
    if "=" not in instruction.rest.split(" ", 1)[0]:  # the old form: ENV NAME the rest of the line
        name, _, value = instruction.rest.partition(" ")
        pairs: list[tuple[str, str | None]] = [(name, value.strip())]
    else:
        pairs = _pairs(recipe, instruction)
    for variable, text in pairs:
        if not _VARIABLE.fullmatch(variable):
            recipe.refuse(instruction, f"{variable!r} is no name of a variable")
        recipe.lines.append(f"ENV {variable}={_quoted(recipe, instruction, text or '')}")
        recipe.environment.append(recipe.lines[-1].partition(" ")[2])


def _label(recipe: Plain, instruction: Instruction) -> None:
    recipe.lines += [f"LABEL {name} {value or ''}".rstrip() for name, value in _pairs(recipe, instruction)]


def _run(recipe: Plain, instruction: Instruction) -> None:
    if instruction.rest.startswith("--"):
        recipe.refuse(instruction, f"{instruction.rest.split()[0].partition('=')[0]} cannot be converted")
        return
    recipe.ran = True
    recipe.lines.append(f"RUN {_command(instruction.rest)}")


def _copy(recipe: Plain, instruction: Instruction) -> None:
    flags, words = _flags(recipe, instruction)
    _look_at_flags(recipe, instruction, flags)
    if len(words) < 2:
        recipe.refuse(instruction, "names no source or no target")
        return
    *sources, target = words
    for source in sources:
        if reason := _not_a_source(instruction, source):
            recipe.refuse(instruction, f"{source} {reason}")
    if recipe.ran:
        recipe.warnings.append(f"line {instruction.line}: {instruction.word} happens before every RUN")
    into = "/" if target.endswith("/") or target in {".", ".."} or len(sources) > 1 else ""
    place = posixpath.normpath(posixpath.join(recipe.folder, target)).rstrip("/") + into or "/"
    # What Docker makes of a folder is known only where it lies: recipes.py adds the /. that copies its contents.
    recipe.lines += [f"COPY {source} {place}" for source in sources]


def _look_at_flags(recipe: Plain, instruction: Instruction, flags: list[str]) -> None:
    for flag in flags:
        if flag == "--chown":
            where = f"line {instruction.line}"
            recipe.warnings.append(f"{where}: --chown is left out: files belong to whoever reads the image")
        elif flag != "--link":
            where = " another stage or image" if flag == "--from" else ""
            recipe.refuse(instruction, f"{flag}{where} cannot be converted")


def _not_a_source(instruction: Instruction, source: str) -> str:
    if re.match(r"[a-z]+://|git@", source):
        return "is fetched from elsewhere: fetch it in a RUN, or before"
    if instruction.word == "ADD" and _ARCHIVE.search(source):
        return "would be unpacked: unpack it, and COPY the folder"
    if " " in source:
        return "has a blank in its name"
    if posixpath.normpath("/" + source.lstrip("/")) == "/.." or source.startswith("..") or "/../" in source:
        return "lies outside the folder of the Dockerfile"
    return ""


def _workdir(recipe: Plain, instruction: Instruction) -> None:
    recipe.folder = posixpath.normpath(posixpath.join(recipe.folder, instruction.rest))
    recipe.lines.append(f"WORKDIR {recipe.folder}")


def _start(recipe: Plain, instruction: Instruction) -> None:
    recipe.lines.append(f"{instruction.word} {_command(instruction.rest)}")


def _user(recipe: Plain, instruction: Instruction) -> None:
    recipe.warnings.append(f"line {instruction.line}: USER is left out: a container runs as the account that starts it")


def _healthcheck(recipe: Plain, instruction: Instruction) -> None:
    if instruction.rest.upper() != "NONE":
        recipe.refuse(instruction, "cannot be converted: nobody asks a batch job how it is")


def _never(recipe: Plain, instruction: Instruction) -> None:
    recipe.refuse(instruction, "cannot be converted")


_RULES: dict[str, Callable[[Plain, Instruction], None]] = {
    "FROM": _from, "ARG": _arg, "ENV": _env, "LABEL": _label, "RUN": _run, "COPY": _copy, "ADD": _copy,
    "WORKDIR": _workdir, "CMD": _start, "ENTRYPOINT": _start, "USER": _user, "HEALTHCHECK": _healthcheck,
    "ONBUILD": _never, "SHELL": _never,
}  # fmt: skip


def _pairs(recipe: Plain, instruction: Instruction) -> list[tuple[str, str | None]]:
    """Return NAME=value of an instruction, with the quotes gone; None for a name alone."""
    try:
        words = shlex.split(instruction.rest)
    except ValueError:
        recipe.refuse(instruction, "a quote is not closed")
        return []
    if not words:
        recipe.refuse(instruction, "is empty")
    pairs = [word.partition("=") for word in words]
    return [(name, value if equals else None) for name, equals, value in pairs]


def _quoted(recipe: Plain, instruction: Instruction, value: str) -> str:
    """Return a value between double quotes, in which the shell expands variables, as Docker does."""
    if any(char in value for char in '"`\\'):
        recipe.refuse(instruction, "a quote or backslash in a value cannot be converted")
    return f'"{value}"'


def _list(rest: str) -> list[str] | None:
    """Return the words of the JSON form; None for any other form."""
    if not rest.startswith("["):
        return None
    try:
        words = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return words
    return None


def _command(rest: str) -> str:
    """Return a command as a shell takes it, whichever form it was written in."""
    words = _list(rest)
    if words is None:
        return rest
    return shlex.join(words)


def _flags(recipe: Plain, instruction: Instruction) -> tuple[list[str], list[str]]:
    """Return the flags of COPY or ADD without their values, and what follows."""
    rest, flags = instruction.rest, []
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
        recipe.refuse(instruction, "a quote is not closed")
        return flags, ["", ""]
