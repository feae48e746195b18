"""The door for runtimes, which wrap the command of a replica on the node."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.trust.statement import ContainerUse

__all__ = ["FEED", "Device", "Execution", "Fact", "Runtime", "RuntimeSettings", "Wrapped", "bind_allowed"]


def bind_allowed(asked: str, allowed: Iterable[str]) -> bool:
    """Say whether a folder ("/data", or "/scratch:rw" to write) lies in one of those that may be bound."""
    path, writes = asked.removesuffix(":rw"), asked.endswith(":rw")
    for one in allowed:
        folder = one.removesuffix(":rw")
        if (path == folder or path.startswith(f"{folder}/")) and (one.endswith(":rw") or not writes):
            return True
    return False


class Device(NamedTuple):
    """A GPU that a replica may use."""

    uuid: str  # as its driver spells it
    vendor: str  # nvidia | amd


class RuntimeSettings(NamedTuple):
    """What a node says of its containers: `container` of its node.json."""

    program: str = ""  # the runtime's program, a name or a path; "" looks for it in PATH
    binds: tuple[str, ...] = ()  # folders that a job may have bound, "/data" read-only, "/scratch:rw" to write
    private: tuple[str, ...] = ()  # folders that no command should reach: key, spool, work folders, database, sites
    confine: str = "foreign"  # commands without a container that are confined: of `foreign` jobs | all | never


class Execution(NamedTuple):
    """One execution, before a runtime wraps it. Paths are the host's."""

    job: Job
    command: Sequence[str]  # argv, placeholders filled in
    root: str  # the replica's work folder
    folder: str  # where the command runs: root, or below it
    env: Mapping[str, str]  # the command's whole environment
    path: str  # PATH in which the runtime looks for its own program
    image: str | None = None  # the container's image file, its digest checked
    script: str | None = None  # the file that `command` runs, where it lies outside the work folder
    devices: tuple[Device, ...] = ()  # GPUs that this replica has to itself
    tmp: str = ""  # the folder of its temporary files, which `env` names as TMPDIR unless the job has another
    offline: bool = False  # it must not reach the network, whatever the job's command may
    foreign: bool = False  # the job is somebody else's than the account's that runs it
    inputs: tuple[str, ...] = ()  # where in the work folder the inputs of this replica lie


#: The first descriptor of what a wrapper is fed; above all that a launcher gives to its ranks.
FEED = 100


class Wrapped(NamedTuple):
    """What the runner starts: a wrapper, or with isolation none the command itself.

    A wrapper's environment is made from a fixed list and holds nothing of the job's but what is data to it: a variable
    that the job names can decide what a program does that is not yet in its sandbox.
    """

    argv: list[str]  # argv[0] of a wrapper is a path; of the command itself it is looked up in its PATH
    env: Mapping[str, str]  # of the process that is started
    isolation: str = "none"  # what holds: none | files (only the work folder can be written) | container
    container: ContainerUse | None = None  # as the statement says it
    feeds: tuple[bytes, ...] = ()  # what it reads from the descriptors FEED, FEED + 1, ...
    before: str = ""  # stands before the name of a launcher's variable in `env`, so that it reaches the command


class Fact(NamedTuple):
    """Something that a runtime found out about this machine."""

    mark: str  # ok | warn: works, with less | fail: no command can be run by it here
    text: str
    hint: str = ""  # what to do


class Runtime(Protocol):
    """Wraps the command of a replica; one for a process, told once what the node says of it."""

    def settle(self, settings: RuntimeSettings) -> None:
        """Hear what the node says; that the runtime cannot work here at all is said by `wrap`.

        Args:
            settings: What `container` of its node.json holds.

        """
        ...

    def wrap(self, execution: Execution) -> Wrapped:
        """Return what to start so that the command runs.

        Args:
            execution: One replica's command; paths are the host's.

        Raises:
            PluginError: This machine cannot run it.

        """
        ...

    def examine(self, path: str) -> list[Fact]:
        """Return what works on this machine and what does not, for people.

        Args:
            path: A PATH, in which programs are looked for.

        """
        ...

    def judge(self, status: int, stderr: bytes) -> str | None:
        """Look at an exit status that is not 0, and at the end of stderr, for the runtime's own words.

        Return why the command itself could not be started, None when it ran; PluginError when the machine failed.

        Args:
            status: The exit status; not 0, negative for a signal.
            stderr: The last bytes that were written there, by the wrapper or by the command.

        Raises:
            PluginError: The machine failed, not the command.

        """
        ...
