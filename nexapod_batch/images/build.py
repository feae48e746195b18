"""Apptainer, or Singularity where only that exists, as a builder of SIF files: found, checked, run, and understood."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.errors import ImageError, NexapodError, TryAgainError
from nexapod_batch.files.filesystem_type import filesystem_of
from nexapod_batch.images.cache import faults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.images.cache import Progress

__all__ = ["Builder", "find"]

#: The oldest Apptainer that is used; of Singularity the release from which it came, and SingularityCE of that time.
OLDEST = {"apptainer": (1, 1), "singularity": (3, 8)}
#: What it says as root inside a virtual machine or container that holds back CAP_SYS_RESOURCE.
_NO_CAPABILITY = "Requesting capability set"
_FULL = ("no space left on device", "disk quota exceeded", "file too large")
#: Of what the program says, the lines that are kept.
_TAIL = 1_000
#: Characters of one of them; what is longer is taken for several.
_MAX_LINE = 64 << 10


class Builder(Struct, frozen=True, kw_only=True):
    """One program that builds images."""

    program: str  # absolute path
    name: str  # apptainer | singularity
    version: tuple[int, ...]

    def build(
        self,
        source: str,
        folder: Path,
        progress: Progress,
        *,
        options: Sequence[str] = (),
        within: Path | None = None,
        loud: bool = False,
    ) -> Path:
        """Return a SIF file made in the folder of a pull; ImageError with the program's last words.

        The program runs in that folder, or `within` another, so that `source` can be a plain name there: to it a
        colon in a path means something. With `loud` a person hears all that it says.
        """
        target = folder / f"built-{os.getpid()}.sif"
        progress.start(f"{self.name} makes the image", None)
        with faults(folder):
            target.unlink(missing_ok=True)
            (folder / "tmp").mkdir(exist_ok=True)
        argv = [self.program, "build", "--force", *options, str(target) if within else target.name, source]
        if not loud:
            argv.insert(1, "--quiet")
        code, said = _run_anyhow(argv, folder, within or folder, progress, loud=loud)
        shutil.rmtree(folder / "tmp", ignore_errors=True)
        if code == 0 and target.exists():
            return target
        target.unlink(missing_ok=True)
        raise _failed(self.name, folder, code, said)


def _run_anyhow(argv: list[str], folder: Path, within: Path, progress: Progress, *, loud: bool) -> tuple[int, str]:
    """Return the exit code and what was said; where root lacks a capability, of a second try in a user namespace."""
    hear = progress.say if loud else None
    code, said = _run(argv, _environment(folder, os.environ), within, hear)
    if code and _NO_CAPABILITY in said and (unshare := shutil.which("unshare")):
        progress.say("root lacks a capability here: once more in a user namespace")
        argv = [unshare, "--map-root-user", *argv]
        code, said = _run(argv, _environment(folder, os.environ), within, hear)
    return code, said


def _failed(name: str, folder: Path, code: int, output: str) -> NexapodError:
    """Return why a program could not build an image."""
    if any(word in output.lower() for word in _FULL):
        hint = "make room (nexapod-batch image prune), or set images.dir to another folder"
        return TryAgainError(f"no room to build the image in {folder.parent}", got=_last(output), hint=hint)
    return ImageError(f"{name} cannot build the image", got=_last(output) or f"exit code {code}")


def find(path: str | None = None) -> Builder:
    """Return the builder of this machine, found in `path` or PATH; ImageError where there is none, or an old one."""
    for name, oldest in OLDEST.items():
        program = shutil.which(name, path=path)
        if program is None:
            continue
        _, said = _run([program, "--version"], dict(os.environ))
        found = re.search(r"(\d+(?:\.\d+)+)", said)
        version = tuple(map(int, found[1].split("."))) if found else ()
        if version < oldest:
            wanted = f"{name} {'.'.join(map(str, oldest))} or newer"
            got = said.strip().splitlines()[0][:100] if said.strip() else "no version"
            raise ImageError(f"{program} is too old to build images", got=got, wanted=wanted, hint=_ELSEWHERE)
        return Builder(program=program, name=name, version=version)
    raise ImageError("this needs Apptainer", got="neither apptainer nor singularity in PATH", hint=_ELSEWHERE)


_ELSEWHERE = "pull or build on another machine (apptainer pull image.sif ...), and name the .sif file"


def _environment(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the caller's binds and options, and with caches inside the folder of the pull.

    File systems over a network are slow at, or unfit for, the thousands of files of an unpacked image: there the
    program keeps its own temporary folder.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith(("APPTAINER", "SINGULARITY"))}
    scratch = next((environ[name] for name in ("APPTAINER_TMPDIR", "SINGULARITY_TMPDIR") if environ.get(name)), "")
    if not scratch and not filesystem_of(folder)[1]:
        scratch = str(folder / "tmp")
    for prefix in ("APPTAINER", "SINGULARITY"):
        kept[f"{prefix}_CACHEDIR"] = str(folder / "tmp")
        if scratch:
            kept[f"{prefix}_TMPDIR"] = scratch
    return kept


def _run(
    argv: Sequence[str],
    environ: Mapping[str, str],
    folder: Path | None = None,
    hear: Callable[[str], None] | None = None,
) -> tuple[int, str]:
    """Return exit code and last words of a program that is heard meanwhile; it ends when we are interrupted."""
    try:
        process = subprocess.Popen(
            argv,
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise ImageError(f"{argv[0]} cannot be started", got=error.strerror) from error
    said: deque[str] = deque(maxlen=_TAIL)
    assert process.stdout is not None  # noqa: S101 - it was asked for
    try:
        while line := process.stdout.readline(_MAX_LINE):
            bare = re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()
            said.append(bare)
            if hear is not None:
                hear(bare)
        process.wait()
    except BaseException:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        raise
    finally:
        process.stdout.close()
    return process.returncode, "\n".join(said)


def _last(output: str) -> str:
    """Return the line in which the program says what stopped it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("FATAL", "ERROR"))] or lines[-1:]
    if fatal:
        return re.sub(r"^(FATAL|ERROR):\s*", "", fatal[-1])[:500]
    return ""
