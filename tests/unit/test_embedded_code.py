"""Code in strings (scripts, interpreters that are started) imports what is there: no linter and no type checker sees it."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_IMPORT = re.compile(r"\bfrom (nexapod_\w+(?:\.\w+)*) import (\w+)|\bimport (nexapod_\w+(?:\.\w+)*)")


def embedded() -> list[tuple[str, str, str]]:
    """Return what string constants of the product import: file, module, name."""
    found = set()
    for file in [*ROOT.glob("nexapod_batch/**/*.py"), *ROOT.glob("backends/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for origin, name, module in _IMPORT.findall(node.value):
                    found.add((str(file.relative_to(ROOT)), origin or module, name))
    return sorted(found)


def test_there_is_some() -> None:
    """Otherwise the next test holds nothing."""
    assert len(embedded()) > 3


@pytest.mark.parametrize(("file", "module", "name"), embedded())
def test_what_embedded_code_imports_is_there(file: str, module: str, name: str) -> None:
    """Modules, and names in them."""
    there = import_module(module)
    if name and not hasattr(there, name):
        import_module(f"{module}.{name}")
