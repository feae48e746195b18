"""Whether this machine belongs to a Slurm cluster: then jobs do not run here unasked."""

from __future__ import annotations

import os
from shutil import which

__all__ = ["sign"]

_CONF = "/etc/slurm/slurm.conf"
_CALL_S, _MAX_ANSWER = 5.0, 1 << 20
#: What Slurm's commands say where they are installed and no cluster is configured, as on a workstation.
_NO_CLUSTER = ("could not establish a configuration source", "failed to fetch config")


def sign() -> str:
    """Return in words why this machine looks like one of a Slurm cluster, or nothing.

    It does with a configuration, and with `sbatch` in PATH unless that says itself that it knows of no cluster.
    """
    conf = os.environ.get("SLURM_CONF") or _CONF
    if os.path.exists(conf):
        return f"this machine has a Slurm configuration ({conf})"
    program = which("sbatch")
    if program is None or _knows_no_cluster(program):
        return ""
    return f"this machine submits to Slurm (sbatch is in PATH: {program})"


def _knows_no_cluster(program: str) -> bool:
    from nexapod_batch.files import answers  # noqa: PLC0415 - where there is an sbatch

    try:
        done = answers.ask([program, "--version"], timeout_s=_CALL_S, max_bytes=_MAX_ANSWER)
    except OSError:
        return False
    said = done.stderr.decode("utf-8", "replace").lower()
    return done.status != 0 and any(words in said for words in _NO_CLUSTER)
