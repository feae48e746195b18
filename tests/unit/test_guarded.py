"""Backends behind glass: whatever a plug-in or a library below it does, one site is at fault, and nothing else raises."""

from __future__ import annotations

import asyncio
import struct
from types import SimpleNamespace
from typing import Any

import pytest

from nexapod_batch.coordinator.backend_guard import guarded
from nexapod_batch.errors import ConfigError, PluginFaultError, SchedulerError, UnreachableError


class ForeignError(Exception):
    """A library's own, which cannot even be printed."""

    def __str__(self) -> str:
        """Break."""
        raise RuntimeError("no words")


FOREIGN = [
    RuntimeError("boom\nsecond line"), ValueError("x"), EOFError(), KeyError("k"), AttributeError("a"), RecursionError("deep"),
    MemoryError(), AssertionError(), SystemExit(3), asyncio.CancelledError(), StopIteration(), struct.error("short"), ForeignError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), Exception("\x1b[31mred\u202e"),
]  # fmt: skip
ABOUT = SimpleNamespace(node=SimpleNamespace(site="far", name="far-1"))


class Backend:
    """Does in every method what it was told."""

    def __init__(self, does: Any) -> None:
        """Take an error to raise, or an answer to give."""
        self.does = does

    def _do(self, *_: object, **__: object) -> Any:
        if isinstance(self.does, BaseException):
            raise self.does
        return self.does

    prepare = grain = stage = unstage = collect = stamp = discard = fetch = remove = _do
    launch = status = cancel = forget = describe = clear = discover = _do

    def probe(self, *_: object) -> Any:
        """Yield one finding, and then do it."""
        yield "first"
        self._do()


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", ["prepare", "stage", "grain", "launch", "status", "cancel", "collect", "stamp", "fetch", "forget"])
def test_whatever_is_raised_is_a_fault_of_the_site(method: str, error: BaseException) -> None:
    """It says which site, plug-in and method, in one printable line, and carries its cause."""
    with pytest.raises(PluginFaultError) as caught:
        getattr(guarded(Backend(error), "odd"), method)(ABOUT, ["x"])
    assert caught.value.__cause__ is error
    assert caught.value.what == f"site far: its backend odd broke in {method}()"
    assert type(error).__name__ in str(caught.value.got)
    assert str(caught.value.got).isprintable()
    assert isinstance(caught.value, SchedulerError)  # every use case knows what to do then


@pytest.mark.parametrize("error", [ConfigError("c"), UnreachableError("u"), OSError(5, "o"), TimeoutError("t"), KeyboardInterrupt()])
def test_what_has_a_name_passes(error: BaseException) -> None:
    """Errors of ours and of the system say more as they are; a person's interruption is nobody's fault."""
    with pytest.raises(type(error)) as caught:
        guarded(Backend(error), "odd").status(ABOUT, [])  # type: ignore[arg-type]
    assert caught.value is error


@pytest.mark.parametrize(
    ("method", "answer"),
    [("status", None), ("status", []), ("launch", None), ("launch", "x"), ("stage", 7), ("grain", None), ("describe", b"x"), ("unstage", "3")],
)
def test_a_wrong_answer_is_a_fault_as_well(method: str, answer: object) -> None:
    """It would raise later, where nobody knows whose it was."""
    with pytest.raises(PluginFaultError, match=f"it returned {type(answer).__name__}"):
        getattr(guarded(Backend(answer), "odd"), method)([ABOUT], {})


def test_a_generator_may_break_in_the_middle() -> None:
    """What it said before is heard."""
    found = guarded(Backend(RuntimeError("boom")), "odd").probe([ABOUT], None)  # type: ignore[arg-type, list-item]
    assert next(found) == "first"
    with pytest.raises(PluginFaultError, match=r"broke in probe\(\)"):
        next(found)


def test_a_method_that_is_missing_is_a_fault() -> None:
    """A plug-in of another version."""
    with pytest.raises(PluginFaultError, match="AttributeError"):
        guarded(object(), "odd").status(ABOUT, [])  # type: ignore[arg-type]
