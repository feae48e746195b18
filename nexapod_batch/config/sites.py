"""Site files (`sites.d/<name>.toml`): how a group of nodes is reached. A bad file never stops the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nexapod_batch.config.job_table import SITE_NAME
from nexapod_batch.config.rules import nearest_line
from nexapod_batch.config.tables import REQUIRED, Duration, Key, ListOf, Report, Table, Text, Value, Whole, show
from nexapod_batch.config.toml import decode, key_lines, read_text
from nexapod_batch.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nexapod_batch.model.job import Job

__all__ = ["SITE", "Site", "SiteFault", "load_site", "load_sites", "policy_problems"]

_LINE = Text("one line of text", max_length=256)

SITE = Table(
    {
        "schema": Key(Whole(1, 1), "Version of this format.", REQUIRED),
        "site": Key(
            Table(
                {
                    "name": Key(
                        Text("letters, digits, `_ -`", pattern=SITE_NAME), "Name, as the file is called.", REQUIRED
                    ),
                    "title": Key(_LINE, "Name in full."),
                    "contact": Key(_LINE, "Whom to ask."),
                    "url": Key(Text("https://...", pattern=r"https?://[!-~]{1,1000}"), "Where to read more."),
                    "hostnames": Key(
                        ListOf(Text("a host name, `*` allowed", pattern=r"[A-Za-z0-9.*-]{1,253}"), 0, 100),
                        "Login nodes by name.",
                        [],
                        shown="none",
                    ),
                }
            ),
            "What it is.",
            {},
        ),
        "scheduler": Key(
            Table(
                {
                    "type": Key(
                        Text("a backend", pattern=r"[a-z][a-z0-9_-]{0,62}"), "Backend that launches here.", REQUIRED
                    )
                }
            ),
            "How jobs start.",
            {},
        ),
        "limits": Key(
            Table(
                {
                    "max_queued": Key(Whole(1, 10_000_000), "Replicas that may be out at once.", 5_000),
                    "max_array": Key(Whole(1, 10_000_000), "Elements of one scheduler array.", 1_000),
                    "poll_interval": Key(Duration(1, 86_400), "Time between two looks.", 30, shown="30s"),
                }
            ),
            "How hard it may be used.",
            {},
        ),
        "policy": Key(
            Table(
                {
                    "max_time": Key(Duration(1, 365 * 86_400), "Longest replica."),
                    "min_agree": Key(Whole(1, 100), "Smallest quorum.", 1),
                }
            ),
            "What a job cannot override.",
            {},
        ),
    },
    "A site.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One site, as its file says."""

    name: str
    title: str
    contact: str
    url: str
    hostnames: tuple[str, ...]  # may hold `*`
    backend: str  # entry-point name
    max_queued: int
    max_array: int
    poll_interval_s: int
    max_time_s: int | None  # policy
    min_agree: int  # policy


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFault:
    """A site file that cannot be used, and why."""

    file: Path
    error: ConfigError


def load_site(file: Path) -> Site:
    """Return the site of one file; ConfigError with all its faults."""
    text = read_text(file, ConfigError)
    document = decode(text, str(file), ConfigError)
    report = Report(lambda path: nearest_line(key_lines(text), path))
    checked = SITE.check(document, "", report)
    if (
        isinstance(checked["site"], dict)
        and isinstance(checked["site"]["name"], str)
        and checked["site"]["name"] != file.stem
    ):
        report.add("site.name", "not the name of the file", got=checked["site"]["name"], wanted=show(file.stem))
    if report.problems:
        raise ConfigError(f"{file} cannot be used", problems=tuple(report.problems))
    about, limits, policy = checked["site"], checked["limits"], checked["policy"]
    return Site(
        name=about["name"],
        title=about["title"] or about["name"],
        contact=about["contact"] or "",
        url=about["url"] or "",
        hostnames=tuple(about["hostnames"]),
        backend=checked["scheduler"]["type"],
        max_queued=limits["max_queued"],
        max_array=limits["max_array"],
        poll_interval_s=limits["poll_interval"],
        max_time_s=policy["max_time"],
        min_agree=policy["min_agree"],
    )


def load_sites(folders: Sequence[Path]) -> tuple[dict[str, Site], tuple[SiteFault, ...]]:
    """Return all usable sites by name, later folders winning, and the files that cannot be used."""
    sites: dict[str, Site] = {}
    faults = []
    for folder in folders:
        try:
            files = sorted(folder.glob("*.toml"))
        except OSError as cause:
            error = ConfigError(f"{folder} cannot be read: {cause.strerror}")
            faults.append(SiteFault(file=folder, error=error))
            continue
        for file in files:
            try:
                site = load_site(file)
            except ConfigError as error:
                faults.append(SiteFault(file=file, error=error))
            else:
                sites[site.name] = site
    return sites, tuple(faults)


def policy_problems(site: Site, job: Job) -> tuple[Problem, ...]:
    """Return where a job asks for what the policy of a site forbids."""
    found: list[Value] = []
    if site.max_time_s is not None and (job.resources.time_s or 0) > site.max_time_s:
        message = f"site {site.name}: got {job.resources.time_s} s, wanted at most {site.max_time_s} s"
        found.append(Problem("resources.time", message))
    if job.quorum.agree < site.min_agree:
        message = f"site {site.name}: got {job.quorum.agree}, wanted at least {site.min_agree}"
        found.append(Problem("quorum.agree", message))
    return tuple(found)
