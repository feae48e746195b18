"""`python -m nexapod_batch.runner SPOOL`: work for one node until nothing is left to do.

Exit codes: 0 done, or another worker is at it; 78 the node's files cannot be used.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from pathlib import Path

from nexapod_batch.errors import ConfigError, NexapodError
from nexapod_batch.files import keyfile
from nexapod_batch.runner.node import load
from nexapod_batch.runner.worker import Worker


def main(arguments: list[str]) -> int:
    """Run a worker on the spool named on the command line."""
    if len(arguments) != 1 or not Path(arguments[0]).is_absolute():
        print("usage: python -m nexapod_batch.runner SPOOL (an absolute path)", file=sys.stderr)  # noqa: T201
        return 2
    for fd in range(3):  # whoever started us may have closed them: no file of ours may get these numbers
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    os.chdir("/")  # no file system is kept busy by a worker
    try:
        node = load(Path(arguments[0]))
        if node.host != socket.gethostname():  # it would sign the name of a machine on which it does not run
            raise ConfigError(
                f"node {node.name} belongs to another machine",
                got=socket.gethostname(),
                wanted=node.host,
                hint="make a node of this machine's own: nexapod-batch node init --name NAME",
            )
        Worker(node, keyfile.load(node.key), secrets.token_hex(8)).run()
    except NexapodError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
