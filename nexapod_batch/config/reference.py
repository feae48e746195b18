"""The descriptor reference, made from the table of keys: `python -m nexapod_batch.config.reference > FILE`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nexapod_batch.config.job_table import JOB
from nexapod_batch.config.tables import REQUIRED, ListOf, MapOf, Table
from nexapod_batch.model.placeholders import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.config.tables import Key, Kind

__all__ = ["reference"]

_HEAD = """\
# Job descriptor

<!-- Made by `python -m nexapod_batch.config.reference`; change nexapod_batch/config/job_table.py instead. -->

A job is one TOML file of at most 64 KiB. Unknown keys are refused, and all faults are reported at once. Words are
Slurm's long options with `_` for `-`, and so are units: a bare number is minutes or MiB. Durations: `30`,
`"1:30:00"`, `"2-12:30"`, `"1h30m"`. Sizes: `512`, `"4G"`, `"4GiB"` (both are 4096 MiB). Paths are relative to the
descriptor for what is read here, and to the work folder for what the command reads and writes.

`{{placeholders}}` are the parameters of the array and {builtin}. They are expanded in
`job.command`, the values of `job.env`, `inputs.target` and `outputs.path`; write `{{{{` for a brace. A script is not
expanded: it reads the same values as variables, `$NEXAPOD_TASK`, `$NEXAPOD_SEED` and so on.

Any key can be set from the command line: `--set resources.mem=8G`, `--set 'outputs[0].digits=6'`.
"""


def reference() -> str:
    """Return the reference as Markdown."""
    builtin = ", ".join(f"`{{{name}}}`" for name in BUILT_IN)
    top = {name: key for name, key in JOB.keys.items() if not _table(key.kind)}
    parts = [_HEAD.format(builtin=builtin), _rows(top)]
    for name, key in JOB.keys.items():
        parts.extend(_section(name, key.kind, key.text))
    return "\n".join(parts)


def _section(name: str, kind: Kind, text: str) -> Iterator[str]:
    table = _table(kind)
    if table is None:
        return
    if isinstance(kind, MapOf):
        ((name, key),) = ((f"{name}.NAME.{inner}", key) for inner, key in table.keys.items())
        yield from _section(name, key.kind, key.text)
        return
    title = f"[[{name}]]" if isinstance(kind, ListOf) else f"[{name}]"
    yield f"## `{title}`\n\n{text}\n"
    yield _rows(table.keys)


def _table(kind: Kind) -> Table | None:
    if isinstance(kind, ListOf | MapOf):
        kind = kind.kind
    return kind if isinstance(kind, Table) else None


def _rows(keys: dict[str, Key]) -> str:
    lines = ["| key | value | default | |", "|---|---|---|---|"]
    for name, key in keys.items():
        cells = (f"`{name}`", key.kind.describe(), _default(key), key.text)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default(key: Key) -> str:
    if key.default is REQUIRED:
        return "required"
    if key.shown or key.default is None:
        return key.shown or "-"
    value = str(key.default).lower() if isinstance(key.default, bool) else str(key.default)
    return f"`{value}`" if value else "none"


if __name__ == "__main__":
    sys.stdout.write(reference())
