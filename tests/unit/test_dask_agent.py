"""What the agent on a worker forgets: launches that ended, and spools of workers that are gone, however those ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from nexapod_backends.dask.scheduler import agent

if TYPE_CHECKING:
    from pathlib import Path

#: What a worker makes in its spool, in this order; it can die before each of them.
MADE = ("inbox", "claims", "spent", "cancel", "refused", "reports")


def forget(base: Path, *launches: list[object], gone: tuple[str, ...] = ()) -> dict[str, Any]:
    """Let the agent forget launches and workers."""
    head = {"op": "forget", "base": str(base), "launches": launches, "gone": gone}
    answer: dict[str, Any] = json.loads(agent.serve(json.dumps(head).encode() + b"\n"))
    return answer


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a node's folder on a worker's storage, where `other` is whole and has ended a launch."""
    for name in MADE:
        (tmp_path / "w/other" / name).mkdir(parents=True)
    (tmp_path / "w/other/claims/done").touch()
    return tmp_path


@pytest.mark.parametrize("count", range(len(MADE) + 1))
def test_a_spool_that_was_never_finished_holds_up_nobody(base: Path, count: int) -> None:
    """Its worker was killed while it made it: it goes, and so do the launches of others."""
    for name in MADE[:count]:
        (base / "w/dead" / name).mkdir(parents=True)
    assert forget(base, ["dead", "lost", []], ["other", "done", ["1_0.1"]], gone=("dead",)) == {}
    assert not (base / "w/dead").exists()
    assert (base / "w/other/spent/done").exists()


@pytest.mark.parametrize("kind", ["a file", "a link to nowhere", "a lock that is a folder"])
def test_a_spool_that_cannot_be_removed_holds_up_nobody(base: Path, kind: str) -> None:
    """Whatever lies in its place."""
    spool = base / "w/dead"
    if kind == "a file":
        spool.touch()
    elif kind == "a link to nowhere":
        spool.symlink_to(base / "nowhere")
    else:
        (spool / "worker.lock").mkdir(parents=True)
    assert forget(base, ["other", "done", []], gone=("dead",)) == {}
    assert (base / "w/other/spent/done").exists()


def test_reports_that_were_not_read_stay(base: Path) -> None:
    """The spool of a worker that is gone is kept for them, and goes when they are read."""
    report = base / "w/other/reports/a.jsonl"
    report.write_text("{}\n")
    assert forget(base, gone=("other",)) == {}
    assert report.exists()
    report.unlink()
    assert forget(base, gone=("other",)) == {}
    assert not (base / "w/other").exists()
