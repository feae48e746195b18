"""What kind of file system a path lies on, from `/proc/self/mountinfo`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NETWORK", "Mount", "filesystem_of", "parse_mountinfo"]

#: File systems on which several hosts see the same files: no WAL, and locks that need care.
NETWORK = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.beegfs", "fuse.ceph", "fuse.glusterfs", "fuse.juicefs", "fuse.s3fs",
    "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3",
    "smbfs", "virtiofs",
})  # fmt: skip

_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of mountinfo."""

    number: str
    parent: str  # number of the mount that it was put on
    point: str
    fstype: str


def filesystem_of(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> tuple[str, bool]:
    """Return (type, is it a network file system) for the nearest existing parent of `path`; unknown counts as local."""
    real = os.path.realpath(path)
    try:
        mounts = parse_mountinfo(os.fsdecode(mountinfo.read_bytes()))
    except OSError:
        mounts = []
    kind = _innermost(real, mounts)
    return kind, kind in NETWORK


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the mounts of the lines; lines of another shape are left out."""
    found = []
    for line in text.split("\n"):  # not splitlines(): a mount point may hold what that takes for the end of a line
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if separator and len(fields) > 4:
            point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
            found.append(Mount(fields[0], fields[1], point, right.split(" ")[0]))
    return found


def _innermost(real: str, mounts: Sequence[Mount]) -> str:
    """Go down from the root as the kernel does: of the mounts put on the one reached, the topmost on the way counts.

    So a mount that a later one hides is never reached, whatever the length of its path and its place in the file.
    """
    kind = "unknown"
    candidates, below = _tree(mounts)
    for _ in range(len(mounts) + 1):  # as many steps as there are mounts: a file that goes in circles ends as well
        on_the_way = [mount for mount in candidates if _is_below(real, mount.point)]
        if not on_the_way:
            break
        reached = min(reversed(on_the_way), key=lambda mount: len(mount.point))
        kind, candidates = reached.fstype, below.get(reached.number, [])
    return kind


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def _tree(mounts: Sequence[Mount]) -> tuple[list[Mount], dict[str, list[Mount]]]:
    """Return the mounts that lie on no other known one, and those that lie on each, by its number."""
    known = {mount.number for mount in mounts}
    roots: list[Mount] = []
    below: dict[str, list[Mount]] = {}
    for mount in mounts:
        if mount.parent not in known or mount.parent == mount.number:
            roots.append(mount)
        if mount.parent != mount.number:
            below.setdefault(mount.parent, []).append(mount)
    return roots, below
