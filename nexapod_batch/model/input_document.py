"""An input as it stands in the document of its job, made and written by msgspec: thousands of them take a moment."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["InputDocument"]


class InputDocument(Struct, frozen=True, omit_defaults=True, gc=False):
    """The fields of `model.job.Input`, in their order; what says nothing is left out."""

    source: str
    target: str
    sha256: str
    executable: bool = False
    only: int | None = None
    verdict: str = ""
