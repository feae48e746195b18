"""One look at the GPUs of this machine, by a child: a driver that hangs hangs the child alone, and is told as such."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from typing import NamedTuple

import orjson
from msgspec.structs import asdict

from nexapod_batch.model.hardware import Gpu
from nexapod_batch.runner.processes.fork import fork_helper

__all__ = ["PATIENCE_S", "Look", "Seen"]

PATIENCE_S = 30.0  # a driver that was just loaded takes seconds
_BLOCK = 1 << 16


class Seen(NamedTuple):
    """What answered, and in words what did not."""

    gpus: tuple[Gpu, ...] = ()
    faults: tuple[str, ...] = ()


class Look:
    """A look that was begun; `answer` tells when it has ended."""

    def __init__(self, now: float) -> None:
        """Fork the child; `now` is of a clock that only runs forward."""
        self.died = False  # it ended without an answer: somebody else ended it
        self._until = now + PATIENCE_S
        self._data = b""
        self._fd, writer = os.pipe2(os.O_CLOEXEC)
        self._pid = fork_helper(lambda: _look(writer))
        os.close(writer)

    def answer(self, now: float) -> Seen | None:
        """Return what was seen, None as long as nobody knows."""
        while select.select([self._fd], [], [], 0)[0]:
            data = os.read(self._fd, _BLOCK)
            self._data += data
            if not data:
                return self._end(self._understood())
        if now < self._until:
            return None
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        return self._end(Seen(faults=(f"the driver of the GPUs did not answer for {PATIENCE_S:.0f} s",)))

    def _end(self, seen: Seen) -> Seen:
        os.close(self._fd)
        with suppress(ChildProcessError):  # the worker collects whatever ended below it
            os.waitpid(self._pid, os.WNOHANG)
        return seen

    def _understood(self) -> Seen:
        try:
            gpus, faults = orjson.loads(self._data)
        except orjson.JSONDecodeError:
            self.died = True
            return Seen(faults=("whoever asks the driver of the GPUs ends at once",))
        return Seen(tuple(Gpu(**gpu) for gpu in gpus), tuple(faults))


def _look(writer: int) -> None:
    """Write what there is as JSON."""
    from nexapod_batch.hardware.devices import Devices  # noqa: PLC0415 - for the child alone

    devices = Devices()
    gpus = [asdict(gpu) for gpu in devices.gpus()]
    os.write(writer, orjson.dumps([gpus, [str(fault).split("\n")[0] for fault in devices.faults]]))
