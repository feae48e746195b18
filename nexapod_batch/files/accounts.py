"""The account of this process, as the kernel knows it."""

from __future__ import annotations

import os
from functools import cache

__all__ = ["own_account"]


@cache
def own_account() -> str:
    """Return the name of this account, whatever the environment says it is; its number where it has no name."""
    import pwd  # noqa: PLC0415 - most looks need no name

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"
