"""The port of a table in site files: what a backend adds to them, found by the entry point that has its name.

The group is `nexapod_batch.site_tables`; the entry point `NAME` brings the table `[NAME]` of sites whose
`scheduler.type` is `NAME`. It is read with every such site file, so that its module should import little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.model.site import Site
    from nexapod_batch.schema.kinds import Table
    from nexapod_batch.schema.problems import Report, Value

__all__ = ["SiteTable", "given"]


class SiteTable:
    """A table with keys of a backend's own. A subclass says which keys; the rest has defaults that mean nothing."""

    #: The keys, with the text and the default of each.
    table: Table

    def check(self, table: Mapping[str, Value] | None, report: Report) -> None:
        """Report what single keys cannot know.

        Args:
            table: The values, where the keys allow them all, by name; None where the file has no such table.
            report: Takes faults; key paths begin with the name of the table.

        """

    def read(self, table: Mapping[str, Value]) -> object:
        """Return the noun that backends find in `Site.backend_settings`; plain data, as msgspec understands it."""
        return given(table)

    def needs(self, settings: object) -> str:  # noqa: ARG002 - a subclass looks at it
        """Return the name of another site whose scheduler starts what this one runs on, or nothing."""
        return ""

    def beside(self, site: Site, needed: Site) -> Site:  # noqa: ARG002 - a subclass looks at it
        """Return the site as it is beside the one that it needs: with narrower limits, as a rule."""
        return site


def given(table: Mapping[str, Value], **settled: str) -> dict[str, Any]:
    """Return what a table says, lists as tuples; keys can be renamed, as in `idle="idle_s"`."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        if value is not None:
            found[settled.get(name, name)] = tuple(value) if isinstance(value, list) else value
    return found
