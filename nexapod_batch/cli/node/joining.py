"""`node join`, `run`, `leave` and `check`, for who gives a machine; `node approve`, for who runs the coordinator."""

from __future__ import annotations

import re
import signal
import sys
import threading
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import json_option, mebibytes, paths, writing
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import Document, note, output
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.agent.home import AgentHome
    from nexapod_batch.agent.joining import Fetch
    from nexapod_batch.agent.page import NodePage
    from nexapod_batch.agent.running import Agent
    from nexapod_batch.agent.state import State

__all__ = ["approve", "check", "join", "leave", "run"]


@click.command()
@click.argument("url")
@click.option("--fingerprint", default="", metavar="SHA256:...", help="Of the server's key, as serve prints it.")
@click.option("--token", default="", metavar="nxp_...", help="Lets the node in at once; else a person approves it.")
@click.option("--name", help="Its name; the host's and six digits where none is given.")
@click.option("--owner", default="", help="The person or lab that answers for it: two nodes of one owner count as one.")
@click.option("--cpus", type=click.IntRange(1), help="CPUs that it may use; all where none are given.")
@click.option("--mem", metavar="SIZE", help="Memory that it may use, as in 4G; nearly all where none is given.")
@click.option("--gpus", metavar="LIST", help="GPUs that it offers: all, none, or as in 0,1; all where none are given.")
@click.option("--gpu-slots", type=click.IntRange(1, 64), default=1, help="Replicas that may share one GPU.")
@click.option(
    "--tier", type=click.Choice(["cpu", "consumer-gpu", "hpc"]), help="Its tier; by its GPUs where none is given."
)
@click.option("--fetch", is_flag=True, help="It fetches inputs that have URLs by itself, instead of being sent them.")
@click.option("--fetch-proxy", default="", metavar="URL", help="The proxy by which it does.")
@click.option("--fetch-cache", metavar="SIZE", help="What it keeps of inputs, fetched or sent to it: 20G unless said.")
@json_option
def join(
    url: str, fingerprint: str, token: str, name: str | None, owner: str, cpus: int | None, mem: str | None,
    gpus: str | None, gpu_slots: int, tier: str | None, fetch: bool, fetch_proxy: str, fetch_cache: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Give this machine to a coordinator elsewhere.

    It gets a key of its own, which stays here, and signs what the machine is made of. Nothing runs before
    `nexapod-batch node run`.
    """
    from nexapod_batch.agent.checking import cannot
    from nexapod_batch.agent.joining import Wish
    from nexapod_batch.agent.joining import join as join_coordinator
    from nexapod_batch.config.settings import settings

    owner = owner or settings(paths()).owner or ""
    wish = Wish(
        name=name, owner=owner, cpus=cpus, mem_mib=mebibytes(mem), gpus=gpus, gpu_slots=gpu_slots, tier=tier,
        token=token, fetch=_fetch(fetch, fetch_proxy, fetch_cache),
    )  # fmt: skip
    home, joined = join_coordinator(paths().home / "agent", url, fingerprint, wish, note)
    key = home.signer().key_id
    document: Document = {"node": joined.name, "state": joined.state, "code": joined.code, "url": url}
    document |= {"owner": joined.owner, "key": key, "folder": str(home.folder), "cannot": cannot()}
    output(as_json).document(document, _joined)


def _fetch(wanted: bool, proxy: str, cache: str | None) -> Fetch:
    """Return who fetches; UsageError for a proxy that is none, and for what means nothing without --fetch."""
    from nexapod_batch.agent.joining import Fetch
    from nexapod_batch.model.words import PROXY

    if not wanted and proxy:
        raise UsageError("--fetch-proxy means nothing alone", hint="add --fetch")
    if proxy and not re.fullmatch(PROXY, proxy):
        raise UsageError("--fetch-proxy", got=repr(proxy), wanted="http://host:port, without a login")
    return Fetch("node" if wanted else "here", proxy, mebibytes(cache, "--fetch-cache") or Fetch().cache_mib)


def _joined(document: Document) -> Iterator[str]:
    name = document["node"]
    if document["state"] == "active":
        yield f"node {name} has joined {document['url']}, owner {document['owner']}"
    else:
        yield f"node {name} waits to be approved by whoever runs {document['url']}; there:"
        yield f"  nexapod-batch node approve {document['code']}"
    yield f"  key {document['key']}"
    yield from (f"  some jobs are not for it: {why}" for why in document["cannot"].values())
    yield "next: nexapod-batch node run"


@click.command()
@click.argument("name", required=False)
@click.option("--until-idle", is_flag=True, help="End when something was done and nothing is left to do.")
@click.option(
    "--page-port", default="9000", metavar="PORT|off", show_default=True,
    help="Where the node's own page and metrics are, on this machine alone; 0 is a free port.",
)  # fmt: skip
@json_option
def run(name: str | None, until_idle: bool, page_port: str, as_json: bool) -> None:
    """Work for the coordinator that was joined, until Ctrl-C.

    What runs goes on without it, and is reported by the next one. NAME may be left out where there is one node.
    """
    from nexapod_batch.agent.checking import cannot as look
    from nexapod_batch.agent.fetching import told_of_fetching
    from nexapod_batch.agent.home import only_home
    from nexapod_batch.agent.joining import offer_of
    from nexapod_batch.agent.running import Agent
    from nexapod_batch.agent.worker import AgentWorker
    from nexapod_batch.config.settings import settings as account_settings

    home = only_home(paths().home, name)
    home.make()
    home.lock()
    settings, signer = home.settings(), home.signer()
    offer = offer_of(home, ",".join(settings.gpus) or "none")
    fetching = told_of_fetching(home, settings, account_settings(paths()).sources)
    cannot = look()
    for why in cannot.values():
        note(f"some jobs are not for this node: {why}")
    agent = Agent(home, settings, signer, AgentWorker(home, settings, signer, offer, fetching, cannot))
    for number in (signal.SIGTERM, signal.SIGINT):
        # from another thread: the one that is interrupted may hold the lock of what it waits for
        signal.signal(number, lambda *_: threading.Thread(target=agent.stop).start())
    note(f"node {settings.name} works for {settings.url}; Ctrl-C ends it")
    page = _page(home, agent, page_port)
    try:
        agent.run(_LiveLine(home), until_idle=until_idle)
    finally:
        if page is not None:
            page.close()
    done = agent.state
    document: Document = {"node": settings.name, "taken": done.taken, "refused": done.refused, "unsent": done.unsent}
    output(as_json).document(document, _ended)


def _page(home: AgentHome, agent: Agent, port: str) -> NodePage | None:
    """Show the node's own page; UsageError for what is no port. A port that is taken is no reason not to work."""
    if port == "off":
        return None
    if not (port.isascii() and port.isdigit() and int(port[:6]) < 1 << 16):
        raise UsageError("--page-port", got=repr(port), wanted="a port, 0 for a free one, or off")
    from nexapod_batch.agent.page import NodePage
    from nexapod_batch.local_nodes import owner_policy

    owned = owner_policy.find(paths(), home.folder.name)
    try:
        page = NodePage(owned, lambda: agent.state, int(port))
    except OSError as error:
        note(f"the node's own page is not shown: port {port}: {error.strerror}; --page-port 0 takes a free one")
        return None
    note(f"what it does, pause and resume: {page.url}")
    return page


def _ended(document: Document) -> Iterator[str]:
    taken = document["taken"]
    launches = "1 launch" if taken == 1 else f"{taken} launches"
    yield f"node {document['node']}: took {launches}; what runs goes on, and is told by the next run"


class _LiveLine:
    """One line on stderr that says what the node is at: rewritten on a terminal, else written when it changes."""

    def __init__(self, home: AgentHome) -> None:
        self._name = home.folder.name
        self._shown = ""
        self._rewrites = sys.stderr.isatty()

    def __call__(self, state: State) -> None:
        """Show the state, where it is another one."""
        text = f"node {self._name}: {_described(state)}"
        if text == self._shown:
            return
        if self._rewrites:
            sys.stderr.write(f"\r{text[:200].ljust(len(self._shown))}")
            sys.stderr.flush()
        else:
            note(text)
        self._shown = text


def _described(state: State) -> str:
    parts = ["connected" if state.connected else "not connected"]
    if state.trouble:
        parts.append(state.trouble)
    parts.append(f"{state.running} running, {state.taken} taken")
    if state.bringing:
        parts.append(f"{state.bringing} waiting for inputs")
    if state.ledger.trouble:
        parts.append(f"no work is taken: {state.ledger.trouble}")
    elif state.paused:
        parts.append(f"no work is taken: the node {state.paused}")
    if state.refused:
        parts.append(f"{state.refused} refused")
    if state.declined:
        parts.append(f"the last launch was given back: {state.declined}")
    if state.connected and state.why and not (state.running or state.bringing):
        parts.append(f"no work: {state.why}")
    return ", ".join(parts)


@click.command()
@click.argument("name", required=False)
@click.option("--force", is_flag=True, help="Also where reports have not reached the coordinator, or it is not there.")
@json_option
def leave(name: str | None, force: bool, as_json: bool) -> None:
    """Take this machine away from the coordinator it joined.

    Its key and its files here are removed.
    """
    from nexapod_batch.agent.home import only_home
    from nexapod_batch.agent.leaving import leave as leave_coordinator

    home = only_home(paths().home, name)
    told = leave_coordinator(home, force=force)
    output(as_json).document({"node": home.folder.name, "left": True, "told": told}, _left)


def _left(document: Document) -> Iterator[str]:
    yield f"node {document['node']} has left; nothing of it is here any more"
    if not document["told"]:
        yield "  its coordinator was not told: what the node had is given to others in an hour"


@click.command()
@click.argument("code", required=False)
@click.option("--owner", help="Who answers for it, whatever it said itself.")
@click.option("--refuse", is_flag=True, help="Send it away instead.")
@json_option
def approve(code: str | None, owner: str | None, refuse: bool, as_json: bool) -> None:
    """Let a node in that joined without a token.

    Without CODE it lists those that wait.
    """
    from nexapod_batch.coordinator.nodes import joining

    if code is None:
        if owner or refuse:
            raise UsageError("which node?", wanted="its code", hint="nexapod-batch node approve lists those that wait")
        with writing() as c:
            rows = [_row(one) for one in joining.waiting(c)]
        output(as_json).rows("nodes that wait", rows, ["code", "name", "owner", "cpus", "mem_mib", "address", "key"])
        return
    with writing() as c:
        if refuse:
            found = joining.refuse(c, code)
            output(as_json).document({"refused": [found.registration.name]}, renderers.changed)
            return
        node = joining.approve(c, code, owner)
    output(as_json).document({"node": node.name, "owner": node.owner, "key": node.key_id}, _approved)


def _approved(document: Document) -> Iterator[str]:
    yield f"node {document['node']} may work here, owner {document['owner']}"
    yield f"  key {document['key']}: compare it with what node join printed there"


def _row(waiting: object) -> Document:
    from nexapod_batch.coordinator.nodes.joining import Waiting

    assert isinstance(waiting, Waiting)  # noqa: S101 - for the type checker
    asked = waiting.registration
    return {
        "code": waiting.code, "name": asked.name, "owner": asked.owner, "cpus": asked.cpus, "mem_mib": asked.mem_mib,
        "address": waiting.address, "key": waiting.key_id, "since_ms": waiting.at_ms,
    }  # fmt: skip


@click.command()
@click.argument("url")
@click.option("--fingerprint", default="", metavar="SHA256:...", help="Of the server's key, as serve prints it.")
@json_option
def check(url: str, fingerprint: str, as_json: bool) -> int:
    """Say what works towards a coordinator, before joining.

    Name, connection, key, clock, what can run containers, and what this machine would offer. Nothing is registered.
    """
    from nexapod_batch.agent.checking import check as check_coordinator

    out, rows = output(as_json), []
    for finding in check_coordinator(url, fingerprint, paths().home / "agent"):
        row = {"mark": finding.mark.value, "probe": finding.probe, "text": finding.text, "hint": finding.hint}
        rows.append(row)
        out.part(row, _line)
    out.document({"url": url, "findings": rows}, renderers.nothing)
    return int(any(row["mark"] == "fail" for row in rows))


def _line(row: Document) -> Iterator[str]:
    hint = f" ({row['hint']})" if row["hint"] else ""
    yield from f"{row['mark']:<4}  {row['probe']:<11}  {row['text']}{hint}".splitlines()
