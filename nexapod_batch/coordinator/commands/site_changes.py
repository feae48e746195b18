"""Taking a site out, or giving it another name: what stands against it, what becomes of everything, and doing it.

Nothing that was reported is lost: a site goes when its reports are in and its results published. Nodes that ran
something stay in the registry, drained, because their keys are part of the record.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from nexapod_batch import log
from nexapod_batch.config.site.sites import find_sites, parse_site
from nexapod_batch.coordinator import renaming
from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.evidence.report_reader import END
from nexapod_batch.coordinator.queries.unread_reports import START_NOTES
from nexapod_batch.coordinator.renaming import Renaming
from nexapod_batch.coordinator.steps.ingest import unread
from nexapod_batch.coordinator.steps.launch_endings import launch_reason
from nexapod_batch.errors import NexapodError, NotFoundError, TryAgainError, UsageError
from nexapod_batch.files import careful
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.node import LOCAL
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.model.words import SITE_NAME
from nexapod_batch.spool.lock import live_incarnation
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["folders_of", "give_up", "remove", "rename", "unpublished_results", "unread_reports"]

#: Bytes behind the last report of a segment that are looked at; more than so many notes of starts stand for reports.
_TAIL = 1 << 16
_NOTES = (b'{"start":', b'{"trail":')


def remove(c: Coordinator, name: str, *, abandon: bool = False, dry_run: bool = False) -> dict[str, Any]:
    """Take a site out; return what becomes of it, and with `dry_run` change nothing.

    With `abandon` what is out on its nodes is given up and placed elsewhere. NotFoundError for an unknown site,
    TryAgainError with all that stands against it.
    """
    nodes, file = _nodes(c, name), _file(c, name)
    if not nodes and file is None:
        raise _unknown(c, name)
    against = [] if abandon else [*_open_work(c, nodes), *unpublished_results(c, nodes)]
    _refuse(name, "removed", [*against, *unread_reports(c, nodes), *_needed_by(c, name)], abandon=not abandon)
    used = [node for node in nodes if c.store.nodes.has_run(node.id)]
    unused = [node for node in nodes if node not in used]
    there = _folders_there(c, name, nodes)
    document = {
        "site": name, "dry_run": dry_run, **_file_and_copy(file), "drained": _names(used), "deleted": _names(unused),
        "folders": there,
        "elsewhere": _elsewhere(c, nodes), "waiting_jobs": _jobs_naming(c, name),
    }  # fmt: skip
    if not dry_run:
        _do_remove(c, nodes, unused, file, there)
        log.info(__name__, "site removed", site=name, nodes=len(nodes))
    return document


def _do_remove(
    c: Coordinator, nodes: Sequence[Node], unused: Sequence[Node], file: Path | None, folders: Sequence[str]
) -> None:
    give_up(c, nodes, Reason(code=Code.SITE_REMOVED))
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        for node in nodes:
            if node in unused:
                c.store.nodes.delete(node.name)
                c.store.ledger.append([event(Kind.REMOVED, c.now(), node=node.name, key=node.key_id)])
            elif node.active:
                c.store.nodes.activate(node.name, active=False)
                c.store.ledger.append([event(Kind.DRAINED, c.now(), node=node.name)])
    if file is not None:
        file.rename(f"{file}.removed")
    for node in unused:
        for ending in ("", ".pub"):
            (c.paths.keys / f"node-{node.name}{ending}").unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def give_up(c: Coordinator, nodes: Sequence[Node], reason: Reason) -> None:
    """End what is out on nodes: it is placed elsewhere; the scheduler hears of it as far as it can be reached."""
    by_id = {node.id: node for node in nodes}
    rows = [row for row in c.store.launches.all_open() if row.node_id in by_id]
    for node in nodes:
        mine = {row.key: None for row in rows if row.node_id == node.id}
        if mine:
            with suppress(NexapodError, OSError):
                c.backend(node).cancel(c.context(node), mine)
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        for row in rows:
            gone = c.store.launches.lose(row.id, execution=Execution.LOST.value, reason=reason.stored(), now=c.now())
            c.store.tasks.note_news(sorted(set(gone)))
            c.store.launches.end(launch_reason(row.id, reason))


def rename(c: Coordinator, name: str, new: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Give a site another name, and its nodes, keys, spools and work folders with it; `dry_run` changes nothing.

    Killed at any point, it leaves the old names or the new ones. NotFoundError for an unknown site, UsageError for a
    name that is none or is taken, TryAgainError with all that stands against it.
    """
    file, nodes = _file(c, name), _nodes(c, name)
    if file is None:
        raise _unknown(c, name)
    _check_new(c, name, new)
    plan = _plan(c, name, new, file, nodes)
    against = [*_open_work(c, nodes), *unread_reports(c, nodes), *unpublished_results(c, nodes), *_needed_by(c, name)]
    if jobs := _jobs_naming(c, name):
        against.append(f"open jobs name it: {_listed(jobs)}")
    _refuse(name, "renamed", against, abandon=False)
    if not dry_run:
        renaming.begin(c.paths, plan)
        log.info(__name__, "site renamed", site=name, new=new)
    return {
        "site": name, "new": new, "dry_run": dry_run, "file": plan.file, "nodes": [list(pair) for pair in plan.nodes],
        "moves": [list(pair) for pair in plan.moves], "elsewhere": _elsewhere(c, nodes),
    }  # fmt: skip


def _plan(c: Coordinator, name: str, new: str, file: Path, nodes: Sequence[Node]) -> Renaming:
    """Return everything that gets another name."""
    text = re.sub(
        r"(?m)^(\s*name\s*=\s*)([\"'])" + re.escape(name) + r"\2", rf"\g<1>\g<2>{new}\g<2>", file.read_text(), count=1
    )
    target = file.with_name(f"{new}.toml")
    site = parse_site(text, target).site
    names = tuple((node.name, new + node.name.removeprefix(name)) for node in nodes)
    moves = [(c.paths.home / "sites" / name, c.paths.home / "sites" / new)]
    for old, renamed in names:
        key, renamed_key = c.paths.keys / f"node-{old}", c.paths.keys / f"node-{renamed}"
        moves += [(key, renamed_key), (key.with_name(f"{key.name}.pub"), key.with_name(f"{renamed_key.name}.pub"))]
    for node, (_, renamed) in zip(nodes, names, strict=True):
        node_as_it_will_be = replace(node, name=renamed)
        pairs = zip(folders_of(c, node), folders_of(c, node_as_it_will_be), strict=True)
        moves += [(Path(old), Path(to)) for old, to in pairs]
    there = [(str(old), str(to)) for old, to in dict.fromkeys(moves) if os.path.lexists(old)]
    return Renaming(
        site=(name, new), nodes=names, owner=site.owner or new, moves=tuple(there), file=str(target), text=text,
        old_file=str(file),
    )  # fmt: skip


def _file_and_copy(file: Path | None) -> dict[str, str | None]:
    if file is None:
        return {"file": None, "kept_file": None}
    return {"file": str(file), "kept_file": f"{file}.removed"}


def _names(nodes: Sequence[Node]) -> list[str]:
    return [node.name for node in nodes]


def _folders_there(c: Coordinator, name: str, nodes: Sequence[Node]) -> list[str]:
    """Return the folders of a site and of its nodes that are on this machine."""
    folders = [folder for node in nodes for folder in folders_of(c, node)]
    every = [*dict.fromkeys(folders), str(c.paths.home / "sites" / name)]
    return [folder for folder in every if os.path.isdir(folder)]


def _check_new(c: Coordinator, name: str, new: str) -> None:
    if not re.fullmatch(SITE_NAME, new, re.ASCII) or new == LOCAL:
        raise UsageError("not a name for a site", got=repr(new), wanted="letters, digits, _ and -, at most 63")
    taken = list(filter(Path.exists, [folder / f"{new}.toml" for folder in c.paths.sites]))
    nodes = {node.name for node in c.nodes() if node.site != name}
    clash = sorted(nodes & {new + node.name.removeprefix(name) for node in _nodes(c, name)})
    if taken or clash or _nodes(c, new):
        got = ", ".join([*map(str, taken), *clash]) or f"nodes of a site {new}"
        raise UsageError(f"the name {new} is taken", got=got, hint="choose another one")


def _nodes(c: Coordinator, name: str) -> list[Node]:
    if name != LOCAL:
        return [node for node in c.nodes() if node.site == name]
    return []


def _file(c: Coordinator, name: str) -> Path | None:
    """Return the file of a site in this account's own folder; UsageError where it is the machine's."""
    own = c.paths.sites[-1] / f"{name}.toml"
    others = [folder / f"{name}.toml" for folder in c.paths.sites[:-1] if (folder / f"{name}.toml").exists()]
    if others:
        raise UsageError(
            f"site {name} is one of the whole machine", got=str(others[0]), wanted=f"a file in {own.parent}",
            hint="its admin removes that file; for your jobs alone: nexapod-batch node drain NODE",
        )  # fmt: skip
    if own.exists():
        return own
    return None


def _unknown(c: Coordinator, name: str) -> NotFoundError:
    known = sorted({*c.sites(), *(node.site for node in c.nodes() if node.site != LOCAL)})
    return NotFoundError("there is no such site", got=repr(name), wanted=f"one of: {', '.join(known) or 'none'}")


def _refuse(name: str, done: str, against: Sequence[str], *, abandon: bool) -> None:
    if not against:
        return
    hint = "nexapod-batch node drain NODE, wait all, and reconcile; then the same command again"
    if abandon:
        hint += "; or --abandon gives up what is out there"
    error = TryAgainError(f"site {name} cannot be {done} now: {'; '.join(against)}", hint=hint)
    raise error


def _open_work(c: Coordinator, nodes: Sequence[Node]) -> Iterator[str]:
    out, at_work = c.store.nodes.out(), c.store.nodes.at_work()
    for node in nodes:
        if out.get(node.id):
            yield f"node {node.name} has {out[node.id]} replicas out"
        elif node.id in at_work:
            yield f"node {node.name} has launches of which it is not known yet that they ended"
        with suppress(NexapodError):
            if live_incarnation(c.context(node).spool) is not None:
                yield f"the worker of node {node.name} is still there: an idle one ends after some seconds"


def unread_reports(c: Coordinator, nodes: Sequence[Node]) -> Iterator[str]:
    """Yield in words which nodes have reports that nobody took in."""
    for node in nodes:
        try:
            context = c.context(node)
            if c.store.nodes.has_run(node.id):
                c.backend(node).collect(context)
            waiting = any(_says_more(path, position) for path, position, _ in unread(c, node))
        except (NexapodError, OSError):
            continue  # its file is gone or cannot be used, or it is out of reach: there is nothing that could be read
        if waiting:
            yield f"reports of node {node.name} wait to be taken in: nexapod-batch reconcile"


def _says_more(segment: Path, position: int) -> bool:
    """Say whether more follows in a segment than its writer's last word and notes of starts, which are no reports."""
    if segment.name.startswith(START_NOTES):
        return False
    with careful.stream(segment) as stream:
        stream.seek(position)
        tail = stream.read(_TAIL)
    lines = [line for line in tail.split(b"\n") if line.strip() not in {b"", END}]
    return len(tail) == _TAIL or not all(line.startswith(_NOTES) for line in lines)


def unpublished_results(c: Coordinator, nodes: Sequence[Node]) -> Iterator[str]:
    """Yield in words what was accepted of nodes and is not published."""
    if tasks := c.store.tasks.unpublished_on([node.id for node in nodes]):
        names = [f"{job}_{task}" for job, task in tasks]
        yield f"results wait to be published from it: {_listed(names)}"


def _needed_by(c: Coordinator, name: str) -> Iterator[str]:
    found, _ = find_sites(c.paths.sites)
    others = [one.site.name for one in found.values() if one.site.needs == name]
    if others:
        yield f"other sites need it: {', '.join(others)}"


def _jobs_naming(c: Coordinator, name: str) -> list[int]:
    """Return the open jobs that may run on a site only if it is called this, or say something to its scheduler."""
    found = []
    for row in c.store.jobs.open_documents():
        document = json.loads(row.body)
        named = {*document["schedule"].get("sites", ()), *(site for site, _ in document["sites"])}
        if name in named:
            found.append(row.job_id)
    return found


def _listed(names: Sequence[object]) -> str:
    few = ", ".join(map(str, names[:5]))
    if len(names) > 5:
        return f"{few} and {len(names) - 5} more"
    return few


def folders_of(c: Coordinator, node: Node) -> list[str]:
    """Return the folders of a node on this machine."""
    found = [c.paths.spool(node.name), c.paths.work(node.name)]
    with suppress(NexapodError):
        context = c.context(node)
        found += [context.spool, context.work]
    return list(dict.fromkeys(map(str, found)))


def _elsewhere(c: Coordinator, nodes: Sequence[Node]) -> list[str]:
    """Return the folders of nodes on other machines, which nobody here removes or renames."""
    found = []
    for node in nodes:
        with suppress(NexapodError):
            context = c.context(node)
            if context.site is not None and context.site.scheduler.transport != LOCAL:
                found += [f"{context.site.ssh and context.site.ssh.host}:{context.remote_spool.parent}"]
    return found
