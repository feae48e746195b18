"""Lines that are rounded together have the normal form of those that are rounded word by word."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexapod_batch.compare.blocks import Block, Known, by_arrays, by_printf, rounded
from nexapod_batch.compare.comparators.round import COMPARISON as ROUND
from nexapod_batch.compare.comparators.significant import COMPARISON as SIGNIFICANT
from nexapod_batch.compare.formats import csv_rows, text
from nexapod_batch.compare.like_lines import form_of_like_lines
from nexapod_batch.compare.registry import normalized_digest
from nexapod_batch.compare.stream import Source
from nexapod_batch.compare.word_arrays import marked_lines
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Comparator, CompareRule
from nexapod_batch.testing.comparators import Trickle

#: Numbers as programs write them, and words that only look so.
styles = st.sampled_from(["%r", "%.3f", "%.15e", "%12.4f", "%20.10f", "%.1f", "%.17g", "%E", "%.0f", "%g", "%.8f", "%.9f", "%.20e"])
values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.floats(-10, 10), st.sampled_from([0.0, -0.0, 0.5, 1.5, 2.5, 0.05, 9.9999999999, 1e15, 1e-300]),
    st.integers(-(10**12), 10**12).map(lambda whole: (whole + 0.5) / 10.0 ** (abs(whole) % 13)),
)  # fmt: skip
#: What lies halfway between two numbers of some digits, as it is written.
halves = st.tuples(st.integers(0, 10**9), st.integers(0, 9)).map(lambda pair: f"{pair[0]}"[: pair[1]] + f".{pair[0]}5")
whole = st.one_of(st.integers(-999, 999), st.integers(-(10**20), 10**20)).map(str)
odd = st.sampled_from([
    "1", "0/1", "1bar", "3x", "12e5_", "1nan", "00.5", "1e400", "1.0e-400", ".5", "-.5", "5.", "-", "+", ".", "+1.5", "+7", "-0", "007", "nan", "NaN", "-inf", "Infinity", "x", "ice", "name", "0.0e-999", "1.5.5",
    "0." + "0" * 400 + "1", "1.5E5", "2.5e+05", "1D05", "1.5D+03", "1e5", "5e+00", "5E3", "1,5e+00", "12.5%", "3*0.5", "0.1234-0.5678", "1.5+2.0j", "0.12-100", "a.b", "dead", "e.5", "é", "\xa0",
    '"q"', '"1.5"', '"a b"', "E=1.5,", "(1.0,2.0)", "10.0.0.1", "2026-01-01", "12:30:00", "1_000.5", "0x1F", "--1.5", "1.5-", "1.5e", "1.5e+", "1.5e+1", "1.5e+100", "1.5e+1x", "7e", ".e5", "\\",
])  # fmt: skip
words = st.one_of(st.tuples(styles, values).map(lambda pair: pair[0] % pair[1]), st.tuples(styles, values).map(lambda pair: pair[0] % pair[1]), halves, whole, odd)
between = st.sampled_from([" ", " ", " ", "  ", "\n", "\n", "\n ", " \n", "\n\n", "\t", ",", "    ", "\v", "=", ";"])
contents = st.lists(st.tuples(words, between), max_size=30).map(lambda pairs: "".join(word + gap for word, gap in pairs).encode())

#: Numbers of a table.
SIZE = 2_700

RULES = [CompareRule(comparator=Comparator.SIGNIFICANT, digits=digits) for digits in (1, 2, 4, 8, 9, 10, 15, 17)] + [
    CompareRule(comparator=Comparator.ROUND, digits=digits) for digits in (0, 2, 9)
] + [CompareRule(comparator=Comparator.SIGNIFICANT, digits=8, integers="approximate")]  # fmt: skip
READERS = {"text": (text.read, ""), "marked": (text.read_marked, ""), "free": (text.read_free, ""), "csv": (csv_rows.read, "csv"), "tsv": (csv_rows.read, "tsv")}


def blocks_of(content: bytes, reader: str) -> list[Block]:
    """Return what a reader leaves together, before a line that is of no table if there is one."""
    read, suffix = READERS[reader]
    found: list[Block] = []
    with suppress(CompareError):
        batches = read(Source(io.BytesIO(content), "a", CompareRule()), suffix)[1]
        found.extend(batch for batch in batches if isinstance(batch, Block))
    return found


def check(block: Block, rule: CompareRule) -> None:
    """Hold a block to its words."""
    comparison = SIGNIFICANT if rule.comparator is Comparator.SIGNIFICANT else ROUND
    normal, style = comparison.token(rule), comparison.style(rule)
    one_by_one = b"".join(normal(token) + b" " for token in block.tokens())
    assert by_arrays(block, style, rule.integers == "exact", Known(normal)) in {None, one_by_one}
    assert rounded(block, style, rule.integers == "exact", Known(normal)) in {None, one_by_one}
    if not block.layout.cells:
        assert by_printf(block, style) in {None, one_by_one}


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=150)
@given(st.sampled_from(RULES), contents)
def test_a_block_is_what_its_words_are(reader: str, rule: CompareRule, content: bytes) -> None:
    """Whatever stands in it; what cannot be taken together is not."""
    for block in blocks_of(content + b"\n", reader):
        check(block, rule)


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=40)
@given(contents)
def test_what_is_taken_together_is_what_lines_are(reader: str, content: bytes) -> None:
    """The words of blocks and of single lines are those of the whole file, read in one piece or in many."""
    read, suffix = READERS[reader]

    def tokens(stream: object) -> list[object]:
        found: list[object] = []
        try:
            for batch in read(Source(stream, "a", CompareRule()), suffix)[1]:  # type: ignore[arg-type]
                found += batch if isinstance(batch, list) else batch.tokens()
        except Exception as error:  # noqa: BLE001 - the same one is wanted
            found.append(str(error))
        return found

    assert tokens(io.BytesIO(content)) == tokens(Trickle(content, 7))
    assert tokens(io.BytesIO(content + b"\n")) == tokens(io.BytesIO(content + b"\n\n \n" if reader not in {"csv", "tsv"} else content + b"\n\n\n"))


@pytest.mark.parametrize("reader", ["text", "csv"])
@pytest.mark.parametrize("line", ["1.5 -2.25e-07 3", "   1.50000   -2.25000      7", "a, 1.5 ,3,", '"a b",1.5,', "C 1.5 -0.25 x=3.5", "x\t1.5\t\t2.5"])
def test_usual_lines_are_taken_together(reader: str, line: str) -> None:
    """So that tables are read fast."""
    (block,) = blocks_of(f"{line}\n".encode() * 9, reader)
    normal = SIGNIFICANT.token(RULES[3])
    assert by_arrays(block, SIGNIFICANT.style(RULES[3]), True, Known(normal)) == b"".join(normal(token) + b" " for token in block.tokens())


@pytest.mark.parametrize("rule", [RULES[3], RULES[2], RULES[9]])
@pytest.mark.parametrize("head", ["ITEM: TIMESTEP\n0\n", "frame 7, E = -1.5\n", "   \n\nx\n", "1.5  x\n2.5    3.5\n", ""])
@pytest.mark.parametrize("end", ["\n", " \n", "\r\n", "\n\n  \n"])
def test_frames_of_numbers_are_what_their_words_are(rule: CompareRule, head: str, end: str) -> None:
    """Lines of numbers are taken by themselves from among others, wherever they stand."""
    rows = "".join(f"{at} {at % 3} {at / 7:.6f} {-at / 3:12.4f}{end}" for at in range(900))
    content = (head + rows + head + rows[: len(rows) // 3] + head).encode()
    comparison = SIGNIFICANT if rule.comparator is Comparator.SIGNIFICANT else ROUND
    normal = comparison.token(rule)
    batches = text.read(Source(io.BytesIO(content), "a", CompareRule()), "")[1]
    tokens = [token for batch in batches for token in (batch if isinstance(batch, list) else batch.tokens())]
    found = b"".join(comparison.normal_form(io.BytesIO(content), "a.txt", rule)).partition(b"\n")[2]
    assert found == b"".join(normal(token) + b" " for token in tokens)
    lines = content.replace(b"\r\n", b"\n").rstrip(b" \n") + b"\n"
    assert tokens == text._tokens(text._PLAIN, lines)


#: How the words of a line are written, and what stands behind each.
line_styles = st.lists(
    st.tuples(st.sampled_from(["%.3f", "%.15e", "%12.4f", "%20.10f", "%.17g", "%d", "%6d", "%+.4f", "%.9e", "% .6E", "%.0f", "%.22f"]), st.sampled_from([" ", "  ", ",", "\t", "\t\t", ", ", "=", ";"])),
    min_size=1, max_size=6,
)  # fmt: skip


def like_table(line_style: list[tuple[str, str]], seed: int, tail: str) -> bytes:
    """Return lines of numbers of one style each."""
    random = np.random.default_rng(seed)
    sizes = 10.0 ** random.integers(-6, 9, len(line_style))
    lines = []
    for _ in range(7):
        numbers = random.standard_normal(len(line_style)) * sizes * (random.random(len(line_style)) > 0.1)
        lines.append("".join(style % number + gap for (style, gap), number in zip(line_style, numbers.tolist(), strict=True)) + tail)
    return "\n".join(lines).encode() + b"\n"


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=150)
@given(st.sampled_from(RULES), line_styles, st.integers(0, 1 << 30), st.sampled_from(["", "1.5", "7", "x"]))
def test_lines_that_are_alike_are_what_their_words_are(reader: str, rule: CompareRule, line_style: list[tuple[str, str]], seed: int, tail: str) -> None:
    """Whatever their styles and the marks between them."""
    for block in blocks_of(like_table(line_style, seed, tail), reader):
        check(block, rule)


#: What ends a word, a cell or a line.
MARKS = {"tab": "\t", "comma": ",", "semicolon": ";", "equals": "=", "blank": " ", "blanks": "  ", "vertical tab": "\v", "bar": "|", "line end": "\n", "line ends": "\n\n", "nothing": ""}


class AlikeButOne(NamedTuple):
    """A table whose lines are all alike, but for one mark that is another one."""

    style: str
    between: str
    columns: int
    seed: int
    before: int  # marks before the other one, or behind it where this is negative
    mark: str

    def content(self) -> bytes:
        """Return thousands of lines."""
        numbers = np.random.default_rng(self.seed).standard_normal(2_500 * self.columns) * 100
        marks = ([self.between] * (self.columns - 1) + ["\n"]) * 2_500
        marks[self.before] = MARKS[self.mark]
        return "".join(self.style % number + mark for number, mark in zip(numbers.tolist(), marks, strict=True)).encode()


others = st.builds(
    AlikeButOne, st.sampled_from(["%.3f", "%.2e", "%8.3f", "%d"]), st.sampled_from(["\t", ",", ";", " ", "  "]), st.integers(1, 3), st.integers(0, 1 << 30),
    st.one_of(st.integers(-2_500, 2_499), st.integers(-4, 3)), st.sampled_from(sorted(MARKS)),
)  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=20)
@given(st.sampled_from(RULES), others)
def test_one_other_mark_among_thousands_of_lines_is_seen(reader: str, rule: CompareRule, table: AlikeButOne) -> None:
    """Wherever it stands, and in the place of a line end as well: its line is none like the others."""
    for block in blocks_of(table.content() + b"\n", reader):
        check(block, rule)


@pytest.mark.parametrize("mark", ["tab", "comma", "semicolon", "blank", "blanks"])
@pytest.mark.parametrize("lines", ["1.5{mark}2.5\n{rest}", "1.5{mark}2.5{mark}3.5\n{rest}", "{rest}1.5{mark}2.5\n{rest}"])
@pytest.mark.parametrize("suffix", ["txt", "csv", "tsv", "xml", "xyz"])
def test_how_many_numbers_stand_in_a_line_counts_in_long_tables(mark: str, lines: str, suffix: str) -> None:
    """One line of more numbers than the others does not make these go on in the next line."""
    rule = CompareRule(comparator=Comparator.SIGNIFICANT, digits=8)
    digests, read = set(), 0
    for rest in ("4.5\n5.5\n6.5\n", "4.5{mark}5.5\n6.5\n", "4.5{mark}5.5{mark}6.5\n", "4.5\n5.5{mark}6.5\n"):
        content = lines.replace("{rest}", rest * 3_000).format(mark=MARKS[mark])  # which is read by arrays
        with suppress(CompareError):
            digests.add(normalized_digest(io.BytesIO(content.encode()), f"a.{suffix}", rule))
            read += 1
    assert len(digests) == read > 0


#: Lines of which each second one, or each third one, ends in another mark than a line end.
CYCLES = {"second in a line": "1.5{mark}2.5\n", "first of two": "1.5\n2.5{mark}", "first of three": "1.5\n2.5{mark}3.5{mark}", "two of three": "1.5\n2.5\n3.5{mark}"}


@pytest.mark.parametrize("mark", ["tab", "comma", "semicolon", "equals", "blank", "blanks", "vertical tab"])
@pytest.mark.parametrize("cycle", CYCLES)
@pytest.mark.parametrize("suffix", ["txt", "csv", "tsv", "xml", "xyz"])
def test_what_ends_lines_counts_in_long_tables(mark: str, cycle: str, suffix: str) -> None:
    """Numbers that stand below one another are other ones than those that stand side by side, also from one line to the next."""
    rule = CompareRule(comparator=Comparator.SIGNIFICANT, digits=8)

    def digest(between: str) -> str:
        """Return that of a file, or that it is none of this format."""
        content = CYCLES[cycle].format(mark=between) * 5_000  # which is read by arrays
        try:
            return str(normalized_digest(io.BytesIO(content.encode() + b"\n"), f"a.{suffix}", rule))
        except CompareError:
            return "refused"

    assert digest(MARKS[mark]) != digest("\n")


@pytest.mark.parametrize("reader", ["text", "csv", "free"])
@pytest.mark.parametrize("style", ["%.15e", "%.6f", "%16.8f", "%d", "%+.4E", "%8.3f"])
def test_lines_of_numbers_are_alike(reader: str, style: str) -> None:
    """So that tables are read fast: whatever the signs and sizes of their numbers."""
    between = "," if reader == "csv" else " "
    (block,) = blocks_of(like_table([(style, between)] * 3, 3, style % 0.5), reader)
    normal = SIGNIFICANT.token(RULES[3])
    form = form_of_like_lines(marked_lines(block.raw, block.layout), block.layout, 8, True)
    assert form == b"".join(normal(token) + b" " for token in block.tokens())


@pytest.mark.parametrize("digits", [1, 2, 7, 8, 9, 10, 11, 15])
@pytest.mark.parametrize("kind", ["everywhere", "on borders", "near powers of ten"])
def test_many_numbers_are_rounded_as_one_is(digits: int, kind: str) -> None:
    """Numbers of every size, and those that lie on a border of rounding or of a decade."""
    random = np.random.default_rng(7)
    numbers = random.standard_normal(SIZE) * 10.0 ** random.integers(-120, 120, SIZE)
    if kind == "on borders":
        numbers = (random.integers(-(10**digits), 10**digits, SIZE) + 0.5) * 10.0 ** random.integers(-12, 12, SIZE)
    if kind == "near powers of ten":
        numbers = 10.0 ** random.integers(-300, 300, SIZE) * (1 + random.integers(-9, 9, SIZE) * 1e-16)
    if kind == "on borders":
        numbers[::50], numbers[1::50] = 0.0, -0.0
    for style in (".17e", ".16e", f".{digits}e", ".9f"):
        lines = "".join(" ".join(format(one, style) for one in row) + "\n" for row in numbers.reshape(-1, 9)).encode()
        for block in blocks_of(lines, "text"):
            check(block, CompareRule(comparator=Comparator.SIGNIFICANT, digits=digits))


@pytest.mark.parametrize("tail", [b"", b"\n", b"\n\n\n", b"\nx 1\n", b"\n1.5", b"  \n"])
def test_how_a_file_is_cut_changes_nothing(tail: bytes) -> None:
    """Blocks end where chunks do."""
    content = b"1.5 2.5\n-0.25 1e-3\n" * 30_000 + b"1.5 2.5\n" * 20_000 + b"3.5" + tail
    rule = CompareRule(comparator=Comparator.SIGNIFICANT, digits=5)
    whole = normalized_digest(io.BytesIO(content), "a.txt", rule)
    assert normalized_digest(Trickle(content, 70_001), "a.txt", rule) == whole  # type: ignore[arg-type]
    assert (normalized_digest(io.BytesIO(content.replace(b"3.5", b"3.6")), "a.txt", rule) == whole) is False
    assert (normalized_digest(io.BytesIO(content.rstrip(b" \n") + b"\n"), "a.txt", rule) == whole) is (tail.strip(b" \n") == b"" or tail in {b"\nx 1\n", b"\n1.5"})
