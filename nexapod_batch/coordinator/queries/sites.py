"""What people ask about sites: which there are, what one of them says, and a file to start from."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.config.site.sites import Found, SiteFault, check_backend, find_sites, parse_site
from nexapod_batch.config.toml import decode
from nexapod_batch.coordinator.backend_guard import check_packages, load_guarded
from nexapod_batch.errors import ConfigError, NotFoundError, UsageError
from nexapod_batch.files.own import own_folder
from nexapod_batch.model.words import SITE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.resources.abc import Traversable

    from nexapod_batch.model.site import Site

__all__ = [
    "Ready",
    "discovered",
    "find",
    "listing",
    "no_such_site",
    "ready",
    "ready_text",
    "site_path",
    "write_new",
    "write_ready",
]

_PACKAGE = "nexapod_batch.site_configs"


class Ready(Struct, frozen=True, kw_only=True):
    """A site file that comes with nexapod-batch."""

    name: str
    title: str
    text: str


def listing(folders: Sequence[Path]) -> tuple[tuple[Found, ...], tuple[SiteFault, ...]]:
    """Return the sites that can be used, and the files that cannot: for their own faults, or for want of a backend."""
    found, faults = find_sites(folders)
    usable, lacking = [], []
    for one in found.values():
        try:
            check_backend(one.site, one.file)
            check_packages(load_guarded(one.site.scheduler.type), one.site)
        except ConfigError as error:
            lacking.append(SiteFault(file=one.file, error=error))
        else:
            usable.append(one)
    return tuple(usable), (*faults, *lacking)


def find(folders: Sequence[Path], name: str) -> Found:
    """Return one site; ConfigError when a file of it cannot be used, NotFoundError when there is none."""
    found, faults = find_sites(folders)
    for fault in faults:
        if fault.file.name == f"{name}.toml":
            raise fault.error
    if name not in found:
        raise no_such_site(folders, name, found)
    check_backend(found[name].site, found[name].file)
    return found[name]


def no_such_site(folders: Sequence[Path], name: str, known: Iterable[str]) -> NotFoundError:
    """Return the error for a name without a file."""
    listed = ", ".join(known) or "none"
    hint = f"write {folders[-1]}/NAME.toml, or start from a ready one: nexapod-batch site init --list"
    return NotFoundError("there is no such site", got=repr(name), wanted=f"one of: {listed}", hint=hint)


def discovered(draft: Site) -> tuple[str, str]:
    """Return name and text of a site file that the backend of a draft writes of what it finds."""
    text = load_guarded(draft.scheduler.type).discover(draft)
    name: str = decode(text, "the new site file", ConfigError)["site"]["name"]
    parse_site(text, Path(f"{name}.toml"))  # a file that cannot be used is never written
    return name, text


def ready() -> tuple[Ready, ...]:
    """Return the files that come with nexapod-batch, by name."""
    found = []
    for file in sorted(_package().iterdir(), key=lambda one: one.name):
        if file.name.endswith(".toml"):
            text = file.read_text(encoding="utf-8")
            site = parse_site(text, Path(file.name)).site
            found.append(Ready(name=site.name, title=site.title, text=text))
    return tuple(found)


def ready_text(name: str, called: str | None = None) -> str:
    """Return the text of a ready file, its site `called` something else where asked; NotFoundError for a wrong name.

    Raises:
        UsageError: The name that is asked for cannot be the name of a site.

    """
    texts = {one.name: one.text for one in ready()}
    if name not in texts:
        hint = "nexapod-batch site init --list says what they are"
        raise NotFoundError(
            "there is no such ready file", got=repr(name), wanted=f"one of: {', '.join(texts)}", hint=hint
        )
    if called is None or called == name:
        return texts[name]
    if not re.fullmatch(SITE_NAME, called, re.ASCII):
        wanted = "letters, digits, _ and -, at most 63, and .toml"
        raise UsageError("not the name of a site file", got=repr(f"{called}.toml"), wanted=wanted)
    return re.sub(rf'^name = "{name}"', f'name = "{called}"', texts[name], count=1, flags=re.MULTILINE)


def write_ready(name: str, file: Path) -> Path:
    """Copy a ready file to a new file, under the name that this has; return the file. Nothing is ever overwritten."""
    ready_text(name)  # a wrong name is the first thing to say
    file = site_path(file, name)
    return write_new(file, ready_text(name, file.stem))


def site_path(file: Path, name: str) -> Path:
    """Return where the file of a site goes: a folder gets NAME.toml; UsageError for what is no name of a site file."""
    if os.path.isdir(file):
        file /= f"{name}.toml"
    if file.suffix != ".toml":
        raise UsageError("not a site file", got=repr(str(file)), wanted="a name that ends with .toml")
    return file


def write_new(file: Path, text: str) -> Path:
    """Write a new file and the folders above it; UsageError when there is one already.

    Raises:
        ConfigError: It cannot be written there.

    """
    try:
        own_folder(file.parent)
        # O_EXCL also refuses a link that leads nowhere.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "w") as stream:
            stream.write(text)
    except FileExistsError as error:
        hint = "edit it, or name another one with --to"
        raise UsageError("there is a site file already", got=str(file), wanted="a new file", hint=hint) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "name another place with --to"
        raise ConfigError("the site file cannot be written", got=f"{reason}: {file}", hint=hint) from error
    return file


def _package() -> Traversable:
    from importlib.resources import files  # noqa: PLC0415 - only `site init` needs it

    try:
        return files(_PACKAGE)
    except ModuleNotFoundError as error:
        raise ConfigError("the ready site files are missing", hint="install nexapod-batch again") from error
