"""The references of descriptor and site file, made from their tables of keys.

`python -m nexapod_batch.config.reference job > FILE`, and the same with `site`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nexapod_batch.config.job.job_schema import JOB
from nexapod_batch.config.site.site_schema import OWN_DIRECTIVES
from nexapod_batch.config.site.site_tables import SiteTables, whole_schema
from nexapod_batch.model.placeholders import BUILT_IN
from nexapod_batch.schema.kinds import REQUIRED, ListOf, MapOf, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.schema.kinds import Key, Kind

__all__ = ["reference", "site_reference"]

_HEAD = """\
# Job descriptor

<!-- Made by `python -m nexapod_batch.config.reference job`; change nexapod_batch/config/job/job_schema.py instead. -->

A job is one TOML file of at most 64 KiB. Unknown keys are refused, and all faults are reported at once. Words are
Slurm's long options with `_` for `-`, and so are units: a bare number is minutes or MiB. Durations: `30`,
`"1:30:00"`, `"2-12:30"`, `"1h30m"`. Sizes: `512`, `"4G"`, `"4GiB"` (both are 4096 MiB). Paths are relative to the
descriptor for what is read here, and to the work folder for what the command reads and writes.

`{{placeholders}}` are the parameters of the array and {builtin}. They are expanded in
`job.command`, the values of `job.env`, `inputs.target` and `outputs.path`; `{{task:03d}}` pads a whole number with
zeros, and `{{{{` is a brace. A script is not expanded: it reads the same values as variables, `$NEXAPOD_TASK`,
`$NEXAPOD_SEED` and so on.

Any key can be set from the command line: `--set resources.mem=8G`, `--set 'outputs[0].digits=6'`.
"""


_SITE_HEAD = """\
# Site file

<!-- Made by `python -m nexapod_batch.config.reference site`; change
nexapod_batch/config/site/site_schema.py instead. -->

A site is one TOML file of at most 64 KiB, `sites.d/NAME.toml`, in `/etc/nexapod/sites.d` for everybody or in your own
`sites.d` folder (`nexapod-batch config show` says where that is). `nexapod-batch site init --list` lists ready files to
start from. Unknown keys are refused, all faults are reported at once with their lines, and a file with faults never
stops the other sites.

A bare number is Slurm's: minutes or MiB. Durations: `30`, `"1:30:00"`, `"2-12:30"`, `"1h30m"`. Sizes: `512`, `"4G"`,
`"4GiB"` (both are 4096 MiB). Paths are absolute; `~` is not expanded.

Where two folders hold a file of the same name, yours counts and not a line of the other one, but for `[policy]`: of
each key there the stricter word holds, whichever file says it. A name of which any file is bad is not used at all.
`nexapod-batch site show NAME --origin` says where each value comes from. The policy is read on the machine that
submits: it binds honest users; what must hold against others is the scheduler's to enforce.

Every `[[partitions]]` entry belongs to a node: entries with the same word in `node` share their hosts and are one
node with one key, called as the site, or as site and word with a dash between them.

`extra_directives` cannot name what nexapod-batch writes itself, or what would change a job behind its back: {own}.
"""


def reference() -> str:
    """Return the reference of the descriptor as Markdown."""
    builtin = ", ".join(f"`{{{name}}}`" for name in BUILT_IN)
    return _reference(_HEAD.format(builtin=builtin), JOB)


def site_reference() -> str:
    """Return the reference of the site file as Markdown."""
    own = ", ".join(f"`--{name}`" for name in OWN_DIRECTIVES)
    return _reference(_SITE_HEAD.format(own=own), whole_schema(SiteTables()))


def _reference(head: str, table: Table) -> str:
    top = {name: key for name, key in table.keys.items() if not _table(key.kind)}
    parts = [head, _rows(top)]
    for name, key in table.keys.items():
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
    yield _rows({inner: key for inner, key in table.keys.items() if not isinstance(key.kind, Table)})
    for inner, key in table.keys.items():
        if isinstance(key.kind, Table):
            yield from _section(f"{name}.{inner}", key.kind, key.text)


def _table(kind: Kind) -> Table | None:
    if isinstance(kind, ListOf | MapOf):
        kind = kind.kind
    if isinstance(kind, Table):
        return kind
    return None


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
    if value:
        return f"`{value}`"
    return "none"


if __name__ == "__main__":
    sys.stdout.write(site_reference() if sys.argv[1:] == ["site"] else reference())
