"""Limits of accounts and QOS that keep a job back, as Slurm's reasons name them. Pure.

`QOSMaxCpuPerUserLimit` is put together from whose limit it is, its kind, what is limited, and for whom.
"""

from __future__ import annotations

import re
from enum import StrEnum

__all__ = ["Limited", "limit_in_words", "limited", "tame"]

_RAW_MAX = 300  # characters of a foreign text that are kept

_WHAT = {
    "bb": "burst buffer space",
    "billing": "billing units",
    "cpu": "CPUs",
    "energy": "energy",
    "gres": "generic resources (GPUs)",
    "license": "licences",
    "mem": "memory",
    "memory": "memory",
    "node": "nodes",
    "unknown": "a resource that Slurm does not name",
    "job": "running jobs",
    "jobs": "running jobs",
    "submitjob": "jobs in the queue",
    "submitjobs": "jobs in the queue",
    "wall": "wall time",
    "wallduration": "wall time",
}
_LIMIT = re.compile(
    r"(?P<owner>Assoc|QOS|)(?P<kind>Grp|Max|Min)"
    r"(?P<what>BB|Billing|Cpu|Energy|GRES|License|Memory|Mem|Node|Unknown|SubmitJobs?|Jobs?|WallDuration|Wall)"
    r"(?P<minutes>RunMinutes|RunMins|Minutes|)(?P<per>PerJob|PerNode|PerUser|PerAccount|)(?P<tail>Limit|NotSatisfied|)",
    re.IGNORECASE,
)


class Limited(StrEnum):
    """Whose size a limit is about that keeps a job from starting."""

    JOB = "job"  # this very job's: it will never start
    USER = "user"  # that of all jobs of this user: it starts when others of them have ended
    GROUP = "group"  # that of all jobs of an account or QOS: whether others fill it, or this one alone, is not said


_WHOSE = {"perjob": Limited.JOB, "pernode": Limited.JOB, "peruser": Limited.USER, "peraccount": Limited.GROUP}
_TIMES = frozenset({"qostimelimit", "associationtimelimit", "partitiontimelimit", "maxmemperlimit"})


def limited(reason: str) -> Limited | None:
    """Return which kind of limit on sizes a reason names; None for one on numbers, one that is used up, or none."""
    word = tame(reason.strip().removeprefix("(").removesuffix(")")).partition(",")[0]
    if word.lower() in _TIMES:
        return Limited.JOB
    found = _LIMIT.fullmatch(word)
    if not found or found["kind"].lower() == "min" or found["what"].lower().startswith(("job", "submitjob")):
        return None
    if found["kind"].lower() == "max":
        return _WHOSE.get(found["per"].lower())
    used_up = found["minutes"].lower() == "minutes" or found["what"].lower().startswith("wall")
    return None if used_up else Limited.GROUP  # what is used up keeps a smaller job back as well


def tame(text: str) -> str:
    """Return a foreign text as one short line without control characters: it is shown on terminals."""
    line = " ".join(text[: 2 * _RAW_MAX].split())[:_RAW_MAX]
    return "".join(char if char.isprintable() else "?" for char in line)


def limit_in_words(reason: str) -> str:
    """Return the sentence of a limit; "" for a word that is none."""
    found = _LIMIT.fullmatch(reason)
    if not found:
        return ""
    owner, kind, what, minutes, per, _ = (part.lower() for part in found.groups())
    if not owner and per not in {"peraccount", "peruser"}:
        return ""
    amount = _amount(what, minutes)
    whose = "account" if owner == "assoc" else "QOS"
    other = f"another {whose}"
    if kind == "min":
        return f"asks for less ({amount}) than the {whose} demands; ask for more, or use {other}"
    if per in {"perjob", "pernode"}:
        each = per.removeprefix("per")
        return f"asks for more ({amount}) than the {whose} allows for each {each}; ask for less, or use {other}"
    if kind == "grp" and minutes == "minutes":
        return f"the {whose} has used up its {amount}; use {other}, or ask the site for more"
    return f"{_sharers(kind, per, whose)} have reached the {whose}'s limit ({amount}); waits until some end"


def _sharers(kind: str, per: str, whose: str) -> str:
    """Return which jobs share a limit on many."""
    if per == "peraccount":
        return "the jobs of your account"
    return f"all jobs of the {whose}" if kind == "grp" else "your jobs"


def _amount(what: str, minutes: str) -> str:
    """Return what is limited, as people say it."""
    amount = _WHAT[what]
    if minutes:
        amount = {"CPUs": "CPU", "nodes": "node", "billing units": "billing"}.get(amount, amount) + " minutes"
    if minutes.startswith("run"):
        amount += " of running jobs"
    return amount
