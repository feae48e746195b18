"""A child that answers many questions: kept while it is well, and no loss when it crashes, hangs, lies or is interrupted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import IO, TYPE_CHECKING

import pytest
from nexapod_backends.slurm.bindings import kept_child
from nexapod_backends.slurm.bindings.kept_child import ChildEndedError, ChildHangsError, KeptChild

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: It does with each question what its `do` says, and answers with how many it has had.
CHILD = """
import json, os, sys, time
for number, line in enumerate(sys.stdin, 1):
    question = json.loads(line)
    exec(question.get("do", ""))
    print(json.dumps({"number": number, "pid": os.getpid()}), flush=True)
"""


class Children:
    """Children that run a file of ours; `started` are those that there were."""

    def __init__(self, folder: Path) -> None:
        """Write the file."""
        self.program = folder / "child.py"
        self.program.write_text(CHILD)
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, _argv: Sequence[str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start one."""
        argv = [sys.executable, "-I", str(self.program)]
        self.started.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr))
        return self.started[-1]

    def over(self) -> list[bool]:
        """Say of each whether it has ended, and was waited for."""
        return [one.returncode is not None for one in self.started]


@pytest.fixture
def children(tmp_path: Path) -> Children:
    """Return children of which none was started."""
    return Children(tmp_path)


@pytest.fixture
def kept(children: Children) -> KeptChild:
    """Return a kind of child."""
    return KeptChild("no.module", [], children.start)


def test_one_child_answers_many_questions(kept: KeptChild, children: Children) -> None:
    """It is started once, and ends with whoever asks."""
    assert children.started == []
    assert [kept.ask({}, 30)["number"] for _ in range(5)] == [1, 2, 3, 4, 5]
    assert children.over() == [False]
    del kept


def test_it_ends_with_whoever_asks(children: Children) -> None:
    """Nobody has to end it: when what keeps it is gone, so is the child."""
    KeptChild("no.module", [], children.start).ask({}, 30)
    assert children.over() == [True]


#: What goes wrong while it answers -> the error, and what it says.
FAULTS = {
    "crash": ("os.kill(os.getpid(), 11)", ChildEndedError, ""),
    "end": ("sys.exit(9)", ChildEndedError, ""),
    "last words": ("sys.stderr.write('x\\nfatal: no configuration\\n'); os._exit(1)", ChildEndedError, "fatal: no configuration"),
    "exception": ("raise ImportError('libslurm.so')", ChildEndedError, "ImportError: libslurm.so"),
    "closed": ("os.close(1); time.sleep(600)", ChildEndedError, ""),
    "no JSON": ("print('1 2 3', flush=True)", ChildEndedError, "no JSON"),
    "hang": ("time.sleep(600)", ChildHangsError, ""),
    "half an answer": ("os.write(1, b'{'); time.sleep(600)", ChildHangsError, ""),
}


@pytest.mark.parametrize(("do", "error", "said"), FAULTS.values(), ids=FAULTS)
def test_a_child_that_fails_is_replaced(
    kept: KeptChild, children: Children, do: str, error: type[Exception], said: str
) -> None:
    """It is ended and waited for; the next question has a new one, and never an answer of the old one."""
    first = kept.ask({}, 30)["pid"]
    with pytest.raises(error) as raised:
        kept.ask({"do": do}, 1 if error is ChildHangsError else 30)
    assert said in str(raised.value)
    assert children.over() == [True]
    again = kept.ask({}, 30)
    assert (again["number"], again["pid"] != first) == (1, True)


def test_an_answer_has_a_size(kept: KeptChild, children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that talks without end is killed, and what it said is thrown away."""
    monkeypatch.setattr(kept_child, "ANSWER_MAX", 1 << 20)
    with pytest.raises(ChildEndedError, match="more than 1 MiB"):
        kept.ask({"do": "while True: os.write(1, b'x' * 65536)"}, 30)
    assert children.over() == [True]


def test_what_was_interrupted_is_not_answered_later(kept: KeptChild, children: Children) -> None:
    """Whatever interrupts a question: its answer is never taken for that of the next one."""

    class Interruption(BaseException):
        """Not an Exception."""

    def interrupted(*_: object) -> None:
        raise Interruption

    kept.ask({}, 30)
    running = kept._running
    assert running is not None
    running._line = interrupted  # type: ignore[method-assign, assignment]
    with pytest.raises(Interruption):
        kept.ask({}, 30)
    assert children.over() == [True]
    assert kept.ask({}, 30)["number"] == 1


@pytest.mark.parametrize(("bound", "value"), [("_QUESTIONS", 2), ("_AGE_S", -1.0)])
def test_a_child_grows_neither_old_nor_large(kept: KeptChild, children: Children, monkeypatch: pytest.MonkeyPatch, bound: str, value: float) -> None:
    """After its questions, or its time, another one takes over."""
    monkeypatch.setattr(kept_child, bound, value)
    pids = [kept.ask({}, 30)["pid"] for _ in range(4)]
    assert len(set(pids)) == {"_QUESTIONS": 2, "_AGE_S": 4}[bound]
    assert children.over()[:-1] == [True] * (len(set(pids)) - 1)


def test_a_child_that_died_meanwhile_is_replaced_unheard(kept: KeptChild, children: Children) -> None:
    """As when somebody kills it between two looks: nobody is told, and nothing is missed."""
    kept.ask({}, 30)
    children.started[0].kill()
    children.started[0].wait()
    assert kept.ask({}, 30)["number"] == 1


def test_a_fork_has_a_child_of_its_own(kept: KeptChild, children: Children) -> None:
    """The pipes of one child have one reader: a process that was forked off starts another, and ends nobody else's."""
    first = kept.ask({}, 30)["pid"]
    back, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(there, json.dumps(kept.ask({}, 30)).encode())
            kept.end()
        finally:
            os._exit(0)
    os.close(there)
    os.waitpid(pid, 0)
    with open(back, encoding="utf-8") as stream:
        answer = json.load(stream)
    assert (answer["number"], answer["pid"] != first) == (1, True)
    assert kept.ask({}, 30) == {"number": 2, "pid": first}
