"""Counting distinct domains, and what independence was reached.

A *row* is the tuple of one replica's domains, one column for each field of `distinct`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.model.job import Domain
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum.machines import same_machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexapod_batch.quorum.votes import Vote

__all__ = [
    "Row", "Seat", "addresses_of_one_machine", "count", "independence", "max_distinct", "one_account", "row", "seat",
    "shared_account", "touches",
]  # fmt: skip

Row = tuple[str, ...]
Seat = tuple[Row, "Vote"]

#: Branches that the search over three or more independent fields may take before it settles for what it has.
_BRANCHES = 20_000


def row(vote: Vote, distinct: Sequence[Domain]) -> Row:
    """Return the domains of a vote; every execution is its own `run`."""
    domain = vote.domain
    return tuple([str(vote.number) if name is Domain.RUN else domain.get(name, "") for name in distinct])


def seat(vote: Vote, distinct: Sequence[Domain]) -> Seat:
    """Return a vote with its domains."""
    return row(vote, distinct), vote


def count(seats: Sequence[Seat], distinct: Sequence[Domain]) -> int:
    """Return how many votes can be chosen so that any two differ in every field, and in their machine if hosts count.

    Of those beside which a stranger's command had the run of their account only one is chosen, whatever the fields.
    Who ran on which machine shows only when a replica reported, so it makes fewer of those who agree and never takes
    the support of others away: what was accepted holds whatever comes later.
    """
    rows = [where for where, _ in seats]
    pairs: set[tuple[int, int]] = set()
    if len(seats) > 1 and Domain.HOST in distinct:
        pairs = _on_the_same_machine(seats, distinct.index(Domain.HOST))
    exposed = [(i, vote.account) for i, (_, vote) in enumerate(seats) if vote.beside]
    if len(exposed) > 1:
        pairs |= _of_one_account(exposed)
    if pairs:
        return _most_apart(rows, pairs)
    return max_distinct(rows)


def _of_one_account(exposed: Sequence[tuple[int, str]]) -> set[tuple[int, int]]:
    """Return the pairs of indexes that have the same account."""
    return {(i, j) for i, mine in exposed for j, other in exposed if j < i and mine == other}


def _on_the_same_machine(seats: Sequence[Seat], column: int) -> set[tuple[int, int]]:
    """Return the pairs of indexes whose hosts, in a column of the rows, have two names and are one machine."""
    if all(where[column] == seats[0][0][column] for where, _ in seats):
        return set()
    pairs = set()
    for i, (where, vote) in enumerate(seats):
        for j, (other, earlier) in enumerate(seats[:i]):
            if where[column] != other[column] and same_machine(vote.machine, earlier.machine):
                pairs.add((i, j))
    return pairs


def _most_apart(rows: Sequence[Row], pairs: set[tuple[int, int]]) -> int:
    """Return the size of the largest subset that differs in every column and holds none of the `pairs` of indexes.

    Exact within its branches, which realistic numbers of replicas never use up, else a lower bound.
    """
    best, branches = 0, _BRANCHES

    def apart(i: int, j: int) -> bool:
        if (i, j) in pairs or (j, i) in pairs:
            return False
        return all(a != b for a, b in zip(rows[i], rows[j], strict=True))

    def visit(left: Sequence[int], chosen: int) -> None:
        nonlocal best, branches
        best, branches = max(best, chosen), branches - 1
        if not left or branches < 0 or chosen + len(left) <= best:
            return
        first, rest = left[0], left[1:]
        visit([i for i in rest if apart(i, first)], chosen + 1)
        visit(rest, chosen)

    visit(range(len(rows)), 0)
    return best


def touches(row: Row, values: Sequence[set[str]]) -> bool:
    """Say whether a row shares a value with `values` (a set for each column) in any column."""
    return any(value in seen for value, seen in zip(row, values, strict=True))


def max_distinct(rows: Iterable[Row]) -> int:
    """Return how many rows can be chosen so that any two of them differ in every column.

    Exact for one and two columns, and for more columns wherever the search ends within its branches (it does for any
    realistic number of replicas); otherwise a lower bound, the same for every order of the rows.
    """
    different = set(rows)
    if len(different) < 2 or len(next(iter(different))) == 1:
        return len(different)
    unique = sorted(different)
    columns = _needed_columns(unique)
    if len(columns) == 1:
        return len({row[columns[0]] for row in unique})
    narrowed = sorted({tuple(row[column] for column in columns) for row in unique})
    if len(columns) == 2:
        return _match(narrowed)
    return _search(narrowed)


def _needed_columns(rows: Sequence[Row]) -> list[int]:
    """Leave out a column that settles another one: rows that differ in the site differ in the node anyhow."""
    columns = list(range(len(rows[0])))
    for column in tuple(columns):
        values = len({row[column] for row in rows})
        others = [other for other in columns if other != column]
        if any(len({(row[column], row[other]) for row in rows}) == values for other in others):
            columns.remove(column)
    return columns


def _match(pairs: Sequence[Row]) -> int:
    """Return the size of the largest matching of left and right values (augmenting paths)."""
    rights: dict[str, list[str]] = {}
    for left, right in pairs:
        rights.setdefault(left, []).append(right)
    taken: dict[str, str] = {}

    def augment(left: str, seen: set[str]) -> bool:
        for right in rights[left]:
            if right not in seen:
                seen.add(right)
                if right not in taken or augment(taken[right], seen):
                    taken[right] = left
                    return True
        return False

    return sum(augment(left, set()) for left in rights)


def _search(rows: Sequence[Row]) -> int:
    """Return the size of the largest subset by branch and bound."""
    best, branches = 0, _BRANCHES

    def visit(left: Sequence[Row], chosen: int) -> None:
        nonlocal best, branches
        best, branches = max(best, chosen), branches - 1
        if not left or branches < 0 or chosen + min(len(set(column)) for column in zip(*left, strict=True)) <= best:
            return
        first, rest = left[0], left[1:]
        visit([row for row in rest if all(a != b for a, b in zip(row, first, strict=True))], chosen + 1)
        visit(rest, chosen)

    visit(rows, 0)
    return best


def independence(votes: Sequence[Vote]) -> Reason:
    """Return what the votes did not share: several sites, owners or machines, or that they ran on one machine.

    Sites and owners are names that an admin gave; `run_by_one` says that one account made all their keys all the same.
    """
    hosts = {vote.domain.get(Domain.HOST, "") for vote in votes}
    machines = len(hosts)
    if machines > 1:  # some of these addresses may be one machine's
        machines = count([seat(vote, [Domain.HOST]) for vote in votes], [Domain.HOST])
    if machines == 1 < len(votes):
        return _on_one_machine(votes)
    sites = {vote.domain.get(Domain.SITE, "") for vote in votes}
    owners = {vote.domain.get(Domain.OWNER, "") for vote in votes}
    if len(votes) == 1:
        return Reason(code=Code.UNREPEATED)
    run_by_one = len({vote.run_by for vote in votes}) == 1
    if len(sites) > 1:
        shown = {"sites": len(sites), "owners": len(owners), "run_by_one": run_by_one}
        return Reason(code=Code.FROM_SITES, parameters=shown)
    if len(owners) > 1:
        shown = {"owners": len(owners), "machines": machines, "run_by_one": run_by_one}
        return Reason(code=Code.FROM_OWNERS, parameters=shown)
    return Reason(code=Code.FROM_MACHINES, parameters={"machines": machines, "run_by_one": run_by_one})


def _on_one_machine(votes: Sequence[Vote]) -> Reason:
    """Return that several votes came from one machine, which may have several addresses."""
    hosts = {vote.domain.get(Domain.HOST, "") for vote in votes}
    host = min(hosts) if len(hosts) == 1 else ""
    named = sorted({vote.where for vote in votes} - {"", host})  # of a cluster, which counts as one
    return Reason(code=Code.FROM_ONE_MACHINE, parameters={"replicas": len(votes), "machine": host, "addresses": named})


def addresses_of_one_machine(votes: Sequence[Vote], distinct: Sequence[Domain]) -> list[str]:
    """Return which different addresses are those of one machine, where hosts count, sorted."""
    if Domain.HOST not in distinct:
        return []
    addresses: set[str] = set()
    for i, vote in enumerate(votes):
        others = {other.where for other in votes[:i] if same_machine(vote.machine, other.machine)} - {vote.where}
        if others:
            addresses |= {vote.where, *others}
    return sorted(addresses)


def one_account(votes: Sequence[Vote]) -> bool:
    """Say whether nothing kept the commands of these votes from what one account has."""
    accounts = {vote.account for vote in votes}
    return len(accounts) == 1 and accounts != {""}


def shared_account(votes: Sequence[Vote]) -> bool:
    """Say whether some of these votes count as one, because somebody else's command ran beside them."""
    exposed = [vote.account for vote in votes if vote.beside]
    return len(set(exposed)) < len(exposed)
