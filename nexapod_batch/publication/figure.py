"""The figure of who agreed: a row for each task, a box for each execution, those that agree first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.publication.facts import Standing
from nexapod_batch.publication.template import rendered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.publication.facts import Facts, ReplicaFacts, TaskFacts

__all__ = ["figure", "in_order"]

#: Rows and boxes that a figure has at most; what is more is counted.
_ROWS, _BOXES = 24, 8
_BOX_WIDTH, _BOX_HEIGHT, _GAP, _LEFT, _TOP = 148, 38, 8, 96, 8
#: Characters that fit into a box.
_FITS = 17
_ORDER = {Standing.AGREES: 0, Standing.UNDECIDED: 1, Standing.DIFFERS: 2, Standing.NONE: 3}
_SYMBOLS = {Standing.AGREES: "\u2713", Standing.UNDECIDED: "?", Standing.DIFFERS: "\u2717", Standing.NONE: "\u2013"}


class _Box(NamedTuple):
    """One execution in the figure."""

    x: int
    kind: str  # class of its style
    symbol: str
    name: str
    where: str


class _Row(NamedTuple):
    """One task in the figure."""

    y: int
    label: str
    boxes: list[_Box]
    end: int  # where its sentence begins
    sentence: str


def in_order(tasks: Sequence[TaskFacts]) -> list[TaskFacts]:
    """Return tasks as a reader wants to see them: without a result first, then those that somebody disagreed with."""
    return sorted(tasks, key=_worth_a_look)


def _worth_a_look(task: TaskFacts) -> tuple[bool, bool, int]:
    disputed = any(replica.standing is Standing.DIFFERS for replica in task.replicas)
    return task.accepted, not disputed, task.number


def figure(facts: Facts, *, standalone: bool) -> str:
    """Return the figure as SVG; a `standalone` one brings its own colours, another takes those of its page."""
    tasks = in_order(facts.tasks)
    rows = [_row(number, task) for number, task in enumerate(tasks[:_ROWS])]
    width = max((row.end for row in rows), default=_LEFT) + 210
    return rendered(
        "agreement.svg.jinja",
        {
            "rows": rows,
            "width": width,
            "height": _TOP + len(rows) * (_BOX_HEIGHT + _GAP) + (28 if len(tasks) > _ROWS else 0),
            "more": max(len(tasks) - _ROWS, 0),
            "box_width": _BOX_WIDTH,
            "box_height": _BOX_HEIGHT,
            "description": _description(tasks[:_ROWS]),
            "standalone": standalone,
        },
    )


def _row(number: int, task: TaskFacts) -> _Row:
    replicas = sorted(task.replicas, key=lambda replica: (_ORDER[replica.standing], replica.number))
    boxes = [_box(place, replica) for place, replica in enumerate(replicas[:_BOXES])]
    end = _LEFT + len(boxes) * (_BOX_WIDTH + _GAP) + _GAP
    sentence = f"{task.agreed} of {task.votes} agree" if task.accepted else task.state
    if len(replicas) > _BOXES:
        sentence = f"+{len(replicas) - _BOXES} more; {sentence}"
    y = _TOP + number * (_BOX_HEIGHT + _GAP)
    return _Row(y=y, label=f"task {task.number}", boxes=boxes, end=end, sentence=sentence)


def _box(place: int, replica: ReplicaFacts) -> _Box:
    return _Box(
        x=_LEFT + place * (_BOX_WIDTH + _GAP),
        kind=replica.standing.name.lower(),
        symbol=_SYMBOLS[replica.standing],
        name=_cut(replica.node),
        where=_cut(f"site {replica.site}"),
    )


def _cut(text: str) -> str:
    if len(text) > _FITS:
        return text[: _FITS - 1] + "\u2026"
    return text


def _description(tasks: Sequence[TaskFacts]) -> str:
    """Return the figure in words, for those who cannot see it."""
    parts = []
    for task in tasks:
        said = ", ".join(f"{replica.node} {replica.standing.value}" for replica in task.replicas[:_BOXES])
        parts.append(f"Task {task.number}: {said}.")
    return " ".join(parts)
