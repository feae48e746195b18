"""Where the coordinator's files lie (`Paths`), and the settings of user, project and machine (`settings`).

Importing this module costs no more than pathlib: commands that only look something up need nothing else of config.
Precedence, highest first: `NEXAPOD_*` variables, the job, the project's `nexapod.toml`, the user's `config.toml`,
`/etc/nexapod/config.toml`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SYSTEM_DIR", "ImageSettings", "Paths", "Settings", "settings"]

#: Settings and sites of the whole machine.
SYSTEM_DIR = Path("/etc/nexapod")

_APP = "nexapod-batch"


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
        if home := environ.get("NEXAPOD_HOME"):
            return cls.of(Path(home).expanduser().absolute())
        state = _xdg(environ, "XDG_STATE_HOME", ".local/state") / _APP
        data = _xdg(environ, "XDG_DATA_HOME", ".local/share") / _APP
        return cls(state, (SYSTEM_DIR, _xdg(environ, "XDG_CONFIG_HOME", ".config") / _APP), data / "results")

    @property
    def state_db(self) -> Path:
        """The database."""
        return self.home / "state.db"

    def has_database(self) -> bool:
        """Say whether there is a database; ConfigError where there was one: nodes have keys, and it is gone or empty.

        An account that starts has neither. Beginning anew there would forget every job, and what was launched.
        """
        try:
            size = self.state_db.stat().st_size
        except FileNotFoundError:
            size = -1
        except OSError as error:
            raise ConfigError("the database cannot be used", got=f"{error.strerror}: {self.state_db}") from error
        if size > 0 or self._has_log() or not any(self.keys.glob("node-*")):
            return size >= 0
        raise ConfigError(
            f"the database {self.state_db} is {'gone' if size < 0 else 'empty'}, and nodes have keys beside it",
            wanted="the one that knows their jobs",
            hint="put a backup back in its place; or, to begin without any job: nexapod-batch db init",
        )

    def _has_log(self) -> bool:
        """Say whether a write-ahead log holds what is not in the file yet."""
        log = self.state_db.with_name(f"{self.state_db.name}-wal")
        return log.exists() and log.stat().st_size > 0

    @property
    def keys(self) -> Path:
        """Folder of the private keys."""
        return self.home / "keys"

    @property
    def inputs(self) -> Path:
        """Folder of inputs kept by digest."""
        return self.home / "inputs"

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


class Settings(NamedTuple):
    """What user, project and machine prefer, and where each value came from."""

    owner: str | None  # who owns the nodes that are made here
    site: str | None  # site that jobs go to unless they say otherwise
    keep_work_s: int  # how long work folders of accepted tasks stay
    keep_failed_s: int  # how long work folders of other tasks stay
    images: ImageSettings
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
    return Settings(**found, images=kept)


def _xdg(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    """Return an XDG base directory; the specification says that a relative one is ignored."""
    if (given := environ.get(variable, "")).startswith("/"):
        return Path(given)
    home = environ.get("HOME") or os.path.expanduser("~")
    if not home.startswith("/"):
        raise ConfigError("no home directory", got=f"HOME={home!r}", wanted="an absolute path", hint="set NEXAPOD_HOME")
    return Path(home) / fallback
