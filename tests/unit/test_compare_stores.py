"""Stores of Zarr that are folders: one answer for all of their files, whatever the chunks are, and nothing hidden in them."""

from __future__ import annotations

import gzip
import hashlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from readers import kept

from nexapod_batch.compare.stores import LONGEST, StoreFiles, content, stores
from nexapod_batch.coordinator.evidence.differences import different_files
from nexapod_batch.coordinator.queries.file_comparison import compared
from nexapod_batch.errors import CompareError, UnsafeOutputError
from nexapod_batch.model.job import Comparator, CompareRule, Job, Output
from nexapod_batch.runner.execution.outputs import Produced, digest_outputs
from nexapod_batch.trust.statement import NO_DIGEST, NO_VOTE, unread_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO
SIX = CompareRule(comparator=Comparator.SIGNIFICANT, digits=6)
RULES = {
    "significant": SIX, "round": CompareRule(comparator=Comparator.ROUND, digits=6),
    "content": CompareRule(comparator=Comparator.CONTENT),
    "allclose": CompareRule(comparator=Comparator.ALLCLOSE, rtol=1e-9, atol=0.0),
    "exact but for": CompareRule(ignore=("history",)),
}  # fmt: skip
V2: dict[str, Any] = {
    "zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<f8", "compressor": None, "filters": None, "order": "C",
    "fill_value": 0.0,
}  # fmt: skip
V3: dict[str, Any] = {
    "zarr_format": 3, "node_type": "array", "shape": [4], "data_type": "float64", "fill_value": 0.0, "attributes": {},
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
}  # fmt: skip
VALUES = np.linspace(1, 2, 24).reshape(4, 6)


@pytest.fixture(autouse=True, scope="module")
def _one_program() -> Iterator[None]:
    """Let the program that reads stores run until the last test; then end zarr's threads."""
    from zarr.core.sync import cleanup_resources

    with kept("zarr_store"):
        yield
    cleanup_resources()


def write(folder: Path, values: np.ndarray[Any, Any], *, version: Literal[2, 3] = 3, later: bool = False) -> None:
    """Write a store as one run does, or as another one: other chunks, codecs, order, and consolidated metadata."""
    import numcodecs  # type: ignore[import-untyped]
    import zarr
    from zarr.codecs import BloscCodec, ZstdCodec

    codecs = {
        2: (numcodecs.Blosc("lz4", shuffle=2), numcodecs.Zstd(5)),
        3: (BloscCodec(cname="zstd"), ZstdCodec(level=7)),
    }  # fmt: skip
    group = zarr.open_group(folder, mode="w", zarr_format=version)
    group.attrs["history"] = f"made {later}"
    shards = (2, 6) if later and version == 3 else None
    chunks = (1, 3) if later else (4, 2)
    array = group.create_array("T", shape=values.shape, chunks=chunks, dtype="f8", compressors=codecs[version][later], shards=shards)
    for row in reversed(range(len(values))) if later else range(len(values)):
        array[row] = values[row]
    group.create_array("empty", shape=(3,), dtype="f4", fill_value=1.5)
    group.create_group("sub").create_array("n", data=np.arange(5), chunks=(2,))
    if later:
        with warnings.catch_warnings(action="ignore"):  # that it is not in the specification
            zarr.consolidate_metadata(folder, zarr_format=version)


def produced(root: Path, rule: CompareRule, path: str = "out.zarr/**") -> Produced:
    """Return what a runner signs of a work folder."""
    job = Job(name="a", command=("true",), outputs=(Output(path=path, rule=rule),))

    def never(*_: object) -> str:
        raise AssertionError

    return digest_outputs(job, {}, str(root), never)


class Folder:
    """The outputs of a replica, as the coordinator sees them."""

    def __init__(self, root: Path, said: Produced) -> None:
        """Take what was signed of a folder."""
        self.root, self.files = root, {subject.name: subject.sha256 for subject in said.subjects}

    def open(self, name: str) -> BinaryIO:
        """Open one."""
        return (self.root / name).open("rb")


def differences(rule: CompareRule, *roots: Path) -> list[dict[str, Any]]:
    """Return what `explain` says of two runs."""
    job = Job(name="a", command=("true",), outputs=(Output(path="out.zarr/**", rule=rule),))
    one, other = (Folder(root, produced(root, rule)) for root in roots)
    return list(different_files(job, 0, one, other))


@pytest.fixture(scope="module", params=[2, 3], ids="version {}".format)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return the folders of two honest runs, with noise, and of a falsified one: one value of 24 by 1e-4."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "other", "false")]
    falsified = VALUES.copy()
    falsified[2, 5] *= 1 + 1e-4
    given = (VALUES, VALUES * (1 + 1e-14), falsified)
    for folder, values in zip(folders, given, strict=True):
        write(folder / "out.zarr", values, version=request.param, later=folder is folders[1])
    one, other, false = folders
    return one, other, false


@pytest.mark.parametrize("name", ["significant", "round"])
def test_two_honest_runs_have_one_vote_and_a_falsified_one_another(runs: tuple[Path, Path, Path], name: str) -> None:
    """Chunks, codecs, shards, order, consolidated metadata and the last digits are no difference."""
    rule = RULES[name]._replace(ignore=("history",))
    one, other, false = (produced(run, rule) for run in runs)
    assert one.vote == other.vote != false.vote
    assert {subject.name for subject in one.subjects} != {subject.name for subject in other.subjects}
    assert not one.unread


def test_last_digits_are_told_by_what_they_are(runs: tuple[Path, Path, Path]) -> None:
    """`content` and `exact` see them, with the variable and the index; the rule that is proposed agrees."""
    one, other, false = runs
    for rule in (CompareRule(), RULES["content"], RULES["exact but for"]):
        (found,) = differences(rule, one, other)
        assert found["name"] == "out.zarr"
        assert found["would_agree"].startswith('compare = "significant"')
        assert "history" in found["would_agree"]
    (found,) = differences(SIX._replace(ignore=("history",)), one, false)
    assert found["first"]["where"] == "/T, index (2, 5)"
    assert found["first"]["place"] == {"part": "/T", "index": [2, 5]}
    assert found["would_agree"] != found["rule"]


def test_within_tolerances_stores_are_close_or_are_not(runs: tuple[Path, Path, Path]) -> None:
    """What is signed says nothing of values; what is compared does."""
    rule = RULES["allclose"]._replace(ignore=("history",))
    one, other, false = runs
    assert produced(one, rule).vote == produced(other, rule).vote == produced(false, rule).vote
    assert not differences(rule, one, other)
    (found,) = differences(rule, one, false)
    assert found["first"]["where"] == "/T, index (2, 5)"


@pytest.mark.parametrize("name", ["significant", "allclose", "exact but for"])
def test_one_file_stands_for_the_store(runs: tuple[Path, Path, Path], name: str) -> None:
    """That which describes its root; the others have no vote."""
    said = produced(runs[0], RULES[name]).subjects
    (head,) = [subject for subject in said if subject.normalized != NO_VOTE]
    assert head.name in {"out.zarr/zarr.json", "out.zarr/.zgroup"}
    assert (head.normalized == NO_DIGEST) is (name == "allclose")


def test_what_else_lies_in_the_folder_is_an_output_of_its_own(tmp_path: Path) -> None:
    """A table beside the chunks has a vote; a chunk of no array is refused, as nobody would look at it."""
    votes = set()
    for number in (1, 2):
        root = tmp_path / str(number)
        write(root / "out.zarr", VALUES)
        (root / "out.zarr/energies.csv").write_text(f"x,{number}.5\n")
        votes.add(produced(root, SIX).vote)
    assert len(votes) == 2
    (root / "out.zarr/hidden").mkdir()
    (root / "out.zarr/hidden/0").write_bytes(b"1.5")
    assert "of no array" in produced(root, SIX).unread


def test_a_store_that_cannot_be_read_agrees_by_its_bytes(tmp_path: Path) -> None:
    """A damaged chunk costs the replica its vote, unless another one wrote the same bytes; statements may say so."""
    root = tmp_path / "1"
    write(root / "out.zarr", VALUES)
    chunk = next(path for path in (root / "out.zarr/T").rglob("*") if path.is_file() and path.name != "zarr.json")
    chunk.write_bytes(b"damaged")
    said = produced(root, SIX)
    assert "'out.zarr' cannot be compared" in said.unread
    assert {subject.normalized for subject in said.subjects} == {unread_digest(subject.sha256) for subject in said.subjects}


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "a chunk that inflates": (
        {"zarr.json": V3 | {"codecs": [*V3["codecs"], {"name": "gzip", "configuration": {"level": 9}}]}, "c/0": gzip.compress(bytes(1 << 24))},
        "",
    ),
    "a chunk larger than its array": ({"zarr.json": V3, "c/0": bytes(1 << 20)}, ""),
    "millions of chunks": (
        {"zarr.json": V3 | {"shape": [1 << 24], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}}}}, "chunks",
    ),
    "pickles": ({".zarray": V2 | {"dtype": "|O", "filters": [{"id": "pickle"}]}, "0": b"cposix\nsystem\n"}, "codec pickle"),
    "a node that is described twice": ({"zarr.json": V3, ".zarray": V2}, "twice"),
    "metadata that are a list": ({"zarr.json": []}, "no object"),
    "metadata that name what is above": ({"a/zarr.json": V3 | {"attributes": {"../..": "/etc"}}, "b/zarr.json": V3}, "several"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_stores_are_refused(case: str, tmp_path: Path) -> None:
    """In words, by the process that reads them, and nothing is run."""
    files, match = HOSTILE[case]
    for name, data in files.items():
        path = tmp_path / "out.zarr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    said = produced(tmp_path, SIX)
    assert "cannot be compared" in said.unread
    assert match in said.unread


def test_links_and_other_folders_are_never_followed(tmp_path: Path) -> None:
    """A link in a store is no output; a cycle of folders is one link."""
    write(tmp_path / "out.zarr", VALUES)
    (tmp_path / "out.zarr/T/again").symlink_to("..")
    with pytest.raises(UnsafeOutputError, match="not a plain file"):
        produced(tmp_path, SIX)


def test_a_reader_gets_no_file_but_those_of_the_store() -> None:
    """Whatever name is asked for; and a file that is too long is told."""
    rules = dict.fromkeys(("a.zarr/zarr.json", "a.zarr/c/0", "a.zarr/notes.txt", "b.zarr/c/0", "c.zarr"), SIX)
    (store,) = stores(rules)
    assert (store.name, store.members) == ("a.zarr", ("a.zarr/c/0", "a.zarr/zarr.json"))
    asked: list[str] = []
    files = StoreFiles(store, lambda name: asked.append(name) or b"x", 2)
    for name in ("../b.zarr/c/0", "/etc/passwd", "notes.txt", "", "c/0/", "c/./0"):
        assert files.member(name) is None
    assert files.member("c/0") == b"x"
    assert asked == ["a.zarr/c/0"]
    lines = "".join(f"{hashlib.sha256(b'x').hexdigest()}  {name}\n" for name in ("c/0", "zarr.json"))
    assert files.read(1000) == lines.encode()
    with Path("/dev/zero").open("rb") as endless, pytest.raises(CompareError, match=str(LONGEST)):
        content(endless, "c/0")


@pytest.mark.parametrize("named", [lambda root: root / "out.zarr", lambda root: root], ids=["the stores", "folders of them"])
def test_compare_takes_stores(runs: tuple[Path, Path, Path], named: Callable[[Path], Path]) -> None:
    """As files: they agree or not, and a line is proposed."""
    one, other, false = (str(named(run)) for run in runs)
    (found,) = compared(one, other, SIX._replace(ignore=("history",)))
    assert found["agree"]
    (found,) = compared(one, false, CompareRule())
    assert found["first"]["where"] == "/T, index (2, 5)"
    assert compared(one, one, CompareRule())[0]["agree"]


def test_the_order_of_rules_says_what_is_in_a_store(tmp_path: Path) -> None:
    """An array that must not count is left out by a line of its own before that of the store."""
    votes = set()
    for number in (1, 2):
        root = tmp_path / str(number)
        write(root / "out.zarr", VALUES)
        write_times(root / "out.zarr", number)
        outputs = (Output(path="out.zarr/times/**", rule=CompareRule(comparator=Comparator.NONE)), Output(path="out.zarr/**", rule=SIX))
        job = Job(name="a", command=("true",), outputs=outputs)
        votes.add(digest_outputs(job, {}, str(root), lambda *_: "").vote)
    assert len(votes) == 1


def write_times(folder: Path, number: int) -> None:
    """Add an array that differs in every run."""
    import zarr

    zarr.open_group(folder, mode="a").create_array("times", data=np.arange(3.0) * number)
