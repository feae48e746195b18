"""Results of many tasks copied to one place: as folders, as files of telling names, or as one table."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexapod_batch.errors import NexapodError
from nexapod_batch.files import umask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["collect"]

Document = dict[str, Any]
#: Larger files are copied, and never read into a table.
_MAX_TABLE_BYTES = 16 * 1024 * 1024
#: A standard output that is a value rather than a text.
_MAX_LINE = 1_000


def collect(rows: Sequence[Document], out: str, layout: str) -> Document:
    """Copy the results of tasks to a folder and return `{"folder", "layout", "files", "tasks"}`.

    Args:
        rows: a `task` (`42_7`), the `path` of its results and its `parameters`, each.
        out: the folder; it is made where it is not there, and files of other names in it stay.
        layout: `folders` (a folder for each task), `flat` (`42_7.name`), or `table` (one `table.csv`).

    Raises:
        NexapodError: a name is taken by a folder, or two outputs would have one name.
        OSError: a file cannot be read or written.
    """
    folder = Path(out)
    with umask.as_given():
        folder.mkdir(parents=True, exist_ok=True)
        if layout == "table":
            count = _table(rows, folder / "table.csv")
        else:
            count = sum(_copied(row, folder, flat=layout == "flat") for row in rows)
    return {"folder": str(folder), "layout": layout, "files": count, "tasks": len(rows)}


def _copied(row: Document, folder: Path, *, flat: bool) -> int:
    """Copy the results of one task; return the number of files."""
    count = 0
    seen: set[str] = set()
    for file, name in _files(Path(row["path"])):
        target = folder / (f"{row['task']}.{name.replace('/', '.')}" if flat else f"{row['task']}/{name}")
        if str(target) in seen or target.is_dir():
            raise NexapodError("two outputs would have one name", got=str(target), hint="leave --flat out")
        seen.add(str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        count += 1
    manifest = Path(f"{row['path']}.manifest")
    if manifest.is_file():
        shutil.copyfile(manifest, folder / f"{row['task']}.manifest")
    return count


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every plain file below a folder and its name there, in the order of names."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = Path(place) / name
            if file.is_file() and not file.is_symlink():
                yield file, str(file.relative_to(folder))


def _table(rows: Sequence[Document], target: Path) -> int:
    """Write a row for each task, or one for each line of its CSV output; return the number of files written."""
    lines = [line for row in rows for line in _lines(row)]
    columns = dict.fromkeys(["task", *(name for row in rows for name in row["parameters"])])
    columns.update(dict.fromkeys(name for line in lines for name in line))
    with target.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.DictWriter(stream, list(columns), restval="")
        writer.writeheader()
        writer.writerows(lines)
    return 1


def _lines(row: Document) -> Iterator[dict[str, str]]:
    """Yield the lines of a task: one, or one for each record of its first output that has several."""
    head = {"task": row["task"], **row["parameters"]}
    single: dict[str, str] = {}
    several: list[dict[str, str]] = []
    for records in _values(Path(row["path"])):
        if len(records) == 1:
            single.update(records[0])
        else:
            several = several or records
    for record in several or [{}]:
        values = {**single, **record}
        yield {**{_free(name, head): value for name, value in values.items()}, **head}


def _free(name: str, head: Document) -> str:
    """Return the name of an output's column that no parameter has."""
    if name in head:
        return f"output.{name}"
    return name


def _values(folder: Path) -> Iterator[list[dict[str, str]]]:
    """Yield what the outputs of a task say, one list of records for each file that can be read as such."""
    for file, name in _files(folder):
        reader = _READERS.get(name if name == "stdout" else file.suffix)
        if reader is None or file.stat().st_size > _MAX_TABLE_BYTES:
            continue
        try:
            yield reader(file)
        except (ValueError, csv.Error, RecursionError):
            continue  # not what its name says: it is no column


def _line_records(file: Path) -> list[dict[str, str]]:
    """Return what was printed, where that is one line."""
    text = file.read_text("utf-8").strip()
    if text and "\n" not in text and len(text) <= _MAX_LINE:
        return [{"stdout": text}]
    return []


def _json_records(file: Path) -> list[dict[str, str]]:
    document = json.loads(file.read_bytes())
    if not isinstance(document, dict):
        return []
    plain = {name: value for name, value in document.items() if isinstance(value, str | int | float)}
    if plain:
        return [{name: str(value) for name, value in plain.items()}]
    return []


def _csv_records(file: Path) -> list[dict[str, str]]:
    delimiter = "\t" if file.suffix == ".tsv" else ","
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream, delimiter=delimiter)
        return [{name: value or "" for name, value in row.items() if name is not None} for row in reader]


#: By the ending of a file, and for what was printed.
_READERS = {".json": _json_records, ".csv": _csv_records, ".tsv": _csv_records, "stdout": _line_records}
