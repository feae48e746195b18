"""By hand: `python tests/clusters up FOLDER` starts the clusters and sshd and returns; `down FOLDER` stops them."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clusters.daemons import ClusterError
from clusters.slurm import RECORD, Clusters
from clusters.sshd import Sshd


def main() -> int:
    """Start or stop; a folder that `down` left, or that was never used, can be used again."""
    parser = argparse.ArgumentParser(prog="python tests/clusters", description=__doc__)
    parser.add_argument("what", choices=["up", "down"])
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    try:
        if given.what == "up":
            up(given.folder)
        else:
            down(given.folder)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def up(folder: Path) -> None:
    """Start everything, and print how to reach it."""
    if (folder / RECORD).exists():
        if Clusters.attach(folder).processes():
            raise ClusterError(f"clusters run in {folder}: python tests/clusters down {folder}")
        shutil.rmtree(folder)
    before = time.monotonic()
    clusters = Clusters.start(folder, outlive=True)
    try:
        sshd = Sshd.create(clusters.folder / "sshd", outlive=True)
    except BaseException:
        clusters.close()
        raise
    print(f"up in {time.monotonic() - before:.1f} s; stop with: python tests/clusters down {folder}", file=sys.stderr)
    reach = {
        "clusters": {
            name: {"conf": str(cluster.conf), "bin": str(cluster.bin), "nodes": cluster.nodes}
            for name, cluster in clusters.each.items()
        },
        "sshd": {
            "host": sshd.host,
            "port": sshd.port,
            "user": sshd.user,
            "key": str(sshd.key),
            "known_hosts": str(sshd.known_hosts),
        },
    }
    print(json.dumps(reach, indent=1))


def down(folder: Path) -> None:
    """Stop everything; logs stay in the folder."""
    if not (folder / RECORD).exists():
        raise ClusterError(f"no clusters in {folder}")
    if (folder / "sshd").exists():
        Sshd.attach(folder / "sshd").close()
    Clusters.attach(folder).close()


sys.exit(main())
