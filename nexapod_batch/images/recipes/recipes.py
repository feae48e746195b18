"""Images built from a recipe: a Dockerfile, converted with spython, or an Apptainer definition file as it is."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from nexapod_batch import interpreter
from nexapod_batch.errors import ConfigError, ImageError
from nexapod_batch.files import answers, atomic
from nexapod_batch.images import build as builders
from nexapod_batch.images import sif
from nexapod_batch.images.cache import faults
from nexapod_batch.images.recipes.dockerfile import plain
from nexapod_batch.images.remote.registry import is_loopback
from nexapod_batch.requirements import install_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.images.cache import Progress

__all__ = ["Recipe", "build", "read"]

#: The largest recipe that is read, in bytes.
_MOST = 1024 * 1024
#: Seconds for which spython may think about a Dockerfile.
_PATIENCE_S = 120
_DEFINITION = re.compile(r"^\s*bootstrap\s*:", re.IGNORECASE | re.MULTILINE | re.ASCII)


class Recipe(Struct, frozen=True, kw_only=True):
    """What to build, and the folder that its paths are relative to."""

    definition: str  # text of an Apptainer definition file
    folder: Path
    warnings: tuple[str, ...] = ()  # what a Dockerfile says and the image will not do


def read(file: Path) -> Recipe:
    """Return a recipe; ImageError for a file that is none, or names in it, by line, what cannot be converted."""
    try:
        with file.open("rb") as stream:
            text = stream.read(_MOST + 1).decode()
    except OSError as error:
        raise ImageError(f"recipe {file} cannot be read", got=error.strerror, wanted="a Dockerfile") from error
    except UnicodeDecodeError as error:
        raise ImageError(f"recipe {file} is not text", got=error.reason, wanted="UTF-8") from error
    if len(text) > _MOST or "\0" in text:
        raise ImageError(f"recipe {file} is not text", wanted="a Dockerfile of at most 1 MiB")
    folder = file.absolute().parent
    if _DEFINITION.search(text):
        return Recipe(definition=text, folder=folder)
    found = plain(text, str(file))
    lines: list[str] = []
    for line in found.lines:
        lines += _with_contents(line, folder)
    sections = _sections("\n".join(lines) + "\n", found.environment)
    warnings = list(found.warnings)
    if (folder / ".dockerignore").exists():
        warnings.append(".dockerignore is not looked at")
    return Recipe(definition=_header(found.base) + sections, folder=folder, warnings=tuple(warnings))


def build(recipe: Recipe, target: Path, progress: Progress) -> dict[str, Any]:
    """Build a recipe into a file, which appears only when it is whole; return what became of it."""
    builder = builders.find()
    base = re.search(r"^\s*from\s*:\s*(?:docker://)?([^\s/]+)/", recipe.definition, re.IGNORECASE | re.MULTILINE)
    options = ["--no-https"] if base and is_loopback(base[1]) else []
    with faults(target.parent):
        folder = tempfile.TemporaryDirectory(prefix=".nexapod-build-", dir=target.parent)
    with folder as name:
        definition = Path(name, "image.def")
        definition.write_text(recipe.definition)
        made = builder.build(
            str(definition), Path(name), progress, options=options, within=recipe.folder, loud=True
        )
        header = sif.read(made)
        with made.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        with faults(target.parent):
            atomic.sync_files([made])
            made.replace(target)
            atomic.sync_files([target])
    return {"file": str(target), "sha256": sha256, "bytes": header.size, "architecture": header.architecture or None}


def _header(base: str) -> str:
    """Return how a definition file names the base of a Dockerfile."""
    if base == "scratch":
        return "Bootstrap: scratch\n\n"
    kind = "localimage" if base.endswith(".sif") or base.startswith(("/", "./", "../")) else "docker"
    return f"Bootstrap: {kind}\nFrom: {base}\n\n"


def _with_contents(line: str, folder: Path) -> Iterator[str]:
    """Yield a line of a plain Dockerfile; of a folder, COPY means what is in it."""
    word, _, rest = line.partition(" ")
    if word == "COPY":
        source, _, target = rest.partition(" ")
        source = source.lstrip("/") or "."
        if (folder / source).is_dir():
            source = f"{source.rstrip('/')}/."
        yield f"COPY {source} {target}"
    else:
        yield line


def _sections(text: str, environment: list[str]) -> str:
    """Return what spython makes of a plain Dockerfile, without the header."""
    with tempfile.TemporaryDirectory(prefix="nexapod-") as folder:
        file = Path(folder, "Dockerfile")
        file.write_text(text)
        try:
            done = answers.ask(
                interpreter.module("nexapod_batch.images.recipes.spython_child", str(file)),
                text="\n".join(environment).encode(),
                timeout_s=_PATIENCE_S,
                cwd=interpreter.FOLDER,
                env={**interpreter.environment(os.environ), "MESSAGELEVEL": "QUIET"},
            )
        except OSError as error:
            raise ImageError("spython cannot convert the Dockerfile", got=str(error)) from error
    stdout, stderr = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    if done.status == 3:
        raise ConfigError(
            "a Dockerfile is converted with spython, which is not installed",
            hint=f"{install_command(['spython'])}, or write an Apptainer definition file",
        )
    if done.status:
        last = (stderr.strip() or stdout.strip() or f"exit code {done.status}").splitlines()[-1]
        raise ImageError("spython cannot convert the Dockerfile", got=last)
    return stdout
