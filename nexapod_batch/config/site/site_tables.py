"""The tables that backends add to site files: found by entry point, and kept behind glass.

Whatever such a table does wrong is a fault of the files that need it: the other sites are read all the same.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, TypeVar

from msgspec import to_builtins

from nexapod_batch.config.site.site_schema import SITE, with_table
from nexapod_batch.entry_points import load, one_line, origin, targets
from nexapod_batch.errors import PluginError
from nexapod_batch.model.site import Site
from nexapod_batch.plugins.deadline import deadline
from nexapod_batch.schema.kinds import Table
from nexapod_batch.schema.problems import BAD, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nexapod_batch.plugins.site_table import SiteTable
    from nexapod_batch.schema.problems import Value

__all__ = ["BackendTable", "SiteTables", "whole_schema"]

_KIND = "site_table"
#: Seconds in which a table is to be imported, or to do one thing.
_TIME_S = 120.0
Answer = TypeVar("Answer")


class SiteTables:
    """All tables of backends, each loaded once, when a site of its backend is read."""

    def __init__(self, known: Callable[[], Mapping[str, str]] = lambda: targets(_KIND)) -> None:
        """Keep how `targets` of tables are looked up: it takes 30 ms, unless somebody remembered them."""
        self._known = cache(known)
        self._loaded: dict[str, BackendTable] = {}

    def names(self) -> list[str]:
        """Return the names of all tables, which are those of their backends."""
        return sorted(self._known())

    def of(self, backend: str) -> BackendTable | None:
        """Return the table of a backend, None where it brings none; PluginError where it cannot be loaded."""
        if backend not in self._loaded:
            known = self._known()
            if backend not in known:
                return None
            self._loaded[backend] = BackendTable(backend, known)
        return self._loaded[backend]


class BackendTable:
    """The table of one backend."""

    def __init__(self, name: str, known: Mapping[str, str]) -> None:
        """Load it; PluginError where that cannot be done, or where its name is taken."""
        self.name = name
        if name in SITE.keys:
            raise PluginError(
                f"the site table {name!r} of {origin(_KIND, name)} takes a name that is taken",
                got=f"[{name}]", wanted="a backend and table of another name",
            )  # fmt: skip
        loaded = self._guard("loading", lambda: load(_KIND, name, known))
        self._plugin: SiteTable = loaded
        table = self._guard("table", lambda: loaded.table)
        if not isinstance(table, Table):
            raise self._fault("table", f"it is {type(table).__name__}, not Table")
        self.table = table

    def check(self, table: Value, report: Report) -> None:
        """Report what single keys cannot know; nothing where single keys are wrong already."""
        if table is BAD or (isinstance(table, dict) and any(value is BAD for value in table.values())):
            return
        self._guard("check", lambda: self._plugin.check(table, report))

    def read(self, table: Mapping[str, Value]) -> object:
        """Return the noun, which is plain data."""
        found = self._guard("read", lambda: self._plugin.read(table))
        self._guard("read", lambda: to_builtins(found))
        return found

    def needs(self, settings: object) -> str:
        """Return the name of another site that this one needs, or nothing."""
        found = self._guard("needs", lambda: self._plugin.needs(settings))
        if not isinstance(found, str):
            raise self._fault("needs", f"it returned {type(found).__name__}, not str")
        return found

    def beside(self, site: Site, needed: Site) -> Site:
        """Return the site as it is beside the one that it needs."""
        found = self._guard("beside", lambda: self._plugin.beside(site, needed))
        if not _is_site(found, site.name):
            raise self._fault("beside", f"it returned {type(found).__name__}, not the site")
        return found

    def _guard(self, method: str, call: Callable[[], Answer]) -> Answer:
        try:
            with deadline(_TIME_S, f"site table {self.name}: {method}"):
                return call()
        except (PluginError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise self._fault(method, one_line(error)) from error

    def _fault(self, method: str, got: str) -> PluginError:
        what = f"the site table {self.name!r} of {origin(_KIND, self.name)} failed in {method}"
        return PluginError(what, got=got, hint="please report it to the authors of that plug-in")


def _is_site(value: object, name: str) -> bool:
    return isinstance(value, Site) and value.name == name


def whole_schema(tables: SiteTables) -> Table:
    """Return the keys of site files with those of all backends that are installed; PluginError for a bad one."""
    whole = SITE
    for name in tables.names():
        own = tables.of(name)
        if own is not None:
            whole = with_table(name, own.table, whole)
    return whole
