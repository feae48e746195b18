"""The port of backends: what they are told, what they answer, and what they can do.

A backend does three things, each a Protocol of its own: it launches runners (`Launching`), it keeps their files
(`Files`), and it answers people who set a site up (`Administration`). `Backend` is all three. Where runners see the
folders of this side, `shared_folders.SharedFolders` is a ready implementation of the last two: such a backend writes
`launch`, `status` and `cancel`.

Every call may be repeated. Each raises SchedulerError, or OSError, for what may go well later; anything else that a
method raises is taken for a fault of the backend. A call has the time that `limits.call_timeout` gives it, one that
moves files (`MOVES_FILES`) that of `limits.transfer_timeout`; then `CallTimeoutError` is raised inside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from nexapod_batch.plugins.backend_fetching import Fetching

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins.backend_nouns import Finding, Launch, LaunchStatus, NodeContext, Probing

__all__ = ["MOVES_FILES", "Administration", "Backend", "Ending", "Files", "Launching", "methods"]


#: Methods that may take long because they move files, or wait for test jobs.
MOVES_FILES = frozenset({"stage", "collect", "fetch", "probe", "clear"})


class Launching(Protocol):
    """Starts runners on a node, and tells what became of them. A launch key is launched at most once."""

    @property
    def signs_native(self) -> bool:
        """Say whether runners sign the very id that `launch` and `status` call native; False where it is not said.

        Then a statement with another one is no vote: its runner was not where it should be.
        """
        ...

    @property
    def starts_ranks(self) -> bool:
        """Say whether runners can start several ranks of one replica; True where it is not said."""
        ...

    def missing(self, site: Site) -> Sequence[str]:
        """Return the Python modules that a site needs here and that are not installed; may be left out.

        A job that needs the site is refused then, with the command that installs them, before anything is stored.

        Args:
            site: Its file, as parsed.

        """
        ...

    def launch_size(self, context: NodeContext, job: Job, replicas: int) -> int:
        """Return how many of a job's replicas one launch should hold when `replicas` are placed at once; at least 1.

        Args:
            context: The node that is to run them.
            job: The pinned job: its resources count.
            replicas: How many are placed on the node at once; at least 1.

        Raises:
            SchedulerError: It cannot be said now; nothing is placed there until the next pass.

        """
        ...

    def launch(self, context: NodeContext, launches: Sequence[Launch]) -> Mapping[str, str | LaunchStatus]:
        """Hand over all launches; return launch key -> native id, or its status where it is over at once.

        Args:
            context: The node that is to run them.
            launches: All of this node that were not handed over yet. A key that is known already is launched no
                second time.

        Raises:
            SchedulerError: nothing could be handed over; it is tried again.

        """
        ...

    def status(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return the state of every key asked for; restart what must run for reports to come.

        Args:
            context: The node that has them.
            keys: Launch keys, in any number.

        Raises:
            SchedulerError: Nothing can be said now; a key may be UNKNOWN only where it was never handed over.

        """
        ...

    def cancel(self, context: NodeContext, replicas: Mapping[str, Sequence[str] | None]) -> None:
        """Stop replicas by name, by launch key (None: the whole launch). What already ended is left alone.

        Args:
            context: The node that runs them.
            replicas: Names, as in `42_7.1`, by the key of their launch.

        Raises:
            SchedulerError: It was not heard; every pass asks again.

        """
        ...

    def forget(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove what is kept of launches that ended and whose reports were all taken in.

        But nobody may run them from a copy of their bundles, which hold until they expire.

        Args:
            context: The node that ran them.
            keys: Launch keys that `status` called over.

        Raises:
            SchedulerError: Asked again later.

        """
        ...

    def expire(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove also what keeps launches from being run again: their bundles have expired.

        Args:
            context: The node that ran them.
            keys: Launch keys that were forgotten before.

        Raises:
            SchedulerError: Asked again later.

        """
        ...


class Ending(Protocol):
    """Tells what its scheduler says of launches that were over for us before it said so. May be left out."""

    @property
    def tells_ends(self) -> bool:
        """Say whether `ends` is to be asked; False where it is not said."""
        ...

    def ends(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return of each launch that is over how its scheduler says that it ended; it is not forgotten before.

        COMPLETED: nothing speaks against its reports. FAILED: what it reported as well does not count, since something
        of it was killed; with `anew` it is not said of which replica. Any other state: not known yet, ask again.

        Args:
            context: The node that ran them.
            keys: Launch keys that `status` called over, whose reports came.

        Raises:
            SchedulerError: Asked again later.

        """
        ...


class Files(Protocol):
    """Keeps the files of a node: those that its runners need, and those that they leave."""

    def prepare(self, context: NodeContext, settings: Mapping[str, Any]) -> None:
        """Make the node's folders and write its `node.json`, where they are missing or say something else.

        Args:
            context: The node.
            settings: What `node.json` is to hold: JSON values, by the fields of `spool.node_config.NodeConfig`.

        Raises:
            SchedulerError: It cannot be done now.
            ConfigError: It takes a person; nothing is placed there before.

        """
        ...

    def stage(self, context: NodeContext, inputs: Mapping[str, Path]) -> Mapping[str, str]:
        """Put inputs (SHA-256 -> file here) where the node's runners can read them; return SHA-256 -> their path.

        Args:
            context: The node that is to read them.
            inputs: Whole files; what lies there with this digest already is not copied again.

        Raises:
            SchedulerError: Nothing of the job is placed there until the next pass.

        """
        ...

    def absent(self, context: NodeContext, sizes: Mapping[str, int]) -> Collection[str]:
        """Return the SHA-256 of those inputs that `stage` would have to send. May be left out: then nothing is told.

        It makes nothing, there or here: people ask it before they submit.

        Args:
            context: The node that is to read them.
            sizes: SHA-256 of each input, and its bytes.

        Raises:
            SchedulerError: It cannot be found out now.

        """
        ...

    def unstage(self, context: NodeContext, needed: Collection[str]) -> int:
        """Remove what was staged but the `needed` (SHA-256); return how many files. What cannot be reached stays.

        What is not needed may stay for the next job, within the `spare_mib` of the context, needed files included:
        then what was used longest ago goes first.

        Args:
            context: The node.
            needed: Digests, in hex, of inputs and images that jobs which are open, or replicas that run, may still
                read.

        Raises:
            SchedulerError: Asked again later.

        """
        ...

    def collect(self, context: NodeContext) -> None:
        """Bring new reports into the spool here, where runners cannot write them there themselves.

        Args:
            context: The node. Its segments only grow; lines that are here already are not brought again.

        Raises:
            SchedulerError: Reports wait; what is here already is read.

        """
        ...

    def change_token(self, context: NodeContext) -> str | None:
        """Look, as cheaply as can be, whether there may be news where files lie elsewhere: then another text.

        None where that cannot be told without `collect`, or where the spool here is the runners' own.

        Args:
            context: The node.

        Raises:
            SchedulerError: No news, then.

        """
        ...

    def discard(self, context: NodeContext, segments: Sequence[str]) -> None:
        """Remove report segments that were taken in.

        Args:
            context: The node.
            segments: Names of files in `reports/`.

        Raises:
            SchedulerError: Asked again later.

        """
        ...

    def fetch(
        self, context: NodeContext, replica: str, *, logs: bool = False, names: Collection[str] | None = None,
        max_bytes: int | None = None,
    ) -> None:  # fmt: skip
        """Bring the files of a reported replica into the work folder here, or the `logs` of any, as far as they go.

        Args:
            context: The node on which it ran.
            replica: Its name, as in `42_7.1`.
            logs: Whether its stdout and stderr are wanted, and nothing else.
            names: The only files of it that matter, where these are known.
            max_bytes: Bound of all files together.

        Raises:
            SchedulerError: Try again later.
            UnsafeOutputError: What is there is not to be brought here.

        """
        ...

    def live_logs(self, context: NodeContext, replica: str) -> Path:
        """Return the folder in which the logs of a replica that runs can be read so far; may be left out.

        For backends that cannot reach their nodes: they ask for more, and return what came. Without it `fetch` brings
        the logs.

        Args:
            context: The node on which it runs.
            replica: Its name, as in `42_7.1`.

        Raises:
            SchedulerError: The node cannot be asked now.

        """
        ...

    def remove(self, context: NodeContext, replicas: Sequence[str]) -> None:
        """Remove the work folders of replicas, and the logs beside them.

        Args:
            context: The node on which they ran.
            replicas: Names, as in `42_7.1`; one that has no folder is no error.

        Raises:
            SchedulerError: Asked again later.

        """
        ...


class Administration(Protocol):
    """Answers people who look at a site, set it up, or take it away."""

    def cluster_id(self, context: NodeContext) -> str:
        """Return what names the cluster behind a site, however it is reached; "" for nothing. May be left out.

        Two sites of one answer are one site for quorums. It is the scheduler's own word, not the site file's.

        Args:
            context: Any node of the site.

        Raises:
            SchedulerError: It does not answer now.

        """
        ...

    def describe(self, context: NodeContext, job: Job, replicas: int, *, ask: bool = False) -> str:
        """Return, for people, exactly what a launch would do: script, argv or call.

        With `ask`, and what the scheduler says of it, where it can be asked without launching anything.

        Args:
            context: A node that could run it.
            job: The job, as it would be pinned.
            replicas: How many replicas the launch would hold.
            ask: Whether the scheduler may be asked.

        Raises:
            SchedulerError: The scheduler was to be asked, and did not answer.

        """
        ...

    def probe(self, contexts: Sequence[NodeContext], how: Probing) -> Iterator[Finding]:
        """Yield what is found out about a site, all of whose nodes are given; what a test job leaves is removed.

        Args:
            contexts: All nodes of the site, at least one.
            how: What is looked at, and for how long; times in seconds.

        Raises:
            SchedulerError: Nothing more can be found out; what was yielded stands.

        """
        ...

    def clear(self, contexts: Sequence[NodeContext]) -> None:
        """Remove everything of ours from a site, all of whose nodes are given and none of which has work.

        Args:
            contexts: All nodes of the site, at least one.

        Raises:
            SchedulerError: Something is left.

        """
        ...

    def discover(self, site: Site) -> str:
        """Return the text of a site file for what a draft reaches.

        Args:
            site: The draft: how its scheduler is reached, and no nodes.

        Raises:
            SchedulerError: Nothing is reached, or nothing can be found out.

        """
        ...


class Backend(Launching, Ending, Files, Fetching, Administration, Protocol):
    """What the entry-point group `nexapod_batch.backends` holds: a class, or function, that makes one of these."""


def methods() -> list[str]:
    """Return the names of all methods that a backend must have, sorted; others may be absent."""
    ports = (Launching, Files, Administration)
    found = {name for port in ports for name, value in vars(port).items() if name[0] != "_" and callable(value)}
    return sorted(found - {"missing", "cluster_id", "live_logs", "absent"})
