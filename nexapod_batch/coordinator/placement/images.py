"""Container images as a coordinator sees them: a job is pinned to one file, and keeps it as long as it is open."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec.structs import replace

from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.errors import ImageError
from nexapod_batch.images.cache import Cache
from nexapod_batch.model.job import NumericClass
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.config.settings import Paths, Settings
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.images.cache import Image, Progress
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node

__all__ = [
    "Silent", "cache_of", "files_of", "hold", "jobs_using", "outlook", "path_for", "pinned", "prune", "pull",
    "wrong_architecture",
]  # fmt: skip


class Silent:
    """Progress that nobody hears."""

    def start(self, what: str, total: int | None) -> None:
        """Say nothing."""

    def advance(self, count: int) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""


def cache_of(paths: Paths) -> Cache:
    """Return the image cache of this account, as its settings say."""
    from nexapod_batch.config.settings import settings  # noqa: PLC0415 - most commands need none

    found = settings(paths).images
    return Cache(found.folder, found.max_mib << 20)


def pull(
    cache: Cache, paths: Paths, image: str, progress: Progress, *, sha256: str = "", architecture: str = "",
    foreign: bool = False,
) -> tuple[Image, str]:  # fmt: skip
    """Return what an image was resolved to, and its name with the digest; it is in the cache from now on.

    Of several architectures the one named is taken, else this machine's. What a `foreign` job names is asked for
    without the logins of this account, and not at private addresses unless its settings allow them.
    """
    from nexapod_batch.config.settings import settings  # noqa: PLC0415 - pulls need much that nothing else does
    from nexapod_batch.images.build import find  # noqa: PLC0415
    from nexapod_batch.images.fetch import resolve  # noqa: PLC0415
    from nexapod_batch.images.remote.pull import Sources  # noqa: PLC0415
    from nexapod_batch.images.remote.web import Web  # noqa: PLC0415

    found = settings(paths)
    sources = Sources(
        web=Web(private_hosts=_known_hosts(found) if foreign else None), plain_http=found.images.plain_http,
        library=found.images.library, environ=None if foreign else os.environ, builder=find,
    )  # fmt: skip
    return resolve(cache, image, sha256, architecture or platform.machine(), sources, progress)


def _known_hosts(found: Settings) -> tuple[str, ...]:
    """Return the hosts that the settings name, whose addresses may be private also where somebody else asks."""
    urls = [found.images.library, *(f"//{host}" for host in found.images.plain_http)]
    return (*found.sources.private_hosts, *(urlsplit(url).hostname or "" for url in urls))


def pinned(c: Coordinator, job: Job, nodes: Sequence[Node], progress: Progress, *, foreign: bool) -> Job:
    """Return a job whose container names one file by digest, and that file is in the cache.

    Of an image for several architectures the one is taken that `nodes`, those in reach, have in common. `foreign` is
    as `pull` has it.
    """
    if job.container is None:
        return job
    machines = {node.classes.get(NumericClass.OS_ARCH, "").partition("-")[2] for node in nodes} - {""}
    architecture = machines.pop() if len(machines) == 1 else ""
    cache = cache_of(c.paths)
    cache.before_prune = lambda: _hold_now(c)
    found, reference = pull(
        cache, c.paths, job.container.image, progress, sha256=job.container.sha256, architecture=architecture,
        foreign=foreign,
    )  # fmt: skip
    return replace(job, container=job.container._replace(image=reference, sha256=found.sha256))


def looked_at(c: Coordinator, job: Job) -> Job:
    """Return a job whose image is a file of this machine as it would be pinned; ImageError when it cannot be."""
    if job.container is None or not os.path.isfile(job.container.image):
        return job
    from nexapod_batch.images.local import check_file  # noqa: PLC0415

    header, sha256 = check_file(Path(job.container.image), job.container.sha256)
    c.architectures[sha256] = header.architecture
    return replace(job, container=job.container._replace(sha256=sha256))


def outlook(c: Coordinator, job: Job) -> list[str]:
    """Return what a submission would do about a job's image, in words; nobody is asked."""
    if job.container is None:
        return []
    from nexapod_batch.images.reference import parse  # noqa: PLC0415

    image, cache = job.container.image, cache_of(c.paths)
    if "://" not in image:
        return [f"image: would be copied from {image}" + (", built into a file" if os.path.isdir(image) else "")]
    reference = parse(image)
    there = cache.find(reference.key) if reference.digest else cache.image(job.container.sha256)
    return [f"image: {image} is in the cache" if there else f"image: would pull {image}"]


def path_for(c: Coordinator, job: Job, node: Node) -> str:
    """Return where a node's runners would find a job's image, as far as that is known before it is pinned."""
    if job.container is None:
        return ""
    from nexapod_batch.images.reference import parse  # noqa: PLC0415

    image, cache, digest = job.container.image, cache_of(c.paths), job.container.sha256
    if not digest and "://" in image:
        found = cache.find(parse(image).key)
        digest = found.sha256 if found else ""
    elif not digest and os.path.isfile(image):
        with open(image, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    context, digest = c.context(node), digest or "SHA256"
    copied = context.site is not None and context.site.filesystem.work_dir
    if copied:
        return f"{context.remote_spool}/inputs/{digest}"
    return str(cache.folder / f"{digest}.sif")


def hold(c: Coordinator, *, more: str = "") -> None:
    """Note in the cache which images open jobs need, and one `more`; TryAgainError when it was removed meanwhile.

    The caller holds the writer's lock, so that nobody else changes what is open.
    """
    wanted = {*jobs_using(c), more} - {""}
    cache_of(c.paths).hold(hashlib.sha256(c.identity.encode()).hexdigest()[:12], wanted)


def jobs_using(c: Coordinator) -> dict[str, list[int]]:
    """Return the open jobs that need an image, by the image's SHA-256."""
    found: dict[str, list[int]] = {}
    for row in c.store.jobs.open_documents():
        if (container := json.loads(row.body)["container"]) is not None:
            found.setdefault(container["sha256"], []).append(row.job_id)
    return found


def prune(c: Coordinator, *, limit: int, dry_run: bool = False) -> list[Image]:
    """Remove images that no open job needs until the others take at most `limit` bytes; return them."""
    if not dry_run:
        _hold_now(c)
    return cache_of(c.paths).prune(limit, dry_run=dry_run)


def _hold_now(c: Coordinator) -> None:
    with writer(c.store, wait_s=PATIENCE_S):
        hold(c)


def wrong_architecture(c: Coordinator, job: Job, node: Node) -> str:
    """Return in words that a job's image was made for other machines than a node; "" where nothing speaks against it.

    Before the image is there, and for a node whose profile does not say what it is, nothing does.
    """
    sha256 = job.container.sha256 if job.container else ""
    have = node.classes.get(NumericClass.OS_ARCH, "")
    if not sha256 or not have:
        return ""
    if sha256 not in c.architectures:
        found = cache_of(c.paths).image(sha256)
        c.architectures[sha256] = found.architecture if found else ""
    made_for = f"linux-{c.architectures[sha256]}"
    if made_for in {have, "linux-"}:
        return ""
    return f"the image is for {made_for}, node {node.name} is {have}"


def files_of(c: Coordinator, job: Job) -> Mapping[str, Path]:
    """Return the image file that the runners of a job need, by digest; ImageError when it is gone."""
    if job.container is None:
        return {}
    found = cache_of(c.paths).image(job.container.sha256)
    if found is None:
        raise ImageError(
            f"image {job.container.image} is no longer in the cache", got=f"no {job.container.sha256}.sif",
            hint=f"nexapod-batch image pull {job.container.image}",
        )  # fmt: skip
    return {found.sha256: found.path}
