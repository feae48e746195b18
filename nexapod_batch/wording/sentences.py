"""How a reason becomes a sentence: each code has a template, or a function where a template does not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nexapod_batch.model.reason_codes import Code

if TYPE_CHECKING:
    from nexapod_batch.model.reason import Reason

__all__ = ["Parameters", "Template", "all_templates", "one_line", "parts", "sentence"]

Parameters = Mapping[str, Any]

#: A sentence as `str.format` has it, or a function of the parameters that returns it.
Template = str | Callable[[Parameters], str]

_TEMPLATES: dict[str, Template] = {
    Code.IMPORTED: "{text}",
    Code.TEXT: "{text}",
}

#: First part of a code -> the module beside this one that has its templates; read when the first of them is needed.
_MODULES = {
    "quorum": "quorum",
    "independence": "quorum",
    "vote": "quorum",
    "placement": "placement",
    "node": "placement",
    "site": "placement",
    "reach": "placement",
    "job": "replica",
    "replica": "replica",
    "launch": "replica",
    "task": "replica",
    "error": "faults",
    "fault": "faults",
    "unpublished": "faults",
    "report": "reports",
    "delegation": "reports",
    "contradiction": "reports",
}


def sentence(reason: Reason | Parameters | None) -> str:
    """Return the sentence of a reason, without a full stop; "" for None.

    A reason may be given as it is read from JSON, an object with `code` and `parameters`. Where a reason has `also`,
    the sentence of that reason follows. Codes of plug-ins bring their sentence as `text`.
    """
    if reason is None:
        return ""
    code, parameters = parts(reason)
    try:
        return _worded(code, parameters)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError):  # a newer version wrote it, or it is damaged
        shown = ", ".join(f"{name} = {value}" for name, value in parameters.items())
        if shown:
            return f"{code} ({shown})"
        return code


def parts(reason: Reason | Parameters) -> tuple[str, Parameters]:
    """Return code and parameters of a reason, made or read from JSON; KeyError for what is none."""
    if isinstance(reason, Mapping):
        return reason["code"], reason.get("parameters", {})
    return reason.code, reason.parameters


def one_line(reason: Reason | Parameters | None) -> str:
    """Return the sentence of a reason in one line: what is indented below it, as next steps are, follows after it."""
    return " ".join(sentence(reason).split())


def _worded(code: str, parameters: Parameters) -> str:
    template = _template(code)
    if template is None:
        text = str(parameters["text"])
    elif isinstance(template, str):
        text = template.format_map(parameters)
    else:
        text = template(parameters)
    if "also" in parameters:
        text += f"; {sentence(parameters['also'])}"
    return text


def all_templates() -> Mapping[str, Template]:
    """Return the template of every code."""
    for family in _MODULES:
        _load(family)
    return _TEMPLATES


def _template(code: str) -> Template | None:
    found = _TEMPLATES.get(code)
    if found is None:
        _load(code.partition(".")[0])
        found = _TEMPLATES.get(code)
    return found


def _load(family: str) -> None:
    module = _MODULES.get(family)
    if module is not None:
        _TEMPLATES.update(import_module(f"nexapod_batch.wording.{module}").TEMPLATES)
