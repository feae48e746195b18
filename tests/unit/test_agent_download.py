"""Inputs that a node brings from its coordinator, part by part: whole, or not there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast

import pytest

from nexapod_batch.agent import transfer
from nexapod_batch.agent.client import Client, RefusedError, Reply
from nexapod_batch.errors import TryAgainError, UnreachableError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DATA = hashlib.shake_128(b"input").digest(100_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
PART = 7_000


def no_look() -> None:
    """Let it go on."""


class Coordinator:
    """Answers for one input, as a coordinator does; some questions are not answered."""

    def __init__(self, data: bytes = DATA, silent: Iterable[int] = (), end: int = len(DATA), status: int = 200) -> None:
        """Be silent for questions of these numbers; send no more than `end` bytes."""
        self._data, self._silent, self._end, self._status = data, set(silent), end, status
        self.asked: list[int] = []

    def ask(self, method: str, path: str) -> Reply:
        """Answer one question."""
        number, start = len(self.asked), int(path.partition("?from=")[2])
        self.asked.append(start)
        assert (method, path) == ("GET", f"/v1/blobs/{DIGEST}?from={start}")
        if number in self._silent:
            raise UnreachableError("no answer")
        body = self._data[start : min(start + PART, self._end)]
        return Reply(self._status, {"upload-length": str(len(self._data))}, body)

    def as_client(self) -> Client:
        """Return this in the place of a client."""
        return cast("Client", self)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again without a pause."""
    monkeypatch.setattr(transfer, "_PAUSE_S", 0.0)


@pytest.mark.parametrize("silent", [(), (0, 3, 4, 9)], ids=["answered", "cut now and then"])
def test_an_input_comes_whole(tmp_path: Path, silent: tuple[int, ...]) -> None:
    """In order, each part once, whatever is asked for again; and it is not asked for when it is there."""
    coordinator = Coordinator(silent=silent)
    for _ in range(2):
        assert transfer.download(coordinator.as_client(), tmp_path, DIGEST, no_look).read_bytes() == DATA
    assert sorted(set(coordinator.asked)) == list(range(0, len(DATA), PART))
    assert len(coordinator.asked) == -(-len(DATA) // PART) + len(silent)


def test_what_ends_too_early_goes_on_where_it_ended(tmp_path: Path) -> None:
    """What came is kept for the next time."""
    with pytest.raises(TryAgainError, match="ended too early"):
        transfer.download(Coordinator(end=50_000).as_client(), tmp_path, DIGEST, no_look)
    coordinator = Coordinator()
    assert transfer.download(coordinator.as_client(), tmp_path, DIGEST, no_look).read_bytes() == DATA
    assert coordinator.asked[0] == 50_000


@pytest.mark.parametrize(
    ("coordinator", "error"),
    [
        (Coordinator(bytes(len(DATA))), VerificationError),
        (Coordinator(status=404), RefusedError),
        (Coordinator(silent=range(100)), UnreachableError),
    ],
    ids=["other bytes", "not offered", "nobody there"],
)
def test_nothing_else_gets_its_name(tmp_path: Path, coordinator: Coordinator, error: type[Exception]) -> None:
    """There is no input then."""
    with pytest.raises(error):
        transfer.download(coordinator.as_client(), tmp_path, DIGEST, no_look)
    assert not (tmp_path / DIGEST).exists()
