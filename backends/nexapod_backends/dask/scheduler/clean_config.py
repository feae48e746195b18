"""Dask without the configuration of this account: importing it reads none, and what was imported has none.

Dask reads `/etc/dask`, `etc/dask` beside its interpreter, `~/.config/dask` and every variable `DASK_*` when it is
imported. A preload, an idle-timeout or a broken file there is meant for the account's own clusters. What is ours is
defined by its site file alone. Only the standard library is used here: this runs before Dask is there.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["unconfigured"]

_NOWHERE = "/dev/null/none"  # no file can be there, whoever looks


@contextmanager
def unconfigured() -> Iterator[None]:
    """Import Dask and what belongs to it inside: afterwards its configuration is what it brings along itself."""
    names = [name for name in os.environ if name.startswith("DASK_")]
    kept = {name: os.environ.pop(name) for name in names}
    home = os.environ.get("HOME")
    nowhere = {"HOME": _NOWHERE, "DASK_CONFIG": _NOWHERE, "DASK_ROOT_CONFIG": _NOWHERE}
    os.environ.update(nowhere)
    try:
        yield
        forget()
    finally:
        for name in nowhere:
            del os.environ[name]
        os.environ.update(kept)
        if home is not None:
            os.environ["HOME"] = home


def forget() -> None:
    """Drop what Dask read beside its interpreter, and let it look nowhere again."""
    config = sys.modules.get("dask.config")
    if config is not None:
        config.paths.clear()
        config.refresh(env={})
