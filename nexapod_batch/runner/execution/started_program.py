"""Which program the command of a replica is: what its statement says of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nexapod_batch.files.programs import Digests, printable
from nexapod_batch.model.job import Program
from nexapod_batch.runner.execution.stage import CommandError, find_program
from nexapod_batch.trust.statement_rules import MAX_PATH

if TYPE_CHECKING:
    from nexapod_batch.runtimes import Execution

__all__ = ["Programs"]

_MAX_KNOWN = 1_000


class Programs:
    """The programs of one executor: each is looked for and read once, until it is another one."""

    def __init__(self) -> None:
        """Know none yet."""
        self._digests = Digests()
        self._found: dict[tuple[str, str], str] = {}  # by name without a slash, and PATH

    def find(self, name: str, path: str, folder: str) -> str:
        """Return the file that a name runs; errors as of `stage.find_program`."""
        if "/" in name:
            return find_program(name, path, folder)
        found = self._found.get((name, path))
        if found is None:
            if len(self._found) >= _MAX_KNOWN:
                self._found.clear()
            found = self._found[name, path] = find_program(name, path, folder)
        return found

    def forget(self, name: str, path: str) -> None:
        """Look for a name anew the next time: what it ran could not be started."""
        self._found.pop((name, path), None)

    def of(self, execution: Execution) -> Program:
        """Return which program an execution starts, as far as it can be told from here.

        In a container that is what lies in the work folder; of the image, whose digest is signed, the name is given.
        """
        name, root = execution.command[0], execution.root
        path = execution.env["PATH"]
        contained = execution.job.container is not None
        if contained and path == execution.path:
            path = ""  # the image has its own
        outside = contained and (name.startswith("/") or "/" not in name) and name != execution.script
        file, digest = name, ""
        if not outside:
            try:
                file = self.find(name, path, execution.folder)
                digest = self._digests.of(file)
            except CommandError:  # whoever starts it says so
                file = name
        if file == execution.script:
            file = "script"
        elif file.startswith(f"{root}/"):
            file = os.path.relpath(file, root)
        return Program(file=printable(file, MAX_PATH) or "?", path=printable(path, MAX_PATH), sha256=digest)
