"""Talking to a Dask scheduler: its own protocol, through `distributed`, with two things left out.

Nothing that comes over the connection is ever unpickled, or larger than it may be: see `protocol_guard`. Nothing waits
longer than it may: every call has a limit, and for a while after one that ran into it no other is tried. No thread
runs, and no connection is kept alive between calls but by the kernel: futures are held in the scheduler under a name of
ours, not by a client.

This module imports `distributed` (400 ms); it is itself imported only where a Dask site is used.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import pickle
import platform
import re
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from nexapod_backends.dask.scheduler.address_diagnosis import at, certificate
from nexapod_backends.dask.scheduler.agent_protocol import ForeignAnswerError, printable
from nexapod_backends.dask.scheduler.clean_config import unconfigured
from nexapod_batch.errors import ConfigError, SchedulerError
from nexapod_batch.requirements import install_command

try:
    with unconfigured():
        import dask
        import distributed
        from dask._expr import LLGExpr
        from dask._task_spec import Task
        from distributed.comm.core import connect
        from distributed.protocol.serialize import Serialize, Serialized, ToPickle, serialize
        from distributed.security import Security
        from distributed.versions import get_versions

        from nexapod_backends.dask.scheduler.protocol_guard import RefusedError, TooLargeError, decompress
except ImportError as cause:
    raise SchedulerError(  # of this site alone: what runs elsewhere goes on
        "a Dask site needs dask and distributed", got=str(cause), hint=install_command(["dask", "distributed"])
    ) from cause
except Exception as cause:  # a file that Dask reads when it is imported, a release that does not fit Python, ...
    raise SchedulerError(
        "dask and distributed cannot be imported", got=printable(f"{type(cause).__name__}: {cause}", 300),
        hint=f"install both anew: {install_command(['dask', 'distributed'])} --force-reinstall",
    ) from cause  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from distributed.comm.core import Comm

__all__ = ["AGENT", "Call", "Wire", "here", "program"]

#: The texts of the agent, in the order in which they travel.
AGENT = tuple(Path(__file__).with_name(name) for name in ("agent_base.py", "agent.py"))
#: What is imported from one text by the next: there they are one.
_OURS = re.compile(r"^from (?:__future__|nexapod_backends\b\S*) import (?:\([^)]*\)|[^\n(]*)\n", re.MULTILINE)
_PAUSE_S = (1.0, 10.0)  # after a call that failed: thrice what it took, within these limits
_KNOWN_S, _LOOKS = 0.02, 100  # between two looks whether the scheduler has taken tasks in; how many

for _name in ("distributed", "distributed.comm", "distributed.core", "distributed.protocol", "tornado", "asyncio"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)
for _name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class Call(Struct, frozen=True, kw_only=True):
    """One task for one worker, as `Client.submit` would have it."""

    key: str
    worker: str  # address
    request: bytes  # for `agent.run`
    priority: int = 0
    resources: Mapping[str, float]


def here() -> dict[str, str]:
    """Return the versions of Python, dask and distributed in this process."""
    return {"python": platform.python_version(), "dask": dask.__version__, "distributed": distributed.__version__}


def program(function: str) -> tuple[str, dict[str, str]]:
    """Return an expression, and the names in it, that calls a function of the agent with `request`.

    The agent's text is compiled once in each worker; only built-in functions are named, so that neither the scheduler
    nor the worker must be able to import anything of ours, whatever their Python.
    """
    texts = [_OURS.sub("", path.read_text("utf-8")) for path in AGENT]
    source = "\n".join(["from __future__ import annotations", *texts])
    name = f"_nexapod_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    expression = (
        "(__import__('sys').modules.get(name) or (lambda m: (exec(compile(source, name, 'exec'), m.__dict__),"
        " __import__('sys').modules.__setitem__(name, m), m)[2])(__import__('types').ModuleType(name)))"
        f".{function}(request)"
    )
    return expression, {"source": source, "name": name}


class Wire:
    """A connection to one scheduler, made when it is first needed."""

    def __init__(self, where: Callable[[], tuple[str, Mapping[str, str]]], limit_s: float, owner: str) -> None:
        """Remember who knows the address and what TLS needs; the scheduler keeps our keys under the name `owner`."""
        self._where, self._limit, self._owner = where, limit_s, owner
        self._loop = asyncio.new_event_loop()
        self._idle: list[Comm] = []
        self._failed: tuple[float, SchedulerError] | None = None  # until when no call is tried, and why
        self._serve = program("serve")
        self._names: Mapping[str, str] = {}  # of TLS
        self.address = ""
        self.scheduler_id = ""  # as it said last
        self.services: dict[str, Any] = {}  # of the scheduler: name -> port

    def call(self, op: str, **more: Any) -> Any:  # noqa: ANN401 - whatever the scheduler says
        """Return what the scheduler answers to one of its operations; SchedulerError in plain words."""
        return self._run(self._send({"op": op, "reply": True, **more}))

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return what the scheduler knows of each worker, by address; SchedulerError where there is no scheduler."""
        try:
            found = self.call("identity", n_workers=-1)
        except SchedulerError as error:
            if "Worker.identity" not in str(error.got):
                raise
            found = {"type": "Worker"}
        known = found.get("workers") if isinstance(found, dict) and found.get("type") == "Scheduler" else None
        if not isinstance(known, dict):
            kind = printable(found.get("type") if isinstance(found, dict) else type(found).__name__, 100)
            hint = "name the address of the scheduler in the site file"
            raise SchedulerError(f"what answers at {self.address} is no scheduler", got=f"a {kind}", hint=hint)
        self.scheduler_id = printable(found.get("id") or "", 200)
        services = found.get("services")
        self.services = services if isinstance(services, dict) else {}
        return {address: one for address, one in known.items() if isinstance(address, str)}

    def ask(self, worker: str, head: Mapping[str, object], data: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Ask the agent on one worker; SchedulerError when it cannot or does not answer."""
        said = self.ask_all({worker: (head, data)})[worker]
        if isinstance(said, SchedulerError):
            raise said
        return said

    def ask_all(
        self, asked: Mapping[str, tuple[Mapping[str, object], bytes]]
    ) -> dict[str, tuple[dict[str, Any], bytes] | SchedulerError]:
        """Ask several workers at once; each has its own answer or its own error."""
        if not asked:
            return {}

        async def one(
            worker: str, head: Mapping[str, object], data: bytes
        ) -> tuple[dict[str, Any], bytes] | SchedulerError:
            try:
                return await asyncio.wait_for(self._ask(worker, head, data), self._limit)
            except SchedulerError as error:
                return error
            except RefusedError as error:
                return ForeignAnswerError(f"worker {worker} answers what is not let in", got=str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is about this worker
                return SchedulerError(f"worker {worker} does not answer", got=_words(error, self._limit))

        async def everyone() -> list[tuple[dict[str, Any], bytes] | SchedulerError]:
            return await asyncio.gather(*(one(worker, head, data) for worker, (head, data) in asked.items()))

        return dict(zip(asked, self._run(everyone(), self._limit + 1), strict=True))

    def submit(self, calls: Sequence[Call]) -> None:
        """Give tasks to the scheduler, which keeps them until `release`; what it has already it has only once."""
        if calls:
            self._run(self._submit(calls))

    def release(self, keys: Sequence[str]) -> None:
        """Let the scheduler drop tasks, also such as have not begun."""
        if keys:
            self._run(self._stream([{"op": "client-releases-keys", "keys": list(keys), "client": self._owner}]))

    def states(self, keys: Sequence[str]) -> dict[str, str | None]:
        """Return the state of each task in Dask's words, None for an unknown one; SchedulerError where it is silent."""
        said = self.call("get_task_status", keys=list(keys)) if keys else {}
        if not isinstance(said, dict):
            raise SchedulerError(f"the Dask scheduler at {self.address} does not say what became of tasks")
        return {key: state if isinstance(state, str) else None for key, state in said.items()}

    # ---- how it is done

    def _run(self, work: Awaitable[Any], limit: float | None = None) -> Any:  # noqa: ANN401
        """Run to its end or its limit; after a failure the next calls fail at once for a while."""
        began = time.monotonic()
        if self._failed is not None and began < self._failed[0]:
            work.close()  # type: ignore[attr-defined]
            raise self._failed[1]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._failed = None
                return self._loop.run_until_complete(asyncio.wait_for(work, limit or self._limit))
        except (ConfigError, SchedulerError):
            raise
        except Exception as error:
            self._drop()
            failed = _in_words(error, self.address, self._limit, self._names)
            now = time.monotonic()
            self._failed = (now + min(max(3 * (now - began), _PAUSE_S[0]), _PAUSE_S[1]), failed)
            raise failed from error

    def _drop(self) -> None:
        for comm in self._idle:
            with suppress(Exception):
                comm.abort()
        self._idle.clear()

    async def _connected(self) -> Comm:
        while self._idle:
            comm = self._idle.pop()
            if not comm.closed():
                return comm
        return await self._new()

    async def _new(self) -> Comm:
        self.address, names = self._where()
        self._names = names
        if names:
            _check_files(names)
        security = Security(**names, require_encryption=True) if names else Security()
        arguments = security.get_connection_args("client")
        return await connect(self.address, timeout=self._limit, deserialize=False, **arguments)

    async def _send(self, message: Mapping[str, Any]) -> Any:  # noqa: ANN401
        comm = await self._connected()
        try:
            await comm.write(message)
            said = await comm.read()
        except BaseException:
            comm.abort()
            raise
        self._idle.append(comm)
        if isinstance(said, dict) and said.get("status") in {"error", "uncaught-error"}:
            raise SchedulerError(f"the Dask scheduler at {self.address} refuses", got=_line(said.get("exception_text")))
        return said

    async def _ask(self, worker: str, head: Mapping[str, object], data: bytes) -> tuple[dict[str, Any], bytes]:
        expression, names = self._serve
        request = json.dumps(head).encode() + b"\n" + data
        arguments = pickle.dumps((expression, {**names, "request": request}))
        message = {"op": "run", "function": pickle.dumps(eval), "args": arguments}
        said = await self._send({"op": "proxy", "reply": True, "msg": message, "worker": worker})
        if not isinstance(said, dict) or said.get("status") != "OK":
            text = said.get("exception_text") if isinstance(said, dict) else said
            raise SchedulerError(f"worker {worker} cannot do what it is asked", got=_line(text))
        line, _, rest = _plain(said["result"], worker).partition(b"\n")
        try:
            answer = json.loads(line)
            if not isinstance(answer, dict):
                raise TypeError(line[:80])
        except (ValueError, TypeError, RecursionError) as error:
            got = printable(error, 200)
            raise ForeignAnswerError(f"worker {worker} answers what cannot be read", got=got) from error
        if "error" in answer:
            raise SchedulerError(f"worker {worker}", got=printable(answer["error"], 500))
        return answer, rest

    async def _submit(self, calls: Sequence[Call]) -> None:
        together: dict[tuple[object, ...], list[Call]] = {}
        for call in calls:
            together.setdefault((call.worker, call.priority, tuple(sorted(call.resources.items()))), []).append(call)
        await self._stream([_graph(mine, self._owner) for mine in together.values()])
        wanted = [call.key for call in calls]
        for _ in range(_LOOKS):
            if None not in (await self._send({"op": "get_task_status", "reply": True, "keys": wanted})).values():
                return
            await asyncio.sleep(_KNOWN_S)
        raise SchedulerError(
            f"the Dask scheduler at {self.address} did not take tasks in",
            got=f"distributed {distributed.__version__} here",
            hint="its own log says why; mostly its version differs: nexapod-batch site check names both",
        )  # fmt: skip

    async def _stream(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Send what only a client may send; the scheduler takes it in one after the other."""
        comm = await self._new()
        try:
            me = {"op": "register-client", "client": f"{self._owner}-{time.time_ns()}", "reply": False}
            await comm.write({**me, "versions": get_versions()})
            said = (await comm.read())[0]
            if said.get("error"):
                raise SchedulerError(
                    f"the Dask scheduler at {self.address} does not fit", got=_line(said["error"]),
                    hint=f"install the same version here (this is distributed {distributed.__version__})",
                )  # fmt: skip
            await comm.write([*messages, {"op": "close-stream"}])
            with suppress(OSError):  # until it closes: all was taken in
                while True:
                    await comm.read()
        finally:
            comm.abort()


def _graph(calls: Sequence[Call], owner: str) -> dict[str, Any]:
    """Return what `Client.submit(eval, ..., workers=[one])` sends for tasks of one worker."""
    expression, names = program("run")
    tasks = {call.key: Task(call.key, eval, expression, {**names, "request": call.request}) for call in calls}
    first = calls[0]
    annotations: dict[str, object] = {"workers": [first.worker], "allow_other_workers": False, "retries": 0}
    if first.priority:
        annotations["priority"] = first.priority
    if first.resources:
        annotations["resources"] = dict(first.resources)
    whole = LLGExpr(tasks, _determ_token=hashlib.sha256("".join(tasks).encode()).hexdigest())
    return {
        "op": "update-graph",
        "client": owner,
        "expr_ser": Serialized(*serialize(Serialize(whole).data, on_error="raise")),
        "keys": set(tasks),
        "internal_priority": {key: number for number, key in enumerate(tasks)},
        "submitting_task": None,
        "fifo_timeout": 0,
        "actors": None,
        "code": ToPickle(()),
        "annotations": ToPickle(annotations),
        "span_metadata": ToPickle({"collections": [{"type": "Future"}]}),
    }


def _plain(result: object, worker: str) -> bytes:
    """Return the bytes that a worker answered with; anything else is a ForeignAnswerError, and is not opened."""
    if isinstance(result, Serialized) and result.header.get("serializer") == "dask":
        frames = decompress(result.header, result.frames) if "compression" in result.header else result.frames
        return b"".join(bytes(frame) for frame in frames)
    got = result.header.get("serializer") if isinstance(result, Serialized) else type(result).__name__
    raise ForeignAnswerError(f"worker {worker} answers something else than bytes", got=got, wanted="plain bytes")


def _check_files(names: Mapping[str, str]) -> None:
    from nexapod_backends.dask.scheduler.certificates import check_files  # noqa: PLC0415 - only where there is TLS

    check_files(names)


def _tls_fault(address: str, names: Mapping[str, str]) -> tuple[str, str] | None:
    from nexapod_backends.dask.scheduler.certificates import tls_fault  # noqa: PLC0415 - only where there is TLS

    return tls_fault(certificate(address), names)


def _in_words(error: BaseException, address: str, limit: float, names: Mapping[str, str]) -> SchedulerError:
    """Return what a failed call means, with what to do."""
    text = _words(error, limit)
    hint = "check that the scheduler runs, and the address in the site file"
    if any(word in text.casefold() for word in ("ssl", "tls", "certificate")):
        hint = "tls_ca, tls_cert and tls_key must be of the authority that signed the scheduler's certificate"
    found = _fault_there(error, address, names)
    if found is not None:
        text, hint = found
    return SchedulerError(f"the Dask scheduler at {address or '?'} cannot be used", got=text, hint=hint)


def _fault_there(error: BaseException, address: str, names: Mapping[str, str]) -> tuple[str, str] | None:
    """Return what a look at the address and its certificate tells, and what to do; None where the call tells more."""
    if any(isinstance(cause, RefusedError) and not isinstance(cause, TooLargeError) for cause in _causes(error)):
        return None
    found = at(address) if address else None
    if found is None and names:
        found = _tls_fault(address, names)
    return found


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in causes:
        causes.append(one)
        one = one.__cause__ or one.__context__
    return causes


def _words(error: BaseException, limit: float) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer within {limit:g} s"
    for cause in reversed(_causes(error)):
        if isinstance(cause, RefusedError):
            return str(cause)
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there (connection refused)"
        if isinstance(cause, (MemoryError, OverflowError)) or type(cause).__name__ in {"UnpackException", "ExtraData"}:
            return "something that does not speak Dask's protocol"
    return re.sub(r"^in <.*?>: ", "", _line(str(error))) or type(error).__name__


def _line(text: object) -> str:
    return printable(text or "", 500)
