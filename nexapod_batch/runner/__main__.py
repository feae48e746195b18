"""`python -m nexapod_batch.runner SPOOL`: work for one node until nothing is left to do.

With `--group ID` it is one element of a scheduler's job: it runs the launches that are its own there, beside others.

Exit codes: 0 done, or another worker is at it; 78 the node's files cannot be used.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from nexapod_batch.errors import ConfigError, NexapodError
from nexapod_batch.files import keyfile
from nexapod_batch.runner import allocation
from nexapod_batch.runner.node import load
from nexapod_batch.runner.worker import Worker


def main(arguments: list[str]) -> int:
    """Run a worker on the spool named on the command line."""
    spool, *more = map(Path, arguments) if arguments else [Path()]
    if not spool.is_absolute() or not (more == [] or (len(more) == 2 and more[0] == Path("--group"))):
        print("usage: python -m nexapod_batch.runner SPOOL [--group ID] (an absolute path)", file=sys.stderr)  # noqa: T201
        return 2
    for fd in range(3):  # whoever started us may have closed them: no file of ours may get these numbers
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    os.chdir("/")  # no file system is kept busy by a worker
    try:
        node = load(spool)
        incarnation = os.urandom(8).hex()
        if more:
            mine = allocation.load(spool, more[1].name)
            node = replace(node, host=mine.host, cpus=mine.cpus, mem_mib=mine.mem_mib)
            Worker(node, keyfile.load(node.key), incarnation, mine).run()
            return 0
        if node.host != os.uname().nodename:  # it would sign the name of a machine on which it does not run
            raise ConfigError(
                f"node {node.name} belongs to another machine",
                got=os.uname().nodename,
                wanted=node.host,
                hint="make a node of this machine's own: nexapod-batch node init --name NAME",
            )
        Worker(node, keyfile.load(node.key), incarnation).run()
    except NexapodError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
