"""Each line of the page "My file is ..., use ...", and each of the rules, on files that real libraries wrote in different seconds."""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

import pytest
from kinds import FOLDERS, KINDS, VALUES
from readers import kept
from spools import until

from nexapod_batch.compare.registry import first_difference, normalized_digest
from nexapod_batch.compare.stores import StoreFiles, stores
from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.errors import CompareError, DescriptorError
from nexapod_batch.model.job import Agreement, Comparator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    #: A file, or the files of a folder.
    Content = bytes | dict[str, bytes]
    from nexapod_batch.model.job import CompareRule

PAGE = Path(__file__).parents[2] / "docs/how-to/my-file.md"
ALL: dict[str, tuple[str, Callable[[Any, str], Content]]] = {**KINDS, **FOLDERS}
#: Lines of the page: what the file is, and what to write.
LINES = dict(re.findall(r"^\| (?!my file|-)(.*?) \| (`(?:compare|normalize).*?) \| .*? \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
#: Lines of its second table: what the file is, and a word for each rule.
CELLS = re.findall(r"^\| (?!my file|-)(.*?) \| ((?:(?:yes|no|-|blind)(?: \| )?){5}) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
#: The rules of that table, in its order.
RULES = {
    "exact": 'compare = "exact"', "content": 'compare = "content"', "round": 'compare = "round"\ndigits = 4',
    "significant": 'compare = "significant"\ndigits = 5', "allclose": 'compare = "allclose"\nrtol = 1e-9',
}  # fmt: skip
#: Seconds between two runs: no date of a ZIP file, which has the coarsest, is the same.
APART_S = 2.1


class Runs(NamedTuple):
    """What two honest runs wrote of a kind, and a falsified one."""

    one: Content
    other: Content
    falsified: Content


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, Runs]]:
    """Yield what was written of each kind: the second time seconds later, on the page's second day, with noise of 1e-14."""
    ones = {kind: write(VALUES, "2026-11-01") for kind, (_, write) in ALL.items()}
    ended = time.monotonic()
    until(lambda: time.monotonic() > ended + APART_S, "another second of the clock")
    others = {kind: write(VALUES * (1 + 1e-14), "2026-11-02") for kind, (_, write) in ALL.items()}
    falsified = {kind: write(VALUES * 1.1 + (kind in OF_PIXELS), "2026-11-01") for kind, (_, write) in ALL.items()}
    with kept("arrow", "hdf5", "image", "parquet", "sqlite", "zarr_store"):
        yield {kind: Runs(ones[kind], others[kind], falsified[kind]) for kind in ALL}


#: Kinds in which a value that changes by a tenth does not show.
OF_PIXELS = {"an image (PNG, TIFF)"}
#: Kinds that have neither dates nor the digits in which honest runs differ.
OF_FEW_DIGITS = {"VTK .vtu, as text"}


def rule_of(keys: str, name: str) -> CompareRule:
    """Return the rule that keys of a descriptor make for an output."""
    parsed = parse(f'schema = 1\n[job]\ncommand = ["true"]\n[[outputs]]\npath = "{name}"\n{keys}\n[[outputs]]\npath = "b"\n', Path("/"))
    return parsed.job.outputs[0].rule


def keys_of(cell: str) -> str:
    """Return what a cell of the page says, as a descriptor has it."""
    return "\n".join(re.findall(r"`([a-z_]+ = [^`]+)`", cell))


def opened(content: Content, name: str, rule: CompareRule) -> BinaryIO:
    """Return a file, or a folder that is a store, as comparators get it."""
    if isinstance(content, bytes):
        return io.BytesIO(content)
    (store,) = stores({f"{name}/{inner}": rule for inner in content}, exact=True)
    return cast("BinaryIO", StoreFiles(store, lambda inner: content[inner.removeprefix(f"{name}/")], 1))


def printed(command: Sequence[str], data: Content, name: str) -> bytes:
    """Return what a command prints of a copy of a file."""
    assert isinstance(data, bytes)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(data)
        words = [word.replace("{output}", name) for word in command]
        return subprocess.run(words, cwd=folder, check=True, capture_output=True).stdout


def agree(name: str, left: Content, right: Content, rule: CompareRule) -> bool:
    """Say whether two files agree under a rule; what is signed and what is shown say the same."""
    if rule.normalize:
        left, right = (printed(rule.normalize, data, name) for data in (left, right))
        name, rule = f"{name}.txt", rule._replace(normalize=())
    try:
        found = first_difference(opened(left, name, rule), opened(right, name, rule), name, rule)
        if rule.agreement is Agreement.NORMAL_FORM:
            digests = {normalized_digest(opened(data, name, rule), name, rule) for data in (left, right)}
            assert (len(digests) == 1) is (found is None), found
    except CompareError:
        return left == right
    return found is None


def test_the_page_and_the_kinds_have_the_same_lines() -> None:
    """None is untried, and none is untold, in either table."""
    assert sorted(LINES) == sorted(ALL)
    assert [kind for kind, _ in CELLS] == list(LINES)


@pytest.mark.parametrize("kind", ALL)
def test_two_honest_runs_agree_and_a_falsified_one_does_not(kind: str, runs: dict[str, Runs]) -> None:
    """Another second and noise of 1e-14 are no difference; a value that changed by a tenth is one."""
    name, rule = ALL[kind][0], rule_of(keys_of(LINES[kind]), ALL[kind][0])
    one, other, falsified = runs[kind]
    assert agree(name, one, other, rule)
    assert agree(name, one, falsified, rule) is (rule.comparator is Comparator.NONE)
    assert (one == other) is (rule.agreement is Agreement.BYTES or kind in OF_FEW_DIGITS)


def worth(kind: str, rule: str, runs: Runs) -> str:
    """Return what a rule is worth for a kind, with the other keys of its line."""
    name = ALL[kind][0]
    keys = keys_of(LINES[kind])
    if f'compare = "{rule}"' not in keys:
        keys = RULES[rule] + "\n" + re.sub(r"(?m)^(compare|digits|rtol|atol) = .*$\n?", "", keys)
    try:
        given = rule_of(keys, name)
    except DescriptorError:
        return "-"
    if not agree(name, runs.one, runs.other, given):
        return "no"
    return "blind" if agree(name, runs.one, runs.falsified, given) else "yes"


@pytest.mark.parametrize("kind", ALL)
def test_every_rule_does_with_every_kind_what_the_page_says(kind: str, runs: dict[str, Runs]) -> None:
    """Cell for cell; at least one rule works, and none lets a falsified value pass but `none`."""
    told = dict(zip(RULES, dict(CELLS)[kind].split(" | "), strict=True))
    assert told == {rule: worth(kind, rule, runs[kind]) for rule in RULES}
    assert "yes" in told.values() or '"none"' in LINES[kind]
    assert "blind" not in told.values()
