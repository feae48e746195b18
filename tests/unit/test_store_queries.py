"""The named statements: all are used, and all explain against the schema."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import nexapod_batch
from nexapod_batch.store import Store, queries

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORIES = Path(nexapod_batch.__file__).parent / "store" / "repositories"
NAMES = [(subject, name) for subject in queries.subjects() for name in queries.load(subject)]


def source_of(subject: str) -> str:
    """Return the text of the repository that has the statements of a subject."""
    return (REPOSITORIES / f"{subject}.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return an empty store."""
    path = tmp_path_factory.mktemp("store") / "state.db"
    with Store.open(path, create=True, filesystem=lambda _path: ("ext4", False)) as opened:
        yield opened


@pytest.mark.parametrize(("subject", "name"), NAMES)
def test_a_query_explains(store: Store, subject: str, name: str) -> None:
    """Tables, columns and syntax are right; parameters have names, except in what is run for many rows."""
    sql = queries.load(subject)[name]
    bare = re.sub(r"'[^']*'|--[^\n]*", "", sql)
    positions = bare.count("?")
    assert not (positions and re.search(r":\w", bare)), "both kinds of parameters"
    values: Any = [0] * positions if positions else defaultdict(int)
    assert store._database.connection.execute(f"EXPLAIN {sql}", values).fetchone() is not None


@pytest.mark.parametrize(("subject", "name"), NAMES)
def test_a_query_is_used(subject: str, name: str) -> None:
    """What nobody calls is deleted; statements are called by the repository of their subject alone."""
    assert f'"{name}"' in source_of(subject)


@pytest.mark.parametrize("subject", queries.subjects())
def test_every_name_that_is_called_exists(subject: str) -> None:
    """A misspelt name is found here, not by a user."""
    called = re.findall(r'self\._(?:sql\.\w+|pairs|documents)\(\s*(?:\w+, )?"(\w+)"', source_of(subject))
    assert called
    assert set(called) - queries.load(subject).keys() == set()


def test_parse_reads_names_and_bodies() -> None:
    """Text before the first name is a comment; bodies keep their lines."""
    text = "-- about\n\n-- name: first\nSELECT 1\n  -- why\n;\n-- name: second\nSELECT 2"
    assert queries.parse(text, "x.sql") == {"first": "SELECT 1\n  -- why\n;", "second": "SELECT 2"}


@pytest.mark.parametrize(
    "text",
    ["-- name: a\nSELECT 1\n-- name: a\nSELECT 2", "-- name:\nSELECT 1", "-- name: a b\nSELECT 1", "-- name: a\n"],
)
def test_parse_refuses_what_would_hide_a_query(text: str) -> None:
    """A name twice, missing or odd, or a name without SQL, is told with its file."""
    with pytest.raises(ValueError, match=r"x\.sql"):
        queries.parse(text, "x.sql")
