"""Where the coordinator's files lie (`Paths`), and the settings of user, project and machine (`settings`).

Importing this module costs no more than pathlib; what only looks something up needs `home.py` alone.
Precedence, highest first: `NEXAPOD_*` variables, the job, the project's `nexapod.toml`, the user's `config.toml`,
`/etc/nexapod/config.toml`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.config import home

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SYSTEM_DIR", "ImageSettings", "Paths", "Settings", "SourceLimits", "settings"]

#: Settings and sites of the whole machine.
SYSTEM_DIR = Path("/etc/nexapod")


class Paths(NamedTuple):
    """Where everything lies. Nothing is created here."""

    home: Path  # state.db, keys, spool, work, inputs
    config_dirs: tuple[Path, ...]  # lowest precedence first; each may hold config.toml and sites.d/
    results: Path  # results/<job>/<task>/

    @classmethod
    def of(cls, home: Path, *, system: Path = SYSTEM_DIR) -> Paths:
        """Return paths that all lie in one folder, as with NEXAPOD_HOME."""
        return cls(home, (system, home), home / "results")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Paths:
        """Return the paths of this account: NEXAPOD_HOME, else the XDG directories. ConfigError without a home."""
        environ = os.environ if environ is None else environ
        folders = SYSTEM_DIR, Path(home.config_folder(environ))
        return cls(Path(home.home_folder(environ)), folders, Path(home.results_folder(environ)))

    @property
    def state_db(self) -> Path:
        """The database."""
        return Path(home.database(str(self.home)))

    def has_database(self) -> bool:
        """Say whether there is a database; ConfigError where there was one, and it is gone or empty."""
        return home.has_database(str(self.home))

    @property
    def keys(self) -> Path:
        """Folder of the private keys."""
        return self.home / "keys"

    @property
    def inputs(self) -> Path:
        """Folder of inputs kept by digest."""
        return self.home / "inputs"

    @property
    def staging(self) -> Path:
        """Folder of notices of inputs that are on their way."""
        return self.home / "staging"

    @property
    def digests(self) -> Path:
        """Folder of what is remembered of files that were inputs; it can be removed at any time."""
        return self.home / "digests"

    @property
    def sites(self) -> tuple[Path, ...]:
        """Folders of site files, lowest precedence first."""
        return tuple(folder / "sites.d" for folder in self.config_dirs)

    def spool(self, node: str) -> Path:
        """Return the folder through which a node and its coordinator talk."""
        return self.home / "spool" / node

    def work(self, node: str) -> Path:
        """Return the folder of a node's work folders."""
        return self.home / "work" / node


class ImageSettings(NamedTuple):
    """How container images are kept and fetched."""

    folder: Path
    max_mib: int  # what the cache may hold; 0: no limit
    plain_http: tuple[str, ...]  # registries, `HOST[:PORT]`, that are spoken to without TLS
    library: str  # where library:// leads


class SourceLimits(NamedTuple):
    """What may be fetched for inputs."""

    max_mib: int  # of one input
    private_hosts: tuple[str, ...]  # whose addresses may be those of private networks
    gateways: tuple[str, ...]  # of IPFS, in the order in which they are tried


class Settings(NamedTuple):
    """What user, project and machine prefer, and where each value came from."""

    owner: str | None  # who owns the nodes that are made here
    site: str | None  # site that jobs go to unless they say otherwise
    keep_work_s: int  # how long work folders of accepted tasks stay
    keep_failed_s: int  # how long work folders of other tasks stay
    keep_inputs_s: int  # how long inputs of a job stay that has ended
    inputs_mib: int  # what kept inputs may take together; 0: no limit
    images: ImageSettings
    sources: SourceLimits
    delivery: tuple[str, ...]  # folders and buckets to which results may be delivered
    job_defaults: Mapping[str, Any]  # key path of the descriptor -> value, where the job says nothing
    job_overrides: Mapping[str, Any]  # the same, from NEXAPOD_* variables: they win over the job
    origin: Mapping[str, str]  # key path -> file, variable, or "default"
    warnings: tuple[str, ...] = ()  # files that were not obeyed, and why


def settings(paths: Paths, *, project: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in force; `project` is the folder whose `nexapod.toml` counts. ConfigError for bad files."""
    from nexapod_batch.config.settings_files import PROJECT, read_settings  # noqa: PLC0415 - see the module docstring

    files = [folder / "config.toml" for folder in paths.config_dirs]
    files += [project / PROJECT] if project else []
    found = read_settings(files, os.environ if environ is None else environ)
    images = found.pop("images")
    kept = ImageSettings(
        folder=Path(images["dir"]) if images["dir"] else paths.home / "images",
        max_mib=images["max_size"],
        plain_http=tuple(images["plain_http"]),
        library=images["library"].rstrip("/"),
    )
    sources = found.pop("sources")
    limits = SourceLimits(
        max_mib=sources["max_size"], private_hosts=tuple(sources["private_hosts"]), gateways=tuple(sources["gateways"])
    )
    return Settings(**found, images=kept, sources=limits)
