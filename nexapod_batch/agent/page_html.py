"""The node's page as HTML: no script, nothing from elsewhere, every word of others escaped."""

from __future__ import annotations

import base64
import hashlib
import time
from html import escape
from typing import TYPE_CHECKING

from nexapod_batch.agent.witness import entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nexapod_batch.agent.state import State
    from nexapod_batch.local_nodes.node_status import Document

__all__ = ["POLICY", "page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --line: #767676; --soft: #f1f1f1; }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --paper: #151515; --line: #8c8c8c; --soft: #242424; } }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; min-width: 60%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; vertical-align: top; } thead th { white-space: nowrap; }
form { display: flex; gap: .75rem; flex-wrap: wrap; align-items: center; padding: .75rem; background: var(--soft); }
button, select { font: inherit; padding: .35rem .9rem; color: var(--ink); background: var(--paper);
  border: 1px solid var(--line); border-radius: .25rem; } a { color: inherit; }
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_TIMES = (("1h", "for an hour"), ("4h", "for four hours"), ("12h", "for twelve hours"), ("", "until I resume it"))


def page(node: Document, state: State, token: str) -> str:
    """Return the page; `token` goes with its form."""
    name = escape(node["name"])
    parts = [
        "<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">', f"<title>Node {name}</title>",
        f"<style>{_STYLE}</style>", "</head>", "<body>", "<main>", f"<h1>Node {name}</h1>",
        *_standing(node, state), *_form(node, token), *_runs(node), *_did(state), *_foot(), "</main>", "</body>",
        "</html>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _standing(node: Document, state: State) -> Iterator[str]:
    link = "connected to its coordinator" if state.connected else "not connected to its coordinator"
    trouble = f": {escape(state.trouble)}" if state.trouble else ""
    yield f"<p>It is {link}{trouble}.</p>"
    if state.declined:
        yield f"<p>The last launch was given back: {escape(state.declined)}.</p>"
    yield f"<p>It gives {node['cpus']} of {node['has']['cpus']} CPUs and {node['mem_mib']} MiB of memory.</p>"
    yield from _ledger(state)
    if node["problem"]:
        yield f"<p>{escape(node['problem'])}</p>"
    if node["idle"]:
        yield f"<p>Nothing runs: {escape(node['idle'])}.</p>"
    if state.why and not node["replicas"]:
        yield f"<p>The coordinator says why there is no work: {escape(state.why)}.</p>"


def _ledger(state: State) -> Iterator[str]:
    """Say what the node has seen of its coordinator's ledger."""
    seen = state.ledger
    if seen.note:
        yield f"<p>It has seen {entries(seen)} entries of its coordinator's ledger, each head continuing the last.</p>"
    if seen.trouble:
        yield f"<p><strong>It takes no work: {escape(seen.trouble)}.</strong></p>"
    if seen.gap:
        yield f"<p>Of its coordinator's ledger something is missing: {escape(seen.gap)}.</p>"


def _form(node: Document, token: str) -> Iterator[str]:
    yield "<h2>Pause and resume</h2>"
    yield '<form method="post" action="/">'
    yield f'<input type="hidden" name="token" value="{escape(token)}">'
    if node["paused"]:
        yield f"<span>It {escape(node['paused'])}.</span>"
        yield '<button name="do" value="resume">Resume</button>'
    else:
        yield '<label for="for">Let nothing run</label> <select id="for" name="for">'
        yield from (f'<option value="{value}">{text}</option>' for value, text in _TIMES)
        yield '</select> <button name="do" value="pause">Pause</button>'
    yield "</form>"


def _runs(node: Document) -> Iterator[str]:
    yield "<h2>What it runs</h2>"
    rows = [
        (
            row["replica"], row["job"], str(row["cpus"]), _span(row["seconds"]), _span(row["cpu_s"]),
            f"{row['rss_kib'] // 1024} MiB", row["suspended"] or "runs",
        )
        for row in node["replicas"]
    ]  # fmt: skip
    yield from _table(("replica", "job", "CPUs", "for", "CPU time", "memory", "state"), rows, "Nothing.")
    if node["waiting"] or node["claimed"]:
        yield f"<p>{node['claimed']} replicas at hand, {node['waiting']} launches behind them.</p>"


def _did(state: State) -> Iterator[str]:
    yield "<h2>What it did</h2>"
    counts = ", ".join(f"{number} {escape(name.lower())}" for name, number in sorted(state.ended.items()))
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.begun_at))
    ended = f"; {counts}" if counts else ""
    yield f"<p>Since {began} it took {state.taken} launches{ended}.</p>"
    last = reversed(list(state.recent))
    rows = [(_clock(one.at), one.launch, one.state.lower(), one.reason) for one in last]
    yield from _table(("when", "launch", "ended", "why"), rows, "Nothing has ended yet.")


def _foot() -> Iterator[str]:
    yield '<p><a href="/">Look again</a> · <a href="/metrics">metrics</a></p>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], none: str) -> Iterator[str]:
    filled = list(rows)
    if not filled:
        yield f"<p>{none}</p>"
        return
    titles = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    yield f'<div class="wide" tabindex="0" role="region" aria-label="by {heads[0]}"><table>'
    yield f"<thead><tr>{titles}</tr></thead><tbody>"
    for row in filled:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        yield f"<tr>{cells}</tr>"
    yield "</tbody></table></div>"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
