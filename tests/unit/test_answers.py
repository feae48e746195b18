"""What programs that are not ours answer: whatever they do, there is an answer or an error, in bounded time and memory."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from spools import until

from nexapod_batch.files import answers


def shell(script: str, **more: object) -> answers.Answer:
    """Ask a shell."""
    return answers.ask(["/bin/sh", "-c", script], **{"timeout_s": 60.0, **more})  # type: ignore[arg-type]


def test_an_answer_has_everything() -> None:
    """Status, stdout and stderr, each by itself, and bytes as they came."""
    assert shell("printf 'a\\377\\r\\n'; printf b >&2; exit 3") == (3, b"a\xff\r\n", b"b")
    assert shell("kill -9 $$").status == -9
    assert shell("exec >&- 2>&-; exit 4") == (4, b"", b"")


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_what_is_written_arrives_while_the_answer_is_read(size: int) -> None:
    """Neither side waits for the other, however much there is."""
    text = bytes(size)
    assert shell("cat", text=text) == (0, text, b"")


def test_a_program_that_wants_no_more_is_no_fault() -> None:
    """It ended, or closed its stdin, before all was written."""
    assert shell("exec <&-; echo done", text=bytes(3_000_000)).stdout == b"done\n"


@pytest.mark.parametrize("script", ["yes", "yes >&2", f"{sys.executable} -c 'print(chr(120) * 9000000)'"])
def test_an_answer_without_end_is_an_error(script: str) -> None:
    """No more is kept than an answer may have."""
    with pytest.raises(answers.EndlessError, match="/bin/sh answers without end"):
        shell(script, max_bytes=1 << 20)


@pytest.mark.parametrize("script", ["sleep 600", "trap '' TERM; sleep 600", "exec >&- 2>&-; sleep 600", "kill -STOP $$"])
def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path: Path, script: str) -> None:
    """The error says how long was waited; nothing of it lives on."""
    with pytest.raises(TimeoutError, match=r"/bin/sh did not answer in 0\.5 s"):
        shell(script, timeout_s=0.5, env={"PATH": os.defpath, "MARK": str(tmp_path)})
    until(lambda: not _marked(str(tmp_path).encode()), "its end")


def test_children_that_stay_are_not_waited_for(tmp_path: Path) -> None:
    """They hold the pipes open, and the answer is there."""
    file = tmp_path / "pid"
    done = shell(f"sleep 600 & echo $! > {file}; echo 7")
    assert (done.status, done.stdout) == (0, b"7\n")
    os.kill(int(file.read_text()), 9)  # it was left alone


def test_a_program_that_is_not_there_is_an_error() -> None:
    """As the system says it."""
    with pytest.raises(FileNotFoundError):
        answers.ask(["/no/such/program"], timeout_s=1)


def _marked(mark: bytes) -> list[str]:
    """Return the processes that have a mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes():
                found.append(path.parent.name)
    return found
