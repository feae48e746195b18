"""Sources that are URLs: which schemes there are, and what is wrong with one before anybody is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from nexapod_batch.errors import PluginError
from nexapod_batch.model.job import Input
from nexapod_batch.model.job_source import is_listing, scheme_of
from nexapod_batch.model.placeholders import literal
from nexapod_batch.sources import EXTRAS, LISTING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.schema.kinds import Report

__all__ = ["read"]


def _several(text: str, target: str | None, given: str | None, where: str, report: Report) -> Sequence[Input]:
    """Return an input that stands for what a pattern takes, which is listed at submit."""
    if scheme_of(text) not in LISTING:
        report.add(f"{where}.source", f"{scheme_of(text)}:// cannot be listed", got=text, wanted="a URL for each file")
        return ()
    if target is None:
        report.add(f"{where}.target", "missing", wanted="the folder that the files are put in")
        return ()
    if given is not None:
        report.add(f"{where}.sha256", "the source may be several files", wanted="no sha256")
    return [Input(source=text, target=target, sha256="")]


def read(text: str, target: str | None, given: str | None, where: str, report: Report) -> Sequence[Input]:
    """Return an input that is fetched at submit, which pins it where the descriptor does not."""
    from nexapod_batch.entry_points import load, names  # noqa: PLC0415 - entry points cost 30 ms

    scheme, known = scheme_of(text), names("source")
    if scheme not in known:
        wanted = ", ".join(["a path", "file:///path", *[f"{name}://" for name in known]])
        report.add(f"{where}.source", f"no plug-in can fetch {scheme}://", got=text, wanted=wanted)
        return ()
    try:
        refusal = load("source", scheme).refusal(text)
    except PluginError as error:
        extra = EXTRAS.get(scheme)
        hint = f"pip install 'nexapod-batch[{extra}]'" if extra else str(error.hint or "")
        what = f"{scheme}:// needs what is not installed ({error.got})"
        report.add(f"{where}.source", what, got=text, hint=hint)
        return ()
    if refusal:
        report.add(f"{where}.source", refusal, got=text, wanted=f"{scheme}://host/path")
        return ()
    if is_listing(text):
        return _several(text, target, given, where, report)
    name = unquote(urlsplit(text).path.rstrip("/").rpartition("/")[2])
    if target is None and not name:
        report.add(f"{where}.target", "missing", wanted="the name that the file is to have")
        return ()
    return [Input(source=text, target=target or literal(name), sha256=(given or "").lower())]
