"""What a node that joined was brought stays within its owner's limit, and with all that its launches need."""

from __future__ import annotations

import hashlib
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from nexapod_batch.agent import input_cache
from nexapod_batch.agent.room import NoRoomError
from nexapod_batch.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIB = 1 << 20
CONTENTS = {hashlib.sha256(bytes([number]) * MIB).hexdigest(): bytes([number]) * MIB for number in range(5)}
NAMES = list(CONTENTS)


def no_look() -> None:
    """Let it go on."""


class Coordinator:
    """Answers a node that asks for blobs."""

    def __init__(self) -> None:
        """Have been asked for nothing."""
        self.asked: list[str] = []

    def ask(self, method: str, path: str) -> Any:
        """Give the whole blob."""
        assert method == "GET"
        digest = path.rpartition("/")[2].partition("?")[0]
        self.asked.append(digest)
        data = CONTENTS[digest]
        return SimpleNamespace(status=200, headers={"upload-length": str(len(data))}, body=data)


class Worker:
    """A node with some launches."""

    def __init__(self, folder: Path, limit_mib: int, needs: Mapping[str, None] | None = None) -> None:
        """Need what is said; None is not known."""
        self.home, self.settings = SimpleNamespace(inputs=folder), SimpleNamespace(fetch_cache_mib=limit_mib)
        self._needs = needs

    def needed(self) -> set[str]:
        """Return what launches need."""
        if self._needs is None:
            raise VerificationError("a bundle of unknown keys")
        return set(self._needs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two inputs, the first of which was used longest ago."""
    for number in range(2):
        file = tmp_path / NAMES[number]
        file.write_bytes(CONTENTS[NAMES[number]])
        os.utime(file, (time.time() - 90_000 + number,) * 2)
    return tmp_path


def there(folder: Path) -> list[int]:
    """Return the numbers of the inputs that are there."""
    return sorted(NAMES.index(path.name) for path in folder.iterdir())


#: The limit in MiB, the inputs of launches that the node has, what a launch wants; what is there then, what was asked for.
CASES = {
    "room for all": (5, (), (2, 3), [0, 1, 2, 3], 2),
    "the oldest go": (3, (), (2, 3), [1, 2, 3], 2),
    "not those of a launch": (3, (0,), (2, 3), [0, 2, 3], 2),
    "what is wanted again is used": (2, (), (0, 2), [0, 2], 1),
    "more than the limit": (1, (0, 1), (2, 3), [0, 1, 2, 3], 2),
    "nothing new": (1, (), (0, 1), [0, 1], 0),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_stays(folder: Path, kind: str) -> None:
    """All that the launch wants is there, whatever the limit."""
    limit, needs, wants, wanted, asked = CASES[kind]
    client = Coordinator()
    worker: Any = Worker(folder, limit, dict.fromkeys(NAMES[number] for number in needs))
    input_cache.bring(client, worker, [NAMES[number] for number in wants], no_look)  # type: ignore[arg-type]
    assert there(folder) == wanted
    assert len(client.asked) == asked


def test_nothing_goes_where_it_is_not_known_what_is_needed(folder: Path) -> None:
    """A bundle that cannot be opened may need any of it."""
    worker: Any = Worker(folder, 1)
    input_cache.bring(Coordinator(), worker, [NAMES[2]], no_look)  # type: ignore[arg-type]
    assert there(folder) == [0, 1, 2]


class FullCoordinator(Coordinator):
    """Finds the disk of the node full, until there are few inputs on it."""

    def __init__(self, folder: Path, room: int) -> None:
        """Let so many lie there."""
        super().__init__()
        self._folder, self._room = folder, room

    def ask(self, method: str, path: str) -> Any:
        """Give a blob that the disk takes, or none."""
        if len(list(self._folder.iterdir())) >= self._room:
            raise NoRoomError("the disk of the node has no room for the inputs")
        return super().ask(method, path)


def test_on_a_full_disk_all_that_is_not_needed_goes(folder: Path) -> None:
    """The launch is refused only where that does not help."""
    worker: Any = Worker(folder, 5, {NAMES[1]: None})
    input_cache.bring(FullCoordinator(folder, 2), worker, [NAMES[2]], no_look)  # type: ignore[arg-type]
    assert there(folder) == [1, 2]
    worker = Worker(folder, 5, {NAMES[1]: None, NAMES[2]: None})
    with pytest.raises(NoRoomError):
        input_cache.bring(FullCoordinator(folder, 2), worker, [NAMES[3]], no_look)  # type: ignore[arg-type]
    assert there(folder) == [1, 2]
