"""Nodes are silent only while the server would have heard them: not while it was off, asleep, or its clock was wrong."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.mesh import listening
from nexapod_batch.mesh.lease import SILENT_S
from nexapod_batch.mesh.listening import Heard
from nexapod_batch.mesh.mailbox import SEEN, Mailbox

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_700_000_000.0
DAY = 86_400.0


@pytest.mark.parametrize(
    ("seen", "listened", "seconds"),
    [
        (NOW - 5, Heard(NOW - DAY, NOW), 5),
        (NOW - DAY, Heard(NOW - 2 * DAY, NOW), DAY),
        (NOW - DAY, Heard(NOW - 7, NOW - 2), 7),
        (NOW - DAY, Heard(NOW - DAY - 60, NOW - DAY + 60), 240),
        (NOW + DAY, Heard(NOW - 9, NOW), 9),
        (NOW - DAY, Heard(NOW + DAY, NOW + DAY), 0),
        (NOW - DAY, None, DAY),
        (NOW + DAY, None, 0),
    ],
    ids=[
        "it called", "it was silent", "the server began again", "the server is off", "the clock was set back", "and back before it listened",
        "nobody noted", "nobody noted, and the clock was set back",
    ],
)
def test_only_what_was_listened_to_counts(seen: float, listened: Heard | None, seconds: float) -> None:
    """Whatever the clock did: what nobody could hear is no silence."""
    assert listening.silent_s(seen, NOW, listened) == seconds


def test_a_server_that_listens_says_so(tmp_path: Path) -> None:
    """A node that called before the server began is not silent for as long; one that is known to nobody never called."""
    box = Mailbox(tmp_path / "n")
    assert box.unheard_s(NOW) is None
    box.make()
    (box.spool / SEEN).touch()
    os.utime(box.spool / SEEN, (NOW - DAY, NOW - DAY))
    assert box.unheard_s(NOW) == DAY
    listening.Listener(tmp_path).note()
    heard = listening.heard(tmp_path)
    assert heard is not None
    unheard = box.unheard_s(heard.until + 1)
    assert unheard is not None
    assert unheard < SILENT_S
    silent = box.silent_s(heard.until + 1)
    assert silent is not None
    assert silent > unheard


def test_what_is_no_note_is_none(tmp_path: Path) -> None:
    """A file that is cut off, or none of ours."""
    for content in (b"", b"[1]", b'{"since": "x"}', b"\xff" * 10_000):
        (tmp_path / listening.FILE).write_bytes(content)
        assert listening.heard(tmp_path) is None
