"""How a reason becomes a sentence: each code has a template, or a function where a template does not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nexapod_batch.model.reason import Code, Reason

__all__ = ["TEMPLATES", "Parameters", "Template", "sentence"]

Parameters = Mapping[str, Any]

#: A sentence as `str.format` has it, or a function of the parameters that returns it.
Template = str | Callable[[Parameters], str]

#: Code -> its template. The package adds those of its modules.
TEMPLATES: dict[str, Template] = {Code.IMPORTED: "{text}", Code.TEXT: "{text}"}


def sentence(reason: Reason | Parameters | None) -> str:
    """Return the sentence of a reason, without a full stop; "" for None.

    A reason that is a parameter of another one may be given as it was read from JSON.
    """
    if reason is None:
        return ""
    if not isinstance(reason, Reason):
        reason = Reason(code=reason["code"], parameters=reason.get("parameters", {}))
    template = TEMPLATES.get(reason.code)
    try:
        if isinstance(template, str):
            return template.format_map(reason.parameters)
        if template is not None:
            return template(reason.parameters)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError):
        pass  # a newer version wrote it, or it is damaged
    shown = ", ".join(f"{name} = {value}" for name, value in reason.parameters.items())
    return f"{reason.code} ({shown})" if shown else str(reason.code)
