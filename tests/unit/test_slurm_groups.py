"""The intent files of sbatch: durable before the call, shared by processes, and never fatal when one is broken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from nexapod_backends.slurm.queue.submission_records import Group, SubmissionRecords, group_id, halves

if TYPE_CHECKING:
    from pathlib import Path

KEYS = (("a" * 32, "b" * 32), ("c" * 32,))


def group(**more: object) -> Group:
    """Return a group of three launches in two elements."""
    told: dict[str, object] = {"id": group_id(KEYS), "node": "alpha", "partition": "short", "elements": KEYS, "replicas": (2, 1)}
    return Group(**{**told, **more})  # type: ignore[arg-type]


def test_a_group_is_found_by_its_launches_in_another_process(tmp_path: Path) -> None:
    """What one wrote the other reads, at its next look, with the element of each launch."""
    ours, theirs = SubmissionRecords(tmp_path / "groups"), SubmissionRecords(tmp_path / "groups")
    ours.save(group())
    assert theirs.find("c" * 32) is None
    theirs.refresh()
    assert theirs.find("c" * 32) == (group(), 1)
    assert theirs.find("a" * 32) == (group(), 0)
    ours.save(group(native="17", submitted=5.0))
    theirs.refresh()
    found = theirs.find("b" * 32)
    assert found is not None
    assert (found[0].native, found[0].open) == ("17", False)


def test_a_removed_group_is_gone_for_everybody(tmp_path: Path) -> None:
    """Removing it twice is harmless; its launches are unknown."""
    ours, theirs = SubmissionRecords(tmp_path / "groups"), SubmissionRecords(tmp_path / "groups")
    ours.save(group())
    theirs.refresh()
    ours.remove(group())
    ours.remove(group())
    theirs.refresh()
    assert (ours.find("a" * 32), theirs.find("a" * 32), theirs.by_id) == (None, None, {})
    assert list((tmp_path / "groups").iterdir()) == []


def test_what_is_refused_or_known_is_not_open() -> None:
    """Only a group without id and without refusal is still to be submitted, also after a try."""
    assert [one.open for one in (group(), group(tried=1.0), group(native="1"), group(refused="no"))] == [True, True, False, False]


def test_the_id_follows_from_launches_and_their_order() -> None:
    """The same call of sbatch gives the same name, another one another."""
    assert group_id(KEYS) == group_id([list(one) for one in KEYS])
    assert len({group_id(KEYS), group_id(KEYS[::-1]), group_id((KEYS[0] + KEYS[1],))}) == 3


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b'"text"', b"7", b"null", b"\xff\xfe", b'{"schema": 2}', b'{"schema": 1}',
        b'{"schema": 1, "elements": 3, "replicas": [], "forgotten": []}',
        b'{"schema": 1, "id": "x", "node": "n", "partition": "p", "elements": [], "replicas": [], "forgotten": [], "more": 1}',
    ],
)  # fmt: skip
def test_a_broken_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """It hides no other group, and stays for whoever looks into it."""
    folder = tmp_path / "groups"
    SubmissionRecords(folder).save(group())
    (folder / "broken.json").write_bytes(content)
    (folder / "note.txt").write_bytes(content)
    found = SubmissionRecords(folder)
    assert set(found.by_id) == {group().id}
    assert (folder / "broken.json").read_bytes() == content


def test_a_file_that_breaks_later_does_not_forget_what_was_read(tmp_path: Path) -> None:
    """A group that this process knows goes on."""
    groups = SubmissionRecords(tmp_path / "groups")
    groups.save(group(native="17"))
    (tmp_path / "groups" / f"{group().id}.json").write_bytes(b"{")
    groups.refresh()
    assert groups.find("a" * 32) == (group(native="17"), 0)


def test_groups_are_listed_by_node(tmp_path: Path) -> None:
    """A site may have several nodes; each submits its own."""
    groups = SubmissionRecords(tmp_path / "groups")
    groups.save(group())
    groups.save(group(id="0" * 16, node="alpha-gpu", elements=(("d" * 32,),), replicas=(1,)))
    assert [one.id for one in groups.of_node("alpha-gpu")] == ["0" * 16]
    assert json.loads((tmp_path / "groups" / f"{'0' * 16}.json").read_bytes())["schema"] == 1


def test_halves_share_a_group_in_order() -> None:
    """No launch is lost or doubled; each half has a name of its own, the same whenever it is asked for."""
    whole = group(elements=(("a",), ("b", "c"), ("d",)), replicas=(1, 2, 1), charged="bio//short", forgotten=("c",), tried=7, full=8, split=True)
    first, second = halves(whole)
    assert (first.elements, second.elements) == ((("a",),), (("b", "c"), ("d",)))
    assert (first.replicas, second.replicas, first.forgotten, second.forgotten) == ((1,), (2, 1), (), ("c",))
    assert [one.charged for one in (first, second)] == ["bio//short"] * 2
    assert [(one.tried, one.full, one.split, one.open) for one in (first, second)] == [(0, 0, False, True)] * 2
    assert len({whole.id, first.id, second.id}) == 3
    assert halves(whole) == (first, second)


@pytest.mark.parametrize("order", [0, 1])
def test_a_half_counts_before_what_it_was_split_from(tmp_path: Path, order: int) -> None:
    """Whichever file is read first, and when the whole is removed at last."""
    whole = group(elements=(("a",), ("b",)), replicas=(1, 1), split=True)
    written = [whole, *halves(whole)]
    groups = SubmissionRecords(tmp_path / "groups")
    for one in written if order else reversed(written):
        groups.save(one)
    for found in (groups, SubmissionRecords(tmp_path / "groups")):
        assert [hit[0].elements for key in "ab" if (hit := found.find(key))] == [(("a",),), (("b",),)]
    groups.remove(whole)
    assert [hit[1] for key in "ab" if (hit := groups.find(key))] == [0, 0]


def test_a_group_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """It said in one of three levels how it was packed."""
    SubmissionRecords(tmp_path / "groups").save(group())
    (file,) = (tmp_path / "groups").glob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "level": 1}))
    assert SubmissionRecords(tmp_path / "groups").find("a" * 32) == (group(), 0)
