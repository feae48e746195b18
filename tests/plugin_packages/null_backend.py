"""A backend `null`: what is launched begins at once on this machine, as nice as the site file says."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from nexapod_batch.plugins import BackendState, Launch, LaunchStatus, NodeContext
from nexapod_batch.plugins.shared_folders import SharedFolders
from nexapod_batch.plugins.site_table import SiteTable
from nexapod_batch.schema.kinds import Key, Table, Whole

__all__ = ["NullBackend", "NullTable"]


class NullTable(SiteTable):
    """The table `[null]` of a site file."""

    table = Table({"nice": Key(Whole(0, 19), "How far runners stand back.", 0)}, "Runners without a scheduler.")


class NullBackend(SharedFolders):
    """Starts one runner, which ends when nothing is left to do."""

    def launch(self, context: NodeContext, launches: Sequence[Launch]) -> Mapping[str, str]:
        """Put launches into the inbox, and let a runner find them."""
        self.put(context, launches)
        self._start(context)
        return {launch.key: f"null-{launch.key}" for launch in launches}

    def status(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return what the files say; what waits needs a runner, and what a dead one left has to be ended."""
        found = self.status_by_files(context, keys)
        if {status.state for status in found.values()} & {BackendState.QUEUED, BackendState.FAILED}:
            self._start(context)
        return found

    def cancel(self, context: NodeContext, replicas: Mapping[str, Sequence[str] | None]) -> None:
        """Leave a note, and let a runner read it."""
        if self.leave_note(context, replicas):
            self._start(context)

    def _start(self, context: NodeContext) -> None:
        settings = context.site.backend_settings if context.site else None
        nice = settings["nice"] if isinstance(settings, dict) else 0
        self.spawn_runner(context, [shutil.which("nice") or "/usr/bin/nice", "-n", str(nice)])
