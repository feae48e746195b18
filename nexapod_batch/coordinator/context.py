"""What every use case needs: the store, the coordinator's key, the nodes and their backends, the clock.

Opening for writing makes what a first run needs (folders, key, database). Nothing here runs a job.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import secrets
import time
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from nexapod_batch.coordinator import own_key
from nexapod_batch.coordinator.backend_guard import check_packages, load_guarded
from nexapod_batch.coordinator.ledger_start import begin, origin_of
from nexapod_batch.coordinator.plugin_cache import installed
from nexapod_batch.errors import ConfigError, ForeignPathError, NexapodError, NotFoundError, VerificationError
from nexapod_batch.files.own import own_folder
from nexapod_batch.model.document import digest, from_document
from nexapod_batch.model.joined import is_joined_site, joined_site
from nexapod_batch.model.node import LOCAL
from nexapod_batch.model.reason import Code, Reason, plain
from nexapod_batch.plugins import NodeContext
from nexapod_batch.store import Store
from nexapod_batch.store.repositories.nodes import node_of
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.keys import KEY_BYTES
from nexapod_batch.trust.profile import open_offer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from nexapod_batch.config.settings import Paths
    from nexapod_batch.config.site.site_tables import SiteTables
    from nexapod_batch.config.site.sites import SiteFault
    from nexapod_batch.images.cache import Progress
    from nexapod_batch.model.hardware import Offer
    from nexapod_batch.model.job import Input, Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins import Backend
    from nexapod_batch.store.repositories.tasks import TaskRow

__all__ = ["LAUNCHER", "PATIENCE_S", "Coordinator", "account", "node_of", "open_coordinator", "open_to_look"]

#: What starts the ranks of a replica on this machine.
LAUNCHER = ("mpiexec", "-n", "{ntasks}")
#: Seconds that a person's command waits for another process to finish its pass.
PATIENCE_S = 30.0


class Coordinator(Struct, kw_only=True):
    """An open coordinator; `clock` and `random` are replaced by tests."""

    paths: Paths
    store: Store
    signer: Signer
    kept: bool = True  # False: made to look ahead, and forgotten with its key
    clock: Callable[[], float] = time.time
    random: Callable[[int], bytes] = secrets.token_bytes
    containers: str | None = None  # why this machine cannot run any; "" when it can, None before it was looked at
    architectures: dict[str, str] = field(default_factory=dict)  # of images, by SHA-256, as far as they were looked up
    node_signers: dict[str, Signer] = field(default_factory=dict)  # by key id, as far as they were needed
    wanted_inputs: dict[str, tuple[Node, Input]] = field(default_factory=dict)  # to be fetched for a node, by digest
    unfetched: dict[str, tuple[int, NexapodError]] = field(default_factory=dict)  # when that failed, in ms, and why
    hears: Progress | None = None  # how far inputs are that are sent; None: nobody is there
    _backends: dict[str, Backend] = field(default_factory=dict)
    _complete: set[str] = field(default_factory=set)  # sites whose Python packages are all here
    _jobs: dict[int, Job] = field(default_factory=dict)
    _digests: dict[int, str] = field(default_factory=dict)  # of the documents of jobs that may be pinned anew
    _offers: dict[tuple[str, bytes], Offer | None] = field(default_factory=dict)  # by key id and envelope; None: bad
    _sites: tuple[dict[str, Site], tuple[SiteFault, ...]] | None = None
    _site_files: tuple[object, ...] = ()  # as they were when they were read
    _retention: tuple[int, int] | None = None
    _needed: Mapping[str, Site] = field(default_factory=dict)
    _supposed: tuple[Node, ...] = ()

    def now(self) -> int:
        """Return the time in milliseconds since 1970."""
        return int(self.clock() * 1000)

    @property
    def identity(self) -> str:
        """Return the id of its first key, by which folders and its ledger are called, whatever key it has now."""
        return self.store.operations.first_coordinator_key() or self.signer.key_id

    @property
    def origin(self) -> str:
        """Return the name of its ledger."""
        return origin_of(self.identity)

    def follow_key(self, *, write: bool = True) -> None:
        """Sign by the key that is in force by now: another process may have put one in the place of the old one.

        Without `write` its file is not put in its place where that was not done.

        Raises:
            KeyFileError: The key of the database is not there.

        """
        self.signer = own_key.checked(self.store, self.signer, own_key.path_of(self.paths), write=write)

    def retention(self) -> tuple[int, int]:
        """Return for how many milliseconds the work folders of accepted tasks stay, and those of others.

        Read from the settings when it is asked for first: most commands need none. ConfigError for bad files.
        """
        if self._retention is None:
            from nexapod_batch.config.settings import settings  # noqa: PLC0415

            found = settings(self.paths)
            self._retention = found.keep_work_s * 1000, found.keep_failed_s * 1000
        return self._retention

    def nodes(self) -> list[Node]:
        """Return all registered nodes, also drained ones, with what they signed of their machines; then supposed ones.

        A node whose signed profile does not verify has no numeric class: it can take no job that asks for one.
        """
        signed = self.store.nodes.profiles()
        registered = [self._with_offer(node_of(row), signed.get(row.id)) for row in self.store.nodes.all()]
        return self._counted([*registered, *self._supposed])

    def _counted(self, nodes: list[Node]) -> list[Node]:
        """Return nodes with the domains by which they count: one cluster counts once, however many files name it."""
        clusters = [node.cluster for node in nodes if node.cluster]
        if len(set(clusters)) == len(clusters):  # nearly always: each is its own
            return nodes
        from nexapod_batch.model.twins import with_twins  # noqa: PLC0415 - see above

        return with_twins(nodes, self._partitions)

    def _partitions(self, node: Node) -> frozenset[str] | None:
        """Return the names of the partitions that a node is made of; None where its site file cannot be used."""
        try:
            return frozenset(one.name for one in self.site(node.site).groups().get(node.name, ()))
        except ConfigError:
            return None

    def suppose(self, nodes: Sequence[Node]) -> None:
        """Go on as if these were registered as well: to say what would be, and to change nothing."""
        self._supposed = tuple(nodes)

    def offer(self, node: Node) -> Offer | None:
        """Return what a node signed of its machine; None where it signed nothing. VerificationError."""
        row = self.store.nodes.profile(node.name)
        if row is None:
            return None
        return open_offer(row.envelope, node.key_id, node.public_key)

    def _with_offer(self, node: Node, envelope: bytes | None) -> Node:
        if envelope is None:
            return node
        key = (node.key_id, envelope)
        if key not in self._offers:
            try:
                self._offers[key] = open_offer(envelope, node.key_id, node.public_key)
            except VerificationError:
                self._offers[key] = None
        offer = self._offers[key]
        if offer is None:
            return replace(node, classes={})
        gpu_mem = max((gpu.memory_mib or 0 for gpu in offer.devices), default=0)
        return replace(node, classes=offer.classes, speed=offer.speed, gpu_mem_mib=gpu_mem)

    def nodes_by_id(self) -> dict[int, Node]:
        """Return all registered nodes by their row id."""
        return {node.id: node for node in self.nodes()}

    def backend(self, node: Node) -> Backend:
        """Return the backend of a node, loaded once."""
        if node.backend not in self._backends:
            self._backends[node.backend] = load_guarded(node.backend, installed("backend", self.paths.home))
        return self._backends[node.backend]

    def usable_backend(self, node: Node) -> Backend:
        """Return the backend of a node; ConfigError, with the command to type, where something it needs is missing."""
        backend = self.backend(node)
        if node.site != LOCAL and node.site not in self._complete:
            check_packages(backend, self.site(node.site))
            self._complete.add(node.site)
        return backend

    def context(self, node: Node) -> NodeContext:
        """Return the node with the places of its files; ConfigError when the file of its site cannot be used."""
        site = None if node.site == LOCAL else self.site(node.site)
        spool, work = self.paths.spool(node.name), self.paths.work(node.name)
        remote_spool: PurePath = spool
        remote_work: PurePath = work
        if site is not None and site.filesystem.work_dir:
            corners = self.corners(site)
            remote_spool, remote_work = corners[0] / node.name / "spool", corners[-1] / node.name / "work"
            if site.scheduler.transport == LOCAL:
                spool, work = Path(remote_spool), Path(remote_work)
        state = self.paths.home / "sites" / node.site
        on = self.site(site.needs) if site is not None and site.needs else None
        return NodeContext(
            node=node, spool=spool, work=work, state=state, remote_spool=remote_spool, remote_work=remote_work,
            site=site, on=on,
        )  # fmt: skip

    def corners(self, site: Site) -> list[PurePath]:
        """Return the folders of ours on a site that has a `work_dir`: of spools, and of work folders if elsewhere.

        Two coordinators of one account may share the site's folders: each has its own corner.
        """
        user = (site.ssh.user if site.ssh else "") or account()
        above = (site.filesystem.work_dir, site.filesystem.scratch)
        return [PurePath(one.replace("{user}", user), _corner(self.identity)) for one in above if one]

    def site(self, name: str) -> Site:
        """Return a site by name; ConfigError when its file is gone or faulty."""
        if is_joined_site(name):
            return joined_site(name)
        sites, faults = self._loaded()
        if found := sites.get(name) or self._needed.get(name):
            return found
        for fault in faults:
            if fault.file.stem == name:
                raise fault.error
        raise ConfigError(
            f"site {name} has no file any more",
            wanted=f"{name}.toml in {' or '.join(map(str, self.paths.sites))}",
            hint="put it back, or drain its nodes",
        )

    def only(self, site: Site, needed: Mapping[str, Site]) -> None:
        """Know this site, whatever files there are; others that it needs are found by name, and make no nodes."""
        self._sites, self._needed = ({site.name: site}, ()), needed

    def sites(self) -> Mapping[str, Site]:
        """Return all sites whose files can be used."""
        return self._loaded()[0]

    def site_faults(self) -> Mapping[str, str]:
        """Return what is wrong with the files that cannot be used, by site or folder, each in one line."""
        return {fault.file.stem: fault.line for fault in self._loaded()[1]}

    def site_reason(self, name: str, error: Exception) -> Reason:
        """Return why a site cannot be used, as its file says or, where that is good, as the error does."""
        for fault in self._loaded()[1]:
            if fault.file.stem == name:
                why = {"site": name, "file": plain(fault.file), "error": Reason.of_error(fault.error)}
                return Reason(code=Code.SITE_FILE_FAULT, parameters=why)
        return Reason(code=Code.SITE_FAULT, parameters={"site": name, "error": Reason.of_error(error)})

    def _loaded(self) -> tuple[dict[str, Site], tuple[SiteFault, ...]]:
        if self._sites is None:
            from nexapod_batch.config.site.sites import load_sites  # noqa: PLC0415 - local nodes need none

            self._site_files = _stamps(self.paths.sites)
            self._sites = load_sites(self.paths.sites, self.site_tables())
        return self._sites

    def site_tables(self) -> SiteTables:
        """Return the tables that backends bring, looked up as backends are."""
        from nexapod_batch.config.site.site_tables import SiteTables  # noqa: PLC0415 - local nodes need none

        return SiteTables(lambda: installed("site_table", self.paths.home))

    def follow_sites(self) -> None:
        """Read site files anew when they changed since, and let backends start anew that were told of them."""
        if self._sites is not None and self._site_files and _stamps(self.paths.sites) != self._site_files:
            self._sites = None
            self._backends.clear()
            self._complete.clear()

    def job(self, job_id: int) -> Job:
        """Return the pinned job of an id; NotFoundError when there is none."""
        if job_id not in self._jobs:
            document = self.store.jobs.document(job_id)
            if document is None:
                raise NotFoundError(f"there is no job {job_id}", hint="nexapod-batch ls lists the jobs")
            self._jobs[job_id] = from_document(json.loads(document))
            if self._jobs[job_id].has_open_inputs:
                self._digests[job_id] = digest(document)
        return self._jobs[job_id]

    def forget_job(self, job_id: int) -> None:
        """Read a job anew when it is wanted next: it was pinned anew."""
        self._jobs.pop(job_id, None)

    def follow_jobs(self) -> None:
        """Read jobs anew that wait for inputs still: another process may have pinned them."""
        for job_id in [job_id for job_id, job in self._jobs.items() if job.has_open_inputs]:
            if self.store.jobs.get(job_id).digest != self._digests.get(job_id):
                self.forget_job(job_id)

    def task(self, job_id: int, task: int) -> TaskRow:
        """Return the row of a task; NotFoundError when the job has no such task."""
        row = self.store.tasks.find(job_id, task)
        if row is None:
            raise NotFoundError(f"job {job_id} has no task {task}", hint=f"nexapod-batch show {job_id} lists its tasks")
        return row


def account() -> str:
    """Return the name of this account, or its number where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def _corner(key_id: str) -> str:
    """Return a folder name that belongs to one coordinator."""
    return "nexapod-" + hashlib.sha256(key_id.encode()).hexdigest()[:12]


def _make_home(paths: Paths) -> None:
    """Make the folders of a home where they are missing; ForeignPathError and ConfigError say how to have another."""
    try:
        if not os.path.exists(paths.home / "spool"):
            from nexapod_batch.files.apart import keep_apart  # noqa: PLC0415 - once in the life of a home

            own_folder(paths.home)
            keep_apart(paths.home)
        own_folder(paths.home, "keys", "sites", "spool", "work")
    except ForeignPathError as error:
        error.hint = f"{error.hint}; or set NEXAPOD_HOME to a folder of your own"
        raise
    except OSError as error:
        raise ConfigError(
            "the home folder cannot be made",
            got=f"{error.strerror}: {error.filename}",
            hint="set NEXAPOD_HOME to a folder that you can write",
        ) from error


def _finish_renaming(paths: Paths, *, write: bool) -> None:
    """Finish to give a site another name where a process was killed over that; who only looks goes on without."""
    if os.path.exists(paths.home / "renaming.json"):
        from nexapod_batch.coordinator import renaming  # noqa: PLC0415 - seldom needed

        renaming.finish(paths, needed=write)


@contextmanager
def open_coordinator(paths: Paths, *, write: bool = True, anew: bool = False) -> Iterator[Coordinator]:
    """Open the coordinator of a home; with `write` make its folders, key and database when they are missing.

    ConfigError where a database must have been lost, unless a person wants to begin `anew`.

    Raises:
        KeyFileError: There is a database, and its key is gone, or is another one.

    """
    if write:
        _make_home(paths)
    signer = own_key.found(paths, write=write)
    if not anew:
        paths.has_database()
    if signer is None:
        signer = own_key.make(paths)
    _finish_renaming(paths, write=write)
    store = Store.open(paths.state_db, write=write, create=write)
    try:
        signer = own_key.checked(store, signer, own_key.path_of(paths), write=write)
        if write:
            own_key.keep(store, signer)
            if not store.ledger.size():
                begin(store, signer, int(time.time() * 1000))
        yield Coordinator(paths=paths, store=store, signer=signer)
    finally:
        store.close()


@contextmanager
def open_to_look(paths: Paths) -> Iterator[Coordinator]:
    """Open the coordinator of a home to read; where there is none, one with an empty database and a key of its own.

    Nothing is written. That key is no secret, and signs nothing.
    """
    if paths.has_database():
        with open_coordinator(paths, write=False) as found:
            yield found
        return
    with Store.in_memory() as store:
        yield Coordinator(paths=paths, store=store, signer=Signer.from_seed(bytes(KEY_BYTES)), kept=False)


def _stamps(folders: Iterable[Path]) -> tuple[object, ...]:
    """Return what changes when a site file does, comes or goes; never empty."""
    found: list[object] = [None]
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".toml"):
                    seen = entry.stat()
                    found.append((entry.path, seen.st_ino, seen.st_size, seen.st_mtime_ns))
    return tuple(sorted(found, key=str))
