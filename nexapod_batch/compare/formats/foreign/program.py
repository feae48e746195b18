"""The program that reads one file of a kind, on its stdin, and sends its tokens to stdout; see `frames`."""

from __future__ import annotations

import resource
import sys
from importlib import import_module

from nexapod_batch.compare.formats.foreign.frames import send, send_batch
from nexapod_batch.compare.ignoring import names

__all__ = ["FILE", "main"]

#: Where the file lies, for libraries that want a path.
FILE = "/proc/self/fd/0"
#: Bytes of address space, most of which a library only reserves; seconds of processor time.
_SPACE, _SECONDS = 6 << 30, 4 * 3600


def main(argv: list[str]) -> int:
    """Send everything, or why it cannot be read."""
    kind, how, *ignored = argv
    for limit, value in ((resource.RLIMIT_AS, _SPACE), (resource.RLIMIT_CPU, _SECONDS), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (value, value))
    out = sys.stdout.buffer
    try:
        module = import_module(f"nexapod_batch.compare.formats.foreign.{kind}")
    except ImportError as error:
        send(out, "missing", [error.name or kind])
        out.flush()
        return 0
    try:
        read = getattr(module, how, module.batches)  # rows, where they may stand in any order and are columns otherwise
        for batch in read(FILE, names(ignored)):
            send_batch(out, batch)
    except BrokenPipeError:
        return 0  # whoever compares has seen enough
    except Exception as error:  # noqa: BLE001 - each library has its own
        send(out, "refused", f"{type(error).__name__}: {error}")
    else:
        send(out, "end", "")
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
