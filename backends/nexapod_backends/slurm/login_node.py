"""Whether this machine belongs to a Slurm cluster: then jobs do not run here unasked."""

from __future__ import annotations

import os

__all__ = ["sign"]


def sign() -> str:
    """Return in words why this machine looks like one of a Slurm cluster, or nothing."""
    conf = os.environ.get("SLURM_CONF") or "/etc/slurm/slurm.conf"
    return f"this machine has a Slurm configuration ({conf})" if os.path.exists(conf) else ""
