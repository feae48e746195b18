"""The runner for machines on which nothing of ours is installed: an interpreter and what the runner imports.

The copy is made from this very installation, unpacked beside the spools of a site under the digest of what is in it,
tried where it lies, and only then given its name; so it is brought once, and never half. It needs the same system and
architecture, a C library that is not older, and no network. Whatever else is missing there shows in the trial, and is
refused with a way out.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import secrets
import sys
import sysconfig
import tarfile
import tempfile
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch import __version__, interpreter
from nexapod_batch.errors import ConfigError, SchedulerError
from nexapod_batch.files import answers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_backends.slurm.transport import Done, Transport

__all__ = ["argv", "check_platform", "install", "members", "place", "sweep"]

_DISTRIBUTION = "nexapod-batch"
#: Parts of our packages that a runner never imports, and what it imports of others.
_OURS = {
    "nexapod_batch": {"cli", "config", "coordinator", "local_nodes", "quorum", "site_configs", "store", "templates"},
    "nexapod_backends": {"slurm"},
}
_OTHERS = ("msgspec", "nacl", "_cffi_backend", "orjson", "pynvml", "re2")
#: Parts of the standard library that are large and of no use to a runner.
_NOT_STANDARD = frozenset({
    *("site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip"),
    *("pydoc_data", "unittest", "venv", "sqlite3", "distutils", "__pycache__"),
})  # fmt: skip
_NO_ENDINGS = (".pyc", ".a", ".exe")
_NO_BEGINNINGS = ("_test", "_ctypes_test", "_tkinter", "_sqlite3", "_xx", "xx")
#: Libraries that belong to the system: with another loader they would not work.
_SYSTEM = re.compile(r"(ld-linux.*|ld-musl.*|lib(c|m|dl|rt|util|pthread|resolv|nss_\w+|anl|BrokenLocale))[-.].*so.*")
_MARK = "BROUGHT"
_TRIAL = (
    "import nexapod_batch.runner.startup.program, sys; from nexapod_batch.plugins import load; "
    "from nexapod_batch.compare.registry import comparison; from nexapod_batch.model.job import Comparator; "
    "list(map(comparison, Comparator)); import re2; load('runtime', 'bare'); "
)
_UNPACK = 'umask 077; mkdir "$1" && tar -xzf "$2" -C "$1"; code=$?; rm -f "$2"; exit $code'
_NAME = 'mv -T "$1" "$2" 2>/dev/null || { [ -d "$2" ] && rm -rf "$1"; }'
#: Removes the copies in $1 that are not $2 and that no group names, and prints the others. A copy is taken away first,
#: and put back if it was named meanwhile. What an installation left that was cut off goes after a day.
_SWEEP = """
cd "$1" 2>/dev/null || exit 0
named() { [ -n "$(find . -path './*/groups/*.json' -exec grep -lF "$1/" {} + | head -n 1)" ]; }
find . -maxdepth 1 -name '.runner-*' -mmin +1440 -exec rm -rf {} +
for old in runner-*; do
  [ -d "$old" ] && [ "$old" != "$2" ] || continue
  if named "$old"; then echo "$old"; continue; fi
  mv -T "$old" ".$old" 2>/dev/null || continue
  if named "$old" && mv -T ".$old" "$old" 2>/dev/null; then echo "$old"; else rm -rf ".$old"; fi
done
"""
_PATIENCE_S = 600
_HINT = 'install nexapod-batch there and set [runner] python = "/path/to/bin/python" in the site file'


def place(corner: str) -> str:
    """Return the folder of the runner inside the folder that all spools of a site share."""
    return f"{corner}/runner-{_digest()}"


def argv(corner: str) -> tuple[str, ...]:
    """Return the words that start its interpreter, free of what the environment says to interpreters."""
    root = place(corner)
    return ("/usr/bin/env", f"LD_LIBRARY_PATH={root}/lib", f"{root}/bin/python3", "-I")


def install(site: str, files: Transport, corner: str) -> bool:
    """Bring the runner where it is not there yet, and say whether that was so; ConfigError when it cannot run there."""
    root = place(corner)
    if _MARK in files.sizes(root):
        return False
    said = files.run(["sh", "-c", "uname -sm; getconf GNU_LIBC_VERSION"], {}, text="", timeout_s=60)
    check_platform(site, said.stdout)
    files.make([corner])
    partial = f"{corner}/.runner-{secrets.token_hex(6)}"
    with tempfile.NamedTemporaryFile(prefix="nexapod-runner-") as stream:
        _build(stream.name)
        files.put(Path(stream.name), f"{partial}.tar.gz")
    try:
        _done(site, _run(files, "sh", "-c", _UNPACK, "sh", partial, f"{partial}.tar.gz"), "be unpacked")
        env = f"LD_LIBRARY_PATH={partial}/lib"
        tried = _run(files, "env", env, f"{partial}/bin/python3", "-I", "-c", f"{_TRIAL}print(sys.prefix)")
        where = tried.stdout.strip()
        if tried.returncode or os.path.basename(where) != os.path.basename(partial):
            got = _last(tried.stderr) or f"it takes itself for {where!r}"
            what = f"site {site}: the runner that was brought along does not start there"
            raise ConfigError(what, got=got, hint=_HINT)
        _done(site, _run(files, "sh", "-c", _NAME, "sh", partial, root), "be named")
    except ConfigError:
        files.remove_tree(partial)
        raise
    return True


def sweep(files: Transport, corner: str) -> list[str]:
    """Remove the copies of earlier versions that nothing can start any more; return the names of those that stay."""
    return _run(files, "sh", "-c", _SWEEP, "sh", corner, os.path.basename(place(corner))).stdout.split()


def check_platform(site: str, answer: str) -> None:
    """Compare what `uname -sm` and `getconf GNU_LIBC_VERSION` say there with this machine; ConfigError."""
    here = os.uname()
    system, libc = f"{here.sysname} {here.machine}", os.confstr("CS_GNU_LIBC_VERSION") or "another C library"
    lines = [*answer.strip().split("\n"), "", ""]
    there, their_libc = lines[0].strip(), lines[1].strip() or "another C library"
    if there == system and their_libc.split()[0] == libc.split()[0] and _version(their_libc) >= _version(libc):
        return
    raise ConfigError(
        f"site {site}: a runner from here cannot run there", got=re.sub(r"[^ -~]", "?", f"{there}, {their_libc}")[:200],
        wanted=f"{system}, {libc} or newer, as here", hint=_HINT,
    )  # fmt: skip


@cache
def members() -> tuple[tuple[str, Path], ...]:
    """Return what the copy holds: name in it and file here, without the libraries that only building finds."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    library = f"{sys.platlibdir}/{version}"
    found = [("bin/python3", Path(interpreter.own()).resolve())]
    shared = Path(str(sysconfig.get_config_var("LIBDIR")), str(sysconfig.get_config_var("INSTSONAME")))
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and shared.is_file():
        found.append((f"lib/{shared.name}", shared.resolve()))
    for kind in ("stdlib", "platstdlib"):
        found += _tree(Path(sysconfig.get_path(kind)), library, _NOT_STANDARD)
    for name, without in _OURS.items():
        found += _package(name, library, frozenset(without))
    for name in _OTHERS:
        found += _package(name, library, frozenset())
    return tuple(sorted(dict(found).items()))


@cache
def _digest() -> str:
    """Return a name for this very copy: sizes and times of its files are enough to see a change of them."""
    seen = [(name, (status := path.stat()).st_size, status.st_mtime_ns) for name, path in members()]
    return hashlib.sha256(json.dumps([sys.version, __version__, _entry_points(), seen]).encode()).hexdigest()[:16]


def _package(name: str, library: str, without: frozenset[str]) -> Iterator[tuple[str, Path]]:
    """Yield the files of an installed package or module, beside the standard library: that is always looked at."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        hint = "install nexapod-batch again"
        raise ConfigError(f"package {name} cannot be copied for a runner", got="no files", hint=hint)
    if spec.submodule_search_locations is None:
        yield f"{library}/{Path(spec.origin).name}", Path(spec.origin)
        return
    yield from _tree(Path(spec.origin).parent, f"{library}/{name}", without | {"__pycache__"})


def _tree(folder: Path, name: str, without: frozenset[str]) -> Iterator[tuple[str, Path]]:
    for here, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if one not in without and not one.startswith("config-")]
        inside = os.path.relpath(here, folder)
        for file in files:
            path = Path(here, file)
            if not file.endswith(_NO_ENDINGS) and not file.startswith(_NO_BEGINNINGS) and path.is_file():
                yield os.path.normpath(f"{name}/{inside}/{file}"), path


def _entry_points() -> str:
    from importlib.metadata import distribution  # noqa: PLC0415 - only where a runner is brought along

    return distribution(_DISTRIBUTION).read_text("entry_points.txt") or ""


def _libraries() -> list[Path]:
    """Return the shared libraries that a runner here has loaded, without the system's own."""
    own = {path.resolve() for _, path in members()}
    libraries = {one for one in _mapped() - own if ".so" in one.name and one.is_file()}
    return sorted(one for one in libraries if not _SYSTEM.fullmatch(one.name))


def _mapped() -> set[Path]:
    """Return the files that a runner here has in its memory."""
    code = f"{_TRIAL}import hashlib, ctypes; print(open('/proc/self/maps').read())"
    hint = "install nexapod-batch again"
    try:
        done = answers.ask(interpreter.code(code), timeout_s=60, cwd=interpreter.FOLDER)
    except OSError as error:
        raise ConfigError("the runner does not start here", got=str(error), hint=hint) from error
    if done.status:
        said = _last(done.stderr.decode("utf-8", "replace"))
        raise ConfigError("the runner does not start here", got=said, hint=hint)
    lines = (line.split(maxsplit=5) for line in os.fsdecode(done.stdout).splitlines())
    return {Path(fields[5]).resolve() for fields in lines if len(fields) == 6}


def _aliases(library: Path) -> list[str]:
    """Return the names of links beside a library that lead to it."""
    found = library.parent.glob(library.name.partition(".so")[0] + ".so.*")
    return sorted(one.name for one in found if one.is_symlink() and one.resolve() == library)


def _build(file: str) -> None:
    """Write the archive."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    about = f"{sys.platlibdir}/{version}/nexapod_batch-{__version__}.dist-info"
    texts = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {_DISTRIBUTION}\nVersion: {__version__}\n",
        f"{about}/entry_points.txt": _entry_points(),
        _MARK: f"nexapod-batch {__version__}, Python {sys.version}\n",
    }
    libraries = [(f"lib/{path.name}", path) for path in _libraries()]
    with tarfile.open(file, "w:gz", compresslevel=1) as archive:
        for name, path in [*members(), *libraries]:
            with path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                member = tarfile.TarInfo(name)
                member.size, member.mtime, member.mode = status.st_size, int(status.st_mtime), status.st_mode & 0o700
                archive.addfile(member, stream)
        for _, path in libraries:  # programs ask for them by shorter names
            for alias in _aliases(path):
                member = tarfile.TarInfo(f"lib/{alias}")
                member.type, member.linkname = tarfile.SYMTYPE, path.name
                archive.addfile(member)
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o600
            archive.addfile(member, BytesIO(text.encode()))


def _run(files: Transport, *words: str) -> Done:
    try:
        return files.run(words, {}, text="", timeout_s=_PATIENCE_S)
    except TimeoutError as error:
        raise SchedulerError("the runner cannot be brought along", got=str(error), hint="it is tried again") from error


def _done(site: str, done: Done, what: str) -> None:
    if done.returncode:
        got = _last(done.stderr) or f"exit code {done.returncode}"
        raise ConfigError(f"site {site}: the runner that was brought along cannot {what}", got=got, hint=_HINT)


def _last(said: str) -> str:
    """Return the last line of what a command said, for people."""
    return re.sub(r"[^ -~]", "?", said.strip().rpartition("\n")[2])[:300]


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:2]))
