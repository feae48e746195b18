"""Documents of JSON Lines and atoms of PDB that are rounded together have the normal form of those read token by token."""

from __future__ import annotations

import io
import json
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nexapod_batch.compare.blocks import Known
from nexapod_batch.compare.comparators.round import COMPARISON as ROUND
from nexapod_batch.compare.comparators.significant import COMPARISON as SIGNIFICANT
from nexapod_batch.compare.formats import json_tokens, pdb
from nexapod_batch.compare.formats.json_documents import Documents
from nexapod_batch.compare.formats.reading import Reading
from nexapod_batch.compare.stream import Source
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Comparator, CompareRule
from nexapod_batch.testing.comparators import Trickle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.compare.numbers import Token

    #: Returns the tokens of a whole file, read token by token.
    Slow = Callable[[Source], Iterator[list[Token]]]

RULES = [CompareRule(comparator=Comparator.SIGNIFICANT, digits=digits) for digits in (1, 2, 4, 8, 15, 17)] + [
    CompareRule(comparator=Comparator.ROUND, digits=digits) for digits in (0, 2, 9)
] + [CompareRule(comparator=Comparator.SIGNIFICANT, digits=8, integers="approximate")]  # fmt: skip


def slow_json(source: Source) -> Iterator[list[Token]]:
    """Read JSON Lines token by token."""
    return json_tokens._batches(source, json_tokens._Builder(source, many=True))


def slow_pdb(source: Source) -> Iterator[list[Token]]:
    """Read PDB line by line, as its reader did before."""
    content = b"".join(source.text_chunks())
    lines = content.split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if content and not lines:
        yield [b"\n"]
    for line in lines:
        yield [*pdb._tokens(line.rstrip()), b"\n"]


def by_tokens(content: bytes, name: str, rule: CompareRule, slow: Slow) -> bytes | str:
    """Return the normal form by tokens, or that it has none."""
    comparison = SIGNIFICANT if rule.comparator is Comparator.SIGNIFICANT else ROUND
    normal = comparison.token(rule)
    try:
        tokens = [token for batch in slow(Source(io.BytesIO(content), name, rule)) for token in batch]
    except CompareError:
        return "refused"
    return b"".join(normal(token) + b" " for token in tokens)


def together(stream: object, name: str, rule: CompareRule) -> bytes | str:
    """Return the normal form without its head, or that it has none."""
    comparison = SIGNIFICANT if rule.comparator is Comparator.SIGNIFICANT else ROUND
    try:
        _, *pieces = comparison.normal_form(stream, name, rule)  # type: ignore[arg-type]
    except CompareError:
        return "refused"
    return b"".join(pieces)


def check(content: bytes, name: str, rule: CompareRule, slow: Slow, step: int = 7) -> None:
    """Hold a file to its tokens, of which the readers give the same."""
    wanted = by_tokens(content, name, rule, slow)
    assert together(io.BytesIO(content), name, rule) == wanted
    assert together(Trickle(content, step), name, rule) == wanted
    if wanted != "refused":
        tokens = [token for batch in slow(Source(io.BytesIO(content), name, rule)) for token in batch]
        assert [token for batch in Reading(Source(io.BytesIO(content), name, rule)).batches for token in batch] == tokens


texts = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["a", "b", "energy", '":', '": "', "-0.0000000e+00 x", "-0.00 ", "-0 ", "%d %b %%", "nan", "1.5", "\x7f", "é", "\U0001f600", "\\", "a\nb"]),
)  # fmt: skip
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.floats(-10, 10), st.integers(-99, 99), st.integers(-(10**22), 10**22),
    st.sampled_from([0.0, -0.0, -1e-12, 1e-300, 5e-324, 10**8, 10**15, -(10**15), 2**63, 2**64, -(2**63) - 1, 1.5e19, 12345678, 123456789]),
)  # fmt: skip
trees = st.recursive(
    st.one_of(numbers, numbers, texts, st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(texts, inner, max_size=5), st.lists(numbers, max_size=9)), max_leaves=20,
)  # fmt: skip
spellings = st.sampled_from([
    {}, {"separators": (",", ":")}, {"ensure_ascii": False}, {"separators": (" , ", " : ")}, {"indent": 1}, {"sort_keys": True},
])  # fmt: skip
written = st.tuples(trees, spellings).map(lambda pair: json.dumps(pair[0], **pair[1]))
#: What other programs write, what only looks like it, and what is no JSON.
odd = st.sampled_from([
    '{"a":1,"a":2}', '{"a" :1,"a":2}', '{"a":1,"a" :2}', '{"a" :1,"b":"\\":"}', '{"a":{"b":1,"b":1}}', '{"\\u0061":1,"a":2}', "NaN", "[NaN, -Infinity]", "1e400", "[1e-400]", "[0e-400]", "-0", "[-0]",
    "-0.0", "[0." + "0" * 400 + "1]", "9" * 400, "[-" + "9" * 30 + "]", "1E5", "[1e5, 1E+5, 1e-5, 1.0E05]", "[0.10, 1.50]", "12345678901234567890.5", "0.12345678901234567890", '"\\ud800"', '"\\u002d0.00 "', '"\\/"',
    "[" * 60 + "]" * 60, "[" * 999 + "]" * 999, "[" * 1001 + "]" * 1001, "1 2", "[1]x", "1.", "01", "{", "}", "]", "[", '"', "tru", "", " ", "\r", "\t1\r", "\x0b1", "{}", "[]", "[[],{}]", '{"":{"":[]}}',
])  # fmt: skip


@settings(max_examples=150)
@given(st.sampled_from(RULES), st.lists(st.one_of(written, written, odd), max_size=8), st.booleans())
@example(RULES[3], ['{"a":1,"a":2}'], True)
@example(RULES[7], ['{"x":-0.001,"y":"-0.00 "}'], True)
def test_documents_are_what_their_tokens_are(rule: CompareRule, lines: list[str], end: bool) -> None:
    """Whatever stands in them; what cannot be taken together is not."""
    content = "\n".join(lines) + "\n" * end
    check(content.encode("utf-8", "surrogatepass"), "a.jsonl", rule, slow_json)


@settings(max_examples=100)
@given(st.sampled_from(RULES), st.lists(written, max_size=8), st.integers(0, 400), st.sampled_from(['"', ":", ",", "0", "-", "e", "{", "]", "\\", " ", ".", "9" * 20, "\n"]))
def test_damaged_documents_are_what_their_tokens_are(rule: CompareRule, lines: list[str], at: int, letter: str) -> None:
    """A character in another's place is seen, or changes nothing."""
    content = "\n".join(lines) + "\n"
    at %= len(content)
    check((content[:at] + letter + content[at + 1 :]).encode("utf-8", "surrogatepass"), "a.jsonl", rule, slow_json)


@settings(max_examples=100)
@given(
    st.lists(st.one_of(written, odd), max_size=8),
    st.sets(st.sampled_from([".a", "..b", ".a.b", "[*].a", ".a[*].b", "..energy", '."%d %b %%"', "..a..b", "/a/"]), min_size=1, max_size=3),
)  # fmt: skip
def test_documents_without_what_is_ignored_are_what_their_tokens_are(lines: list[str], ignored: set[str]) -> None:
    """Members at any depth; a key that is there twice is refused all the same."""
    rule = CompareRule(comparator=Comparator.SIGNIFICANT, digits=8, ignore=tuple(sorted(ignored)))
    check("\n".join(lines).encode("utf-8", "surrogatepass"), "a.jsonl", rule, slow_json)


@pytest.mark.parametrize("ignored", [".time", "..time", ".runs[*].time", ".no"])
def test_usual_documents_with_ignored_members_are_taken_together(ignored: str) -> None:
    """Their forms have none of these."""
    line = '{"time": 7.5, "x": 0.5, "runs": [{"time": 8.5, "n": 1}, {"time": 9.5}], "time2": {"time": 6.5}}'
    rule = CompareRule(comparator=Comparator.SIGNIFICANT, digits=8, ignore=(ignored,))
    (documents,) = json_tokens.read(Source(io.BytesIO(f"{line}\n".encode() * 3), "a.jsonl", rule), "jsonl")[1]
    assert isinstance(documents, Documents)
    normal = SIGNIFICANT.token(rule)
    form = documents.form(SIGNIFICANT.style(rule), True, Known(normal))
    assert form == b"".join(normal(token) + b" " for token in documents.tokens())
    assert form is not None
    assert form.count(b'"time" ') == 3 * {".time": 3, "..time": 0, ".runs[*].time": 2, ".no": 4}[ignored]


def test_usual_documents_are_taken_together() -> None:
    """So that large files are read fast, also where a few lines are read token by token."""
    line = '{"step": 12, "tag": "run 7", "x": [0.5, -1.25e-07], "more": {"ok": true, "n": null}}'
    source = Source(io.BytesIO(f"{line}\n".encode() * 9), "a.jsonl")
    (documents,) = json_tokens.read(source, "jsonl")[1]
    assert isinstance(documents, Documents)
    normal = SIGNIFICANT.token(RULES[3])
    assert documents.form(SIGNIFICANT.style(RULES[3]), True, Known(normal)) == b"".join(normal(token) + b" " for token in documents.tokens())
    mixed = json_tokens.read(Source(io.BytesIO((f"{line}\n" * 99 + "[NaN]\n" + f"{line}\n" * 99).encode()), "a.jsonl"), "jsonl")[1]
    assert sum(len(one.values) for one in mixed if isinstance(one, Documents)) == 198


@pytest.mark.parametrize("shift", range(3))
def test_documents_of_many_reads(shift: int) -> None:
    """Where reads end changes nothing: in a line, in a document of many lines, in one of more than a megabyte."""
    lines = [" " * shift, *['{"b": [1.5, -2.25], "a": "x"}', "[NaN, 1]", '{"c":\n{"d":\n1.0}}'] * 6_000, json.dumps(["y" * 100, 0.5] * 12_000), "7"]
    check("\n".join(lines).encode(), "a.ndjson", RULES[3], slow_json, step=99_991)


@pytest.mark.parametrize(("lines", "at"), [(['{"a":1,"a":2}'], 1), (["1", "", "{", '"a":1,"a":2}'], 4), (["1"] * 20 + ["[1,,2]"], 21)])
def test_a_fault_is_told_with_its_line(lines: list[str], at: int) -> None:
    """Whichever way it is read."""
    for slow in (False, True):
        source = Source(io.BytesIO("\n".join(lines).encode()), "a.jsonl")
        batches = slow_json(source) if slow else Reading(source).batches
        with pytest.raises(CompareError, match=rf"line {at}\b"):
            list(batches)


cells = st.sampled_from([
    "   1.500", "-100.123", "-999.999", "   0.000", "  -0.000", "12345.67", "       1", "     nan", "********", "        ", "  1.5e-3", "   .5   ", "1.2.3   ", "  0.0005", " 12.3450", "   00.50",
    "99999.95", "  1.00D2", "      +7", " -inf   ", "1.5     ", "12345678",
])  # fmt: skip
names = st.sampled_from(["ATOM  ", "ATOM  ", "ATOM  ", "HETATM", "ANISOU", "TER   ", "REMARK", "CRYST1", "SCALE1", "ATOM", "MODEL 1.50", ""])


@st.composite
def atoms(draw: st.DrawFn) -> str:
    """Return a line of a structure, perhaps cut off or with another character in it."""
    name = draw(st.sampled_from(["CA ", "O5'", "1.5", "N*1", "a\\b", "\xe9 ", '"" ']))
    residue, serial, number = draw(st.sampled_from(["MET", " DA", "1.0", "nan"])), draw(st.integers(0, 99_999)), draw(st.integers(-99, 9_999))
    line = f"{draw(names)}{serial:5d}  {name} {residue} A{number:4d}    "
    line += "".join(draw(st.lists(cells, min_size=3, max_size=3))) + draw(st.sampled_from(["  1.00 20.00           C  ", "  1.00 20.00", "", "  1.00                C1-", "  0.50-12.345     ABCD N  "]))
    cut = draw(st.one_of(st.just(99), st.just(99), st.integers(0, 80)))
    return line[:cut] + draw(st.sampled_from(["", "", "", "   ", "\r", "\t", " x"]))


@settings(max_examples=100)
@given(st.sampled_from(RULES), st.lists(atoms(), min_size=1, max_size=6), st.integers(1, 40))
def test_atoms_are_what_their_fields_are(rule: CompareRule, lines: list[str], times: int) -> None:
    """Whatever stands in the fields, and however long lines are."""
    check(("\n".join(lines * times) + "\n").encode("latin-1"), "a.pdb", rule, slow_pdb)
    comparison = SIGNIFICANT if rule.comparator is Comparator.SIGNIFICANT else ROUND
    normal, known = comparison.token(rule), lines * times
    rows = [line.encode("latin-1") for line in known if line[:6] in {"ATOM  ", "HETATM", "ANISOU"}]
    if rows:
        block = pdb.Atoms(b"\n".join(rows))
        form = partial(block.form, comparison.style(rule), rule.integers == "exact")
        assert form(Known(normal)) in {None, b"".join(normal(token) + b" " for token in block.tokens())}


def test_usual_atoms_are_taken_together() -> None:
    """So that large structures are read fast."""
    atom = "ATOM      1  N   MET A   1    -100.123  27.340   3.430  1.00  0.00           N  "
    spread = "ANISOU    1  N   MET A   1      688   1234    806    -19    -49    178       N  "
    block = pdb.Atoms("\n".join([atom, spread, atom[:66], atom.replace("27.340", "12.345")] * 9).encode())
    normal = SIGNIFICANT.token(RULES[2])
    assert block.form(SIGNIFICANT.style(RULES[2]), True, Known(normal)) == b"".join(normal(token) + b" " for token in block.tokens())
