"""Where the votes stand: the two largest groups, and whether what is out could still change the order.

For `exact`, `round` and `significant` equal answers are a group. `allclose` is no equivalence: groups are formed
around centres, and only when nothing is out. Failures of one kind are a group of their own beside the answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.quorum.domains import count, row, seat, touches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nexapod_batch.model.job import Domain
    from nexapod_batch.quorum.domains import Row, Seat
    from nexapod_batch.quorum.votes import Closeness, Vote

__all__ = ["Standing", "by_answer", "by_closeness"]

#: What a group says: a kind of failure, or "" and an answer.
_Said = tuple[str, bytes]
_NOTHING: _Said = ("", b"")


class Standing(Struct, frozen=True, kw_only=True):
    """The two largest groups, in distinct domains; a group not seen yet counts 0."""

    leader: int = 0
    second: int = 0
    failures: tuple[str, str] = ("", "")  # kinds of failure that these two are; "" for an answer
    answers: int = 0  # size of the largest group that is an answer
    winners: frozenset[int] = frozenset()  # numbers of the leading group, whether or not they count
    centre: int | None = None  # number of the vote that all of them are close to; None where equal answers are a group
    settled: bool = False  # True: no answer of those out can undo the leader's agreement or its lead


def by_answer(distinct: Sequence[Domain], agree: int, votes: Sequence[Vote], out: Sequence[Vote]) -> Standing:
    """Group equal answers, and equal kinds of failure. Every vote has one of the two."""
    if not votes:
        return Standing()
    groups: dict[_Said, list[Seat]] = {}
    for vote in votes:
        groups.setdefault(_said(vote), []).append(seat(vote, distinct))
    ranked = _ranked(groups, distinct)
    leader, said, group = ranked[0]
    second, other, _ = ranked[1] if len(ranked) > 1 else (0, _NOTHING, [])
    settled = leader - second > len(out)
    if settled and out:
        rows_out = [row(vote, distinct) for vote in out]
        if _any_touches(group, rows_out):
            kept, fresh = _if_all_differ(group, rows_out, groups)
            left = count(kept, distinct)
            settled = left >= agree and left > second + fresh
    return Standing(
        leader=leader,
        second=second,
        failures=(said[0], other[0]),
        answers=next((size for size, (failure, _), _ in ranked if not failure), 0),
        winners=frozenset([vote.number for _, vote in group]),
        settled=settled,
    )


def _said(vote: Vote) -> _Said:
    return vote.failure, b"" if vote.failure else vote.answer or b""


def _ranked(
    groups: Mapping[_Said, Sequence[Seat]], distinct: Sequence[Domain]
) -> list[tuple[int, _Said, Sequence[Seat]]]:
    """Return (size in distinct domains, what it said, members) of each group, the largest first."""
    if len(groups) == 1:
        ((said, group),) = groups.items()
        return [(count(group, distinct), said, group)]
    split = _split_values(groups.values(), len(distinct))
    ranked = [
        (count([one for one in group if not touches(one[0], split)], distinct), said, group)
        for said, group in sorted(groups.items(), key=lambda item: item[0])
    ]
    ranked.sort(key=lambda item: -item[0])
    return ranked


def _split_values(groups: Iterable[Sequence[Seat]], columns: int) -> list[set[str]]:
    """Return, for each column, the values that answered in two groups: they support neither."""
    seen: list[set[str]] = [set() for _ in range(columns)]
    split: list[set[str]] = [set() for _ in range(columns)]
    for group in groups:
        for column in range(columns):
            values = {where[column] for where, _ in group}
            split[column] |= values & seen[column]
            seen[column] |= values
    return split


def _any_touches(group: Sequence[Seat], out: Sequence[Row]) -> bool:
    """Say whether a replica that is out has a value of a member of the group in any column."""
    values = [set(column) for column in zip(*out, strict=True)]
    return any(touches(where, values) for where, _ in group)


def _if_all_differ(
    group: Sequence[Seat], out: Sequence[Row], groups: Mapping[_Said, Sequence[Seat]]
) -> tuple[list[Seat], int]:
    """Return who of the leading group is left, and how many rivals there are, if every replica out answers otherwise.

    One that is out where a member of the group already answered (a lost replica was placed again, then reported
    late) can take that member's support away; it can then no longer support a rival itself.
    """
    columns = range(len(out[0]))
    taken = _split_values(groups.values(), len(columns))
    for column in columns:
        taken[column] |= {where[column] for where in out}
    mine = [{where[column] for where, _ in group} for column in columns]
    kept = [one for one in group if not touches(one[0], taken)]
    return kept, sum(not touches(where, mine) for where in out)


def by_closeness(distinct: Sequence[Domain], votes: Sequence[Vote], close: Closeness) -> Standing:
    """Group around the vote with the most supporters, then the smallest digest. Call it when nothing is out.

    Failures of one kind support each other.
    """
    if not votes:
        return Standing()
    ordered = sorted(votes, key=lambda vote: (vote.failure, vote.raw, vote.answer or b"", vote.number))
    near = _near(ordered, close)
    seats = [seat(vote, distinct) for vote in ordered]
    sizes = [_supporters(flags, seats, distinct) for flags in near]
    centre = max(range(len(ordered)), key=lambda i: (sizes[i], -i))
    rival = _rival(near, sizes, centre)
    second = 0 if rival is None else sizes[rival]
    return Standing(
        leader=sizes[centre],
        second=second,
        failures=(ordered[centre].failure, "" if rival is None else ordered[rival].failure),
        answers=max((size for vote, size in zip(ordered, sizes, strict=True) if not vote.failure), default=0),
        winners=frozenset(ordered[j].number for j, flag in enumerate(near[centre]) if flag),
        centre=ordered[centre].number,
        settled=sizes[centre] > second,
    )


def _rival(near: Sequence[Sequence[bool]], sizes: Sequence[int], centre: int) -> int | None:
    """Return which vote comes closest to the centre in supporters; None where there is no rival.

    A rival is a vote with other supporters: one that has as many makes it a tie, inside the leader's group as well as
    outside, so that nothing but bytes ever chooses between them.
    """
    rivals = [
        i
        for i, flags in enumerate(near)
        if not near[centre][i] or (flags != near[centre] and sizes[i] == sizes[centre])
    ]
    return max(rivals, key=lambda i: (sizes[i], -i), default=None)


def _near(ordered: Sequence[Vote], close: Closeness) -> list[list[bool]]:
    """Return which votes support which; each pair is compared once."""
    near = [[False] * len(ordered) for _ in ordered]
    for i, left in enumerate(ordered):
        near[i][i] = True
        for j in range(i + 1, len(ordered)):
            right = ordered[j]
            alike = _said(left) == _said(right)
            if alike and not left.failure:
                alike = close(left.number, right.number)
            near[i][j] = near[j][i] = alike
    return near


def _supporters(flags: Sequence[bool], seats: Sequence[Seat], distinct: Sequence[Domain]) -> int:
    """Return how many distinct domains support a centre and no other answer."""
    others = [where for (where, _), flag in zip(seats, flags, strict=True) if not flag]
    split = [{where[column] for where in others} for column in range(len(distinct))]
    mine = [seat for seat, flag in zip(seats, flags, strict=True) if flag]
    return count([one for one in mine if not touches(one[0], split)], distinct)
