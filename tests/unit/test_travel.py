"""How much of a job's inputs has to travel, in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nexapod_batch.cli.rendering.bar import Sending
from nexapod_batch.coordinator.backend_guard import guarded
from nexapod_batch.coordinator.placement.on_the_way import OnTheWay, staging_of
from nexapod_batch.errors import PluginFaultError
from nexapod_batch.model.job import Tier
from nexapod_batch.model.node import Node
from nexapod_batch.plugins import NodeContext
from nexapod_batch.wording.travel import on_the_way, travel

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30
NODE = Node(
    id=1, name="far", key_id="k", public_key=b"", site="far", owner="o", host="h", tier=Tier.HPC, backend="slurm", cpus=1, mem_mib=1,
)  # fmt: skip
CONTEXT = NodeContext(node=NODE, spool=None, work=None, state=None, remote_spool=None, remote_work=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "size", "files_to_send", "size_to_send", "wanted"),
    [
        (20_000, 12 * GIB // 10, 20_000, 12 * GIB // 10, "20,000 files, 1.2 GiB, all to be sent to far"),
        (20_000, 12 * GIB // 10, 15_000, 9 * GIB // 10, "20,000 files, 1.2 GiB: 15,000 files, 922 MiB, to be sent to far, the rest is there"),
        (20_000, 12 * GIB // 10, 0, 0, "20,000 files, 1.2 GiB, all on far already"),
        (120, 999, 2, 0, "120 files, 999 bytes: 2 files, 0 bytes, to be sent to far, the rest is there"),
        (1_000_000, 5000 * GIB, 0, 0, "1,000,000 files, 4.88 TiB, all on far already"),
    ],
)
def test_what_is_told(files: int, size: int, files_to_send: int, size_to_send: int, wanted: str) -> None:
    """All, some or none of them, in units that people read."""
    assert travel("far", files=files, size=size, files_to_send=files_to_send, size_to_send=size_to_send) == wanted


@pytest.mark.parametrize(
    ("size", "sent", "wanted"),
    [
        (12 * GIB // 10, 0, "0 % of 1.2 GiB (3 files) sent to far"),
        (12 * GIB // 10, 12 * GIB // 25 + 1, "40 % of 1.2 GiB (3 files) sent to far"),
        (1000, 999, "99 % of 0.977 KiB (3 files) sent to far"),
        (1000, 1120, "100 % of 0.977 KiB (3 files) sent to far"),
        (0, 0, "0 % of 0 bytes (3 files) sent to far"),
    ],
)
def test_what_is_on_the_way(size: int, sent: int, wanted: str) -> None:
    """How much is there, rounded down; the heads in a stream make it no more than all."""
    assert on_the_way("far", files=3, size=size, sent=sent) == wanted


class Hears:
    """Keeps what it hears."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        self.told: list[object] = []

    def start(self, what: str, total: int | None) -> None:
        """Hear what begins."""
        self.told.append((what, total))

    def advance(self, count: int) -> None:
        """Hear of a part."""
        self.told.append(count)

    def say(self, text: str) -> None:
        """Hear a word."""


#: Files and bytes that are sent -> whether that is told of.
SENT = {(99, 1000): False, (100, 1000): True, (1, 16 << 20): True, (1, (16 << 20) - 1): False, (0, 0): False}


@pytest.mark.parametrize(("files", "size"), SENT)
def test_what_is_sent_is_told_of_until_it_is_there(tmp_path: Path, files: int, size: int) -> None:
    """To whoever waits here and to other processes, of its own job alone; nothing is said of little."""
    hears = Hears()
    way = OnTheWay(tmp_path / "staging/1.json", "far", 7, hears)
    way.begin(files, size)
    way.sent(500)
    about = [{key: value for key, value in one.items() if key != "since"} for one in staging_of(tmp_path / "staging", 7)]
    wanted = [{"node": "far", "files": files, "size": size, "sent": 0}]
    assert about == wanted * SENT[files, size]
    assert hears.told == [(f"{files} inputs to far", size), 500] * SENT[files, size]
    assert staging_of(tmp_path / "staging", 8) == []
    way.end()
    assert staging_of(tmp_path / "staging", 7) == []
    assert list(tmp_path.glob("staging/*")) == []


NOTICE = {"job": 7, "node": "far", "files": 1, "size": 2, "sent": 1, "since": 3, "at": 1 << 40}
#: Notices that mean nothing.
NOTHING = {
    "of a process that was killed long ago": json.dumps({**NOTICE, "at": 4}),
    "no JSON": "{",
    "no object": "[7]",
    "without its node": json.dumps({key: NOTICE[key] for key in NOTICE if key != "node"}),
    "too large": json.dumps({**NOTICE, "node": "n" * 5000}),
    "nested": "[" * 3000,
}


@pytest.mark.parametrize("kind", NOTHING)
def test_a_notice_that_means_nothing_is_not_shown(tmp_path: Path, kind: str) -> None:
    """Whatever lies there, the others are shown."""
    (tmp_path / "1.json").write_text(NOTHING[kind])
    (tmp_path / "2.json").write_text(json.dumps(NOTICE))
    assert [one["since"] for one in staging_of(tmp_path, 7)] == [3]


def test_the_line_under_the_bar_is_there_while_something_is_sent() -> None:
    """It says what and how much of it, without characters that act on a terminal."""
    line = Sending()
    seen = [line.text]
    for act in (lambda: line.start("3 inputs to f\x1bar", 200), lambda: line.advance(50), lambda: line.advance(150)):
        act()
        seen.append(line.text)
    line.start("nothing", 0)
    assert [*seen, line.text] == ["", "3 inputs to f\\x1bar: 0 %", "3 inputs to f\\x1bar: 25 %", "", ""]


class Silent:
    """A backend that learns what is there when it sends."""


class Saying(Silent):
    """A backend that says what is not there."""

    def __init__(self, answer: Any) -> None:
        """Take what it says."""
        self._answer = answer

    def absent(self, context: Any, sizes: Any) -> Any:  # noqa: ARG002 - the port has them
        """Say it."""
        return self._answer


@pytest.mark.parametrize(("answer", "kept"), [([], set()), (["a"], {"a"}), (["a", "strange"], {"a"}), ({"a", "b"}, {"a", "b"})])
def test_what_a_backend_says_is_kept_of_what_it_was_asked(answer: Any, kept: set[str]) -> None:
    """Digests of other files count for nothing."""
    assert guarded(Saying(answer), "b").absent(CONTEXT, {"a": 1, "b": 2}) == kept


def test_one_that_says_nothing_is_not_taken_to_have_all() -> None:
    """Then nothing is told of its nodes."""
    assert guarded(Silent(), "b").absent(CONTEXT, {"a": 1}) is None


def test_an_answer_that_is_none_is_a_fault_of_the_backend() -> None:
    """As every wrong answer."""
    with pytest.raises(PluginFaultError):
        guarded(Saying(7), "b").absent(CONTEXT, {"a": 1})
