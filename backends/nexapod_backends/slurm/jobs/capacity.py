"""What hosts really have for jobs, and which of them a constraint admits. Pure.

sinfo's counts are those of the machine. What Slurm keeps for itself (CoreSpecCount, CpuSpecList, MemSpecLimit) no job
gets: `scontrol show node` tells what is left.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nexapod_backends.slurm.cli.hostlist import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nexapod_backends.slurm.cli.parse import HostRow

__all__ = ["SCONTROL_NODES", "Capacity", "admits", "read_nodes", "usable"]

SCONTROL_NODES = ("scontrol", "--oneliner", "show", "node")
_NODES_MAX = 100_000
_KEY = re.compile(r"(?:^|\s)([A-Za-z]+)=(\S*)")


class Capacity(Struct, frozen=True, kw_only=True):
    """What jobs can have of one host."""

    cpus: int
    mem_mib: int
    features: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    kept_cpus: int = 0  # that Slurm keeps for itself
    kept_mib: int = 0


def read_nodes(text: str) -> dict[str, Capacity]:
    """Return what `SCONTROL_NODES` says of each host; a line that makes no sense is left out."""
    found: dict[str, Capacity] = {}
    for line in text.split("\n"):
        cells: dict[str, str] = {}
        for key, value in _KEY.findall(line[:100_000]):
            cells.setdefault(key, value)
        name, total, memory = cells.get("NodeName", ""), _count(cells.get("CPUTot")), _count(cells.get("RealMemory"))
        if not name or total is None or memory is None or len(found) >= _NODES_MAX:
            continue
        usable_cpus = _usable_cpus(cells, total)
        kept_mib = _count(cells.get("MemSpecLimit")) or 0
        found[name] = Capacity(
            cpus=max(0, usable_cpus), mem_mib=max(0, memory - kept_mib), kept_cpus=max(0, total - usable_cpus),
            kept_mib=kept_mib, features=_words(cells.get("AvailableFeatures", cells.get("Features", ""))),
            partitions=_words(cells.get("Partitions", "")),
        )  # fmt: skip
    return found


def _usable_cpus(cells: Mapping[str, str], total: int) -> int:
    """Return how many CPUs of a host jobs can have."""
    told = _count(cells.get("CPUEfctv"))  # from 22.05 on
    if told is not None:
        return told
    threads = _count(cells.get("ThreadsPerCore")) or 1
    return total - threads * (_count(cells.get("CoreSpecCount")) or 0)


def usable(rows: Iterable[HostRow], nodes: Mapping[str, Capacity]) -> tuple[HostRow, ...]:
    """Return sinfo's rows with what jobs can have; hosts of a row that differ become rows of their own."""
    found: list[HostRow] = []
    for row in rows:
        alike: dict[tuple[int, int, tuple[str, ...]], list[str]] = {}
        for host in row.hosts:
            has = nodes.get(host)
            key = (row.cpus, row.mem_mib, row.features) if has is None else (has.cpus, has.mem_mib, has.features)
            alike.setdefault(key, []).append(host)
        found += [
            replace(row, hosts=tuple(hosts), cpus=cpus, mem_mib=mem_mib, features=features)
            for (cpus, mem_mib, features), hosts in alike.items()
        ]
    return tuple(found)


class _Constraint:
    """The words of a constraint, read from the left; IndexError where they make no sense."""

    def __init__(self, words: Sequence[str], features: Sequence[str]) -> None:
        """Begin with the first word, for a host with these features."""
        self._words, self._features = words, features
        self._position = 0

    @property
    def is_over(self) -> bool:
        """Say whether all words were read."""
        return self._position == len(self._words)

    def either(self) -> bool:
        """Read what `|` joins; say whether the host has one of them."""
        value = self._both()
        while not self.is_over and self._words[self._position] == "|":
            self._position += 1
            value = self._both() or value
        return value

    def _both(self) -> bool:
        """Read what `&` or a comma joins; say whether the host has all of them."""
        value = self._term()
        while not self.is_over and self._words[self._position] in "&,":
            self._position += 1
            value = self._term() and value
        return value

    def _term(self) -> bool:
        """Read a feature, or what stands in parentheses or brackets."""
        word = self._words[self._position]
        self._position += 1
        if word in ("|", "&", ",", ")", "]"):
            raise IndexError
        if word not in ("(", "["):
            return word in self._features
        value = self.either()
        self._position += 1  # what closes it
        return value


def admits(constraint: str, features: Sequence[str]) -> bool:
    """Say whether a host with these features may be one of those that a constraint asks for.

    Understood are `a&b`, `a|b`, `a,b` (as `&`), parentheses, brackets (one of them for all hosts) and counts (`a*2`).
    What cannot be read admits every host: Slurm decides.
    """
    text = re.sub(r"\*\d{1,9}", "", constraint)
    words = re.findall(r"[A-Za-z0-9_.:-]+|[&|,()\[\]]", text)
    if "".join(words) != text or len(words) > 200:
        return True
    parsed = _Constraint(words, features)
    try:
        value = parsed.either()
    except (IndexError, RecursionError):
        return True
    return value or not parsed.is_over


def _words(text: str) -> tuple[str, ...]:
    return () if text in NOTHING else tuple(one for one in text.split(",") if one)


def _count(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,15}", text, re.ASCII) else None
