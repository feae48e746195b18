"""Packages of plug-ins, installed as pip would do it: a module and a `.dist-info` on `sys.path`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NULL", "SITE", "install"]

#: A backend with a table of its own, as an outsider writes one.
NULL = Path(__file__).with_name("null_backend.py").read_text(encoding="utf-8")
#: A site whose backend comes from elsewhere.
SITE = """schema = 1
[site]
name = "far"
[scheduler]
type = "odd"
[[partitions]]
name = "p"
"""


def install(folder: Path, name: str, code: str, points: Mapping[str, str], version: str = "1.0") -> Path:
    """Install a package with one module `{name}`, which has underscores for dashes; return the folder for `sys.path`.

    `points` are entry points: group without `nexapod_batch.` -> lines.
    """
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name.replace('-', '_')}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [f"[nexapod_batch.{group}]\n{lines}\n" for group, lines in points.items()]
    (info / "entry_points.txt").write_text("".join(groups))
    return folder
