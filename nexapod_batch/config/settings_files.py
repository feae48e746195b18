"""The keys of `config.toml` and `nexapod.toml`, and how several files and `NEXAPOD_*` variables become one answer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nexapod_batch.config.job.delivery import DESTINATION
from nexapod_batch.config.job.job_schema import QUORUM, RESOURCES
from nexapod_batch.config.rules import nearest_line
from nexapod_batch.config.toml import decode, key_lines, read_text
from nexapod_batch.errors import ConfigError
from nexapod_batch.files.own import Seen, trouble
from nexapod_batch.model.words import OWNER, OWNER_WORDS, SITE_NAME
from nexapod_batch.schema.kinds import Key, Kind, ListOf, Report, Table, Text, Value, Whole
from nexapod_batch.schema.quantities import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["PROJECT", "SETTINGS", "read_settings"]

#: The settings file of a project.
PROJECT = "nexapod.toml"

_YEAR = 365 * 86_400
_RETENTION = Table(
    {
        "work": Key(Duration(0, _YEAR), "How long work folders of accepted tasks stay.", 0, shown="0"),
        "failed": Key(Duration(0, _YEAR), "How long work folders of other tasks stay.", 7 * 86_400, shown="7 days"),
        "inputs": Key(
            Duration(0, 10 * _YEAR), "How long inputs stay after their job has ended, for `retry` and archives.",
            90 * 86_400, shown="90 days",
        ),
        "inputs_size": Key(
            Size(0, 1 << 40),
            "What kept inputs may take together; those that were used longest ago go first, and none that a job still "
            "needs. 0 is no limit.",
            51_200, shown="50GiB",
        ),
    }
)

_IMAGES = Table(
    {
        "dir": Key(
            Text("an absolute path", pattern=r"/.*", max_length=1_024),
            "Folder in which container images are kept.",
            shown="`images` in the home",
        ),
        "max_size": Key(Size(0, 1 << 40), "What they may take together; 0 is no limit.", 51_200, shown="50GiB"),
        "plain_http": Key(
            ListOf(Text("host:port", pattern=r"[A-Za-z0-9.\[\]:-]{1,255}"), 0, 100, alone=True),
            "Registries that are spoken to without TLS, besides those on this machine.",
            [],
            shown="none",
        ),
        "library": Key(
            Text("http:// or https:// and a host", pattern=r"https?://[A-Za-z0-9.\[\]:/_-]{1,255}"),
            "Server of library:// images.",
            "https://library.sylabs.io",
        ),
    }
)

_SOURCES = Table(
    {
        "max_size": Key(Size(0, 1 << 40), "How large one remote input may be.", 1 << 20, shown="1TiB"),
        "private_hosts": Key(
            ListOf(Text("a host", pattern=r"[A-Za-z0-9.\[\]:-]{1,255}"), 0, 100, alone=True),
            "Hosts of https:// inputs whose addresses may be those of private networks.",
            [],
            shown="none",
        ),
        "gateways": Key(
            ListOf(
                Text("http:// or https:// and a host", pattern=r"https?://[A-Za-z0-9.\[\]:/_-]{1,255}"),
                0,
                20,
                alone=True,
            ),
            "Gateways of IPFS, in the order in which they are tried; they need not be trusted.",
            ["https://trustless-gateway.link", "https://ipfs.io"],
        ),
    }
)

_DELIVERY = Table(
    {
        "allow": Key(
            ListOf(DESTINATION, 0, 100, alone=True),
            "Folders, and buckets with a prefix (`s3://bucket/prefix`), to which results may be delivered, "
            "and to what is below.",
            [],
            shown="none",
        ),
    }
)

#: A settings file: a few keys of its own, and defaults for every job.
SETTINGS = Table(
    {
        "schema": Key(Whole(1, 1), "Version of this format.", 1),
        "owner": Key(Text(OWNER_WORDS, pattern=OWNER), "Owner of nodes made here."),
        "site": Key(Text("a site name", pattern=SITE_NAME), "Site that jobs go to."),
        "retention": Key(_RETENTION, "When folders are removed.", {}),
        "images": Key(_IMAGES, "How container images are kept and fetched.", {}),
        "sources": Key(_SOURCES, "What may be fetched for inputs.", {}),
        "delivery": Key(_DELIVERY, "Where results may be delivered to.", {}),
        "resources": Key(RESOURCES, "Defaults of jobs."),
        "quorum": Key(QUORUM, "Defaults of jobs."),
    },
    "Preferences of a user, a project or a machine.",
)

_JOB_SECTIONS = ("resources", "quorum")
#: Keys that stand in no section.
_TOP = Table({n: key for n, key in SETTINGS.keys.items() if n != "schema" and not isinstance(key.kind, Table)})


def _exists(file: Path) -> bool:
    """Say whether a file is there; ConfigError where that cannot be found out."""
    try:
        return file.exists()
    except OSError as cause:  # a folder above it is closed to this account
        hint = "set NEXAPOD_HOME to a folder of your own"
        raise ConfigError(f"{file} cannot be reached: {cause.strerror}", hint=hint) from cause


def read_settings(files: Sequence[Path], environ: Mapping[str, str]) -> dict[str, Value]:
    """Return the fields of Settings; later files win. Files that are not there are skipped. ConfigError for faults.

    A project's file that somebody else can change is not obeyed, and a warning says so.
    """
    given: dict[str, Value] = {}  # key path -> value as it was written
    origin: dict[str, str] = {}
    overrides: dict[str, Value] = {}
    warnings: list[str] = []
    for file in filter(_exists, files):
        if file.name == PROJECT and (why := _foreign(file)):
            warnings.append(f"{file} is not obeyed: {why}")
            continue
        for path, value in _read(file).items():
            given[path], origin[path] = value, str(file)
    for path, variable, value in _from_environment(environ):
        given[path], origin[path] = value, variable
        if _is_of_jobs(path):
            overrides[path] = value
    top = _section("", _TOP, given)
    retention, images = _section("retention.", _RETENTION, given), _section("images.", _IMAGES, given)
    sources = _section("sources.", _SOURCES, given)
    for path, _, _ in _variables():
        origin.setdefault(path, "default")
    return {
        "owner": top["owner"],
        "site": top["site"],
        "keep_work_s": retention["work"],
        "keep_failed_s": retention["failed"],
        "keep_inputs_s": retention["inputs"],
        "inputs_mib": retention["inputs_size"],
        "images": images,
        "sources": sources,
        "delivery": tuple(_section("delivery.", _DELIVERY, given)["allow"]),
        "job_defaults": {path: value for path, value in given.items() if _is_of_jobs(path)},
        "job_overrides": overrides,
        "origin": origin,
        "warnings": tuple(warnings),
    }


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, Value]]:
    """Yield key path, variable and value of each setting that a variable holds; ConfigError for a value of no use."""
    for path, variable, kind in _variables():
        if variable in environ:
            yield path, variable, _from_text(environ[variable], kind, variable)


def _is_of_jobs(path: str) -> bool:
    """Say whether a key path is that of a job's default."""
    return path.partition(".")[0] in _JOB_SECTIONS


def _foreign(file: Path) -> str:
    """Return in one line why a project's file is not ours to follow; "" when it is."""
    try:
        status = file.stat()
    except OSError as error:
        return error.strerror or str(error)
    said = trouble(str(file), Seen(status.st_uid, status.st_mode), os.geteuid())
    if said is None:
        return ""
    return " ".join(str(said).split())


def _read(file: Path) -> dict[str, Value]:
    text = read_text(file, ConfigError, own=file.name != PROJECT)
    document = decode(text, str(file), ConfigError)
    report = Report(lambda path: nearest_line(key_lines(text), path))
    SETTINGS.check(document, "", report)
    # Folders and what may be fetched are the account's, not a project's.
    for name in ("retention", "images", "sources", "delivery") if file.name == PROJECT else ():
        if name in document:
            report.add(name, "not accepted here", wanted=f"config.toml or NEXAPOD_{name.upper()}_*")
    if report.problems:
        raise ConfigError(f"{file} cannot be used", problems=tuple(report.problems))
    flat = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": one for key, one in value.items()})
        elif name != "schema":
            flat[name] = value
    return flat


def _variables() -> Iterator[tuple[str, str, Kind]]:
    """Yield key path, variable and kind of every setting."""
    for name, key in SETTINGS.keys.items():
        if isinstance(key.kind, Table):
            for inner, inner_key in key.kind.keys.items():
                yield f"{name}.{inner}", f"NEXAPOD_{name}_{inner}".upper(), inner_key.kind
        elif name != "schema":
            yield name, f"NEXAPOD_{name}".upper(), key.kind


def _from_text(text: str, kind: Kind, variable: str) -> Value:
    """Return a variable as the kind wants it; ConfigError when it is not accepted."""
    value: Value = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else text
    if isinstance(kind, Text):
        value = text
    report = Report()
    kind.check(value, variable, report)
    if report.problems:
        raise ConfigError(f"{variable} cannot be used", problems=tuple(report.problems), hint=f"unset {variable}")
    return value


def _section(prefix: str, table: Table, given: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values whose paths begin alike in their settled form, with defaults for what was not given."""
    written = {key: given[prefix + key] for key in table.keys if prefix + key in given}
    return dict(table.check(written, prefix.rstrip("."), Report()))
