"""Where the votes stand: the two largest groups, and whether what is out could still change the order.

For `exact`, `round` and `significant` equal answers are a group. `allclose` is no equivalence: groups are formed
around centres, and only when nothing is out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.quorum.domains import Row, most_distinct, row, touches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexapod_batch.model.job import Domain
    from nexapod_batch.quorum.votes import Closeness, Vote

__all__ = ["Standing", "by_answer", "by_closeness"]


class Standing(Struct, frozen=True, kw_only=True):
    """The two largest groups, in distinct domains; a group not seen yet counts 0."""

    leader: int = 0
    second: int = 0
    winners: frozenset[int] = frozenset()  # numbers of the leading group, whether or not they count
    settled: bool = False  # True: no answer of those out can undo the leader's agreement or its lead


def by_answer(distinct: Sequence[Domain], agree: int, votes: Sequence[Vote], out: Sequence[Vote]) -> Standing:
    """Group equal answers. Every vote has an answer."""
    if not votes:
        return Standing()
    groups: dict[bytes, list[tuple[Row, int]]] = {}
    for vote in votes:
        groups.setdefault(vote.answer or b"", []).append((row(vote, distinct), vote.number))
    if len(groups) == 1:
        ((_, group),) = groups.items()
        ranked = [(most_distinct(where for where, _ in group), group)]
    else:
        split = _split_values(groups.values(), len(distinct))
        ranked = [
            (most_distinct(where for where, _ in group if not touches(where, split)), group)
            for _, group in sorted(groups.items())
        ]
        ranked.sort(key=lambda item: -item[0])
    leader, group = ranked[0]
    second = ranked[1][0] if len(ranked) > 1 else 0
    settled = leader - second > len(out)
    if settled and out:
        split = [set(column) for column in zip(*(row(vote, distinct) for vote in out), strict=True)]
        rows = [where for where, _ in group]
        if any(touches(where, split) for where in rows):
            settled = _holds(rows, [row(vote, distinct) for vote in out], groups, agree, second)
    return Standing(leader=leader, second=second, winners=frozenset([number for _, number in group]), settled=settled)


def _split_values(groups: Iterable[Sequence[tuple[Row, int]]], columns: int) -> list[set[str]]:
    """Return, for each column, the values that answered in two groups: they support neither."""
    seen: list[set[str]] = [set() for _ in range(columns)]
    split: list[set[str]] = [set() for _ in range(columns)]
    for group in groups:
        for column in range(columns):
            values = {where[column] for where, _ in group}
            split[column] |= values & seen[column]
            seen[column] |= values
    return split


def _holds(
    rows: Sequence[Row], out: Sequence[Row], groups: dict[bytes, list[tuple[Row, int]]], agree: int, second: int
) -> bool:
    """Say whether the leading group keeps agreement and lead if every replica out answers otherwise.

    One that is out where a member of the group already answered (a lost replica was placed again, then reported
    late) can take that member's support away; it can then no longer support a rival itself.
    """
    columns = range(len(rows[0]))
    split = _split_values(groups.values(), len(columns))
    for column in columns:
        split[column] |= {where[column] for where in out}
    mine = [{where[column] for where in rows} for column in columns]
    kept = most_distinct(where for where in rows if not touches(where, split))
    fresh = sum(not touches(where, mine) for where in out)
    return kept >= agree and kept > second + fresh


def by_closeness(distinct: Sequence[Domain], votes: Sequence[Vote], close: Closeness) -> Standing:
    """Group around the vote with the most supporters, then the smallest digest. Call it when nothing is out.

    A rival is a centre outside the leader's group; one that has as many supporters makes it a tie.
    """
    if not votes:
        return Standing()
    ordered = sorted(votes, key=lambda vote: (vote.raw, vote.answer or b"", vote.number))
    rows = [row(vote, distinct) for vote in ordered]
    near = [[False] * len(ordered) for _ in ordered]
    for i, left in enumerate(ordered):
        for j in range(i, len(ordered)):
            right = ordered[j]
            near[i][j] = near[j][i] = i == j or (left.answer == right.answer and close(left.number, right.number))
    sizes = []
    for flags in near:
        others = [rows[j] for j, flag in enumerate(flags) if not flag]
        split = [{where[column] for where in others} for column in range(len(distinct))]
        sizes.append(most_distinct(rows[j] for j, flag in enumerate(flags) if flag and not touches(rows[j], split)))
    centre = max(range(len(ordered)), key=lambda i: (sizes[i], -i))
    second = max((sizes[i] for i, flag in enumerate(near[centre]) if not flag), default=0)
    winners = frozenset(ordered[j].number for j, flag in enumerate(near[centre]) if flag)
    return Standing(leader=sizes[centre], second=second, winners=winners, settled=sizes[centre] > second)
