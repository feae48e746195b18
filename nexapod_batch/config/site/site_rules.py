"""Rules of a site file that concern several keys.

Every function takes values that the table checked (some may be BAD) and reports to a `Report`; none raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.schema.kinds import BAD, show

if TYPE_CHECKING:
    from nexapod_batch.schema.kinds import Report, Value

__all__ = ["check_rules"]

_NODE_NAME = 63  # characters
#: Variables of which every command has its own.
_OF_COMMANDS = frozenset({"HOME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "TMPDIR", "USER"})


def check_rules(checked: dict[str, Value], report: Report) -> None:
    """Report everything that single keys cannot know."""
    sections = {name: value for name, value in checked.items() if isinstance(value, dict)}
    if scheduler := sections.get("scheduler"):
        _launcher(scheduler["launcher"], report)
        _transport(scheduler, checked["ssh"], report)
        _work_dir(scheduler, sections.get("filesystem") or {}, report)
    if about := sections.get("site"):
        _fetching(about, report)
    if ssh := sections.get("ssh"):
        _port(ssh["jump"], report)
    if environment := sections.get("environment"):
        _variables(environment["env"], report)
        _passed(environment["pass"], report)
        if sections.get("scheduler", {}).get("type") == "local":
            _no_shell(environment, report)
    if isinstance(checked["partitions"], list):
        _partitions(sections, checked["partitions"], report)


def _launcher(launcher: Value, report: Report) -> None:
    if isinstance(launcher, list) and launcher[0].startswith("-"):
        report.add("scheduler.launcher[0]", "not a program", got=launcher[0], wanted='as in ["mpiexec", "--verbose"]')


def _transport(scheduler: dict[str, Value], ssh: Value, report: Report) -> None:
    if scheduler["type"] == "local" and scheduler["transport"] == "ssh":
        report.add("scheduler.transport", "the local backend works on this machine", got="ssh", wanted="local")
    elif scheduler["transport"] == "ssh" and ssh is None:
        wanted = '[ssh] with host = "login.example.org"'
        report.add("ssh.host", 'missing, with transport = "ssh"', wanted=wanted)
    elif scheduler["transport"] == "local" and isinstance(ssh, dict):
        report.add("ssh", "means nothing here", got='transport = "local"', wanted='transport = "ssh", or no [ssh]')


def _fetching(about: dict[str, Value], report: Report) -> None:
    proxy = about.get("fetch_proxy")
    if about["fetch"] == "proxy" and proxy is None:
        report.add("site.fetch_proxy", 'missing, with fetch = "proxy"', wanted='as in "http://proxy.example.org:3128"')
    elif about["fetch"] in {"here", "node"} and isinstance(proxy, str):
        got = f"fetch = {show(about['fetch'])}"
        report.add("site.fetch_proxy", "means nothing here", got=got, wanted='fetch = "proxy"')


def _work_dir(scheduler: dict[str, Value], files: dict[str, Value], report: Report) -> None:
    if scheduler["transport"] == "ssh" and scheduler["type"] != "local" and not files.get("work_dir"):
        wanted = 'a folder that login and compute nodes share, as in "/scratch/{user}/nexapod"'
        report.add("filesystem.work_dir", 'missing, with transport = "ssh"', wanted=wanted)


def _port(jump: Value, report: Report) -> None:
    port = jump.rpartition(":")[2] if isinstance(jump, str) and ":" in jump else "22"
    if not 1 <= int(port) <= 65_535:
        report.add("ssh.jump", "no such port", got=jump, wanted="a port from 1 to 65535")


def _variables(env: Value, report: Report) -> None:
    for name in env if isinstance(env, dict) else ():
        if name.upper().startswith("NEXAPOD_"):
            wanted = "a name that does not begin with NEXAPOD_"
            report.add(f"environment.env.{name}", "name is taken", got=name, wanted=wanted)


def _passed(names: Value, report: Report) -> None:
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str) and (name in _OF_COMMANDS or name.upper().startswith("NEXAPOD_")):
            wanted = f"a name that is not NEXAPOD_... nor one of {', '.join(sorted(_OF_COMMANDS))}"
            report.add("environment.pass", "commands have one of their own", got=name, wanted=wanted)


def _no_shell(environment: dict[str, Value], report: Report) -> None:
    """Report what only a script can do, at a site whose runners none starts."""
    for name in ("modules", "setup"):
        if environment[name]:
            wanted = "env and pass alone, or a command that does it"
            report.add(f"environment.{name}", "means nothing here", got='type = "local"', wanted=wanted)


def _partitions(sections: dict[str, dict[str, Value]], partitions: list[Value], report: Report) -> None:
    site = sections.get("site", {}).get("name")
    backend = sections.get("scheduler", {}).get("type")
    if not partitions and backend not in (None, BAD, "local"):
        report.add("partitions", "missing", wanted='at least one [[partitions]] with name = "..."')
    names: dict[str, int] = {}
    groups: dict[str, int] = {}
    for number, partition in enumerate(partitions):
        where = f"partitions[{number}]"
        if any(value is BAD for value in partition.values()):
            continue
        first = names.setdefault(partition["name"], number)
        if first != number:
            report.add(
                f"{where}.name", f"is the name of partitions[{first}] too", got=partition["name"], wanted="one of each"
            )
        node = partition["node"] or ""
        first = groups.setdefault(node, number)
        _same_node(partitions[first], partition, where, report)
        _node_name(site, node, where, report)
        if partition["max_nodes"] is not None and partition["max_nodes"] > partition["hosts"]:
            report.add(
                f"{where}.max_nodes", "more than there are", got=partition["max_nodes"],
                wanted=f"hosts ({partition['hosts']})",
            )


def _node_name(site: Value, node: str, where: str, report: Report) -> None:
    if isinstance(site, str) and node and len(f"{site}-{node}") > _NODE_NAME:
        wanted = f"a site and a node word of {_NODE_NAME - 1} characters together"
        report.add(f"{where}.node", "makes too long a name of a node", got=node, wanted=wanted)


def _same_node(first: dict[str, Value], partition: dict[str, Value], where: str, report: Report) -> None:
    """Check that partitions which share their hosts say the same of them."""
    shared = f"as partition {first['name']!r} says of the same hosts"
    hint = "give partitions of other hosts a node word of their own"
    if partition["tier"] != first["tier"]:
        report.add(
            f"{where}.tier", "not one tier", got=partition["tier"], wanted=f"{show(first['tier'])}, {shared}", hint=hint
        )
    for name, value in partition["classes"].items():
        other = first["classes"].get(name, value)
        if other != value:
            wanted = f"{show(other)}, {shared}"
            report.add(f"{where}.classes.{name}", "not one class", got=value, wanted=wanted, hint=hint)
