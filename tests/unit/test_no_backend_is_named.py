"""The core, its schema and its command line name no backend: what one needs, it brings by entry point."""

from __future__ import annotations

import ast
from pathlib import Path

import nexapod_batch

ROOT = Path(nexapod_batch.__file__).parent
BACKENDS = ("slurm", "dask")
#: Files, and folders, that hold such a word in something other than a docstring or a comment, and why that is no backend's name.
ALLOWED = {
    "birth.py": "variables that launchers of ranks hand to a process, by their prefixes",
    "cli/drafts/": "batch scripts are one of the ways to write a job down",
    "cli/examples.py": "a command line, as people type it",
    "cli/reference.py": "prose: whose grammar times are in",
    "config/job/job_schema.py": "prose: whose grammar task ids are in",
    "config/reference.py": "prose: whose units these are",
    "wording/reference.py": "prose: what the codes of backends look like",
    "runner/": "variables and messages of the allocation, and of the launcher of ranks, in which a runner finds itself",
}


def named(source: str) -> list[str]:
    """Return the names and texts of a module, without docstrings and comments, that hold the name of a backend."""
    tree = ast.parse(source)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            statement = node.body[0]
            assert isinstance(statement, ast.Expr)
            docstrings.add(id(statement.value))
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            texts = [node.value] if isinstance(node.value, str) and id(node) not in docstrings else []
        else:
            texts = [value for _, value in ast.iter_fields(node) if isinstance(value, str)]
        found += [text for text in texts if any(name in text.lower() for name in BACKENDS)]
    return found


def test_what_is_looked_for_is_found() -> None:
    """Names, attributes, imports, keywords and texts count; docstrings and comments do not."""
    code = 'import dask.config\n"""slurm"""\ndef f(slurm):\n    """Of Dask."""\n    return site.dask, g(on_dask=1), "type = slurm"  # slurm\n'
    assert sorted(named(code)) == ["dask", "dask.config", "on_dask", "slurm", "slurm", "type = slurm"]


def test_no_module_of_the_core_names_a_backend() -> None:
    """A site file's table, a word of `--dry-run`, a login node: all come with the backend."""
    found = {str(path.relative_to(ROOT)): named(path.read_text(encoding="utf-8")) for path in ROOT.rglob("*.py")}
    naming = {path: words for path, words in found.items() if words}
    assert {path: words for path, words in naming.items() if not path.startswith(tuple(ALLOWED))} == {}
    assert [allowed for allowed in ALLOWED if not any(path.startswith(allowed) for path in naming)] == []
