"""Arrays: ids in Slurm's grammar, files of values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.errors import DescriptorError

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.model.job import Array

HEAD = 'schema = 1\n[job]\ncommand = ["true"]\n[array]\n'


def array_of(body: str, folder: Path) -> Array:
    """Return the array of a descriptor with this [array] section."""
    found = parse(HEAD + body, folder).job.array
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("ids", "indexes", "max_running"),
    [
        ("5", [5], None),
        ("0-3", [0, 1, 2, 3], None),
        ("1,3,5-7", [1, 3, 5, 6, 7], None),
        ("0-15:4", [0, 4, 8, 12], None),
        ("7,1-2", [1, 2, 7], None),
        ("1-3,2-4", [1, 2, 3, 4], None),
        ("0-4:2,1-5:2", [0, 1, 2, 3, 4, 5], None),
        ("1-4%2", [1, 2, 3, 4], 2),
    ],
)
def test_ids_are_slurms(tmp_path: Path, ids: str, indexes: list[int], max_running: int | None) -> None:
    """Ascending and without repetition, whatever the order in which they are written."""
    array = array_of(f'ids = "{ids}"', tmp_path)
    assert (list(array.indexes()), len(array), array.max_running) == (indexes, len(indexes), max_running)


@pytest.mark.parametrize(
    "ids", ["", "-", "3-1", "1-5:0", "1-5%0", "1-5%", "1%2%3", "a", "1,,2", "0-4294967296", "1-9" * 50, "1%99999999999"]
)
def test_other_ids_are_refused(tmp_path: Path, ids: str) -> None:
    """With the key path."""
    with pytest.raises(DescriptorError, match=r"array\.ids"):
        array_of(f'ids = "{ids}"', tmp_path)


@given(st.sets(st.integers(0, 60), min_size=1, max_size=30))
def test_listed_ids_are_the_tasks(ids: set[int]) -> None:
    """Any list of ids, in any order."""
    from pathlib import Path

    array = array_of(f'ids = "{",".join(map(str, ids))}"', Path("/nonexistent"))
    assert list(array.indexes()) == sorted(ids)


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        (
            "v.csv",
            'seed,title\n1,a b\n2,"c,d"\n',
            ((("seed", "1"), ("title", "a b")), (("seed", "2"), ("title", "c,d"))),
        ),
        ("v.csv", "\ufeffx\r\n1.50\r\n\r\n", ((("x", "1.50"),),)),
        (
            "v.jsonl",
            '{"x": 1.50, "y": true}\n\n{"y": "t", "x": 2}\n',
            ((("x", "1.50"), ("y", "true")), (("x", "2"), ("y", "t"))),
        ),
    ],
)
def test_values_come_from_a_file(tmp_path: Path, name: str, text: str, rows: object) -> None:
    """One task for each row; numbers stay as they are written."""
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert array_of(f'values = "{name}"', tmp_path).values == rows


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("v.txt", b"a\n1\n", "unknown ending"),
        ("v.csv", b"", "no rows"),
        ("v.csv", b"a\n", "no rows"),
        ("v.csv", b"a,b\n1\n", "row 2 has 1 values, the header 2"),
        ("v.csv", b"a,a\n1,2\n", "stands twice"),
        ("v.csv", b"a b\n1\n", "name not accepted"),
        ("v.csv", b"task\n1\n", "is taken"),
        ("v.csv", b"TASK\n1\n", "is taken"),
        ("v.csv", b"a,A\n1,2\n", "one environment variable"),
        ("v.csv", b"a\n\xff\n", "not UTF-8"),
        ("v.csv", b'a\n"x\n', "cannot be used"),
        ("v.csv", b"a\nx\0y\n", "cannot be used"),
        ("v.jsonl", b"[1]\n", "not an object"),
        ("v.jsonl", b"{}\n", "not an object"),
        ("v.jsonl", b'{"a": 1}\n{"b": 1}\n', "other names"),
        ("v.jsonl", b'{"a": 1, "a": 2}\n', "one twice"),
        ("v.jsonl", b'{"a": NaN}\n', "NaN is not JSON"),
        ("v.jsonl", b'{"a": null}\n', "wrong type"),
        ("v.jsonl", b'{"a": {"b": 1}}\n', "wrong type"),
        ("v.jsonl", b'{"a": "\\ud800"}\n', "not valid UTF-8"),
        ("v.jsonl", b'{"a": ' + b"[" * 100_000 + b"\n", "cannot be used"),
        ("v.jsonl", b'{"a": ' + b"9" * 5_000 + b"}\n", "cannot be used"),
    ],
)
def test_bad_values_files_are_told_why(tmp_path: Path, name: str, data: bytes, told: str) -> None:
    """Nothing is guessed, nothing is dropped."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DescriptorError) as caught:
        array_of(f'values = "{name}"', tmp_path)
    assert told in str(caught.value)
    str(caught.value).encode()


@given(data=st.binary(max_size=200), ending=st.sampled_from(["csv", "jsonl"]))
def test_no_values_file_gives_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: bytes, ending: str) -> None:
    """DescriptorError is the only exception."""
    folder = tmp_path_factory.getbasetemp()
    (folder / f"any.{ending}").write_bytes(data)
    try:
        array_of(f'values = "any.{ending}"', folder)
    except DescriptorError as error:
        str(error).encode()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "none given"),
        ('ids = "1"\nmatrix = { a = [1] }', "ids and matrix given"),
        ("matrix = {}", "array.matrix: empty"),
        ("matrix = { a = [] }", "array.matrix.a: wrong number of values"),
        ("matrix = { a = 1 }", "array.matrix.a: wrong type"),
        ("matrix = { gpus = [1] }", "is taken"),
        ('values = "gone.csv"', "no such file"),
        ("max_running = 0", "out of range"),
        (f"matrix = {{ {', '.join(f'a{n} = {list(range(10))}' for n in range(8))} }}", "100,000,000 tasks"),
    ],
)
def test_bad_arrays_are_told_why(tmp_path: Path, body: str, told: str) -> None:
    """Exactly one way, and not too much of it."""
    with pytest.raises(DescriptorError) as caught:
        array_of(body, tmp_path)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("separator", "words"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")], ids=["semicolon", "tab", "bar"]
)
def test_tables_without_commas_are_named(tmp_path: Path, separator: str, words: str) -> None:
    """A table that a spreadsheet saved with other separators is refused, saying with which."""
    (tmp_path / "v.csv").write_text(f"a{separator}b\n1{separator}2\n")
    with pytest.raises(DescriptorError, match=f"its header has {words} and no comma"):
        array_of('values = "v.csv"', tmp_path)


@pytest.mark.parametrize("value", ["1.5", "x", "", "0x1f", "1e3", "\u0663"], ids=ascii)
def test_only_whole_numbers_are_padded(tmp_path: Path, value: str) -> None:
    """`{x:03d}` of anything else is refused at once, with the value."""
    text = f'schema = 1\n[job]\ncommand = ["echo", "{{x:03d}}"]\n[array]\nmatrix = {{ x = [1, "{value}"] }}\n'
    with pytest.raises(DescriptorError, match=r"job\.command\[1\]: \{x\} cannot be padded"):
        parse(text, tmp_path)
    with pytest.raises(DescriptorError, match=r"\{name\} cannot be padded"):
        parse('schema = 1\n[job]\ncommand = ["echo", "{name:03d}"]\n', tmp_path)
