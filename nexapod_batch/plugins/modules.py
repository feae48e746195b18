"""Modules of a site in batch scripts, for every backend that writes some: one that is not loaded ends the script."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["module_lines"]


def module_lines(site: str, modules: Sequence[str]) -> list[str]:
    """Return lines of bash that load modules, and end the script, with the name of the site, where one is not loaded.

    Both are written as they are: the name of a site and modules as site files allow them need no quotes.
    """
    if not modules:
        return []
    text = files("nexapod_batch.templates").joinpath("load-modules.sh").read_text("utf-8").replace("@site@", site)
    return [*text.splitlines(), *(f"nexapod_load {module}" for module in modules)]
