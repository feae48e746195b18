"""A comparison rule of a job's document, in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["rule_words"]

_OF_TABLES = ("delimiter", "decimal", "comments", "quoted_numbers", "unordered")


def rule_words(output: Mapping[str, Any]) -> str:
    """Return how an output is compared, as a descriptor has it, in one line."""
    words = [f'compare = "{output["compare"]}"']
    words += [f"{key} = {output[key]}" for key in ("digits", "rtol", "atol") if output.get(key) is not None]
    if "integers" in output:
        words.append(f'integers = "{output["integers"]}"')
    if output.get("ignore"):
        words.append(f"ignore = {json.dumps(list(output['ignore']), ensure_ascii=False)}")
    if output.get("normalize"):
        words.append(f"normalize = {json.dumps(list(output['normalize']), ensure_ascii=False)}")
    words += [f"{key} = {json.dumps(output[key])}" for key in _OF_TABLES if output.get(key)]
    return ", ".join(words)
