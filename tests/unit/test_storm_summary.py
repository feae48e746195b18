"""What many storms say of themselves at their end."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mesh_storms import FAULTS, MeshStorm, Outcome, Summary


def storm(seed: int, counts: dict[str, int], met: dict[str, int], outcome: Outcome) -> Any:
    """Return what is left of a storm when it is over."""
    proxies = [SimpleNamespace(met=met), SimpleNamespace(met={"": 7})]
    return SimpleNamespace(seed=seed, counts=Counter(counts), template=SimpleNamespace(proxies=proxies), outcome=outcome)


def test_every_kind_of_fault_is_counted_by_its_name() -> None:
    """A kind that a storm knows is in the table, and none is in it that no storm raises."""
    template: Any = SimpleNamespace(world=Path("/nowhere"))
    kinds = {kind.__name__.lstrip("_") for kind in MeshStorm(template, 1, restores=True)._kinds()}
    assert kinds == set(FAULTS)


def test_a_summary_adds_up_what_came_of_storms() -> None:
    """Faults by kind, also those that never happened; what met nothing on the way is left out; it is JSON."""
    summary = Summary()
    summary.add(storm(1, {"kill_server": 2}, {"": 90, "twice": 3}, Outcome(0, 0, 0)), good=True)
    summary.add(storm(2, {"kill_server": 1, "copy": 1}, {"twice": 1, "delay": 2}, Outcome(4, 1, 2)), good=False)
    said = json.loads(json.dumps(summary.document()))
    faults = said.pop("faults")
    assert (set(faults), faults["kill_server"], faults["copy"], faults["take_over"]) == (set(FAULTS), 3, 1, 0)
    assert said == {
        "seeds": 2, "failed": [2], "on_the_way": {"twice": 4, "delay": 2}, "lost_reports": 4, "executed_twice": 1,
        "ended_otherwise": 2, "stopped": False,
    }  # fmt: skip
