"""`python -I -m nexapod_batch.runner SPOOL`: work for one node until nothing is left to do.

With `--group ID` it is one element of a scheduler's job: it runs the launches that are its own there, beside others.
With `--parent PID` it ends when that process, which started it, is gone; with `--stay` only when it is told to, or when
`node.json` changed.

Exit codes: 0 done, or another worker is at it; 78 the node's files cannot be used.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch.errors import ConfigError, NexapodError
from nexapod_batch.files import umask
from nexapod_batch.runner.launches import allocation
from nexapod_batch.runner.worker import single_process
from nexapod_batch.spool.node_config import changed, load

if TYPE_CHECKING:
    from nexapod_batch.runner.worker.worker import Worker


def main(arguments: list[str]) -> int:
    """Run a worker on the spool named on the command line."""
    spool, group, parent = _understood([argument for argument in arguments if argument != "--stay"])
    if spool is None:
        usage = "usage: python -I -m nexapod_batch.runner SPOOL [--group ID] [--parent PID | --stay] (an absolute path)"
        print(usage, file=sys.stderr)  # noqa: T201
        return 2
    try:
        with umask.private():
            _run(spool, group, parent, stay="--stay" in arguments)
    except NexapodError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def _run(spool: Path, group: str, parent: int, *, stay: bool) -> None:
    node = load(spool)
    incarnation = os.urandom(8).hex()
    if group:
        mine = allocation.load(spool, group)
        node = changed(node, host=mine.host, cpus=mine.cpus, mem_mib=mine.mem_mib)
        if not single_process.run(node, incarnation, mine):
            _worker()(node, incarnation, mine).run()
        return
    # it would sign the name of a machine on which it does not run; a scheduler has names of its own
    if not node.native_id and node.host != os.uname().nodename:
        raise ConfigError(
            f"node {node.name} belongs to another machine",
            got=os.uname().nodename,
            wanted=node.host,
            hint="make a node of this machine's own: nexapod-batch node init --name NAME",
        )
    _worker()(node, incarnation, parent=parent, stay=stay).run()


def _worker() -> type[Worker]:
    from nexapod_batch.runner.worker.worker import Worker  # noqa: PLC0415 - whoever runs one replica alone needs none

    return Worker


def _understood(arguments: list[str]) -> tuple[Path | None, str, int]:
    """Return spool, group and parent; no spool for what cannot be understood."""
    spool, options = Path(arguments[0] if arguments else ""), arguments[1:]
    given = dict(zip(options[::2], options[1::2], strict=False))
    parent = given.get("--parent", "0")
    if not spool.is_absolute() or len(options) != 2 * len(given) or given.keys() - {"--group", "--parent"}:
        return None, "", 0
    if parent.isdecimal():
        return (spool, given.get("--group", ""), int(parent))
    return (None, "", 0)
