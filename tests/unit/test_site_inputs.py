"""Copies of inputs beside a site's nodes stay for the next job, within a limit."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from nexapod_backends.slurm.files import site_files
from nexapod_backends.slurm.transport import LocalTransport

from nexapod_batch.files.least_used import LEFT_S
from nexapod_batch.model.job import Tier
from nexapod_batch.model.node import Node
from nexapod_batch.model.site import Filesystem, Scheduler, Site
from nexapod_batch.plugins import NodeContext

HOUR, MIB = 3_600, 1 << 20
NODE = Node(
    id=1, name="far", key_id="k", public_key=b"", site="far", owner="o", host="h", tier=Tier.HPC, backend="slurm", cpus=1, mem_mib=1,
)  # fmt: skip


def digest(number: int) -> str:
    """Return the digest of an input."""
    return hashlib.sha256(b"%d" % number).hexdigest()


@pytest.fixture
def context(tmp_path: Path) -> NodeContext:
    """Return a node whose inputs are copied into the folder of its site, with three inputs of which the first is oldest."""
    spool = tmp_path / "there" / "far" / "spool"
    (spool / "inputs").mkdir(parents=True, mode=0o700)
    for number in range(3):
        file = spool / "inputs" / digest(number)
        file.write_bytes(bytes(MIB))
        os.utime(file, (time.time() - (9 - number) * HOUR,) * 2)
    site = Site(name="far", scheduler=Scheduler(type="slurm"), filesystem=Filesystem(work_dir=str(tmp_path / "there")))
    return NodeContext(
        node=NODE, spool=spool, work=spool, state=tmp_path, remote_spool=spool, remote_work=spool, site=site, spare_mib=2,
    )  # fmt: skip


def there(context: NodeContext) -> set[str]:
    """Return what lies there."""
    return {path.name for path in Path(context.remote_spool, "inputs").iterdir()}


def test_what_was_used_longest_ago_goes_first(context: NodeContext) -> None:
    """Unless it is needed."""
    assert site_files.unstage(LocalTransport(), context, [digest(0)]) == 1
    assert there(context) == {digest(0), digest(2)}
    assert site_files.unstage(LocalTransport(), context, []) == 0


def test_what_a_job_uses_again_stays(context: NodeContext, tmp_path: Path) -> None:
    """To be staged once more is a use of it."""
    here = tmp_path / digest(0)
    here.write_bytes(bytes(MIB))
    LocalTransport().put_by_digest(f"{context.remote_spool}/inputs", {digest(0): here}, list)
    assert site_files.unstage(LocalTransport(), context, []) == 1
    assert there(context) == {digest(0), digest(2)}


def test_without_a_limit_of_its_own_only_what_is_needed_stays(context: NodeContext) -> None:
    """As on a disk that is full."""
    bare = NodeContext(**{**{name: getattr(context, name) for name in context.__struct_fields__}, "spare_mib": 0})
    assert site_files.unstage(LocalTransport(), bare, [digest(1)]) == 2
    assert there(context) == {digest(1)}


def test_what_a_killed_process_left_goes_after_a_week(context: NodeContext) -> None:
    """Whatever the limit."""
    for name, age in ((f"{digest(5)}.7.ab", LEFT_S + HOUR), (f".{digest(6)}.7", LEFT_S + HOUR), (f".{digest(7)}.7", LEFT_S - HOUR)):
        path = Path(context.remote_spool, "inputs", name)
        path.write_bytes(b"")
        os.utime(path, (time.time() - age,) * 2)
    assert site_files.unstage(LocalTransport(), context, [digest(0), digest(1), digest(2)]) == 2
    assert there(context) == {digest(0), digest(1), digest(2), f".{digest(7)}.7"}


def test_a_copy_that_fails_leaves_nothing(context: NodeContext, tmp_path: Path) -> None:
    """Of a file that cannot be read, or a place that cannot be written."""
    with pytest.raises(OSError, match="No such file"):
        LocalTransport().put(tmp_path / "none", f"{context.remote_spool}/inputs/{digest(8)}")
    assert len(there(context)) == 3
