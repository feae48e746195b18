"""A pyslurm that the child finds: the few names of the real one that are used, and its habits.

The JSON file `pyslurm.json` beside the package says what the controller knows. Like the real package (25.11.2) it ends the
process on import where there is no configuration, takes a number that is 0 for one that is not set, and raises
PyslurmError when the controller is silent. `fault` in the file is a line of Python to be run on import.
"""

import json
import os
import sys
from types import SimpleNamespace

__all__ = ["Job", "Jobs", "PyslurmError", "RPCError", "slurmctld"]

_FILE = f"{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}/pyslurm.json"
if not os.path.exists(_FILE):
    sys.stderr.write("python: fatal: Could not establish a configuration source\n")
    sys.stderr.flush()
    os._exit(1)

with open(_FILE, encoding="utf-8") as _stream:
    _KNOWN = json.load(_stream)

__version__ = _KNOWN["version"]

exec(_KNOWN.get("fault", ""))  # noqa: S102 - the test's own words


class PyslurmError(Exception):
    """The root of its errors."""


class RPCError(PyslurmError):
    """The controller did not answer."""


class Job:
    """One record of the controller, as slurm.h has it."""

    def __init__(self, record: dict[str, object]) -> None:
        """Show a record; what is not set is None, and so is every number that is 0."""
        self.id = record["job_id"]
        self.array_id = record.get("array_job_id") or None
        self.array_task_id = record.get("array_task_id") or None
        waiting = str(record.get("array_task_str", ""))
        self.array_tasks_waiting = waiting.partition("%")[0] or None
        self.state = record["job_state"]
        self.state_reason = record.get("state_reason", "None")
        self.submit_time = record.get("submit_time") or None
        self.start_time = record.get("start_time") or None
        self.allocated_nodes = record.get("nodes") or None
        self.name = record["name"]
        self.partition = record.get("partition", "short")


class Jobs(dict[int, Job]):
    """All jobs of the cluster, by id."""

    @staticmethod
    def load() -> "Jobs":
        """Ask the controller."""
        if _KNOWN.get("silent"):
            raise RPCError("Unable to contact slurm controller (connect failure)")
        return Jobs({record["job_id"]: Job(record) for record in _KNOWN["jobs"]})


class _Config:
    """The controller's configuration."""

    @staticmethod
    def load() -> SimpleNamespace:
        """Ask the controller."""
        if _KNOWN.get("silent"):
            raise RPCError("Unable to contact slurm controller (connect failure)")
        return SimpleNamespace(version=_KNOWN["cluster"])


slurmctld = SimpleNamespace(Config=_Config)
