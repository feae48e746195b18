"""Work during which nobody looks for garbage."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["collect_again", "no_collection"]


@contextmanager
def no_collection(*, kept: bool = False) -> Iterator[None]:
    """Let the collector rest, also for helpers that are forked meanwhile.

    What a batch makes of many thousand lines is alive until it is written, and goes by its reference counts. To look
    for cycles among it takes a twentieth of the time, and makes each helper copy the pages that are looked at. What is
    `kept` until the process ends, as modules are, is not looked through afterwards either.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled and kept:
            collect_again()
        elif enabled:
            gc.enable()


def collect_again() -> None:
    """Look for garbage from now on, though not among what is there already: who calls is about to stay."""
    gc.freeze()
    gc.enable()
