"""What kind of file system a path lies on, from `/proc/self/mountinfo`."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["NETWORK", "filesystem_of", "parse_mountinfo"]

#: File systems on which several hosts see the same files: no WAL, and locks that need care.
NETWORK = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.beegfs", "fuse.ceph", "fuse.glusterfs", "fuse.juicefs", "fuse.s3fs",
    "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3",
    "smbfs", "virtiofs",
})  # fmt: skip

_OCTAL = re.compile(r"\\([0-7]{3})")


def filesystem_of(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> tuple[str, bool]:
    """Return (type, is it a network file system) for the nearest existing parent of `path`; unknown counts as local."""
    real = os.path.realpath(path)
    best, kind = "", "unknown"
    try:
        text = mountinfo.read_text(errors="surrogateescape")
    except OSError:
        return kind, False
    for point, fstype in parse_mountinfo(text):
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount on the same point hides the earlier one
            best, kind = point, fstype
    return kind, kind in NETWORK


def parse_mountinfo(text: str) -> list[tuple[str, str]]:
    """Return (mount point, file system type) of each line; lines of another shape are left out."""
    found = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if separator and len(fields) > 4:
            point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
            found.append((point, right.split(" ")[0]))
    return found
