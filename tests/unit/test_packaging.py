"""What an installation has that does not come from a checkout: every package, and the files that are read beside code."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
#: Where each top package lies.
SOURCES = {
    "nexapod_batch": ROOT / "nexapod_batch",
    "nexapod_backends": ROOT / "backends" / "nexapod_backends",
    "nexapod_client": ROOT / "nexapod_client",
}
#: Data folders beside the packages, which are installed as packages of their own.
MAPPED = {"nexapod_batch.site_configs", "nexapod_batch.templates"}


def packages() -> dict[str, Path]:
    """Return every folder below the sources that has modules."""
    found = {}
    for top, source in SOURCES.items():
        for module in source.rglob("*.py"):
            below = module.parent.relative_to(source).parts
            found[".".join((top, *below))] = module.parent
    return found


def test_every_package_is_installed() -> None:
    """A package that is missing in the list is missing in the wheel, and in no checkout."""
    assert sorted(SETUPTOOLS["packages"]) == sorted(packages().keys() | MAPPED)


def test_every_file_beside_the_code_is_installed() -> None:
    """SQL, templates, shell scripts: what is read at run time is in the wheel."""
    installed: set[Path] = set()
    folders = packages()
    for package, patterns in SETUPTOOLS["package-data"].items():
        for pattern in patterns if package in folders else ():
            installed |= set(folders[package].glob(pattern))
    beside = {
        file
        for source in SOURCES.values()
        for file in source.rglob("*")
        if file.is_file() and file.suffix not in {".py", ".pyc"} and "__pycache__" not in file.parts
    }
    assert sorted(beside - installed) == []
