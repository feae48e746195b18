"""A root file system small enough to build images from in a second: one static program under many names."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["APPLETS", "build_sif", "make_python_tree", "make_tree"]

BUSYBOX = "/bin/busybox"
APPLETS = (
    "sh", "ls", "cat", "echo", "id", "sleep", "uname", "true", "mkdir", "cp", "rm", "tar", "env", "sha256sum", "touch",
    "chmod", "chown", "kill", "mount", "mknod", "ln",
)  # fmt: skip


def make_tree(folder: Path, *, ballast: int = 0, word: str = "hello") -> Path:
    """Make a root file system with a file that says `word`, and so many bytes that do not compress."""
    for name in ("bin", "etc", "tmp", "dev", "proc", "sys", "root", "var/tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "bin/busybox").write_bytes(Path(BUSYBOX).read_bytes())
    (folder / "bin/busybox").chmod(0o755)
    for name in APPLETS:
        (folder / "bin" / name).symlink_to("busybox")
    (folder / "etc/word").write_text(f"{word}\n")
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    if ballast:
        with (folder / "ballast").open("wb") as sink:
            for start in range(0, ballast, 1 << 20):
                sink.write(os.urandom(min(1 << 20, ballast - start)))
    return folder


def make_python_tree(folder: Path) -> Path:
    """Make a root file system with the machine's own Python, as its packages have it, and what that needs."""
    make_tree(folder)
    python = Path("/usr/bin/python3").resolve()
    library = Path("/usr/lib", python.name)
    extensions = sorted(library.glob("lib-dynload/*.so"))
    said = subprocess.run(["ldd", str(python), *map(str, extensions)], capture_output=True, text=True, check=True).stdout
    for path in {Path(word) for line in said.splitlines() for word in line.split() if word.startswith("/") and ":" not in word}:
        target = folder / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (folder / "usr/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(python, folder / "usr/bin/python3")
    leave = shutil.ignore_patterns("__pycache__", "test", "idlelib", "config-*", "site-packages", "dist-packages", "lib2to3")
    shutil.copytree(library, folder / library.relative_to("/"), ignore=leave)
    return folder


def build_sif(tree: Path, target: Path, *, compressed: bool = True) -> Path:
    """Build a SIF file from a tree with the real Apptainer."""
    options = [] if compressed else ["--mksquashfs-args", "-noI -noD -noF"]
    subprocess.run(
        ["apptainer", "--quiet", "build", "--force", *options, str(target), str(tree)], check=True, capture_output=True
    )
    return target
