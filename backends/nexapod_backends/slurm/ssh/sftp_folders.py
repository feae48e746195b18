"""Folders on the other side that are this account's own at every level: `files.own`, asked over SFTP.

The decision is the same (`own.trouble`). Who we are there, nobody can ask: it is whoever the login folder belongs to.
"""

from __future__ import annotations

import posixpath
import stat
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, Protocol

from nexapod_batch.errors import ForeignPathError
from nexapod_batch.files.own import Seen, base_of, foreign, trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Levels", "Status", "make"]

_LINKS = 40
_MODE = 0o700


class Status(NamedTuple):
    """What a server says of a file: the parts that decide whose it is."""

    uid: int
    mode: int


class Levels(Protocol):
    """What is asked of a server."""

    def look(self, paths: Sequence[str]) -> list[Status | None]:
        """Return what each path is, a link as such; None for what is not there."""
        ...

    def target(self, path: str) -> str:
        """Return where a link leads."""
        ...

    def add(self, path: str) -> None:
        """Make a folder; OSError when there is one."""
        ...

    def close_to_others(self, path: str, mode: int) -> None:
        """Give a folder its mode."""
        ...


def make(server: Levels, folders: Sequence[str]) -> None:
    """Make folders where they are missing; ForeignPathError unless they, and the way to them, are ours."""
    me = server.look(["."])[0]
    known: dict[str, Status | None] = {}
    ahead = sorted({level for folder in folders for level in _levels(folder)})
    known.update(zip(ahead, server.look(ahead), strict=True))  # one round trip for nearly all there is to ask
    way = _Way(server, 0 if me is None else me.uid, known)
    for folder in folders:
        way.go(folder)


def _levels(path: str) -> list[str]:
    return [str(one) for one in (*reversed(PurePosixPath(path).parents), PurePosixPath(path))]


class _Way:
    """The way to folders, level by level."""

    def __init__(self, server: Levels, me: int, known: dict[str, Status | None]) -> None:
        """Know who we are there, and what was asked already."""
        self._server, self._me, self._known = server, me, known

    def go(self, folder: str) -> None:
        """Make one folder and what is missing above it; ForeignPathError where the way is not ours alone."""
        base = f"{str(base_of(PurePosixPath(folder))).rstrip('/')}/"
        parts = list(reversed(PurePosixPath(folder).parts[1:]))
        place, links = "/", 0
        while parts:
            above = self._level(place)
            if foreign := trouble(place, Seen(above.uid, above.mode), self._me, elsewhere=True):
                raise foreign
            inner = posixpath.normpath(posixpath.join(place, parts.pop()))
            status = self._ours(inner) if links == 0 and inner.startswith(base) else self._level(inner)
            if not stat.S_ISLNK(status.mode):
                place = inner
                continue
            links += 1
            if links > _LINKS or status.uid not in {0, self._me}:
                raise ForeignPathError(
                    f"{inner} is a link that belongs to somebody else", got=f"uid {status.uid}",
                    hint="remove it if you can, or name another folder",
                )  # fmt: skip
            target = self._server.target(inner)
            parts += reversed([one for one in target.split("/") if one not in {"", "."}])
            place = "/" if target.startswith("/") else place
        self._mine(place)

    def _mine(self, place: str) -> None:
        """Raise ForeignPathError unless a folder is our own, for nobody else to write to."""
        status = self._level(place)
        if not stat.S_ISDIR(status.mode):
            raise NotADirectoryError(20, "Not a directory", place)
        if status.uid != self._me:
            raise foreign(place, status.uid, self._me, "you", elsewhere=True)
        if said := trouble(place, Seen(status.uid, status.mode), self._me, sticky=False, elsewhere=True):
            raise said

    def _level(self, place: str) -> Status:
        """Return what is there; a folder is made where nothing is."""
        if place not in self._known:
            (self._known[place],) = self._server.look([place])
        found = self._known[place]
        if found is None:
            with suppress(FileExistsError):
                self._server.add(place)
            self._server.close_to_others(place, _MODE)  # whatever umask and set-group-id bits say there
            (found,) = self._server.look([place])
            if found is None:
                raise FileNotFoundError(2, "No such file or directory", place)
            self._known[place] = found
        return found

    def _ours(self, place: str) -> Status:
        """Return what is there, a folder of ours closed to others."""
        found = self._level(place)
        if stat.S_ISDIR(found.mode) and found.uid == self._me and stat.S_IMODE(found.mode) & 0o077:
            self._server.close_to_others(place, _MODE)
            found = Status(found.uid, stat.S_IFDIR | _MODE)
            self._known[place] = found
        return found
