"""False agreements: pairs of tables of which one cell has another value, under each rule and each habit of writing.

Of 10^6 pairs of every text format none may have one digest. A pair is two contents of a cell that no reader takes for the
same, at the same place in the same table. Whether two contents are the same is said by another reader than ours:
Python's `decimal`, for whatever the rules take for a number; -0 is 0, and of numbers that differ it counts only where
rounding keeps them apart. Pieces run by themselves: `agreement.py [PAIRS [SEED [FORMAT]]]`.

Pairs stand below one another in two tables, large enough that lines are read together, and their normal forms are compared
line by line: what is digested is one after the other. One pair of a hundred is two files, of which the digests are compared, and so is
each pair whose lines are the same.
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
from typing import TYPE_CHECKING, cast

from nexapod_batch.compare.registry import comparison, normalized_digest
from nexapod_batch.model.job import Comparator, CompareRule

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.compare.ports import Normalization

    Table = list[list[str]]
    #: Returns a table line by line.
    Writer = Callable[[Table], list[bytes]]

DIGITS, PLACES = 6, 4
#: Pairs in tables of one kind, and one in how many is tried alone as well.
TOGETHER, ALONE = 6_000, 100
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
CUT_FILES = ("txt", "dat", "log", "out", "xml", "xyz", "cif", "xvg", "vcf")
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


def rows(delimiter: str, quoting: int, end: str = "\n", start: str = "") -> Writer:
    """Return a writer of cells with a delimiter."""

    def write(table: Table) -> list[bytes]:
        lines = []
        for row in table:
            stream = io.StringIO()
            csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=end).writerow(row)  # type: ignore[arg-type]
            lines.append(stream.getvalue().encode())
        return [start.encode() + lines[0], *lines[1:]]

    return write


def lines(pattern: str, between: str = " ", start: str = "") -> Writer:
    """Return a writer of lines, of which `pattern` is what is done with each cell."""

    def write(table: Table) -> list[bytes]:
        found = [(between.join(pattern.format(cell) for cell in row).rstrip() + "\n").encode() for row in table]
        return [start.encode() + found[0], *found[1:]]

    return write


def tags(table: Table) -> list[bytes]:
    """Write XML."""
    return [("<r>" + "".join(f'<c v="{each}">{each}</c>' for each in row) + "</r>\n").encode() for row in table]


def filled(write: Writer) -> Writer:
    """Return a writer of what has no empty cells."""
    return lambda table: write([[each or "-" for each in row] for row in table])


def padded(write: Writer) -> Writer:
    """Return a writer of cells that are as wide as one another."""
    return lambda table: write([[each.rjust(12) for each in row] for row in table])


def pdb(table: Table) -> list[bytes]:
    """Write atoms of PDB, the cell among their coordinates."""
    return [f"ATOM      1  N   MET A   1    {row[0][:8]:>8}{row[1][:8]:>8}   1.000  1.00  0.00\n".encode() for row in table]


def json_lines(table: Table) -> list[bytes]:
    """Write JSON Lines."""
    return [(json.dumps(row) + "\n").encode() for row in table]


def json_objects(table: Table) -> list[bytes]:
    """Write JSON Lines of objects; a cell is a key as well."""
    return [(json.dumps({"z": row[0], f"k{row[-1]}": row}) + "\n").encode() for row in table]


def variants(table: Table) -> list[bytes]:
    """Write lines as VCF has them."""
    return [(f"chr1\t{row[0]}\trs1\tA\tG\t{row[1]}\tPASS\tDP=7;AF={row[0]}\tGT:GQ\t0/1:{row[-1]}\n").encode() for row in table]


#: What is called -> name of a file, what writes its lines
FORMATS: dict[str, tuple[str, Writer]] = {
    "CSV": ("a.csv", rows(",", csv.QUOTE_MINIMAL)), "CSV, semicolons": ("a.csv", rows(";", csv.QUOTE_MINIMAL)),
    "CSV, quotes": ("a.csv", rows(",", csv.QUOTE_ALL)), "CSV, CRLF, BOM": ("a.csv", rows(",", csv.QUOTE_MINIMAL, "\r\n", "\ufeff")),
    "CSV, padded": ("a.csv", padded(rows(",", csv.QUOTE_MINIMAL))), "TSV": ("a.tsv", rows("\t", csv.QUOTE_MINIMAL)),
    "text, blanks": ("a.txt", filled(lines("{}"))), "text, tabs": ("a.txt", lines("{}", "\t")),
    "text, commas": ("a.txt", rows(",", csv.QUOTE_MINIMAL)), "text, CRLF": ("a.log", rows("\t", csv.QUOTE_MINIMAL, "\r\n")),
    "text, columns": ("a.dat", lines("{:>18}", "")), "text, left columns": ("a.out", lines("{:<18}", "x ")),
    "text, keys": ("a.log", filled(lines("key={},"))), "text, complex": ("a.dat", filled(lines("({},1.5)"))),
    "JSON": ("a.jsonl", json_lines), "JSON, objects": ("a.ndjson", json_objects), "XML": ("a.xml", tags),
    "XYZ": ("a.xyz", filled(lines("{}", " ", "C "))), "extended XYZ": ("a.extxyz", filled(lines("e={}", "  "))),
    "CIF": ("a.cif", filled(lines("{}", "   "))), "GROMACS": ("a.xvg", filled(lines("{:>12}", "  "))),
    "VCF": ("a.vcf", variants), "PDB": ("a.pdb", pdb),
}  # fmt: skip


def pair(chance: random.Random, number: int, rule: str, name: str) -> tuple[list[str], list[str]] | None:
    """Return two rows that differ in one cell; None where they may agree."""
    left = cell(chance)
    right = near(chance, left) if number % 2 else cell(chance)
    row = (["{}", "7"], ["3", "{}"], ["2", "{}", "x"])[number % 3]
    if name == "a.pdb":
        left, right = left[:8], right[:8]
    if may_agree(left, right, rule, cut=name.endswith(CUT_FILES)) or (left or "-") == (right or "-"):
        return None
    one, other = ([each.replace("{}", content) for each in row] for content in (left, right))
    return one, other


def form(lines_of_file: list[bytes], name: str, rule: CompareRule) -> list[bytes]:
    """Return the normal form of a file, line by line."""
    normalization = cast("Normalization", comparison(rule.comparator))
    content = b"".join(normalization.normal_form(io.BytesIO(b"".join(lines_of_file)), name, rule))
    return content.split(b"] " if name.endswith((".jsonl", ".ndjson")) else b" \n")


def digest(row: list[str], name: str, write: Writer, rule: CompareRule) -> str | None:
    """Return the digest of a file of one row, below one that is always the same."""
    return normalized_digest(io.BytesIO(b"".join(write([["1", "2"], row]))), name, rule)


def tried(name: str, write: Writer, pairs: int, chance: random.Random) -> list[str]:
    """Return the pairs that agree and may not."""
    found = []
    for begin in range(0, pairs, TOGETHER):
        for label, rule in RULES.items():
            some = [pair(chance, number, label, name) for number in range(begin, min(begin + TOGETHER, pairs), len(RULES))]
            different = [each for each in some if each is not None]
            if not different:
                continue
            ours, theirs = (write([each[side] for each in different]) for side in (0, 1))
            forms = form(ours, name, rule), form(theirs, name, rule)
            if len(forms[0]) != len(forms[1]):
                sys.exit(f"{name}: {len(forms[0])} and {len(forms[1])} lines")
            same = {at for at, (left, right) in enumerate(zip(*forms, strict=True)) if left == right and at < len(ours)}
            for at in same | set(range(0, len(ours), ALONE)):
                left, right = different[at]
                if at in same or digest(left, name, write, rule) == digest(right, name, write, rule):
                    found.append(f"{label}: {left} {right}")
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
