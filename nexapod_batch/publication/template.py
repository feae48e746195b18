"""The templates of what is published. Every string that goes into one is made visible, then escaped."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from nexapod_batch.publication import text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["rendered"]


def rendered(name: str, values: Mapping[str, object]) -> str:
    """Return a template of ours, filled in."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - 25 ms, only where needed

    def finalized(value: object) -> object:
        if isinstance(value, str) and not hasattr(value, "__html__"):
            return text.shown(value)
        return value

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "moment": text.moment, "day": text.day, "duration": text.duration, "energy": text.energy,
        "memory": text.memory,
    }  # fmt: skip
    source = files("nexapod_batch.templates").joinpath(name).read_text(encoding="utf-8")
    return environment.from_string(source).render(values)
