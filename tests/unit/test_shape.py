"""How the code is cut: files and functions stay small, conditions stay plain, names say what they hold."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("nexapod_batch/**/*.py"), *ROOT.glob("backends/nexapod_backends/**/*.py")])
#: What these start is what they try, and prints what they say.
SUITES = ROOT / "nexapod_batch/testing"
MAX_LINES, MAX_FUNCTION_LINES = 400, 40
#: Names that say nothing of what they hold: none of these is a parameter of a public function.
NO_NAMES = {"one", "said", "told", "found", "klass", "grain", "stamp", "least"}
#: What reads all that a program prints, however much that is.
READERS = {"check_output", "communicate", "getoutput", "getstatusoutput", "popen"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def long_functions(tree: ast.AST) -> Iterator[str]:
    """Yield functions that are longer than they may be."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS) and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES:
            yield f"{node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"


def nested_conditions(tree: ast.AST) -> Iterator[str]:
    """Yield conditional expressions in one another, or in f-strings."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.IfExp | ast.JoinedStr):
            continue
        inner = [below for child in ast.iter_child_nodes(node) for below in ast.walk(child)]
        if any(isinstance(below, ast.IfExp) for below in inner):
            yield f"line {node.lineno}: a conditional expression inside another, or in an f-string"


def empty_names(tree: ast.AST) -> Iterator[str]:
    """Yield parameters of public functions whose names say nothing."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS) and not node.name.startswith("_"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            yield from (f"{node.name}: {name.arg}" for name in arguments if name.arg in NO_NAMES)


def unbounded_readers(tree: ast.AST) -> Iterator[str]:
    """Yield calls that keep whatever a program prints: `files/answers.py` reads within bounds."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in READERS or any(word.arg == "capture_output" for word in node.keywords):
            yield f"line {node.lineno}: {name} reads without end: nexapod_batch.files.answers.ask"


CHECKS = {"readers": unbounded_readers, "functions": long_functions, "conditions": nested_conditions, "names": empty_names}
BAD = {
    "readers": "done = subprocess.run(argv, capture_output=True)\n",
    "functions": "def f():\n" + "    pass\n" * MAX_FUNCTION_LINES,
    "conditions": "x = a if b else (c if d else e)\n",
    "names": "def f(a, *, found): pass\n",
}
GOOD = {
    "readers": "done = answers.ask(argv, timeout_s=1)\nsubprocess.call(argv, stdout=log)\n",
    "functions": "def f():\n" + "    pass\n" * (MAX_FUNCTION_LINES - 1),
    "conditions": "x = a if b else c\ny = f'{x}'\n",
    "names": "def _f(found): pass\ndef g(replica): found = 1\n",
}


@pytest.mark.parametrize("what", CHECKS)
def test_what_is_looked_for_is_found(what: str) -> None:
    """A case on either side of each bound."""
    assert len(list(CHECKS[what](ast.parse(BAD[what])))) == 1
    assert list(CHECKS[what](ast.parse(GOOD[what]))) == []


@pytest.mark.parametrize("what", CHECKS)
def test_the_code_keeps_to_it(what: str) -> None:
    """In every module that is installed."""
    files = [file for file in SOURCES if what != "readers" or SUITES not in file.parents]
    found = {str(file.relative_to(ROOT)): list(CHECKS[what](ast.parse(file.read_bytes()))) for file in files}
    assert len(found) > 300
    assert {file: places for file, places in found.items() if places} == {}


def test_no_file_is_too_long() -> None:
    """A file is a room with one subject."""
    lines = {str(file.relative_to(ROOT)): len(file.read_bytes().splitlines()) for file in SOURCES}
    assert {file: number for file, number in lines.items() if number > MAX_LINES} == {}
