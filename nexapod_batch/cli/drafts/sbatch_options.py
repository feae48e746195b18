"""What becomes of each option of sbatch(1) that a script may set; the words for people are here as well."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from nexapod_batch.model.placeholders import literal
from nexapod_batch.schema.problems import nearest

__all__ = ["LEFT_OUT", "LONG_NAMES", "REFUSED", "SCHEDULER", "WITHOUT_VALUE", "Sums", "translated"]

#: Short options, as sbatch knows them.
LONG_NAMES = {
    "a": "array", "A": "account", "b": "begin", "B": "extra-node-info", "c": "cpus-per-task", "C": "constraint",
    "d": "dependency", "D": "chdir", "e": "error", "F": "nodefile", "G": "gpus", "H": "hold", "i": "input",
    "I": "immediate", "J": "job-name", "k": "no-kill", "L": "licenses", "m": "distribution", "M": "clusters",
    "n": "ntasks", "N": "nodes", "o": "output", "O": "overcommit", "p": "partition", "q": "qos", "Q": "quiet",
    "s": "oversubscribe", "S": "core-spec", "t": "time", "v": "verbose", "w": "nodelist", "W": "wait",
    "x": "exclude",
}  # fmt: skip

#: Options that take no value, or one only after `=`.
WITHOUT_VALUE = frozenset({
    "hold", "requeue", "no-requeue", "exclusive", "oversubscribe", "overcommit", "contiguous", "wait", "quiet",
    "verbose", "parsable", "test-only", "ignore-pbs", "spread-job", "use-min-nodes", "no-kill", "get-user-env",
    "kill-on-invalid-dep", "reboot", "nice", "share",
})  # fmt: skip

_PLACED = "placing is done by the quorum's rules and the site file"
_LOGS = "stdout and stderr of each replica are kept: nexapod-batch logs"
_TUNING = "it only tunes where processes go"
_MAIL = "no mail is sent: nexapod-batch wait, or a timer"

#: Options without which the job computes the same.
LEFT_OUT = {
    "output": _LOGS, "error": _LOGS, "open-mode": _LOGS,
    "mail-type": _MAIL, "mail-user": _MAIL,
    "chdir": "each replica has a work folder of its own, with its inputs in it",
    "requeue": "what the infrastructure loses runs again in any case",
    "no-requeue": "a replica that is lost runs again as a new one",
    "nodelist": _PLACED, "exclude": _PLACED, "exclusive": _PLACED, "contiguous": _PLACED, "switches": _PLACED,
    "spread-job": _PLACED, "oversubscribe": _PLACED, "share": _PLACED, "use-min-nodes": _PLACED,
    "nodefile": _PLACED, "no-kill": _PLACED,
    "distribution": _TUNING, "hint": _TUNING, "threads-per-core": _TUNING, "ntasks-per-core": _TUNING,
    "ntasks-per-socket": _TUNING, "sockets-per-node": _TUNING, "cores-per-socket": _TUNING, "mem-bind": _TUNING,
    "cpu-freq": _TUNING, "extra-node-info": _TUNING, "core-spec": _TUNING, "thread-spec": _TUNING,
    "gpu-bind": _TUNING, "gpu-freq": _TUNING, "overcommit": _TUNING, "cpus-per-gpu": _TUNING,
    "nice": "priority here is schedule.priority", "priority": "priority here is schedule.priority",
    "comment": "labels of your own: --label NAME=VALUE", "wckey": "labels of your own: --label NAME=VALUE",
    "admin-comment": "labels of your own: --label NAME=VALUE",
    "wait": "say so at submit: --wait", "parsable": "say so at submit: --parsable",
    "test-only": "say so at submit: --dry-run", "quiet": "an option of submit", "verbose": "an option of submit",
    "signal": "the runner ends what is over its time, and reports it", "profile": "it only measures",
    "acctg-freq": "it only measures", "get-user-env": "nothing of a shell travels: --env NAME=VALUE",
    "propagate": "limits are those of the resources", "kill-on-invalid-dep": "there is no dependency",
    "ignore-pbs": "only #SBATCH lines are read", "time-min": "time is the limit of a replica",
    "deadline": "the deadline of a replica is quorum.deadline", "delay-boot": _PLACED, "immediate": _PLACED,
    "mincpus": _PLACED, "container": "an image goes into [container]: --image",
}  # fmt: skip

#: Options without which the job would be another.
REFUSED = {
    "dependency": "Slurm's jobs are not known here; write [schedule] depends_on = [{ job = 41 }] with our number",
    "begin": "a job cannot wait for a time; submit it then, or hold it: --set schedule.hold=true",
    "licenses": "licences are not counted here",
    "clusters": "clusters are sites here: --site NAME",
    "cluster": "clusters are sites here: --site NAME",
    "bb": "burst buffers are not known here", "bbf": "burst buffers are not known here",
    "wrap": "write the command after --: nexapod-batch submit -- COMMAND",
    "uid": "a job runs as the account that submits it", "gid": "a job runs as the account that submits it",
    "reboot": "a node is never started anew for a job",
    "network": "the network belongs to [container] network",
    "tres-per-task": "write --cpus-per-task and --gpus",
    "gpus-per-socket": "write --gpus, for one replica",
}  # fmt: skip

#: Options that belong to one site, and their keys in its table.
SCHEDULER = {
    "partition": "partition", "account": "account", "qos": "qos", "constraint": "constraint",
    "reservation": "reservation",
}  # fmt: skip

#: Options that are one whole number of `[resources]`.
_NUMBERS = {"nodes": "nodes", "ntasks": "ntasks", "cpus-per-task": "cpus_per_task"}
#: Options that are counted for each host or rank, and multiplied when all is known.
_PER = {"mem", "mem-per-cpu", "ntasks-per-node", "gpus-per-node", "gpus-per-task", "mem-per-gpu"}


class More(NamedTuple):
    """What is found out when all directives were read."""

    notes: list[str]
    refused: list[str]


class Sums:
    """What the directives said so far; some can only be multiplied when all were read."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.job: dict[str, Any] = {}
        self.env: dict[str, str] = {}
        self.array: dict[str, Any] = {}
        self.schedule: dict[str, Any] = {}
        self.scheduler: dict[str, str] = {}
        self.files: list[str] = []
        self.plain: dict[str, Any] = {}  # resources that are what they are
        self.per: dict[str, str] = {}  # resources for each host, rank or CPU

    def resources(self, *, launches: bool) -> tuple[dict[str, Any], More]:
        """Return `[resources]`; ranks without a launcher in the script are CPUs of its one process."""
        found = dict(self.plain)
        more = More([], [])
        nodes = found.get("nodes", 1)
        if "ntasks-per-node" in self.per and "ntasks" not in found:
            found["ntasks"] = int(self.per["ntasks-per-node"]) * nodes
        ranks = found.get("ntasks", 1)
        cpus = found.get("cpus_per_task", 1)
        if not launches and nodes > 1:
            more.refused.append(f"{nodes} hosts: a script without srun would use one of them alone; write --nodes=1")
        elif not launches and ranks > 1:
            found["cpus_per_task"] = cpus * ranks
            del found["ntasks"]
            more.notes.append(f"{ranks} tasks and no srun: one process with {cpus * ranks} CPUs")
        mem = self._mem(nodes, ranks * cpus)
        if mem:
            found["mem"] = mem
        gpus = int(self.per.get("gpus-per-node", 0)) * nodes or int(self.per.get("gpus-per-task", 0)) * ranks
        if gpus:
            found["gpus"] = gpus
        return found, more

    def _mem(self, nodes: int, cpus: int) -> str:
        """Return the memory of one replica, all hosts together; empty where nothing was said."""
        for name, factor in (("mem", nodes), ("mem-per-cpu", cpus)):
            if text := self.per.get(name):
                number, unit = re.fullmatch(r"(\d+)(.*)", text, re.ASCII).groups()  # type: ignore[union-attr]
                return f"{int(number) * factor}{unit or 'M'}"
        return ""


def _known() -> set[str]:
    """Return every option of which something is known."""
    return {*LONG_NAMES.values(), *WITHOUT_VALUE, *LEFT_OUT, *REFUSED, *SCHEDULER, *_NUMBERS, *_PER, *_OTHERS}


def translated(sums: Sums, name: str, value: str) -> tuple[str, str]:
    """Put one directive into `sums`; return what it became, and a problem where it cannot be translated."""
    if name in _NUMBERS:
        return _number(sums, name, value)
    if name in _PER:
        return _per(sums, name, value)
    if name in {"gres", "gpus"}:
        return _gpus(sums, value)
    handler = _OTHERS.get(name)
    if handler is None:
        unknown, meant = "sbatch has no such option, or nexapod-batch does not know it", nearest(name, _known())
        return "", f"{unknown} ({meant})" if meant else unknown
    return handler(sums, value)


def _number(sums: Sums, name: str, value: str) -> tuple[str, str]:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", value, re.ASCII):
        return "", "a range cannot be translated: write one whole number"
    sums.plain[_NUMBERS[name]] = int(value)
    return f"resources.{_NUMBERS[name]} = {value}", ""


def _per(sums: Sums, name: str, value: str) -> tuple[str, str]:
    if name.startswith("gpus"):
        model, _, value = value.rpartition(":")
        if model:
            sums.plain["gpu_type"] = model
    if name.startswith("mem") and value in {"", "0"}:
        return "", "all memory of a host cannot be asked for: write how much"
    if name == "mem-per-gpu":
        return "", "write --mem, for one host"
    pattern = r"[1-9][0-9]{0,11}([KMGTkmgt]([iI]?[Bb])?)?" if name.startswith("mem") else r"[1-9][0-9]{0,8}"
    if not re.fullmatch(pattern, value, re.ASCII):
        return "", "not a number"
    sums.per[name] = value
    return "counted into [resources] of one replica", ""


def _gpus(sums: Sums, value: str) -> tuple[str, str]:
    """Read `2`, `a100:2`, `gpu`, `gpu:2`, `gpu:a100:2`."""
    match = re.fullmatch(r"(?:gres/)?(?:gpu(?::|$))?(?:([A-Za-z][\w.-]*)(?::|$))?([0-9]{1,6})?", value, re.ASCII)
    if match is None or match[1] in {"shard", "mps", "craynetwork"}:
        return "", "only GPUs can be translated: write --gpus=N"
    count = int(match[2] or 1)
    sums.plain["gpus"] = count
    if match[1] is None:
        return f"resources.gpus = {count}", ""
    sums.plain["gpu_type"] = match[1]
    return f'resources.gpus = {count}, gpu_type = "{match[1]}"', ""


def _time(sums: Sums, value: str) -> tuple[str, str]:
    from nexapod_batch.schema.units import duration

    try:
        seconds = duration(value)
    except ValueError:
        seconds = 0
    if not seconds:
        return "", "write a time, as in 1:30:00"
    sums.plain["time"] = value
    return f'resources.time = "{value}"', ""


def _name(sums: Sums, value: str) -> tuple[str, str]:
    from nexapod_batch.config.rules import default_name

    sums.job["name"] = default_name(f"{value}.sh")
    return f'job.name = "{sums.job["name"]}"', ""


def _array(sums: Sums, value: str) -> tuple[str, str]:
    sums.array["ids"] = value
    return f'array.ids = "{value}"', ""


def _hold(sums: Sums, value: str) -> tuple[str, str]:  # noqa: ARG001 - it has none
    sums.schedule["hold"] = True
    return "schedule.hold = true", ""


def _stdin(sums: Sums, value: str) -> tuple[str, str]:
    if "%" in value or value.startswith("/"):
        return "", "write the name of a file beside the script"
    sums.job["stdin"] = value
    sums.files.append(value)
    return f'job.stdin = "{value}"', ""


def _export(sums: Sums, value: str) -> tuple[str, str]:
    given = [part for part in value.split(",") if "=" in part]
    for part in given:
        name, _, text = part.partition("=")
        sums.env[name] = literal(text)
    names = ", ".join(part.partition("=")[0] for part in given)
    rest = "nothing else of your shell travels: --env NAME"
    return (f"job.env has {names}; {rest}" if given else f"left out, {rest}"), ""


def _tmp(sums: Sums, value: str) -> tuple[str, str]:
    sums.plain["disk"] = value
    return f'resources.disk = "{value}"', ""


_OTHERS = {
    "time": _time, "job-name": _name, "array": _array, "hold": _hold, "input": _stdin, "export": _export, "tmp": _tmp,
}  # fmt: skip
