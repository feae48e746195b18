"""The JSON Schema and the printed reference say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nexapod_batch.config.job.descriptor import json_schema
from nexapod_batch.config.job.job_schema import JOB
from nexapod_batch.config.reference import reference
from nexapod_batch.config.toml import key_lines
from nexapod_batch.schema import units

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_current() -> None:
    """Made again with `python -m nexapod_batch.config.reference job > docs/reference/descriptor.md`."""
    assert (DOCS / "reference/descriptor.md").read_text(encoding="utf-8") == reference()


def test_the_schema_has_every_key_and_is_json() -> None:
    """It is made of the table that checks descriptors."""
    schema = json.loads(json.dumps(json_schema()))
    assert set(schema["properties"]) == set(JOB.keys)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["schema"]
    assert schema["properties"]["resources"]["properties"]["disk"]["description"]


@pytest.mark.parametrize("pattern", [units.DURATION, units.SIZE])
def test_patterns_of_the_schema_use_what_editors_know(pattern: str) -> None:
    """ECMA 262 has no named groups in this spelling, no start-of-text and no possessive quantifiers."""
    assert not re.search(r"\(\?[^:=!]|\\[AZ]|[+*}]\+", pattern)


def test_lines_of_keys() -> None:
    """Headers, dotted keys, tables in lists, strings and comments that look like keys."""
    text = (
        "a.b = 1 # x = 1\n"
        '[t."q r"]\nk = """\nno = 1\n"""\n[[l]]\nx = [ # [\n  "y = 1",\n]\n[[l]]\nx = 2\n[l.m]\nz = 1\n'
    )
    assert key_lines(text) == {
        "a": 1,
        "a.b": 1,
        "t.q r": 2,
        "t.q r.k": 3,
        "l[0]": 6,
        "l[0].x": 7,
        "l[1]": 10,
        "l[1].x": 11,
        "l[1].m": 12,
        "l[1].m.z": 13,
    }
