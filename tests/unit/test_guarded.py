"""Backends behind glass: whatever a plug-in or a library below it does, one site is at fault, and nothing else raises."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from spools import House

from nexapod_batch.coordinator.backend_guard import guarded
from nexapod_batch.entry_points import METHODS
from nexapod_batch.errors import ConfigError, PluginFaultError, SchedulerError, UnreachableError
from nexapod_batch.model.job import Job
from nexapod_batch.model.site import Limits, Scheduler, Site
from nexapod_batch.plugins import BackendState, Finding, LaunchStatus, Mark, NodeContext, methods
from nexapod_batch.runtimes import Runtime


class ForeignError(Exception):
    """A library's own, which cannot even be printed."""

    def __str__(self) -> str:
        """Break."""
        raise RuntimeError("no words")


class UnprintableError(SchedulerError):
    """A plug-in's own, of a kind that passes, which cannot be printed."""

    def __str__(self) -> str:
        """Break."""
        raise RuntimeError("no words")


FOREIGN = [
    RuntimeError("boom\nsecond line"), ValueError("x"), EOFError(), KeyError("k"), AttributeError("a"), RecursionError("deep"),
    MemoryError(), AssertionError(), SystemExit(3), asyncio.CancelledError(), StopIteration(), struct.error("short"), ForeignError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), Exception("\x1b[31mred\u202e"), GeneratorExit(), BaseExceptionGroup("g", [SystemExit()]),
    Warning("w"), UnprintableError("u"),
]  # fmt: skip
KEY = "a" * 32
#: What each method may be given, beside its context.
GIVEN: dict[str, tuple[Any, ...]] = {
    "launch_size": (Job(name="t", command=("true",)), 3),
    "launch": ([SimpleNamespace(key=KEY)],),
    "describe": (Job(name="t", command=("true",)), 3),
    "prepare": ({},),
    "stage": ({"d": Path("/x")},),
    "unstage": ((),),
    "collect": (),
    "change_token": (),
    "discard": ((),),
    "fetch": ("1_0.1",),
    "remove": ((),),
    "status": ([KEY],),
    "cancel": ({},),
    "forget": ((),),
    "expire": ((),),
    "probe": (None,),
    "clear": (),
    "discover": (),
}


@pytest.fixture
def context(tmp_path: Path) -> NodeContext:
    """Give a node of a site whose backend has little time."""
    site = Site(name="far", scheduler=Scheduler(type="odd"), limits=Limits(call_timeout_s=1, transfer_timeout_s=1))
    made = House(tmp_path).context()
    return replace(made, node=replace(made.node, site="far"), site=site)


class Backend:
    """Does in every method what it was told."""

    def __init__(self, does: Any) -> None:
        """Take an error to raise, or an answer to give."""
        self.does = does

    def __getattr__(self, name: str) -> Any:
        """Return a method that does it."""
        if name.startswith("_") or name == "signs_native":
            raise AttributeError(name)

        def method(*_: object, **__: object) -> Any:
            if isinstance(self.does, BaseException):
                raise self.does
            return self.does() if callable(self.does) else self.does

        return method


def ask(does: Any, method: str, context: NodeContext) -> Any:
    """Call one method of a backend behind glass, as the coordinator does."""
    about: Any = {"probe": [context], "clear": [context], "discover": context.site}.get(method, context)
    given = GIVEN[method]
    answer = getattr(guarded(Backend(does), "odd"), method)(about, *given)
    return list(answer) if method == "probe" else answer


def test_the_port_names_its_methods() -> None:
    """What loading asks for is what the Protocols say."""
    assert sorted(METHODS["backend"]) == methods()
    assert set(METHODS["runtime"]) == {name for name in vars(Runtime) if name[0] != "_"}
    assert set(GIVEN) == set(methods())


@pytest.mark.parametrize(
    ("method", "error"),
    [*((name, RuntimeError("boom")) for name in sorted(METHODS["backend"])), *((name, error) for name in ("status", "probe") for error in FOREIGN)],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_whatever_is_raised_is_a_fault_of_the_site(context: NodeContext, method: str, error: BaseException) -> None:
    """It says which site, plug-in and method, in one printable line, and carries its cause."""
    with pytest.raises(PluginFaultError) as caught:
        ask(error, method, context)
    assert caught.value.__cause__ is error
    assert caught.value.what == f"site far: backend odd failed in {method}()"
    assert type(error).__name__ in str(caught.value.got)
    assert str(caught.value.got).isprintable()
    assert isinstance(caught.value, SchedulerError)  # every use case knows what to do then


@pytest.mark.parametrize("error", [ConfigError("c"), UnreachableError("u"), OSError(5, "o"), TimeoutError("t"), KeyboardInterrupt()])
def test_what_has_a_name_passes(context: NodeContext, error: BaseException) -> None:
    """Errors of ours and of the system say more as they are; a person's interruption is nobody's fault."""
    with pytest.raises(type(error)) as caught:
        ask(error, "status", context)
    assert caught.value is error


async def _later() -> None:
    """Do nothing, once somebody waits."""


def _status(**fields: Any) -> dict[str, Any]:
    return {KEY: LaunchStatus(**{"state": BackendState.ACTIVE, **fields})}


WRONG = [
    ("status", None), ("status", []), ("status", {}), ("status", {KEY: None}), ("status", {KEY: "ACTIVE"}), ("status", _status(state="ACTIVE")),
    ("status", _status(reason=None)), ("status", _status(native=7)), ("status", _status(hosts="n1")), ("status", _status(hosts=(1,))),
    ("status", _status(task_fault=1)), ("status", _status() | {"b" * 32: LaunchStatus(state=BackendState.NEW)}),
    ("launch", None), ("launch", "x"), ("launch", {}), ("launch", {KEY: 7}), ("launch", {KEY: b"7"}), ("launch", {KEY: "1", "strange": "2"}),
    ("stage", 7), ("stage", {}), ("stage", {"d": Path("/x")}), ("launch_size", None), ("launch_size", 0), ("launch_size", -1), ("launch_size", True),
    ("launch_size", 1.5), ("describe", b"x"), ("describe", None), ("discover", 7), ("unstage", "3"), ("unstage", -1), ("change_token", 3.5),
    ("change_token", ["a"]), ("probe", None), ("probe", "ok"), ("probe", ["ok"]), ("probe", [Finding(mark="ok", probe="p", text="t")]),  # type: ignore[arg-type]
    ("probe", [Finding(mark=Mark.OK, probe="p", text=None)]), ("probe", 7), ("collect", 1), ("cancel", True), ("forget", {}), ("prepare", "done"),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize(("method", "answer"), WRONG)
def test_a_wrong_answer_is_a_fault_as_well(context: NodeContext, method: str, answer: object) -> None:
    """It would raise later, where nobody knows whose it was, or lie in the database."""
    with pytest.raises(PluginFaultError, match=rf"far: backend odd failed in {method}\(\): got it "):
        ask(answer, method, context)


@pytest.mark.parametrize("method", ["cancel", "status", "launch", "describe", "probe"])
def test_an_asynchronous_method_is_a_fault(context: NodeContext, method: str) -> None:
    """Nobody waits for what it returns: it would have done nothing, and silently."""
    with pytest.raises(PluginFaultError, match="coroutine"):
        ask(_later, method, context)


@pytest.mark.parametrize("field", ["native", "reason"])
def test_texts_are_bounded_and_printable(context: NodeContext, field: str) -> None:
    """What a backend says of a launch is kept in the database, and printed on terminals."""
    told = ask(_status(**{field: "\x1b[2J\x00" + "x" * 1_000_000}), "status", context)[KEY]
    assert len(getattr(told, field)) <= 4_000
    assert getattr(told, field).startswith("?[2J?x")


def test_right_answers_come_as_they_are(context: NodeContext) -> None:
    """Also of other kinds of mappings and iterators."""
    assert ask(_status(reason="a\nb"), "status", context) == _status(reason="a\nb")
    assert ask({KEY: "12_3"}, "launch", context) == {KEY: "12_3"}
    assert ask(3, "launch_size", context) == 3
    assert ask(None, "change_token", context) is None
    found = [Finding(mark=Mark.OK, probe="p", text="t")]
    assert ask(lambda: iter(found), "probe", context) == found


def test_a_generator_may_break_in_the_middle(context: NodeContext) -> None:
    """What it said before is heard; and it cleans up where nobody asks on."""
    first, cleaned = Finding(mark=Mark.OK, probe="p", text="t"), []

    def breaks() -> Any:
        try:
            yield first
            raise RuntimeError("boom")
        finally:
            cleaned.append(True)

    found = guarded(Backend(breaks), "odd").probe([context], None)  # type: ignore[arg-type]
    assert next(found) == first
    with pytest.raises(PluginFaultError, match=r"failed in probe\(\)"):
        next(found)
    stopped = guarded(Backend(breaks), "odd").probe([context], None)  # type: ignore[arg-type]
    assert next(stopped) == first
    stopped.close()  # type: ignore[attr-defined]
    assert cleaned == [True, True]


def test_a_call_that_never_returns_is_ended_and_its_site_left_alone(context: NodeContext) -> None:
    """Within its time, inside the call, once: what comes later fails at once, and other sites are asked on."""
    calls = []

    def hangs() -> None:
        calls.append("begun")
        try:
            while True:
                time.sleep(3600)
        finally:
            calls.append("cleaned up")

    backend = guarded(Backend(hangs), "odd")
    for method in ("status", "collect"):
        with pytest.raises(PluginFaultError, match=r"far: backend odd failed in status\(\): got it did not return within 1 s"):
            getattr(backend, method)(context, *GIVEN[method])
    assert calls == ["begun", "cleaned up"]
    near = replace(context, node=replace(context.node, site="near"))
    with pytest.raises(PluginFaultError, match=r"near: backend odd failed in status\(\)"):
        backend.status(near, [KEY])


@pytest.mark.parametrize("method", ["collect", "fetch", "stage", "probe"])
def test_what_moves_files_has_a_time_of_its_own(context: NodeContext, method: str) -> None:
    """And it is bounded as well, also where it spins instead of sleeping, and catches what it can."""

    def spins() -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:  # noqa: BLE001, S110 - as plug-ins do
                pass

    with pytest.raises(PluginFaultError, match="did not return within 1 s"):
        ask(spins, method, context)


def test_a_method_that_is_missing_is_a_fault(context: NodeContext) -> None:
    """A plug-in of another version, which changed since it was loaded."""
    with pytest.raises(PluginFaultError, match="AttributeError"):
        guarded(object(), "odd").status(context, [])


def test_another_thread_has_no_bound(context: NodeContext) -> None:
    """There is nothing that could interrupt it; a call that returns is as it is."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask, 3, "launch_size", context).result() == 3


@pytest.mark.slow
def test_what_cannot_be_interrupted_ends_the_program(tmp_path: Path) -> None:
    """Nothing else would ever run: it is said on stderr, with the exit code of a scheduler that does not answer."""
    code = """
import time
from nexapod_batch.plugins.deadline import deadline
with deadline(0.1, "site far: status() of backend odd"):
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert done.returncode == 69
    assert done.stderr == (
        "nexapod-batch: site far: status() of backend odd did not return within 0.1 s, and does not let itself be interrupted\n"
    )
