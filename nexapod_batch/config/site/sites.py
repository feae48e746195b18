"""Site files (`sites.d/<name>.toml`) turned into sites.

Guarantees: any file gives either a `Site` or ConfigError with every fault of it, each with its line, and never another
exception; a bad file never stops the other sites. Files of one name in several folders: the last one counts as a
whole, but for `[policy]`, of which the stricter word holds, so that nobody escapes the policy of the machine with a
file of his own. A name of which any file is bad is not used at all: nobody knows what was meant, and which policy.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nexapod_batch.config.rules import nearest_line
from nexapod_batch.config.site.site_limits import limit_problems, policy_problems
from nexapod_batch.config.site.site_rules import check_rules
from nexapod_batch.config.site.site_schema import SITE, with_table
from nexapod_batch.config.site.site_tables import BackendTable, SiteTables
from nexapod_batch.config.toml import decode, key_lines, read_text
from nexapod_batch.errors import ConfigError, PluginError, Problem
from nexapod_batch.files.own import check_file
from nexapod_batch.model.fit import job_at, partition_for
from nexapod_batch.model.job import Tier
from nexapod_batch.model.site import (
    Containers,
    Environment,
    Filesystem,
    Limits,
    Pack,
    Partition,
    Policy,
    Runner,
    Scheduler,
    Site,
    Ssh,
)
from nexapod_batch.plugins.site_table import given
from nexapod_batch.schema.kinds import ListOf, MapOf, Report, Table, nearest, show
from nexapod_batch.schema.quantities import Duration, Size
from nexapod_batch.schema.units import show_duration, show_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.schema.kinds import Kind, Value

__all__ = [
    "SITE",
    "Found",
    "Setting",
    "Site",
    "SiteFault",
    "check_backend",
    "find_sites",
    "job_at",
    "limit_problems",
    "load_site",
    "load_sites",
    "parse_site",
    "partition_for",
    "policy_problems",
]

#: Where a value comes from that no file names.
DEFAULT = "default"

#: Keys of `[limits]` that are seconds in the noun.
_TIMES = ("poll_interval", "call_timeout", "transfer_timeout")


class SiteFault(Struct, frozen=True, kw_only=True):
    """A site file that cannot be used, and why."""

    file: Path
    error: ConfigError

    @property
    def line(self) -> str:
        """Return in one line where the first fault is, which one, and how to see the others."""
        if not self.error.problems:
            return " ".join(str(self.error).split())
        first, *more = self.error.problems
        at = "" if first.line is None else f":{first.line}"
        key = f"{first.path}: " if first.path else ""
        said = f"{_text(self.file)}{at}: {key}{first.message}"
        if more:
            return f"{said} (and {len(more)} more: nexapod-batch site check {self.file.stem})"
        return said


class Setting(Struct, frozen=True, kw_only=True):
    """One value in force, as people read it, and where it comes from."""

    key: str  # path in the file, "limits.pack.time", "partitions[0].name"
    value: str
    origin: str  # a file, or "default"


class Found(Struct, frozen=True, kw_only=True):
    """A site and the file that counts."""

    site: Site
    file: Path
    settings: tuple[Setting, ...]  # what is set, and defaults that are more than nothing; in the order of the reference
    table: BackendTable | None = None  # that of its backend, where it brings one


def load_site(file: Path) -> Site:
    """Return the site of one file; ConfigError with all its faults. Whether its backend is there is not asked here."""
    return _read(file, SiteTables()).site


def load_sites(
    folders: Sequence[Path], tables: SiteTables | None = None
) -> tuple[dict[str, Site], tuple[SiteFault, ...]]:
    """Return all usable sites by name, later folders winning, and the files that cannot be used."""
    found, faults = find_sites(folders, tables)
    return {name: one.site for name, one in found.items()}, faults


def find_sites(
    folders: Sequence[Path], tables: SiteTables | None = None
) -> tuple[dict[str, Found], tuple[SiteFault, ...]]:
    """Return what `load_sites` does, and for each site its file and where every value comes from."""
    tables = tables or SiteTables()
    found: dict[str, Found] = {}
    faults = []
    for folder in folders:
        try:
            files = _files(folder)
        except OSError as cause:
            error = ConfigError(
                f"{_text(folder)} cannot be read: {(cause.strerror or str(cause)).lower()}",
                wanted="a folder of site files",
                hint="check the path and who may read it",
            )
            faults.append(SiteFault(file=folder, error=error))
            continue
        faults += _read_all(files, tables, found)
    for fault in faults:
        if fault.file not in folders:
            found.pop(fault.file.stem, None)
    faults += _beside(found)
    return found, tuple(faults)


def _read_all(files: Sequence[Path], tables: SiteTables, sites: dict[str, Found]) -> list[SiteFault]:
    """Read the files of one folder into what was found in those before; return the files that cannot be used."""
    faults = []
    for file in files:
        try:
            one = _read(file, tables)
        except ConfigError as error:
            faults.append(SiteFault(file=file, error=error))
            continue
        earlier = sites.get(one.site.name)
        sites[one.site.name] = one if earlier is None else _stricter(earlier, one)
    return faults


def _beside(sites: dict[str, Found]) -> list[SiteFault]:
    """Let sites that need another one be as they are beside it; return what cannot, which is found no more."""
    faults = []
    for name, one in list(sites.items()):
        needed = sites.get(one.site.needs)
        if needed is None or one.table is None:
            continue
        try:
            sites[name] = replace(one, site=one.table.beside(one.site, needed.site))
        except PluginError as error:
            faults.append(SiteFault(file=one.file, error=error))
            del sites[name]
    return faults


def check_backend(site: Site, file: Path | None = None) -> None:
    """Raise ConfigError that lists the known ones when a site's backend is not installed.

    This costs 30 ms (entry points), so it is asked when a site is shown or used, and not while it is read.
    """
    from nexapod_batch import plugins  # noqa: PLC0415 - see above

    known = plugins.names("backend")
    if site.scheduler.type in known:
        return
    message = f"unknown backend: got {show(site.scheduler.type)}, wanted one of {', '.join(known) or 'none'}"
    hint = nearest(site.scheduler.type, known)
    line = None
    if file is not None:
        line = nearest_line(key_lines(read_text(file, ConfigError)), "scheduler.type")
    problem = Problem("scheduler.type", f"{message} ({hint})" if hint else message, line)
    who = _text(file) if file else f"site {site.name}"
    raise ConfigError(
        f"{who} cannot be used",
        problems=(problem,),
        hint="correct the type, or install the package that brings this backend",
    )


def parse_site(text: str, file: Path, tables: SiteTables | None = None) -> Found:
    """Return the site of a text that is, or will be, the content of `file`; ConfigError with all its faults."""
    shown = _text(file)
    document = decode(text, shown, ConfigError)
    lines = cache(lambda: key_lines(text))  # asked only for faults
    report = Report(lambda path: nearest_line(lines(), path) or 1)
    tables = tables or SiteTables()
    table = _table(document, tables)
    schema = SITE if table is None else with_table(table.name, table.table)
    _strange_tables(document, schema, tables, report)
    checked = schema.check(document, "", report)
    _check_name(checked["site"], file, report)
    check_rules(checked, report)
    if table is not None:
        table.check(checked[table.name], report)
    if report.problems:
        count = len(report.problems)
        in_order = tuple(sorted(report.problems, key=lambda one: one.line or 0))
        counted = "1 problem" if count == 1 else f"{count} problems"
        raise ConfigError(f"{shown} cannot be used: {counted}", problems=in_order)
    site = _site(checked)
    if table is not None and checked[table.name] is not None:
        noun = table.read(checked[table.name])
        site = replace(site, backend_settings=noun, needs=table.needs(noun))
    settings = tuple(_settings(schema, checked, document, "", shown))
    return Found(site=site, file=file, settings=settings, table=table)


def _check_name(about: Value, file: Path, report: Report) -> None:
    """Report a site that is not called as its file is."""
    name = about["name"] if isinstance(about, dict) else None
    if isinstance(name, str) and name != file.stem:
        hint = "rename the file, or correct the name"
        report.add("site.name", "not the name of the file", got=name, wanted=show(file.stem), hint=hint)


def _table(document: Mapping[str, Value], tables: SiteTables) -> BackendTable | None:
    """Return the table that the backend of a document brings; PluginError where that cannot be used."""
    backend = _backend(document)
    if isinstance(backend, str):
        return tables.of(backend)
    return None


def _backend(document: Mapping[str, Value]) -> Value:
    """Return what a document says of its backend; None where it says nothing."""
    scheduler = document.get("scheduler")
    if isinstance(scheduler, dict):
        return scheduler.get("type")
    return None


def _strange_tables(document: dict[str, Value], schema: Table, tables: SiteTables, report: Report) -> None:
    """Report, and take away, tables of other backends than that of the document."""
    unknown = [name for name in document if name not in schema.keys]
    others = tables.names() if unknown else []
    for name in unknown:
        if name in others:
            wanted = f'type = "{name}", or no [{name}]'
            report.add(name, "means nothing here", got=f"type = {show(_backend(document))}", wanted=wanted)
            del document[name]


def _read(file: Path, tables: SiteTables) -> Found:
    found = parse_site(read_text(file, ConfigError, own=True), file, tables)
    python = found.site.runner.python
    if python and found.site.scheduler.transport == "local" and os.path.exists(python):
        check_file(Path(python))
    return found


def _files(folder: Path) -> list[Path]:
    """Return the site files of a folder; hidden ones are editors' own. A folder that is not there holds none."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if name.endswith(".toml") and not name.startswith(".")]


def _stricter(earlier: Found, later: Found) -> Found:
    """Return the later of two files of one name with the stricter word of each policy."""
    old, new = earlier.site.policy, later.site.policy
    limits = [one for one in (old.max_time_s, new.max_time_s) if one is not None]
    merged = Policy(max_time_s=min(limits, default=None), min_agree=max(old.min_agree, new.min_agree))
    keys = {
        "policy.max_time": merged.max_time_s != new.max_time_s,
        "policy.min_agree": merged.min_agree != new.min_agree,
    }
    settings = tuple(_with_policy(earlier, later, keys))
    return replace(later, site=replace(later.site, policy=merged), settings=settings)


def _with_policy(earlier: Found, later: Found, keys: Mapping[str, bool]) -> Iterator[Setting]:
    """Yield the settings of the later file; `keys` says of each one of a policy whether it is the earlier's."""
    kept = {setting.key: setting for setting in later.settings if setting.key in keys}
    kept |= {setting.key: setting for setting in earlier.settings if keys.get(setting.key)}
    for setting in later.settings:
        if setting.key == "policy.min_agree":  # the last of its section, and always there
            yield from [kept[key] for key in keys if key in kept]
        elif setting.key not in keys:
            yield setting


def _site(checked: dict[str, Value]) -> Site:
    """Return the noun of a document without faults; keys that are not there keep the noun's own default."""
    about, ssh = given(checked["site"], fetch_cache="fetch_cache_mib"), checked["ssh"]
    limits = given(checked["limits"], **{name: f"{name}_s" for name in _TIMES})
    limits["pack"] = Pack(**given(checked["limits"]["pack"], time="time_s"))
    return Site(
        **{"title": about["name"]} | about,
        scheduler=Scheduler(**given(checked["scheduler"], cmd_timeout="cmd_timeout_s")),
        ssh=None if ssh is None else Ssh(**given(ssh, keepalive="keepalive_s", connect_timeout="connect_timeout_s")),
        limits=Limits(**limits),
        environment=Environment(**given(checked["environment"], **{"pass": "passes"})),
        runner=Runner(**given(checked["runner"])),
        container=Containers(**given(checked["container"])),
        filesystem=Filesystem(**given(checked["filesystem"])),
        policy=Policy(**given(checked["policy"], max_time="max_time_s")),
        partitions=tuple(map(_partition, checked["partitions"])),
    )


def _partition(section: Mapping[str, Value]) -> Partition:
    said = given(section, max_time="max_time_s", max_mem="max_mem_mib", gpu_mem="gpu_mem_mib")
    return Partition(**said | {"tier": Tier(section["tier"])})


def _settings(kind: Kind, value: Value, written: Value, path: str, file: str) -> Iterator[Setting]:
    """Yield the values below one key; `written` is what the file says there, None for nothing."""
    if isinstance(kind, Table):
        yield from _table_settings(kind, value, written, path, file)
    elif isinstance(kind, ListOf) and isinstance(kind.kind, Table):
        for number, one in enumerate(value):
            yield from _settings(kind.kind, one, written[number], f"{path}[{number}]", file)
    elif isinstance(kind, MapOf):
        for name, one in value.items():
            yield Setting(key=f"{path}.{name}", value=str(one), origin=file)
    elif written is not None or value not in (None, []):
        yield Setting(key=path, value=_words(kind, value), origin=DEFAULT if written is None else file)


def _table_settings(table: Table, value: Value, written: Value, path: str, file: str) -> Iterator[Setting]:
    if value is None:
        return
    before = f"{path}." if path else ""
    for name, key in table.keys.items():
        inner = written.get(name) if isinstance(written, dict) else None
        yield from _settings(key.kind, value[name], inner, f"{before}{name}", file)


def _words(kind: Kind, value: Value) -> str:
    if isinstance(kind, Duration):
        return show_duration(value)
    if isinstance(kind, Size):
        return show_size(value)
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _text(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()
