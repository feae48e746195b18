"""Docstrings that others build on: public functions name the errors that they raise, ports explain their arguments."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nexapod_batch.compare.ports import Comparison, Normalization
from nexapod_batch.images.cache import Progress
from nexapod_batch.plugins.backend import Administration, Ending, Files, Launching
from nexapod_batch.plugins.backend_fetching import Fetching
from nexapod_batch.quorum.policies import Policy
from nexapod_batch.runtimes import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("nexapod_batch/**/*.py"), *ROOT.glob("backends/nexapod_backends/**/*.py")])
#: What plug-ins of other people implement, and what they are told through.
PORTS: list[type[Any]] = [Launching, Ending, Files, Fetching, Administration, Runtime, Policy, Comparison, Normalization, Progress]
#: Ports whose methods may all fail: each says with what.
FAILING: list[type[Any]] = [Launching, Files, Fetching, Comparison, Normalization]


def public_functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield functions and methods without an underscore, as far as their classes have none either."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Say whether the docstring is the help of a command: people see the errors as they come."""
    return any("command(" in ast.unparse(decorator) for decorator in function.decorator_list)


def raised(function: ast.AST) -> set[str]:
    """Return the names of the errors that the body of a function raises itself, not in functions inside it."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = ast.unparse(error).rpartition(".")[2]
            names |= {name} if name[:1].isupper() else set()
        names |= raised(node)
    return names - {"NotImplementedError"}


def caught(function: ast.AST) -> set[str]:
    """Return the names of the errors that a function catches."""
    handlers = [node.type for node in ast.walk(function) if isinstance(node, ast.ExceptHandler) and node.type is not None]
    return {name for handler in handlers for name in ast.unparse(handler).strip("()").split(", ")}


def silent(source: str) -> list[str]:
    """Return which public functions of a source raise errors that their docstrings do not name."""
    found = []
    for function in public_functions(ast.parse(source)):
        text = ast.get_docstring(function) or ""
        unnamed = {name for name in raised(function) - caught(function) if name not in text}
        if unnamed and not is_command(function):
            found.append(f"{function.name}: {', '.join(sorted(unnamed))}")
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n  '''Do it.'''\n  raise ValueError('x')", ["f: ValueError"]),
        ("def f():\n  '''Do it; ValueError when it cannot.'''\n  raise ValueError", []),
        ("class A:\n  async def f(self):\n    if x: raise m.B('x') from error", ["f: B"]),
        ("def _f():\n  raise ValueError", []),
        ("class _A:\n  def f(self):\n    raise ValueError", []),
        ("def f():\n  def g():\n    raise ValueError\n  return g", []),
        ("def f():\n  try:\n    raise KeyError\n  except KeyError:\n    pass", []),
        ("def f():\n  raise", []),
        ("def f():\n  raise error", []),
        ("@click.command()\ndef f():\n  raise UsageError('x')", []),
    ],
)
def test_an_unnamed_error_is_found(source: str, expected: list[str]) -> None:
    """In functions and methods that others call; not in what is private, caught or handed on."""
    assert silent(source) == expected


def test_public_functions_name_the_errors_that_they_raise() -> None:
    """Who calls one need not read its body."""
    found = {str(file.relative_to(ROOT)): silent(file.read_text(encoding="utf-8")) for file in SOURCES}
    assert len(found) > 300
    assert {file: functions for file, functions in found.items() if functions} == {}


def methods(port: type[Any]) -> Iterator[tuple[str, list[str], str]]:
    """Yield name, parameters and docstring of each method that a port itself declares."""
    for name, value in vars(port).items():
        if inspect.isfunction(value) and not name.startswith("_"):
            parameters = [parameter for parameter in inspect.signature(value).parameters if parameter != "self"]
            yield name, parameters, inspect.getdoc(value) or ""


@cache
def explained(text: str) -> list[str]:
    """Return the parameters that the `Args` section of a docstring explains, in order."""
    _, _, section = text.partition("Args:\n")
    lines = section.split("\n\n")[0].splitlines()
    return [line.strip().partition(":")[0] for line in lines if line.startswith("    ") and line[4:5] != " "]


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.__name__)
def test_ports_explain_every_argument(port: type[Any]) -> None:
    """What it is and in which unit; in the order of the signature."""
    found = {name: explained(text) for name, parameters, text in methods(port) if parameters}
    assert found == {name: parameters for name, parameters, _ in methods(port) if parameters}


@pytest.mark.parametrize("port", FAILING, ids=lambda port: port.__name__)
def test_ports_say_what_they_may_raise(port: type[Any]) -> None:
    """A plug-in that raises anything else is at fault."""
    assert [name for name, parameters, text in methods(port) if parameters and "Raises:" not in text] == ["missing"] * (
        port is Launching
    )
