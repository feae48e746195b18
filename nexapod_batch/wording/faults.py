"""Sentences about what a pass could not do, and about errors, whose parts are data as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.errors import DescriptorError, Problem
from nexapod_batch.model.reason_codes import Code
from nexapod_batch.wording.sentences import Parameters, Template, parts, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TEMPLATES"]


def _error(p: Parameters) -> str:
    return str(_as_error(p))


def _as_error(p: Parameters) -> DescriptorError:
    """Return an error that is put like the one that these parts are of."""
    problems = [Problem(problem["path"], problem["message"], problem.get("line")) for problem in p.get("problems", ())]
    return DescriptorError(
        p["what"], got=p.get("got"), wanted=p.get("wanted"), hint=p.get("hint"), problems=tuple(problems)
    )


def _system_error(p: Parameters) -> str:
    if "path" in p:
        return f"{p['message']}: {p['path']}"
    return str(p["message"])


def _site_file(p: Parameters) -> str:
    """Say where the first problem of a site file is, which one, and how to see the others."""
    _, of_error = parts(p["error"])
    error = _as_error(of_error)
    if not error.problems:
        return " ".join(str(error).split())
    first, *more = error.problems
    where = p["file"] if first.line is None else f"{p['file']}:{first.line}"
    key = f"{first.path}: " if first.path else ""
    others = f" (and {len(more)} more: nexapod-batch site check {p['site']})" if more else ""
    return f"{where}: {key}{first.message}{others}"


def _of_node(what: str = "") -> Template:
    """Return what says that something failed on a node."""

    def template(p: Parameters) -> str:
        return f"node {p['node']}: {what}{sentence(p['error'])}"

    return template


def _of_task(p: Parameters) -> str:
    return f"task {p['task']} waits: {sentence(p['error'])}"


def _publish(p: Parameters) -> str:
    return f"results of {p['task']} cannot be fetched: {sentence(p['error'])}"


def _refused(p: Parameters) -> str:
    return f"node {p['node']}: job {p['job']}: {sentence(p['reason'])}"


def _unpublished_files(p: Parameters) -> str:
    tried = [f"replica {replica['number']}: {sentence(replica['error'])}" for replica in p["replicas"]]
    return "; ".join(tried)


TEMPLATES: Mapping[str, Template] = {
    Code.ERROR: _error,
    Code.SYSTEM_ERROR: _system_error,
    Code.SITE_FAULT: lambda p: sentence(p["error"]),
    Code.SITE_FILE_FAULT: _site_file,
    Code.SETTINGS_FAULT: _of_node("its settings cannot be written: "),
    Code.STATUS_FAULT: _of_node(),
    Code.COLLECT_FAULT: _of_node("its reports cannot be brought here: "),
    Code.REPORTS_FAULT: _of_node("its reports cannot be read: "),
    Code.STAGE_FAULT: _of_node("inputs cannot be staged: "),
    Code.LAUNCH_FAULT: _of_node("launch failed: "),
    Code.REST_FAULT: lambda p: f"node {p['node']} {sentence(p['reason'])}",
    Code.JOB_REFUSED_FAULT: _refused,
    Code.DECIDE_FAULT: _of_task,
    Code.CANCEL_FAULT: _of_node("cancelling failed, and is tried again: "),
    Code.PUBLISH_FAULT: _publish,
    Code.DELIVER_FAULT: lambda p: f"results of job {p['job']} cannot be delivered now: {sentence(p['error'])}",
    Code.RETENTION_FAULT: lambda p: f"work folders stay: {sentence(p['error'])}",
    Code.CLEAN_FAULT: _of_node("work folders cannot be removed: "),
    Code.FORGET_FAULT: _of_node(),
    Code.UNSTAGE_FAULT: _of_node("staged inputs cannot be removed: "),
    Code.SEGMENTS_FAULT: _of_node("segments cannot be removed: "),
    Code.UNPUBLISHED_WRITE: lambda p: sentence(p["error"]),
    Code.UNPUBLISHED_FILES: _unpublished_files,
    Code.UNPUBLISHED_NO_FILES: "no valid replica has its files",
    Code.UNPUBLISHED_FOLDER_TAKEN: (
        "{folder} holds other files, which are never replaced: move them away, then nexapod-batch reconcile"
    ),
}
