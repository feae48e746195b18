"""What the database is to forget is not left in its pages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nexapod_batch.store import Store

if TYPE_CHECKING:
    from pathlib import Path


def test_a_forgotten_seed_is_overwritten(tmp_path: Path) -> None:
    """The seed of a launch's key is not in the file any more once the launch was claimed."""
    path, seed = tmp_path / "state.db", os.urandom(32)
    with Store.open(path, create=True) as store, store.atomic():
        store.nodes.put(
            name="n", key_id="k", public_key=bytes(32), site="local", owner="o", host="h", tier="cpu",
            backend="local", cpus=1, mem_mib=1, gpus=0, gpu_type=None, hosts=1, classes="{}", made_by="me", max_queued=1, now=0,
        )  # fmt: skip
        store.jobs.insert(
            uuid="u", name="j", user="me", foreign=False, digest="0" * 64, folder="/", priority=0, held=False,
            max_running=None, now=0, n_tasks=1,
        )  # fmt: skip
        launch = store.launches.insert(key="0" * 32, node=1, job=1, host_set=-1, envelope=b"x", now=0)
        store.launches.insert_delegation(
            launch, seed=seed, key_id="k", not_after=1, payload=b"p", signature=bytes(64)
        )
    assert seed in path.read_bytes()
    with Store.open(path) as store:
        store.launches.claimed([launch])
    assert seed not in path.read_bytes()
