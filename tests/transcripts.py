"""What pages print as the output of commands: run again, compared, and written anew.

`python tests/transcripts.py` runs the blocks of the pages below and writes into them what came out; a test compares
without writing. What differs from run to run (times, keys, numbers that were measured) is not compared, and a line
`...` stands for any lines.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

__all__ = ["PAGES", "Block", "blocks_of", "differences", "outputs_of", "plain", "runnable"]

ROOT = Path(__file__).parents[1]
#: Pages whose blocks can be run anywhere, without a cluster.
PAGES = ("README.md", "docs/tutorial.md")

_FENCE = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = "$ "
_END = "\x1e"  # what a block's output ends with
_VARIES = (
    (r"SHA256:[A-Za-z0-9+/]{43}", "KEY"),
    (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d [+-]\d{4})?", "TIME"),
    (r"\b\d+(?:\.\d+)?(?:e-\d+)? ?(?:ms|s|min|KiB|MiB|MB|%)(?![a-z])", "MEASURED"),
    (r"(core-hours: +)[\d.e-]+", r"\1MEASURED"),
    (r"mem: \d+ of MEASURED", "mem: some of MEASURED"),
    (r"( local +)[a-z]\S* +(\d+ +\d+ +\d+ +\d+ +active)", r"\1 CPU \2"),
    (r" +", " "),
)
#: How lines begin that come or not, by how fast and how large a machine is; pages do without them.
_MAY_BE = ("still to come: ", "warning: the nodes of this machine (")


class Block(NamedTuple):
    """Commands of a page, and what it prints as their output."""

    commands: str
    printed: str | None  # None: it prints nothing
    place: tuple[int, int]  # of what it prints, in the text of the page


def blocks_of(text: str) -> list[Block]:
    """Return the blocks of a page in order: a block of commands with the output behind it, or a dialogue with `$`."""
    found: list[Block] = []
    before: re.Match[str] | None = None  # commands whose output may come next
    for fence in _FENCE.finditer(text):
        kind, body = fence.groups()
        dialogue = kind == "text" and body.startswith(_PROMPT)
        if before is not None and (kind == "sh" or dialogue):
            found.append(Block(before[2], None, (0, 0)))
            before = None
        if kind == "sh":
            before = fence
        elif dialogue:
            found += _dialogue(body, fence.start(2))
        elif before is not None:
            found.append(Block(before[2], body, fence.span(2)))
            before = None
    if before is not None:
        found.append(Block(before[2], None, (0, 0)))
    return found


def _dialogue(body: str, start: int) -> list[Block]:
    """Return the commands of a dialogue, each with what stands between it and the next one."""
    marks = [*re.finditer(r"^\$ (.*)\n", body, re.MULTILINE)]
    ends = [*(mark.start() for mark in marks[1:]), len(body)]
    return [
        Block(mark[1] + "\n", body[mark.end() : end], (start + mark.end(), start + end))
        for mark, end in zip(marks, ends, strict=True)
    ]


def outputs_of(blocks: list[Block], home: Path) -> list[str]:
    """Run blocks in one shell, with this as the home of an account; return what each printed."""
    parts = [f"{one.commands}\nprintf '\\x1e'\n" for one in blocks]
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
    env = {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["bash"], input="set -e\nexec 2>&1\n" + "".join(parts), env=env, cwd=ROOT, stdout=subprocess.PIPE,
        text=True, check=False, timeout=300,
    )  # fmt: skip
    outputs = done.stdout.split(_END)
    if done.returncode:
        raise RuntimeError(f"block {len(outputs)} ended with {done.returncode}:\n{outputs[-1]}")
    names = (
        (str(Path(sys.executable).parent), "~/nexapod-batch/.venv/bin"), (str(home), "~"), (str(ROOT), "~/nexapod-batch"), (socket.gethostname(), "vm"),
    )  # fmt: skip
    for name, shown in names:
        outputs = [re.sub(rf"(?<![\w-]){re.escape(name)}\b", shown, one) for one in outputs]
    return [re.sub(rf"^(?:{'|'.join(map(re.escape, _MAY_BE))}).*\n", "", one, flags=re.MULTILINE) for one in outputs[:-1]]


def runnable(page: str, blocks: list[Block]) -> list[Block]:
    """Return those that need nothing but the checkout: of README the dialogue with its own program, with ours for it."""
    if page != "README.md":
        return blocks
    own = "bin/nexapod-batch "
    return [one._replace(commands=one.commands.removeprefix("bin/")) for one in blocks if one.commands.startswith(own) and one.printed]


def plain(text: str) -> list[str]:
    """Return the lines of an output without what differs from run to run."""
    for pattern, shown in _VARIES:
        text = re.sub(pattern, shown, text)
    return [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith(_MAY_BE)]


def differences(printed: str, found: str) -> list[str]:
    """Return the lines that a page prints and no run does, or the other way round; nothing where they are the same."""
    wanted, lines = plain(printed), plain(found)
    pattern = "\n".join(r"(?:.*\n)*?.*" if line == "..." else re.escape(line) for line in wanted)
    if re.fullmatch(pattern, "\n".join(lines)):
        return []
    missing = [f"printed, and not so: {line}" for line in wanted if line not in lines and line != "..."]
    return missing + [f"so, and not printed: {line}" for line in lines if line not in wanted] or ["another order"]


def renewed(printed: str, found: str) -> str:
    """Return an output as a page prints it: what `...` stood for stays left out, and the space behind it stays."""
    lines, wanted = found.rstrip("\n").split("\n"), printed.rstrip("\n").split("\n")
    if "..." in wanted:
        before = wanted.index("...")
        behind = len(wanted) - before - 1
        lines = [*lines[:before], "...", *lines[len(lines) - behind :]]
    return "\n".join(lines) + printed[len(printed.rstrip("\n")) :]


def main() -> None:
    """Write what comes out now into the pages where something differs: all of a page, for keys are told more than once."""
    for page in PAGES:
        file = ROOT / page
        text = file.read_text(encoding="utf-8")
        blocks = runnable(page, blocks_of(text))
        with tempfile.TemporaryDirectory() as home:
            outputs = outputs_of(blocks, Path(home))
        told = [(block, output) for block, output in zip(blocks, outputs, strict=True) if block.printed is not None]
        if not any(differences(block.printed or "", output) for block, output in told):
            continue
        for block, output in reversed(told):
            start, end = block.place
            text = text[:start] + renewed(block.printed or "", output) + text[end:]
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
