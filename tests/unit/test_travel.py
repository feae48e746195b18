"""How much of a job's inputs has to travel, in words."""

from __future__ import annotations

from typing import Any

import pytest

from nexapod_batch.coordinator.backend_guard import guarded
from nexapod_batch.errors import PluginFaultError
from nexapod_batch.model.job import Tier
from nexapod_batch.model.node import Node
from nexapod_batch.plugins import NodeContext
from nexapod_batch.wording.travel import travel

GIB = 1 << 30
NODE = Node(
    id=1, name="far", key_id="k", public_key=b"", site="far", owner="o", host="h", tier=Tier.HPC, backend="slurm", cpus=1, mem_mib=1,
)  # fmt: skip
CONTEXT = NodeContext(node=NODE, spool=None, work=None, state=None, remote_spool=None, remote_work=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "size", "files_to_send", "size_to_send", "wanted"),
    [
        (20_000, 12 * GIB // 10, 20_000, 12 * GIB // 10, "20,000 files, 1.2 GiB, all to be sent to far"),
        (20_000, 12 * GIB // 10, 15_000, 9 * GIB // 10, "20,000 files, 1.2 GiB: 15,000 files, 922 MiB, to be sent to far, the rest is there"),
        (20_000, 12 * GIB // 10, 0, 0, "20,000 files, 1.2 GiB, all on far already"),
        (120, 999, 2, 0, "120 files, 999 bytes: 2 files, 0 bytes, to be sent to far, the rest is there"),
        (1_000_000, 5000 * GIB, 0, 0, "1,000,000 files, 4.88 TiB, all on far already"),
    ],
)
def test_what_is_told(files: int, size: int, files_to_send: int, size_to_send: int, wanted: str) -> None:
    """All, some or none of them, in units that people read."""
    assert travel("far", files=files, size=size, files_to_send=files_to_send, size_to_send=size_to_send) == wanted


class Silent:
    """A backend that learns what is there when it sends."""


class Saying(Silent):
    """A backend that says what is not there."""

    def __init__(self, answer: Any) -> None:
        """Take what it says."""
        self._answer = answer

    def absent(self, context: Any, sizes: Any) -> Any:  # noqa: ARG002 - the port has them
        """Say it."""
        return self._answer


@pytest.mark.parametrize(("answer", "kept"), [([], set()), (["a"], {"a"}), (["a", "strange"], {"a"}), ({"a", "b"}, {"a", "b"})])
def test_what_a_backend_says_is_kept_of_what_it_was_asked(answer: Any, kept: set[str]) -> None:
    """Digests of other files count for nothing."""
    assert guarded(Saying(answer), "b").absent(CONTEXT, {"a": 1, "b": 2}) == kept


def test_one_that_says_nothing_is_not_taken_to_have_all() -> None:
    """Then nothing is told of its nodes."""
    assert guarded(Silent(), "b").absent(CONTEXT, {"a": 1}) is None


def test_an_answer_that_is_none_is_a_fault_of_the_backend() -> None:
    """As every wrong answer."""
    with pytest.raises(PluginFaultError):
        guarded(Saying(7), "b").absent(CONTEXT, {"a": 1})
