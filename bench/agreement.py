"""False agreements: pairs of tables of which one cell has another value, under each rule and each habit of writing.

Of 10^6 pairs of every text format none may have one digest. A pair is two contents of a cell that no reader takes for the
same, at the same place in the same table. Whether two contents are the same is said by another reader than ours:
Python's `decimal`, for whatever the rules take for a number; -0 is 0, and of numbers that differ it counts only where
rounding keeps them apart. Pieces run by themselves: `agreement.py [PAIRS [SEED [FORMAT]]]`.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING

from nexapod_batch.compare.registry import normalized_digest
from nexapod_batch.model.job import Comparator, CompareRule

if TYPE_CHECKING:
    from collections.abc import Callable

DIGITS, PLACES = 6, 4
RULES = {
    "significant": CompareRule(comparator=Comparator.SIGNIFICANT, digits=DIGITS),
    "round": CompareRule(comparator=Comparator.ROUND, digits=PLACES),
    "content": CompareRule(comparator=Comparator.CONTENT),
}
#: What is surely a number, however strict a reader is; everything else is the same only letter for letter.
NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)\.\d*|\.\d+)(?:[eEdD][+-]?\d+)?|[+-]?(?:0|[1-9]\d*)(?:[eE][+-]\d+)?")
NO_LETTER = re.compile(r"([+-]?\d?\.\d{2,})([+-][123]\d\d)")
CUT = re.compile(r"([=,;:()\[\]{}<>/])")
UNIT = re.compile(r"(?<=[0-9.])(?:%|[A-Za-z]{1,3})$")
#: Suffixes of names of text whose words are cut at marks.
CUT_FILES = ("txt", "dat", "xml", "xyz")
LETTERS = "0123456789" * 3 + "..,,+-eEdD" + "abNx_%:/"


def cell(chance: random.Random) -> str:
    """Return the content of a cell: random letters of numbers, a number, or a name."""
    kind = chance.random()
    if kind < 0.5:
        return "".join(chance.choices(LETTERS, k=chance.randint(0, 7)))
    if kind < 0.8:
        return f"{chance.uniform(-1, 1) * 10 ** chance.randint(-9, 9):.{chance.randint(0, 9)}{chance.choice('feg')}}"
    return str(chance.randint(0, 10 ** chance.randint(1, 9))).zfill(chance.randint(1, 6))


def near(chance: random.Random, text: str) -> str:
    """Return the content with one letter changed, added or taken away."""
    at, letter = chance.randint(0, len(text)), chance.choice(LETTERS)
    return text[:at] + chance.choice(("", letter)) + text[at + chance.randint(0, 1) :]


def value(text: str) -> Decimal | None:
    """Return the number that a content is; None for a name, and for a number that no double holds."""
    if lost := NO_LETTER.fullmatch(text):
        text = f"{lost[1]}e{lost[2]}"
    elif not NUMBER.fullmatch(text):
        return None
    spelled = text.lower().replace("d", "e")
    double, found = float(spelled), Decimal(spelled)
    return None if double in {float("inf"), float("-inf")} or (double == 0) is not (found == 0) else found


def without_unit(left: str, right: str) -> tuple[str, str]:
    """Return two words without the unit that stands behind both: nothing in newtons is nothing, however it is spelled."""
    unit = UNIT.search(left)
    if unit is None or not right.endswith(unit[0]):
        return left, right
    return left.removesuffix(unit[0]), right.removesuffix(unit[0])


def may_agree(left: str, right: str, rule: str, *, cut: bool) -> bool:
    """Say whether two contents are the same number, or so close that rounding may make them one.

    With `cut` that is said of each word between the marks at which text is cut, which must be the same.
    """
    if cut:
        one, other = CUT.split(left), CUT.split(right)
        words = [without_unit(*each) for each in zip(one, other, strict=False)]
        return len(one) == len(other) and all(may_agree(*each, rule, cut=False) for each in words)
    if left.strip() == right.strip():
        return True
    a, b = value(left), value(right)
    if a is None or b is None:
        return False
    if a == b:
        return True
    if rule == "content":
        return float(a) == float(b)
    apart = abs(a - b)
    if rule == "round":
        return apart <= Decimal(10) ** -PLACES
    return apart <= max(abs(a), abs(b)) * Decimal(10) ** (1 - DIGITS)


def rows(delimiter: str, quoting: int) -> Callable[[list[list[str]]], bytes]:
    """Return a writer of cells with a delimiter."""

    def write(table: list[list[str]]) -> bytes:
        stream = io.StringIO()
        csv.writer(stream, delimiter=delimiter, quoting=quoting).writerows(table)  # type: ignore[arg-type]
        return stream.getvalue().encode()

    return write


def columns(table: list[list[str]]) -> bytes:
    """Write fixed columns, right-aligned as numbers are."""
    return "".join("".join(each.rjust(18) for each in row).rstrip() + "\n" for row in table).encode()


def tags(table: list[list[str]]) -> bytes:
    """Write XML."""
    return "".join("<r>" + "".join(f'<c v="{each}">{each}</c>' for each in row) + "</r>\n" for row in table).encode()


def atoms(table: list[list[str]]) -> bytes:
    """Write XYZ; an empty cell is none there."""
    return ("1\n\n" + "".join(" ".join(each or "-" for each in row) + "\n" for row in table)).encode()


def pdb(table: list[list[str]]) -> bytes:
    """Write atoms of PDB, the cell among their coordinates."""
    return "".join(f"ATOM      1  N   MET A   1    {row[0][:8]:>8}{row[1][:8]:>8}   1.000  1.00  0.00\n" for row in table).encode()


#: What is called -> name of a file, what writes it
FORMATS: dict[str, tuple[str, Callable[[list[list[str]]], bytes]]] = {
    "CSV": ("a.csv", rows(",", csv.QUOTE_MINIMAL)), "CSV, semicolons": ("a.csv", rows(";", csv.QUOTE_MINIMAL)),
    "CSV, quotes": ("a.csv", rows(",", csv.QUOTE_ALL)), "TSV": ("a.tsv", rows("\t", csv.QUOTE_MINIMAL)),
    "text, tabs": ("a.txt", rows("\t", csv.QUOTE_MINIMAL)), "text, commas": ("a.txt", rows(",", csv.QUOTE_MINIMAL)),
    "text, columns": ("a.dat", columns), "JSON": ("a.json", lambda table: json.dumps(table).encode()),
    "JSON Lines": ("a.jsonl", lambda table: "".join(json.dumps(row) + "\n" for row in table).encode()),
    "XML": ("a.xml", tags), "XYZ": ("a.xyz", atoms), "PDB": ("a.pdb", pdb),
}  # fmt: skip


def tried(name: str, write: Callable[[list[list[str]]], bytes], pairs: int, chance: random.Random) -> list[str]:
    """Return the pairs that agree and may not."""
    found = []
    rules = list(RULES.items())
    for number in range(pairs):
        left = cell(chance)
        right = near(chance, left) if number % 2 else cell(chance)
        row = (["{}", "7"], ["3", "{}"], ["2", "{}", "x"])[number % 3]
        label, rule = rules[number % len(rules)]
        if name == "a.pdb":
            left, right = left[:8], right[:8]
        if may_agree(left, right, label, cut=name.endswith(CUT_FILES)) or (name == "a.xyz" and (left or "-") == (right or "-")):
            continue
        files = [write([[each.replace("{}", content) for each in row], ["2"] * len(row)]) for content in (left, right)]
        digests = {normalized_digest(io.BytesIO(file), name, rule) for file in files}
        if len(digests) == 1:
            found.append(f"{label}: {left!r} {right!r}")
    return found


def main(pairs: int = 1_000_000, seed: int = 1, only: str = "") -> None:
    """Print a line for each format."""
    print("| format | pairs | false agreements | seconds |\n|---|---|---|---|")
    for format_name, (name, write) in FORMATS.items():
        if only in {"", format_name}:
            start = time.perf_counter()
            found = tried(name, write, pairs, random.Random(f"{seed} {format_name}"))  # noqa: S311 - no secret
            print(f"| {format_name} | {pairs} | {len(found)} | {time.perf_counter() - start:.0f} |", *found[:10], flush=True)


if __name__ == "__main__":
    words = sys.argv[1:]
    main(*map(int, words[:2]), *words[2:3])
