"""Comments and quotes of CSV, quotes of JSON, the columns of PDB, and rows of tables in any order."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from nexapod_batch.compare.registry import first_difference, normalized_digest
from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.errors import CompareError, DescriptorError
from nexapod_batch.model.document import from_document, to_document
from nexapod_batch.model.job import Comparator, CompareRule

SIX = CompareRule(comparator=Comparator.SIGNIFICANT, digits=6)
HASH = SIX._replace(comments="#")
QUOTED = SIX._replace(quoted_numbers=True)


def agree(name: str, left: str, right: str, rule: CompareRule) -> bool:
    """Say whether two texts agree; what is signed and what is shown say the same."""
    found = first_difference(io.BytesIO(left.encode()), io.BytesIO(right.encode()), name, rule)
    digests = {normalized_digest(io.BytesIO(text.encode()), name, rule) for text in (left, right)}
    assert (len(digests) == 1) is (found is None)
    return found is None


SAME = [
    ("a.csv", HASH, "# one\na,b\n1,2\n", "a,b\n1,2\n"),
    ("a.csv", HASH, "a,b\n  # two\n1,2\n# end", "a,b\n1,2\n"),
    ("a.csv", HASH, '# it\'s "new\na,"x\ny"\n# an "end\n', 'a,"x\ny"\n'),
    ("a.csv", HASH, "# a;b;c\na,b\n1,2\n", "a,b\n1,2\n"),
    ("a.csv", HASH._replace(ignore=("b",)), "# one\na,b\n1,2\n", "a,b\n# two\n1,3\n"),
    ("a.csv", SIX._replace(comments="%%"), "%% one\n1,2\n", "1,2\n"),
    ("a.csv", QUOTED, 'a\n"1.50"\n', "a\n1.5\n"),
    ("a.csv", QUOTED, 'a,b\n"1.50000001","x,y"\n', 'a,b\n" 1.5 ","x,y"\n'),
    ("a.csv", QUOTED._replace(decimal=",", delimiter=";"), 'a\n"1,50"\n', "a\n1,5\n"),
    ("a.json", QUOTED, '{"x": "1.50000001"}', '{"x": 1.5}'),
    ("a.jsonl", QUOTED, '["-1e-05"]\n', '["-1.0e-5"]\n'),
    ("a.csv", SIX._replace(ignore=("time", "T")), "time [s],T (K),x\n1,2,3\n", "time [s],T (K),x\n4,5,3\n"),
    ("a.csv", SIX._replace(ignore=("time [s]",)), "time [s],x\n1,3\n", "time [s],x\n4,3\n"),
]
APART = [
    ("a.csv", HASH, 'a\n"x\n# y"\n', 'a\n"x\n# z"\n'),
    ("a.csv", HASH, 'a\n"x\n#1\n"\n', 'a\n"x\n"\n'),
    ("a.csv", HASH, "a,#b\n", "a,#c\n"),
    ("a.csv", SIX, "# one\n1,2\n", "# two\n1,2\n"),
    ("a.csv", SIX, 'a\n"1.50"\n', "a\n1.5\n"),
    ("a.csv", QUOTED, 'a\n"00501"\n', 'a\n"501"\n'),
    ("a.csv", QUOTED, 'a\n"1,5"\n', 'a\n"1,50"\n'),
    ("a.csv", QUOTED, 'a\n"1D05"\n', 'a\n"1E05"\n'),
    ("a.csv", QUOTED, 'a\n""\n', 'a\n"0"\n'),
    ("a.json", QUOTED, '{"1.5": 1}', '{"1.50": 1}'),
    ("a.json", QUOTED, '["00501"]', '["501"]'),
    ("a.csv", SIX._replace(ignore=("time",)), "times [s],x\n1,3\n", "times [s],x\n4,3\n"),
]


@pytest.mark.parametrize(("name", "rule", "left", "right"), SAME)
def test_what_the_rule_says_does_not_count(name: str, rule: CompareRule, left: str, right: str) -> None:
    """Comments, quotes around numbers, columns by a name with its unit behind it."""
    assert agree(name, left, right, rule)


def test_megabytes_of_comments_are_none() -> None:
    """However many are read together."""
    assert agree("a.csv", '# 5" long\n' * 100_000 + "1,2\n", "1,2\n", HASH)


@pytest.mark.parametrize(("name", "rule", "left", "right"), APART)
def test_everything_else_counts(name: str, rule: CompareRule, left: str, right: str) -> None:
    """A mark of comments in quotes or behind a cell, keys, and quotes around what may be a name."""
    assert not agree(name, left, right, rule)


ATOM = "ATOM      1  N   MET A   1    {}{}{}  1.00{}           N  \n"
CLOSE = CompareRule(comparator=Comparator.ALLCLOSE, rtol=0.0, atol=0.0015)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (("-100.123", "-200.456", "1000.789", "  9.67"), ("-100.124", "-200.455", "1000.790", "  9.67"), True),
        (("1000.123", "2000.456", "3000.789", "100.00"), ("1000.123", "2000.456", "3000.789", "100.00"), True),
        (("1000.123", "2000.456", "3000.789", "  9.67"), ("1000.123", "2000.456", "3000.799", "  9.67"), False),
        (("1000.123", "2000.456", "3000.789", "100.00"), ("1000.123", "2000.456", "3000.789", "110.00"), False),
        (("   1.000", "        ", "   1.000", "  1.00"), ("        ", "   1.000", "   1.000", "  1.00"), False),
        (("********", "   1.000", "   1.000", "  1.00"), ("   9.999", "   1.000", "   1.000", "  1.00"), False),
    ],
)
def test_columns_of_pdb(left: tuple[str, ...], right: tuple[str, ...], same: bool) -> None:
    """They are numbers by where they stand, also where nothing stands between them."""
    one, other = ATOM.format(*left).encode(), ATOM.format(*right).encode()
    found = first_difference(io.BytesIO(one), io.BytesIO(other), "a.pdb", CLOSE)
    assert (found is None) is same


@pytest.mark.parametrize("change", [("MET A", "MEX A"), ("   1    ", "   2    "), (" N  \n", " O  \n"), ("ATOM      1", "ATOM      2")])
def test_names_and_serial_numbers_of_pdb_are_exact(change: tuple[str, str]) -> None:
    """They are no numbers."""
    whole = ATOM.format("   1.000", "   2.000", "   3.000", "  1.00")
    assert change[0] in whole
    assert first_difference(io.BytesIO(whole.encode()), io.BytesIO(whole.replace(*change).encode()), "a.pdb", CLOSE) is not None


def test_a_line_of_pdb_has_an_end() -> None:
    """One that goes on for megabytes is refused, and not kept."""
    with pytest.raises(CompareError, match="not a table"):
        normalized_digest(io.BytesIO(b"ATOM " * (1 << 20)), "a.pdb", SIX)


def parsed(path: str, keys: str) -> CompareRule:
    """Return the rule of an output."""
    text = f'schema = 1\n[job]\nname = "x"\ncommand = ["true"]\n[[outputs]]\npath = "{path}"\n{keys}'
    job = from_document(to_document(parse(text, Path("/")).job))
    return job.outputs[0].rule


def test_keys_reach_the_rule() -> None:
    """And the document that nodes get."""
    keys = 'compare = "significant"\ndigits = 6\ncomments = "#"\nquoted_numbers = true\n'
    assert parsed("a.csv", keys) == SIX._replace(comments="#", quoted_numbers=True)


@pytest.mark.parametrize(
    ("path", "keys", "match"),
    [
        ("a.txt", 'comments = "#"', "comments.*only for CSV"),
        ("a.csv", 'comments = "1"', "comments"),
        ("a.csv", "comments = '\"'", "comments"),
        ("a.h5", "quoted_numbers = true", "quoted_numbers.*only for CSV and JSON"),
        ("a.h5", "unordered = true", "has no rows"),
        ("a.npy", "unordered = true", "has no rows"),
        ("a.zarr.zip", "unordered = true", "has no rows"),
        ("a.zarr", "unordered = true", "has no rows"),
        ("a.zarr/**", "unordered = true", "has no rows"),
        ("a.zarr/*", "", 'path = "a.zarr", all of it'),
        ("out/A.Zarr/c/0/0", "", 'path = "out/A.Zarr", all of it'),
        ("out/*.zarr/T/**", "", r'path = "out/\*.zarr", all of it'),
    ],
)
def test_keys_that_a_file_has_no_use_for_are_told_at_submit(path: str, keys: str, match: str) -> None:
    """Not after the first replica."""
    with pytest.raises(DescriptorError) as refused:
        parsed(path, f'compare = "significant"\ndigits = 6\n{keys}\n')
    assert re.search(match, f"{refused.value} {refused.value.hint}", re.DOTALL)


@pytest.mark.parametrize("path", ["a.sqlite", "a.db", "a.parquet", "a.csv.gz", "a.txt", "a.pdb", "a.zarr.zip"])
def test_what_has_rows_may_have_them_in_any_order(path: str) -> None:
    """As far as its name tells."""
    rule = parsed(path, 'compare = "content"\n' + ("" if path == "a.zarr.zip" else "unordered = true\n"))
    assert rule.unordered is (path != "a.zarr.zip")


@pytest.mark.parametrize("compare", ["exact", 'allclose"\nrtol = "1e-6'])
def test_unordered_needs_a_rule_that_is_an_equality(compare: str) -> None:
    """Of lines that are close to each other nobody can say which belongs to which."""
    with pytest.raises(DescriptorError, match="not used by"):
        parsed("a.parquet", f'compare = "{compare}"\nunordered = true\n'.replace('"1e-6"', "1e-6"))


@pytest.mark.parametrize("path", ["a.zarr", "a.zarr/**", "{task}/A.Zarr"])
@pytest.mark.parametrize("compare", ["content", "exact", "none"])
def test_a_store_is_all_that_is_in_its_folder(path: str, compare: str) -> None:
    """However it is written, and whatever is compared."""
    job = parse(f'schema = 1\n[job]\nname = "x"\ncommand = ["true"]\n[[outputs]]\npath = "{path}"\ncompare = "{compare}"\n[[outputs]]\npath = "b"\n', Path("/"))
    assert job.job.outputs[0].path == f"{path.removesuffix('/**')}/**"


@pytest.mark.parametrize(("path", "compare", "warned"), [("a.zip", "content", True), ("a.zip", "exact", False), ("a.zarr.zip", "content", False)])
def test_what_is_packed_is_said_to_be_a_store(path: str, compare: str, warned: bool) -> None:
    """Before another archive fails on a node."""
    job = parse(f'schema = 1\n[job]\nname = "x"\ncommand = ["true"]\n[[outputs]]\npath = "{path}"\ncompare = "{compare}"\n', Path("/"))
    assert any("only stores of Zarr" in warning for warning in job.warnings) is warned
