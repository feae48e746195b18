"""Tables as programs write them: honest noise in the last digits agrees, and nothing that a reader would notice does."""

from __future__ import annotations

import csv
import io
import itertools
import json
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexapod_batch.compare.registry import first_difference, normalized_digest
from nexapod_batch.model.job import Comparator, CompareRule

if TYPE_CHECKING:
    from collections.abc import Callable

    #: Rows of: an identifier, then numbers; None is an empty cell.
    Table = list[tuple[str, list[float | None]]]

SIGNIFICANT = CompareRule(comparator=Comparator.SIGNIFICANT, digits=8)
ROUND = CompareRule(comparator=Comparator.ROUND, digits=6)

#: Values of at most six digits: no noise brings them over a border of rounding.
values = st.integers(-999_999, 999_999).map(lambda n: n / 1000)
cells = st.one_of(values, values, values, st.none())
identifiers = st.from_regex(r"\A(0{0,3}[1-9][0-9]{0,7}|[1-9]E0[1-9]|[1-9]D0[1-9]|[a-z]{1,4}[0-9]{2})\Z")
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.tuples(identifiers, st.lists(cells, min_size=width, max_size=width)), min_size=1, max_size=5)
)

#: As `csv` numbers them.
Quoting = Literal[0, 1, 2, 3]


def delimited(delimiter: str, quoting: Quoting, comma: str = ".") -> Callable[[Table], bytes]:
    """Return a writer of CSV with a delimiter, a habit of quoting, and a decimal mark."""

    def write(table: Table) -> bytes:
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=delimiter, quoting=quoting)
        names = [f"x{column}" for column in range(len(table[0][1]))]
        writer.writerow(["id", *names] if names else ["id", "none"])
        for name, row in table:
            writer.writerow([name, *("" if one is None else repr(one).replace(".", comma) for one in row)])
        return stream.getvalue().encode()

    return write


def columns(style: str, mark: str = "e") -> Callable[[Table], bytes]:
    """Return a writer of fixed columns, as Fortran's formats and C's printf do it."""
    width = len(style % 0.0)

    def write(table: Table) -> bytes:
        lines = []
        for name, row in table:
            shown = ["" if one is None else (style % one).replace("e", mark) for one in row]
            lines.append(name.ljust(12) + "".join(one.rjust(width + 4) for one in shown))
        return "".join(line.rstrip() + "\n" for line in lines).encode()

    return write


def as_json(table: Table) -> bytes:
    """Write JSON, identifiers as text."""
    return json.dumps([{"id": name, "values": row} for name, row in table]).encode()


def as_r_does(table: Table) -> bytes:
    """Write CSV with text in quotes, numbers bare, and NA for what is missing."""
    lines = [",".join(['"id"', *(f'"V{i}"' for i in range(len(table[0][1])))])]
    lines += [",".join([f'"{name}"', *("NA" if one is None else repr(one) for one in row)]) for name, row in table]
    return "\n".join([*lines, ""]).encode()


def tabbed(table: Table) -> bytes:
    """Write a text file with tabs."""
    return "".join("\t".join([name, *("" if one is None else repr(one) for one in row)]) + "\n" for name, row in table).encode()


#: name of the file -> who writes it; where it is said, whether noise shows in it as another number.
HABITS: dict[str, tuple[str, Callable[[Table], bytes]]] = {
    "comma": ("a.csv", delimited(",", csv.QUOTE_MINIMAL)),
    "R": ("a.csv", as_r_does),
    "semicolon": ("a.csv", delimited(";", csv.QUOTE_MINIMAL)),
    "tab in .csv": ("a.csv", delimited("\t", csv.QUOTE_MINIMAL)),
    "tab in .tsv": ("a.tsv", delimited("\t", csv.QUOTE_MINIMAL)),
    "tab in .txt": ("a.txt", tabbed),
    "C, fixed": ("a.dat", columns("%16.10f")),
    "C, exponent": ("a.dat", columns("%16.9e")),
    "Fortran, E": ("fort.7", columns("%16.9e", "E")),
    "Fortran, D": ("fort.7", columns("%16.9e", "D")),
    "JSON": ("a.json", as_json),
}
#: Habits in which noise cannot be told from another value: they are compared to the last character.
STRICT: dict[str, tuple[str, Callable[[Table], bytes]]] = {
    "decimal comma": ("a.csv", delimited(";", csv.QUOTE_MINIMAL, ",")),
    "decimal comma in .txt": ("a.txt", delimited(";", csv.QUOTE_MINIMAL, ",")),
    "decimal comma, tabs": ("a.txt", delimited("\t", csv.QUOTE_MINIMAL, ",")),
    "all quoted": ("a.csv", delimited(",", csv.QUOTE_ALL)),
    "comma in .txt": ("a.txt", delimited(",", csv.QUOTE_MINIMAL)),
}


def noisy(table: Table, relative: float) -> Table:
    """Return the table with noise in the last digits."""
    return [(name, [None if one is None else one * (1 + relative) for one in row]) for name, row in table]


def same(left: bytes, right: bytes, name: str, rule: CompareRule) -> bool:
    """Say whether two files have the same digest; where they differ is found exactly when they have not."""
    equal = normalized_digest(io.BytesIO(left), name, rule) == normalized_digest(io.BytesIO(right), name, rule)
    assert equal == (first_difference(io.BytesIO(left), io.BytesIO(right), name, rule) is None)
    return equal


@pytest.mark.parametrize("rule", [SIGNIFICANT, ROUND], ids=["significant", "round"])
@pytest.mark.parametrize("habit", HABITS)
@settings(max_examples=40)
@given(tables, st.floats(-1e-11, 1e-11))
def test_honest_noise_agrees(habit: str, rule: CompareRule, table: Table, relative: float) -> None:
    """Noise far below the digits asked for changes nothing, however the table is written."""
    name, write = HABITS[habit]
    assert same(write(table), write(noisy(table, relative)), name, rule)


def changed_value(table: Table) -> Table:
    """Change one number in its sixth digit; a table of empty cells gets one."""
    name, row = table[0]
    first = next((i for i, one in enumerate(row) if one is not None), 0)
    return [(name, [(row[i] or 0.0) + 0.001 if i == first else row[i] for i in range(len(row))]), *table[1:]]


def moved_value(table: Table) -> Table:
    """Let a value change places with an empty cell of its row; without both a cell is emptied."""
    name, row = table[0]
    full = [i for i, one in enumerate(row) if one is not None]
    empty = [i for i, one in enumerate(row) if one is None]
    new = list(row)
    if full and empty:
        new[full[0]], new[empty[0]] = new[empty[0]], new[full[0]]
    elif full:
        new[full[0]] = None
    else:
        new[0] = 1.0
    return [(name, new), *table[1:]]


def longer_identifier(table: Table) -> Table:
    """Put a zero before an identifier."""
    return [(f"0{table[0][0]}", table[0][1]), *table[1:]]


def next_identifier(table: Table) -> Table:
    """Give the last digit of an identifier another value."""
    name = table[0][0]
    return [(name[:-1] + str((int(name[-1]) + 1) % 10), table[0][1]), *table[1:]]


def other_letter(table: Table) -> Table:
    """Write an exponent's letter otherwise: in an identifier it is another one."""
    name = table[0][0]
    new = name.replace("E", "F").replace("D", "E").replace("F", "D")
    return [(new if new != name else f"{name}E1", table[0][1]), *table[1:]]


def added_row(table: Table) -> Table:
    """Repeat the last row."""
    return [*table, table[-1]]


CHANGES = [changed_value, moved_value, longer_identifier, next_identifier, other_letter, added_row]


@pytest.mark.parametrize("rule", [SIGNIFICANT, ROUND], ids=["significant", "round"])
@pytest.mark.parametrize("habit", [*HABITS, *STRICT])
@settings(max_examples=15)
@given(tables, st.sampled_from(CHANGES))
def test_what_a_reader_would_notice_differs(
    habit: str, rule: CompareRule, table: Table, change: Callable[[Table], Table]
) -> None:
    """Another value, cell, identifier or row is never rounded away."""
    name, write = {**HABITS, **STRICT}[habit]
    left, right = write(table), write(change(table))
    assert left != right
    assert not same(left, right, name, rule)


@given(st.lists(values, min_size=1, max_size=8), st.integers(0, 7), st.floats(-1e-11, 1e-11))
def test_npy(row: list[float], at: int, relative: float) -> None:
    """In .npy files noise agrees, and another value or whole number differs."""

    def npy(array: list[float] | np.ndarray) -> bytes:
        stream = io.BytesIO()
        np.save(stream, np.array(array))
        return stream.getvalue()

    at %= len(row)
    assert same(npy(row), npy([one * (1 + relative) for one in row]), "a.npy", SIGNIFICANT)
    other = [one + 0.001 * (i == at) for i, one in enumerate(row)]
    assert not same(npy(row), npy(other), "a.npy", SIGNIFICANT)
    numbers = np.array([20_261_129 + i for i in range(len(row))])
    assert not same(npy(numbers), npy(numbers + 2 * (np.arange(len(row)) == at)), "a.npy", SIGNIFICANT)


#: Two files that no reader takes for the same, beyond what the tables above hold.
APART = [
    ("a.txt", "0,05\n", "0,5\n"),
    ("a.txt", "x=0,05;\n", "x=0,5;\n"),
    ("a.txt", "0,05E3\n", "0,5E3\n"),
    ("a.txt", "1,034.5\n", "1,34.5\n"),
    ("a.csv", "a;b\n0,05;1\n", "a;b\n0,5;1\n"),
    ("a.csv", "0,05;1,5\n", "0,5;1,5\n"),
    ("a.csv", "a,b,c\n1,,2\n", "a,b,c\n1,2,\n"),
    ("a.csv", 'a\n"00501"\n', 'a\n"501"\n'),
    ("a.csv", "a\n00501\n", "a\n501\n"),
    ("a.csv", 'a\n"1.50"\n', 'a\n"1.5"\n'),
    ("a.csv", "a\n1D05\n", "a\n1E05\n"),
    ("a.csv", "a\n1E05\n", "a\n1E5\n"),
    ("a.csv", "a\n20261129\n", "a\n20261131\n"),
    ("a.txt", "20261129\n", "20261131\n"),
    ("a.txt", "1\t\t2\n", "1\t2\t\n"),
    ("a.txt", "1\t2\n", "1 2\n"),
    ("a.txt", "1.0        2.0\n", "1.0    2.0\n"),
    ("a.txt", "    1.0\n", "1.0\n"),
    ("a.txt", "a      1.0\n", "a  1.0\n"),
    ("a.txt", "12:05:01\n", "12:5:1\n"),
    ("a.txt", "1,5e+00\n", "1,50e-01\n"),
    ("a.txt", "x 1,5D+00;\n", "x 1,50D-01;\n"),
    ("a.csv", "x\n1,5e+00\n", "x\n1,50e-01\n"),
    ("a.csv", "1,5e+00;2,5\n", "1,50e-01;2,5\n"),
    ("a.csv", "Results, run 3\na;1,5e+00;2\nb;1,5e+00\n", "Results, run 3\na;1,5e+00;2\nb;1,50e-01\n"),
    ("a.csv", 'a,b\n"x",1,5e+00\n', 'a,b\n"x",1,50e-01\n'),
    ("a.txt", "1 2\r3 4\r", "1\r2 3 4\r"),
    ("a.csv", "a,\r1,2\n", "a,1,2\n"),
    ("a.txt", "1\f2\n", "1 2\n"),
    ("a.json", '["00501"]', '["501"]'),
    ("a.json", "[20261129]", "[20261131]"),
]


#: Contents of cells of which no two have the same value: decimal commas, zeros in front, names that look like numbers.
CELLS = (
    "", "NA", "x", "5", "05", "005", "501", "00501", "1D05", "1E05", "1E5", "0e4620", "0e4621", "1e4620", "12345678", "12345699",
    "1,5", "1,05", "1,50", "0,5", "0,05", "15", "1.034,5", "1.34,5", "1,034.5", "1,34.5", "1,5e+00", "1,50e-01", "1,5E00",
    "1,50E-1", "1,5D+00", "15D-01", "1.5", "-1.5", "1.05", "1.5e+05", "2310001E07", "23100010E06", "12:05", "12:5", "1-2", "1/2",
    "1;5", "1;05", "0x10", "10", "1e400", "1e-400", "-", "+", "1 5", "1  5", "1\t5", "nan5", "(1.5)", "[1.5]", "1.5%", "1.5f",
)  # fmt: skip


def in_columns(table: list[list[str]]) -> bytes:
    """Write fixed columns of 16 characters, right-aligned as numbers are."""
    return "".join("".join(cell.rjust(16) for cell in row).rstrip() + "\n" for row in table).encode()


def in_left_columns(table: list[list[str]]) -> bytes:
    """Write fixed columns of 16 characters, left-aligned, each row with a mark at its end."""
    return "".join("".join(cell.ljust(16) for cell in row) + "|\n" for row in table).encode()


def by(delimiter: str, quoting: Quoting) -> Callable[[list[list[str]]], bytes]:
    """Return a writer of cells with a delimiter."""

    def write(table: list[list[str]]) -> bytes:
        stream = io.StringIO()
        csv.writer(stream, delimiter=delimiter, quoting=quoting).writerows(table)
        return stream.getvalue().encode()

    return write


CELL_WRITERS: dict[str, tuple[str, Callable[[list[list[str]]], bytes]]] = {
    "comma": ("a.csv", by(",", csv.QUOTE_MINIMAL)),
    "semicolon": ("a.csv", by(";", csv.QUOTE_MINIMAL)),
    "tab in .csv": ("a.csv", by("\t", csv.QUOTE_MINIMAL)),
    "tab in .tsv": ("a.tsv", by("\t", csv.QUOTE_MINIMAL)),
    "all quoted": ("a.csv", by(",", csv.QUOTE_ALL)),
    "comma in .txt": ("a.txt", by(",", csv.QUOTE_MINIMAL)),
    "semicolon in .txt": ("a.txt", by(";", csv.QUOTE_MINIMAL)),
    "tab in .txt": ("a.txt", by("\t", csv.QUOTE_MINIMAL)),
    "bar in .txt": ("a.txt", by("|", csv.QUOTE_MINIMAL)),
    "columns": ("a.dat", in_columns),
    "left columns": ("a.dat", in_left_columns),
    "JSON": ("a.json", lambda table: json.dumps(table).encode()),
}


@pytest.mark.parametrize("habit", CELL_WRITERS)
def test_cells_with_other_values_differ(habit: str) -> None:
    """Every pair of contents, first and last in a row, beside numbers and beside empty cells, under every rule."""
    name, write = CELL_WRITERS[habit]
    close = CompareRule(comparator=Comparator.ALLCLOSE, rtol=1e-5, atol=0.0)
    for row in (["{}", "7"], ["3", "{}"], ["", "{}", ""]):
        files = [write([[one.format(cell) for one in row], ["2"] * len(row)]) for cell in CELLS]
        for rule in (CompareRule(comparator=Comparator.SIGNIFICANT, digits=5), CompareRule(comparator=Comparator.ROUND, digits=2)):
            digests = [normalized_digest(io.BytesIO(file), name, rule) for file in files]
            cells = sorted(zip(digests, CELLS, strict=True), key=lambda pair: str(pair[0]))
            assert [(a, b) for (one, a), (two, b) in itertools.pairwise(cells) if one == two] == []
        for file, other in itertools.pairwise(files):
            assert first_difference(io.BytesIO(file), io.BytesIO(other), name, close) is not None


@pytest.mark.parametrize(("name", "left", "right"), APART)
def test_apart(name: str, left: str, right: str) -> None:
    """A decimal comma, an empty cell, a column, a leading zero, quotes and names are seen under both roundings."""
    for rule in (CompareRule(comparator=Comparator.SIGNIFICANT, digits=6), CompareRule(comparator=Comparator.ROUND, digits=2)):
        assert not same(left.encode(), right.encode(), name, rule)
