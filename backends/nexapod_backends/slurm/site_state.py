"""What the backend keeps of one site between calls: the way there, its groups, its queue, and the runner it brought."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from nexapod_backends.slurm.bindings.client import PyslurmClient
from nexapod_backends.slurm.cli.commands import Slurm
from nexapod_backends.slurm.cli.limits import Limited, limited
from nexapod_backends.slurm.cli.parse import SINFO, read_sinfo
from nexapod_backends.slurm.cli.states import read_state
from nexapod_backends.slurm.jobs.capacity import admits
from nexapod_backends.slurm.jobs.largest_hosts import LargestHosts
from nexapod_backends.slurm.jobs.pack_limits import SINGLE, UNBOUNDED, PackLimits, fewer
from nexapod_backends.slurm.queue.monitor import QueueMonitor
from nexapod_backends.slurm.queue.submission_records import SubmissionRecords
from nexapod_backends.slurm.runner import runner_command
from nexapod_backends.slurm.transport import LocalTransport
from nexapod_batch.errors import ConfigError, SchedulerError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder
from nexapod_batch.plugins import BackendState
from nexapod_batch.requirements import install_command

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from nexapod_backends.slurm.cli.parse import HostRow
    from nexapod_backends.slurm.queue.observations import Observation
    from nexapod_backends.slurm.queue.submission_records import Group
    from nexapod_backends.slurm.transport import Transport
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins import NodeContext

__all__ = ["RETRY_S", "SiteState"]

#: Seconds after a try before sbatch is called again for a group.
RETRY_S = 5.0
#: Looks at the queue for which a limit that others may fill is waited for before replicas are packed less tightly.
_PATIENCE_POLLS = 10
#: Seconds for which a runner that was brought along is taken to be still there.
_BROUGHT_S = 60.0
#: Of what Slurm says of a single replica: that the minutes beside its own time may be too much.
_ABOUT_TIME = re.compile(r"wall|time_?limit|time limit is invalid|minutes|partition configuration", re.IGNORECASE)


class SiteState:
    """What is kept of one site between calls."""

    def __init__(self, site: Site, folder: Path) -> None:
        """Connect to nothing yet; `folder` is where it is kept between processes."""
        self.transport: Transport = LocalTransport() if site.scheduler.transport == "local" else _over_ssh(site)
        self.slurm = Slurm(site, self.transport)
        self.prepared: set[str] = set()  # digests of the settings that were found or written
        self.groups = SubmissionRecords(folder / "groups")
        self.pack_limits = PackLimits(folder / "pack.json")
        self.looked: dict[str, float] = {}  # group -> when Slurm was last asked whether it has it
        bindings = PyslurmClient(site, self.slurm, folder / "bindings.json", _tell)
        self.largest_hosts = LargestHosts(self.slurm, folder / "largest.json", bindings.hosts)
        self.queue = QueueMonitor(site, self.slurm, folder / "queue.json", bindings, _tell)
        self._name, self._folder, self._poll_s = site.name, folder, site.limits.poll_interval_s
        self._last_submit = 0.0
        self._brought = float("-inf")  # when the runner was last seen there

    def hosts(self, partition: str, constraints: Sequence[str] = ()) -> list[str]:
        """Return the hosts of a partition that all constraints admit, in an order that never changes: new ones last.

        SchedulerError when Slurm could not be asked.
        """
        file = self._folder / "hosts.json"
        try:
            known: dict[str, list[str]] = careful.load(file)
        except (OSError, ValueError):
            known = {}
        done = self.slurm.call([*SINFO, f"--partition={partition}"])
        rows = [row for row in read_sinfo(done.stdout).rows if row.partition == partition]
        now = {host for row in rows for host in row.hosts}
        old = known.get(partition, [])
        known[partition] = [*old, *sorted(now - set(old))]
        if known[partition] != old:
            own_folder(file.parent, below=file.parents[1])
            atomic.write(file, json.dumps(known).encode(), mode=0o600)
        return known[partition] if not constraints else _admitted(known[partition], rows, constraints)

    def bring_runner(self, context: NodeContext) -> None:
        """See to it that the runner is there, with all that it needs, and that those of earlier versions go."""
        if time.monotonic() - self._brought < _BROUGHT_S:
            return
        from nexapod_backends.slurm.runner import runner_archive  # noqa: PLC0415 - only where nothing is installed

        if runner_archive.install(context.its_site.name, self.transport, runner_command.corner(context)):
            self._sweep(context)
        self._brought = time.monotonic()

    def drop_runners(self, context: NodeContext) -> None:
        """Remove the runners of earlier versions that were still in use when they were looked at last."""
        with suppress(FileNotFoundError):
            if careful.load(self._folder / "runners.json"):
                self._sweep(context)

    def _sweep(self, context: NodeContext) -> None:
        from nexapod_backends.slurm.runner import runner_archive  # noqa: PLC0415 - only where nothing is installed

        left = ["?"]  # not known: looked at again
        with suppress(SchedulerError):
            left = runner_archive.sweep(self.transport, runner_command.corner(context))
        own_folder(self._folder, below=self._folder.parent)
        atomic.write(self._folder / "runners.json", json.dumps(left).encode(), mode=0o600, durable=False)

    def queued(self, charged: str | None = None) -> int:
        """Return how many elements of ours, or of those charged to somebody, may be in the queue for all we know."""
        return sum(seen is None or not read_state(seen.state).ended for seen in self._observations(charged))

    def _observations(self, charged: str | None) -> Iterator[Observation | None]:
        """Yield what Slurm last told of each element of ours that it has, or of those charged to somebody."""
        for group in self.groups.by_id.values():
            if group.native and charged in (None, group.charged):
                for index in range(len(group.elements)):
                    yield self.queue.last_seen(group, index)

    def hopeless(self, group: Group, now: float) -> str:
        """Return the limit that keeps a group in the queue only because of how it is packed; "" for none."""
        if not group.size:
            return ""
        reasons: set[str] = set()
        for index in range(len(group.elements)):
            seen = self.queue.last_seen(group, index)
            if seen is not None and read_state(seen.state).state is BackendState.QUEUED:
                reasons.add(seen.reason)
        for reason in sorted(reasons):
            if self._keeps_back(limited(reason), group, now):
                return reason
        return ""

    def _keeps_back(self, kind: Limited | None, group: Group, now: float) -> bool:
        """Say whether a limit of a kind keeps a group in the queue for ever as it is, for all we know.

        One that holds for several people may be filled by others: then it is waited for, but not for long.
        """
        if kind is None or kind is Limited.JOB:
            return kind is Limited.JOB
        if group.size <= SINGLE or self._runs(group.charged):
            return False
        return kind is Limited.USER or now - group.submitted > _PATIENCE_POLLS * self._poll_s

    def _runs(self, charged: str) -> bool:
        """Say whether something of ours runs that is charged to somebody."""
        active = BackendState.ACTIVE
        return any(seen is not None and read_state(seen.state).state is active for seen in self._observations(charged))

    def lacks_hosts_alone(self, group: Group, left: Collection[str]) -> bool:
        """Say whether all of a group was reported, nothing of it is `left`, and Slurm did not say yet where it ran."""
        if not group.native or any(key in left for element in group.elements for key in element):
            return False
        observations = [self.queue.last_seen(group, index) for index in range(len(group.elements))]
        return any(seen is None or not seen.hosts for seen in observations)

    def too_large(self, group: Group, why: str, now: float) -> bool:
        """Note that Slurm does not take, or start, a group that is as large as it is; False when it cannot be smaller.

        The next ones are half as large. Where others may fill the limit and it had to be waited for, each is alone.
        """
        if not group.size or (group.size == SINGLE and not _ABOUT_TIME.search(why)):
            return False
        group.narrow = f"packed less tightly, and placed anew: {why}"
        waited = group.size > SINGLE and limited(why) is Limited.GROUP
        self.pack_less(group, SINGLE if waited else fewer(group.size), why, now)
        self.groups.save(group)
        return True

    def pack_less(self, group: Group, max_replicas: int, why: str, now: float) -> None:
        """Let Slurm jobs like those of a group hold no more than so many replicas from now on; it is told once."""
        first = self.pack_limits.max_replicas(group.shape, now) == UNBOUNDED
        if self.pack_limits.learn(group.shape, max_replicas, now) and first:
            _tell(
                f"site {self._name}: a Slurm job that runs several replicas, or has time to spare, is too large there "
                f"({why}): smaller ones are tried from now on. To pack as far as it goes, set tasks, cpus and time in "
                "[limits.pack] of the site file"
            )

    def full(self, charged: str, now: float) -> str:
        """Return why no more is submitted at the moment that is charged to somebody; "" when it may be tried."""
        pause = max(RETRY_S, self._poll_s)
        mine = (group for group in self.groups.by_id.values() if group.open and group.charged == charged)
        return next((group.trouble for group in mine if group.full and 0 <= now - group.full < pause), "")

    def wait_turn(self, rate: float) -> None:
        """Wait until the next submission keeps the rate, in submissions a second."""
        pause = self._last_submit + 1 / rate - time.monotonic()
        if 0 < pause <= 1 / rate:
            time.sleep(pause)
        self._last_submit = time.monotonic()


def _admitted(hosts: Sequence[str], rows: Sequence[HostRow], constraints: Sequence[str]) -> list[str]:
    """Return the hosts that all constraints admit, in their order."""
    admitted: set[str] = set()
    for row in rows:
        if all(admits(constraint, row.features) for constraint in constraints):
            admitted.update(row.hosts)
    return [host for host in hosts if host in admitted]


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _over_ssh(site: Site) -> Transport:
    """Return the way to another machine; nothing connects before it is used."""
    if site.ssh is None:
        raise ConfigError(f"site {site.name}: [ssh] is missing", wanted='host = "login.example.org"')
    if not site.filesystem.work_dir:
        raise ConfigError(
            f"site {site.name}: [filesystem] work_dir is missing",
            wanted="a folder that its login and compute nodes see",
            hint="a cluster that is reached over SSH does not see the home of nexapod-batch",
        )  # fmt: skip
    try:
        with _absent("invoke"):  # which paramiko wants for a word of ssh_config, and which takes half of its import
            from nexapod_backends.slurm.ssh.transport import SshTransport  # noqa: PLC0415 - it takes long enough without
    except ImportError as error:
        hint = install_command(["paramiko"])
        raise ConfigError(f"site {site.name}: SSH needs paramiko", got=str(error), hint=hint) from error
    return SshTransport(site, site.ssh, _tell)


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """Do without an optional module of a library; who wants it later gets it."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
