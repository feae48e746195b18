"""Finding the declared outputs in a work folder, digesting them, and the manifest that names them.

The folder was written by a command that may be hostile: nothing is followed, nothing but plain files is taken, and what
is refused is named with its reason. Every open goes through descriptors of folders opened without following links.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import stat
from functools import lru_cache
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

import orjson

from nexapod_batch.errors import UnsafeOutputError
from nexapod_batch.files import careful
from nexapod_batch.trust.statement_rules import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["LOGS", "FoundFile", "check_no_log", "digest_tree", "find", "has_glob", "manifest", "matches"]

#: What the logs of a replica are called beside its outputs.
LOGS = frozenset({"stdout", "stderr"})

_BLOCK = 1024 * 1024
#: From this many files on, more processes pay for their start.
_MANY = 2_000
#: Files and folders looked at, at most: a command must not keep the runner busy for ever.
MAX_ENTRIES = 2_000_000
#: Folders within folders, at most: each is opened part by part, so that depth costs its square.
MAX_DEPTH = 256
_GLOB = re.compile(r"[*?\[]")
_PIECE = re.compile(r"\[!?\]?[^\]/]*\]|.", re.DOTALL)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class FoundFile(NamedTuple):
    """One output file."""

    name: str  # relative to the work folder, `/` between the parts
    size: int  # bytes


def matches(name: str, pattern: str) -> bool:
    """Say whether a relative name is taken by a pattern; `*` stays within one part, `**` spans parts."""
    return _compiled(pattern).fullmatch(name) is not None


def has_glob(pattern: str) -> bool:
    """Say whether a pattern can take several names; one that cannot takes the name that it is."""
    return _GLOB.search(pattern) is not None


def find(root: Path, patterns: Sequence[str], *, optional: bool = False) -> list[FoundFile]:
    """Return the files that the patterns take, sorted by name.

    UnsafeOutputError when a pattern takes nothing and is not `optional`, or something that is not a plain file with a
    plain name.
    """
    found: dict[str, FoundFile] = {}
    for pattern in patterns:
        _check_name(pattern)
        if has_glob(pattern):
            names = _walk(root, pattern)
            if not names and not optional:
                raise UnsafeOutputError(f"no output matches {pattern!a}", got="nothing", wanted="at least one file")
        else:
            names = [] if optional and not _is_there(root, pattern) else [pattern]
        found.update({name: _check(root, name) for name in names if name not in found})
    return [found[name] for name in sorted(found)]


def digest_tree(root: Path, names: Sequence[str], processes: int | None = None) -> list[tuple[str, str, int]]:
    """Return (name, hex SHA-256, bytes) in the order of `names`; many files are shared between processes."""
    wanted = min(processes or len(os.sched_getaffinity(0)), max(1, len(names) // (_MANY // 2)))
    if len(names) < _MANY or wanted < 2:
        return _digest(root, names)
    size = -(-len(names) // wanted)
    parts = [names[start : start + size] for start in range(0, len(names), size)]
    children = [_digest_in_child(root, part) for part in parts[1:]]
    answers: list[tuple[bytes, int]] = []
    try:
        result = _digest(root, parts[0])
    finally:  # no child is left behind, whatever became of the first part
        for pid, read_end in children:
            answers.append(_answer(pid, read_end))
    for answer, status in answers:
        result += _digests(answer, status)
    return result


def _answer(pid: int, read_end: int) -> tuple[bytes, int]:
    """Return what a helper process wrote, and its status, once it has ended."""
    with os.fdopen(read_end, "rb") as stream:
        answer = stream.read()
    return answer, os.waitpid(pid, 0)[1]


def _digests(answer: bytes, status: int) -> list[tuple[str, str, int]]:
    """Return what a helper process found; the UnsafeOutputError that it met is raised here."""
    if status or not answer:
        raise UnsafeOutputError("digesting the outputs failed", got=f"status {status} of a helper process")
    decoded = orjson.loads(answer)
    if isinstance(decoded, dict):
        raise UnsafeOutputError(decoded["what"], got=decoded["got"], wanted=decoded["wanted"])
    return [(name, digest, count) for name, digest, count in decoded]


def check_no_log(names: Iterable[str]) -> None:
    """Raise UnsafeOutputError where an output would lie where the published logs lie."""
    for name in names:
        first = name.partition("/")[0]
        if first in LOGS:
            raise UnsafeOutputError(
                f"output {name!a} is called as what is kept of {first} is", wanted="another name",
                hint="what the command prints is published beside its outputs without being declared",
            )  # fmt: skip


def manifest(entries: Iterable[tuple[str, str]]) -> bytes:
    """Return the lines of `sha256sum` for (name, hex SHA-256), sorted bytewise by name."""
    lines = sorted((name.encode(), digest.encode()) for name, digest in entries)
    return b"".join(digest + b"  " + name + b"\n" for name, digest in lines)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    segments: list[str] = [""]
    for part in pattern.split("/"):
        if part == "**":
            segments.append("")
        else:
            segments[-1] += _part(part) + "/"
    if len(segments) == 1:
        return re.compile(segments[0].removesuffix("/"), re.DOTALL)
    middle = "".join(f"(?>(?:[^/]+/)*?{segment})" for segment in segments[1:-1] if segment)  # as in _part
    last = segments[-1].removesuffix("/") or "[^/]+"
    return re.compile(f"{segments[0]}{middle}(?:[^/]+/)*{last}", re.DOTALL)


def _part(part: str) -> str:
    """Return one part of a glob as a regular expression.

    What stands between two stars is matched as far left as it goes and never again (an atomic group): trying further
    could find nothing more, and against a hostile name it would take for ever.
    """
    chunks = [""]
    for piece in _PIECE.findall(part):
        if piece == "*":
            chunks.append("")
        else:
            chunks[-1] += _translate(piece)
    if len(chunks) == 1:
        return chunks[0]
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in chunks[1:-1] if chunk)
    return f"{chunks[0]}{middle}[^/]*{chunks[-1]}"


def _translate(piece: str) -> str:
    """Return one piece of a glob (`?`, `[...]` or a character) as a regular expression within one part."""
    if piece == "?":
        return "[^/]"
    if len(piece) > 1:
        return "(?!/)" + fnmatch.translate(piece)[len("(?s:") : -len(r")\Z")]  # its ending differs between versions
    return re.escape(piece)


def _walk(root: Path, pattern: str) -> list[str]:
    """Return the names that a glob takes, folders left out; only folders that it reaches are opened, and no links."""
    parts = pattern.split("/")
    takes = _compiled(pattern).fullmatch
    names: list[str] = []
    waiting, seen = ["/".join(takewhile(lambda part: not _GLOB.search(part), parts))], 0
    while waiting:
        folder = waiting.pop()
        depth = folder.count("/") + 1 if folder else 0
        if depth > MAX_DEPTH:
            raise UnsafeOutputError("folders lie too deep", got=f"more than {MAX_DEPTH} within each other")
        for entry, is_folder in _list(root, folder):
            name = f"{folder}/{entry}" if folder else entry
            seen += 1
            if not is_folder:
                if takes(name):
                    names.append(name)
            elif _leads_on(parts, depth, entry):
                waiting.append(name)
        if seen > MAX_ENTRIES:
            raise UnsafeOutputError("too many files in the work folder", got=f"more than {MAX_ENTRIES}")
    return names


def _leads_on(parts: list[str], depth: int, entry: str) -> bool:
    """Say whether a folder, so many levels down, may hold what a glob takes: behind `**` each one may."""
    if "**" in parts[: depth + 1]:
        return True
    return depth < len(parts) - 1 and _compiled(parts[depth]).fullmatch(entry) is not None


def _list(root: Path, folder: str) -> list[tuple[str, bool]]:
    """Return (name, is it a folder) for everything in a folder; nothing when the folder is gone."""
    try:
        fd = careful.open_folder(root, folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _no_folder(ascii(folder), error) from error
    try:
        with os.scandir(fd) as entries:
            return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in islice(entries, MAX_ENTRIES + 1)]
    finally:
        os.close(fd)


def _check(root: Path, name: str) -> FoundFile:
    """Return one output; UnsafeOutputError unless it is a plain file with a plain name inside the root."""
    _check_name(name)
    shown, parts = ascii(name), name.split("/")
    try:
        folder = careful.open_folder(root, name.rpartition("/")[0])
    except FileNotFoundError:
        raise UnsafeOutputError(f"output {shown} is not there", wanted="a file in the work folder") from None
    except OSError as error:
        raise _no_folder(shown, error) from error
    try:
        status = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        raise UnsafeOutputError(f"output {shown} is not there", wanted="a file in the work folder") from None
    except OSError as error:
        raise UnsafeOutputError(f"output {shown} cannot be looked at", got=error.strerror) from error
    finally:
        os.close(folder)
    if not stat.S_ISREG(status.st_mode):
        kind = _kind(status.st_mode)
        raise UnsafeOutputError(
            f"output {shown} is not a plain file", got=kind, wanted="a plain file", hint=_instead(name, kind)
        )
    return FoundFile(name=name, size=status.st_size)


def _is_there(root: Path, name: str) -> bool:
    """Say whether anything has a name, a link that leads nowhere as well."""
    try:
        os.stat(root / name, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # why it cannot be looked at is told where it is taken
    return True


def _no_folder(shown: str, error: OSError) -> UnsafeOutputError:
    return UnsafeOutputError(
        f"output {shown} lies behind something that is no folder to read", got=error.strerror, wanted="a folder"
    )


def _check_name(name: str) -> None:
    """Raise UnsafeOutputError unless a name or pattern is a relative path of plain characters."""
    shown, parts = ascii(name), name.split("/")
    if name.startswith("/") or any(part in {"", ".", ".."} for part in parts):
        raise UnsafeOutputError(f"output {shown} leaves the work folder")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UnsafeOutputError(f"output {shown} has a name that is not UTF-8") from None
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise UnsafeOutputError(f"output {shown} has a control character in its name")
    if not safe_name(name):  # what no statement may name: characters that turn the text, or a name without end
        raise UnsafeOutputError(f"output {shown} has a name that cannot be signed", got=f"{len(name)} characters")


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a fifo"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((word for test, word in kinds if test(mode)), "something else")


def _instead(name: str, kind: str) -> str | None:
    """Return what to do where something else than a file was written."""
    if kind == "a folder":
        return f"for the files in it: path = {f'{name}/**'!a}"
    if kind == "a symbolic link":
        return "name the file that it leads to, or copy it: cp -L"
    return None


def _digest(root: Path, names: Sequence[str]) -> list[tuple[str, str, int]]:
    """Digest files in one process; the folder of the last file is kept open, as outputs come sorted."""
    found = []
    name, current, folder = "", None, -1
    buffer: bytearray | None = None
    try:
        for name in names:
            head, _, tail = name.rpartition("/")
            if head != current:
                if folder >= 0:
                    os.close(folder)
                    folder = -1
                folder = careful.open_folder(root, head)
                current = head
            fd = os.open(tail, _READ, dir_fd=folder)
            try:
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode):  # it was one when it was found
                    raise UnsafeOutputError(f"output {name!a} is not a plain file", got=_kind(status.st_mode))
                first = os.read(fd, 65_536)
                if len(first) == status.st_size:  # a small file came whole: one more read would only say so
                    digest, size = hashlib.sha256(first), len(first)
                else:
                    buffer = buffer or bytearray(_BLOCK)
                    digest, size = _digest_rest(fd, first, buffer)
            finally:
                os.close(fd)
            found.append((name, digest.hexdigest(), size))
    except OSError as error:
        raise UnsafeOutputError(f"output {name!a} cannot be read", got=error.strerror) from error
    finally:
        if folder >= 0:
            os.close(folder)
    return found


def _digest_rest(fd: int, first: bytes, buffer: bytearray) -> tuple[hashlib._Hash, int]:
    digest, size = hashlib.sha256(first), len(first)
    view = memoryview(buffer)
    while count := os.readv(fd, [view]):
        digest.update(view[:count])
        size += count
    return digest, size


def _digest_in_child(root: Path, names: Sequence[str]) -> tuple[int, int]:
    """Digest files in a forked child; return its pid and the pipe on which its answer comes as JSON."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, read_end
    code = 1
    try:  # the child: nothing of the parent may run in it, so it leaves by _exit
        os.close(read_end)
        try:
            answer = orjson.dumps(_digest(root, names))
        except UnsafeOutputError as error:
            answer = orjson.dumps({"what": error.what, "got": error.got, "wanted": error.wanted})
        with os.fdopen(write_end, "wb") as stream:
            stream.write(answer)
        code = 0
    finally:
        os._exit(code)
