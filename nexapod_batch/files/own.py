"""Whose a path is: folders that are this account's own at every level, and files that only it or root can change.

What is kept in a folder is as safe as the weakest level above it: who can write to one level can put another folder in
the place of the next one. Guarantees:

* every level above belongs to root or to this account, and nobody else can write to it, unless it is sticky like /tmp;
* a link on the way is followed only when it belongs to root or to this account; what it leads to is looked at alike;
* a folder that is made here has the mode that was asked for, whatever umask, set-group-id bits and default ACLs say;
* a folder of ours that an earlier version, or a umask, left open to others is closed again.

Where an ACL gives others rights, the group bits of the mode are the most that it gives: they are what is looked at. The
group of an account that nobody else is in, as distributions with the umask 002 make it, counts as the account itself.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.errors import ForeignPathError

if TYPE_CHECKING:
    from typing import TypeVar  # a runner that starts has a stand-in for `typing` without it

    P = TypeVar("P", bound=PurePath)

__all__ = [
    "Seen", "base_of", "check_file", "check_plain", "foreign", "open_file", "open_log", "own_folder", "read", "trouble",
    "who",
]  # fmt: skip

_LEVEL = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS = 40  # as the kernel
_OTHERS = 0o022


class Seen(NamedTuple):
    """What decides whose something is, here or on another machine."""

    uid: int
    mode: int


class _Reached(NamedTuple):
    """What a path leads to."""

    fd: int  # to look at only (O_PATH); closed by who asked
    place: str  # without links
    status: os.stat_result


def own_folder(path: Path, *inside: str, below: Path | None = None, mode: int = 0o700) -> None:
    """Make a folder where it is missing, and others of these names in it; ForeignPathError unless they are our own.

    Levels `below` a folder are ours alone, and so is what is `inside`: others' rights to them are taken away. OSError
    when something cannot be made or reached.
    """
    reached = _reach(path, make=mode, below=below)
    try:
        _check_mine(reached.place, reached.status, reached.fd)
        for name in inside:
            place = os.path.join(reached.place, name)
            fd, status = _level(reached.fd, name, place, mode, ours=True)
            os.close(fd)
            if stat.S_ISLNK(status.st_mode):
                own_folder(Path(place), mode=mode)
            else:
                _check_mine(place, status, fd=-1)
    finally:
        os.close(reached.fd)


def open_log(path: Path) -> int:
    """Return a descriptor that appends to a log in a folder of ours; the log is made where it is missing.

    One that is somebody else's, or has another name as well, is left to those and made anew. ForeignPathError for what
    is no plain file, a link above all; OSError when it cannot be opened.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    status = check_plain(path)
    if status is not None and (status.st_uid != os.geteuid() or status.st_nlink > 1):
        path.unlink()
    fd = os.open(path, flags, 0o600)
    os.set_blocking(fd, True)
    return fd


def check_plain(path: Path) -> os.stat_result | None:
    """Return the status of a file that is to be written to, None where there is none; ForeignPathError for a link."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        hint = f"somebody may have put it there: rm {_quoted(str(path))}"
        raise ForeignPathError(f"{path} is no plain file", wanted="a file to write to", hint=hint)
    return status


def base_of(path: P) -> P:
    """Return the folder below which a spool or work folder is ours: that of a coordinator's corner, or the home."""
    levels = (path, *path.parents)
    corner = next((level for level in levels if len(level.name) == 20 and level.name.startswith("nexapod-")), None)
    if corner is None:
        return path.parents[1]
    return corner.parent


def check_file(path: Path) -> None:
    """Raise ForeignPathError unless a file, and every level above it, only this account or root can change."""
    os.close(open_file(path))


def read(path: Path, max_bytes: int) -> bytes:
    """Return at most so many bytes of a file that only this account or root can change; else ForeignPathError.

    OSError when it cannot be read, is no plain file, or is larger.
    """
    from nexapod_batch.files.careful import read_descriptor  # noqa: PLC0415 - which is not asked for by who only looks

    fd = open_file(path)
    try:
        return read_descriptor(fd, max_bytes, path)
    finally:
        os.close(fd)


def open_file(path: Path) -> int:
    """Return a descriptor of a file that only this account or root can change; errors as of `read`.

    Raises:
        ForeignPathError: Somebody else can change it.
        OSError: It cannot be opened, or is no plain file.

    """
    reached = _reach(path)
    try:
        if not stat.S_ISREG(reached.status.st_mode):
            raise OSError(errno.EINVAL, "Not a plain file", str(path))
        _check_level(reached.place, reached.status, reached.fd, sticky=False)
        return os.open(f"/proc/self/fd/{reached.fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(reached.fd)


def _reach(path: Path, *, make: int | None = None, below: Path | None = None) -> _Reached:
    """Go down to a path level by level, looking at each; with `make`, a mode, missing folders are made."""
    ours = None if below is None else str(below.absolute()).rstrip("/") + "/"
    parts = list(reversed(path.absolute().parts[1:]))
    fd, place, links = os.open("/", _LEVEL), "/", 0
    status = os.fstat(fd)
    try:
        while parts:
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), place)
            _check_level(place, status, fd)
            part = parts.pop()
            inner_place = os.path.normpath(os.path.join(place, part))
            is_ours = ours is not None and links == 0 and inner_place.startswith(ours)
            inner, inner_status = _level(fd, part, inner_place, make, ours=is_ours)
            if stat.S_ISLNK(inner_status.st_mode):
                links += 1
                target = _link(fd, part, inner_place, inner_status, inner, links)
                parts += reversed([one for one in target.split("/") if one not in {"", "."}])
                inner, inner_place = (os.open("/", _LEVEL), "/") if target.startswith("/") else (os.dup(fd), place)
                inner_status = os.fstat(inner)
            os.close(fd)
            fd, place, status = inner, inner_place, inner_status
    except BaseException:
        os.close(fd)
        raise
    return _Reached(fd, place, status)


def _level(above: int, name: str, place: str, make: int | None, *, ours: bool) -> tuple[int, os.stat_result]:
    """Open one level, a link or file as such; make it when it is missing, close it to others when it is ours."""
    try:
        fd = os.open(name, _LEVEL, dir_fd=above)
    except FileNotFoundError:
        if make is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place) from None
        return _make(above, name, place, make)
    except NotADirectoryError:
        fd = os.open(name, _ANY, dir_fd=above)
        return fd, os.fstat(fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, place) from None
    status = os.fstat(fd)
    if ours and status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & 0o077 & ~(make or 0o700):
        _close_to_others(fd, make or 0o700)
        status = os.fstat(fd)
    return fd, status


def _make(above: int, name: str, place: str, mode: int) -> tuple[int, os.stat_result]:
    try:
        with suppress(FileExistsError):  # another process was faster: looked at like any other
            os.mkdir(name, 0o700, dir_fd=above)
            fd = os.open(name, _LEVEL, dir_fd=above)
            _close_to_others(fd, mode)
            return fd, os.fstat(fd)
        fd = os.open(name, _ANY, dir_fd=above)
    except OSError as error:
        raise OSError(error.errno, error.strerror, place) from None
    return fd, os.fstat(fd)


def _close_to_others(fd: int, mode: int) -> None:
    """Give a folder its mode, without what it inherited of ACLs and set-group-id bits."""
    itself = f"/proc/self/fd/{fd}"
    for kind in ("default", "access"):
        with suppress(OSError):  # there is none, or the file system knows none
            os.removexattr(itself, f"system.posix_acl_{kind}")
    os.chmod(itself, mode)


def _link(above: int, name: str, place: str, status: os.stat_result, fd: int, count: int) -> str:
    """Return where a link leads, if it may be followed; it is closed."""
    os.close(fd)
    if count > _LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), place)
    if _uid(status.st_uid) not in {0, os.geteuid()}:
        raise ForeignPathError(
            f"{place} is a link that belongs to somebody else", got=who(status.st_uid), wanted="yours, or root's",
            hint="remove it if you can, or name another folder",
        )  # fmt: skip
    return os.readlink(name, dir_fd=above)


def _check_mine(place: str, status: os.stat_result, fd: int) -> None:
    """Raise ForeignPathError unless a folder is this account's own and nobody else can write to it."""
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), place)
    if status.st_uid != os.geteuid():
        raise foreign(place, status.st_uid, os.geteuid(), "you")
    _check_level(place, status, fd, sticky=False)


def _check_level(place: str, status: os.stat_result, fd: int, *, sticky: bool = True) -> None:
    seen = Seen(_uid(status.st_uid), status.st_mode)
    said = trouble(place, seen, os.geteuid(), sticky=sticky)
    if said is None:
        return
    if seen.uid == os.geteuid() and not seen.mode & stat.S_IWOTH and _private_group(status.st_gid, fd):
        return
    raise said


def trouble(
    place: str, seen: Seen, me: int, *, sticky: bool = True, elsewhere: bool = False
) -> ForeignPathError | None:
    """Return what is wrong with a level of a path, on this machine or another one; None when nothing is.

    `me` is the account there. A sticky folder may be written to by all, unless it is to be ours alone.
    """
    if seen.uid not in {0, me}:
        return foreign(place, seen.uid, me, "you or root", elsewhere=elsewhere)
    if not seen.mode & _OTHERS or (sticky and seen.mode & stat.S_ISVTX and stat.S_ISDIR(seen.mode)):
        return None
    whom = "others" if seen.mode & stat.S_IWOTH else "its group"
    quoted = _quoted(place)
    if seen.uid == me:
        hint = f"chmod go-w {quoted}"
    elif stat.S_ISDIR(seen.mode):
        hint = f"ask who owns it for: chmod +t {quoted}; or name a folder that only you can write to"
    else:
        hint = f"ask who owns it for: chmod go-w {quoted}"
    return ForeignPathError(
        f"{place} can be changed by {whom}", got=f"mode {stat.S_IMODE(seen.mode):04o}",
        wanted="write permission for its owner alone", hint=hint,
    )  # fmt: skip


def foreign(place: str, uid: int, me: int, wanted: str, *, elsewhere: bool = False) -> ForeignPathError:
    """Return what is said of a folder or file of somebody else; `me` is the account there, where names may differ."""
    hint = f"if it is yours: chown {me} {_quoted(place)} (as root); else name another one"
    got = f"uid {uid}" if elsewhere else who(uid)
    return ForeignPathError(f"{place} belongs to somebody else", got=got, wanted=wanted, hint=hint)


def _quoted(place: str) -> str:
    import shlex  # noqa: PLC0415 - only faults ask

    return shlex.quote(place)


def who(uid: int) -> str:
    """Return an account as people know it."""
    import pwd  # noqa: PLC0415 - only faults ask

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _uid(uid: int) -> int:
    """Return whose an id is: where a user namespace does not know root, root shows as the overflow id."""
    if uid in {0, os.geteuid()}:
        return uid
    with suppress(OSError, ValueError):
        known = [line.split() for line in Path("/proc/self/uid_map").read_text("ascii").splitlines()]
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text("ascii"))
        if uid == overflow and not any(int(first) == 0 for first, _, _ in known):
            return 0
    return uid


def _private_group(gid: int, fd: int) -> bool:
    """Say whether a group is this account's own with nobody else in it, and no ACL lets anybody else in."""
    import grp  # noqa: PLC0415 - seldom
    import pwd  # noqa: PLC0415

    try:
        me, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    if gid == 0 or gid != me.pw_gid or group.gr_name != me.pw_name or set(group.gr_mem) - {me.pw_name}:
        return False
    if any(one.pw_gid == gid and one.pw_uid != me.pw_uid for one in pwd.getpwall()):
        return False
    try:
        return "system.posix_acl_access" not in os.listxattr(f"/proc/self/fd/{fd}")
    except OSError as error:
        return error.errno in {errno.ENOTSUP, errno.ENOSYS}
