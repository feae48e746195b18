"""What of containers works on this machine: which program, which of its modes, and what is missing.

Everything is found out by reading and by one call of the program (`buildcfg`, 50 ms), once for a process.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
from functools import cache
from mmap import ACCESS_READ, mmap
from pathlib import Path

from msgspec import Struct

from nexapod_batch.errors import PluginError
from nexapod_batch.files import answers
from nexapod_batch.runtimes import Fact

__all__ = ["Program", "Way", "examine", "find_program", "fuse", "user_namespaces", "way"]

#: The oldest versions that have every option that is used.
OLDEST = {"apptainer": (1, 1), "singularity": (3, 10)}
_NAMES = ("apptainer", "singularity")
_CALL_S = 60


class Program(Struct, frozen=True, kw_only=True):
    """A container program that was found and is new enough."""

    path: str
    name: str  # apptainer | singularity: what it is, whatever it is called
    version: str  # as it says it
    setuid: bool  # it was installed with a privileged helper
    helpers: str  # folder of the programs that it brings
    seccomp: bool = False  # it can filter system calls


class Way(Struct, frozen=True, kw_only=True):
    """How containers are run here."""

    mode: str  # as the statement says it: setuid | userns | root
    options: tuple[str, ...]
    unsquash: bool  # an image file is unpacked for every replica, as it cannot be mounted


@cache
def find_program(wanted: str, path: str) -> Program:
    """Return the container program: `wanted`, a name or a path, else the first in PATH. PluginError says what to do."""
    candidates = (wanted,) if wanted else _NAMES
    found = next(filter(None, (shutil.which(candidate, path=path) for candidate in candidates)), None)
    if found is None:
        raise PluginError(
            f"no {' and no '.join(candidates)} on this machine",
            got=f"PATH {path}" if not wanted.startswith("/") else None,
            hint="install apptainer 1.1 or newer, or set [container] runtime and module in the site file",
        )
    said = _configuration(found)
    name = "singularity" if said.get("PACKAGE_NAME", "").startswith("singularity") else "apptainer"
    version = said.get("PACKAGE_VERSION", "")
    oldest = OLDEST[name]
    if _numbers(version) < oldest:
        wanted_version = ".".join(map(str, oldest))
        raise PluginError(
            f"{found} is too old", got=f"{name} {version or 'of no known version'}", wanted=f"{wanted_version} or newer"
        )
    helpers = f"{said.get('LIBEXECDIR', '/usr/libexec')}/{name}/bin"
    return Program(
        path=os.path.abspath(found),
        name=name,
        version=re.sub(r"[^ -~]", "?", version)[:100],
        setuid=said.get(f"{name.upper()}_SUID_INSTALL") == "1",
        helpers=helpers,
        seccomp=any(_links(f"{helpers}/{starter}", b"libseccomp.so") for starter in ("starter", "starter-suid")),
    )


def _configuration(program: str) -> dict[str, str]:
    """Return what the program was built with: name, version, folders."""
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/proc/none", "LC_ALL": "C"}
    try:
        done = answers.ask([program, "buildcfg"], timeout_s=_CALL_S, env=env)
    except OSError as error:
        raise PluginError(f"{program} cannot be run", got=str(error)) from error
    stdout, stderr = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    if done.status:
        said = (stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise PluginError(f"{program} buildcfg ended with {done.status}", got=said, wanted="apptainer 1.1 or newer")
    return dict(line.split("=", 1) for line in stdout.splitlines() if "=" in line)


def _links(program: str, library: bytes) -> bool:
    """Say whether a program names a library that it was built with."""
    try:
        with open(program, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as text:
            return text.find(library) >= 0
    except (OSError, ValueError):
        return False


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition("-")[0])[:3]))


def way(program: Program) -> Way:
    """Return how containers run for this account on this machine; PluginError when they cannot.

    As root a process without any capability in a user namespace of its own: what it could still do as the owner of
    root's files is taken away by `command.hidden`. As an ordinary user whatever the program was installed for.
    """
    unsquash = not program.setuid and program.name == "apptainer" and fuse(program) is not None
    if os.geteuid() == 0:
        options = ("--userns", "--no-privs") if user_namespaces() is None else ("--no-privs",)
        return Way(mode="root", options=options, unsquash=unsquash)
    if program.setuid:
        return Way(mode="setuid", options=(), unsquash=False)
    trouble = user_namespaces()
    if trouble is not None:
        raise PluginError(
            f"{program.name} was installed without its setuid helper, and user namespaces are switched off",
            got=trouble,
            hint="sysctl user.max_user_namespaces=15000, or install apptainer-suid",
        )
    return Way(mode="userns", options=("--userns",), unsquash=unsquash)


def examine(wanted: str, path: str) -> list[Fact]:
    """Return what of containers works here for this account, and what to change."""
    try:
        program = find_program(wanted, path)
    except PluginError as error:
        return [Fact("fail", _sentence(error), error.hint or "")]
    helper = "with its setuid helper" if program.setuid else "without a setuid helper"
    facts = [Fact("ok", f"{program.name} {program.version} in {program.path}, {helper}")]
    try:
        how = way(program)
    except PluginError as error:
        return [*facts, Fact("fail", _sentence(error), error.hint or "")]
    facts.append(_namespaces(program))
    facts.append(_filter(program))
    if program.setuid:
        facts.append(Fact("ok", "image files are mounted by the setuid helper"))
    elif how.unsquash:
        hint = "install squashfuse, and let this account use /dev/fuse"
        facts.append(Fact("warn", f"every replica unpacks its image, which takes time and room: {fuse(program)}", hint))
    else:
        facts.append(Fact("ok", "image files are mounted through FUSE"))
    return [*facts, _overlay(), _fakeroot()]


def _sentence(error: PluginError) -> str:
    return str(error).partition("\n")[0]


def _namespaces(program: Program) -> Fact:
    """Try it where that can be done: more may forbid it than what can be read."""
    said = user_namespaces()
    tool = shutil.which("unshare")
    if said is None and tool is not None:
        said = _unshared(tool)
    if said is None:
        return Fact("ok", "user namespaces can be made")
    hint = "sysctl user.max_user_namespaces=15000"
    return Fact("ok" if program.setuid else "warn", f"user namespaces cannot be made: {said}", hint)


def _unshared(tool: str) -> str | None:
    """Return why no user namespace can be made; None when one was."""
    try:
        done = answers.ask([tool, "--user", "true"], timeout_s=_CALL_S)
    except OSError as error:
        return str(error)
    if done.status:
        return " ".join(done.stderr.decode("utf-8", "replace").split()) or f"{tool} ended with {done.status}"
    return None


def _filter(program: Program) -> Fact:
    if program.seccomp:
        return Fact("ok", "system calls are filtered in containers")
    return Fact("warn", f"system calls are not filtered: {program.name} has no libseccomp", "install one that has")


def _overlay() -> Fact:
    """Say how folders are put into an image that has no place for them."""
    try:
        kernel = "\toverlay\n" in Path("/proc/filesystems").read_text()
    except OSError:
        kernel = False
    if kernel or shutil.which("fuse-overlayfs"):
        by = "the kernel's overlay file system" if kernel else "fuse-overlayfs"
        return Fact("ok", f"images are extended by {by}")
    return Fact("ok", "images are extended by an underlay: neither the kernel's overlay nor fuse-overlayfs is there")


def _fakeroot() -> Fact:
    """Say whether images can be built whose recipes install something."""
    if os.geteuid() == 0:
        return Fact("ok", "images are built as root")
    name = pwd.getpwuid(os.geteuid()).pw_name
    try:
        ranges = any(line.startswith(f"{name}:") for line in Path("/etc/subuid").read_text().splitlines())
    except OSError:
        ranges = False
    if ranges and shutil.which("newuidmap"):
        return Fact("ok", f"images are built with the user ids that /etc/subuid gives {name}")
    if shutil.which("fakeroot"):
        return Fact("ok", "images are built with the program fakeroot")
    hint = "install fakeroot, or have an administrator give this account ids in /etc/subuid"
    return Fact("warn", "image build cannot install packages: no ids in /etc/subuid and no fakeroot", hint)


def user_namespaces() -> str | None:
    """Return what forbids this account a user namespace, None for nothing that can be read."""
    for name, bad in (
        ("user/max_user_namespaces", "0"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ):
        if os.geteuid() == 0 and name.startswith("kernel/"):
            continue
        try:
            value = Path("/proc/sys", name).read_text().strip()
        except OSError:
            continue
        if value == bad:
            return f"{name.replace('/', '.')} = {value}"
    return None


def fuse(program: Program) -> str | None:
    """Return what keeps an image file from being mounted through FUSE, None for nothing."""
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened by this account"
    path = f"{program.helpers}:{os.environ.get('PATH', os.defpath)}:/usr/bin:/usr/local/bin"
    if not (shutil.which("squashfuse_ll", path=path) or shutil.which("squashfuse", path=path)):
        return "squashfuse is not installed"
    return None
