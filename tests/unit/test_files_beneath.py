"""What a descriptor may name: files beneath its folder, others where a person allows them, the kernel's never."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.errors import DescriptorError
from nexapod_batch.files import beneath
from nexapod_batch.files.beneath import OutsideError, open_beneath
from nexapod_batch.files.careful import NotPlainError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = b"the submitter's key\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a stranger's folder beside something that is none of the stranger's business."""
    (tmp_path / "secret").write_bytes(SECRET)
    one = tmp_path / "job"
    (one / "data").mkdir(parents=True)
    (one / "data/in.csv").write_bytes(b"a,b\n1,2\n")
    return one


def content(fd: int) -> bytes:
    """Return what is behind a descriptor, and close it."""
    with os.fdopen(fd, "rb") as stream:
        return stream.read()


OUTSIDE: dict[str, Callable[[Path], str]] = {
    "an absolute path": lambda folder: str(folder.parent / "secret"),
    "a path that goes up": lambda _: "../secret",
    "a path that goes down and up": lambda _: "data/../../secret",
    "an absolute path that goes up": lambda folder: f"{folder}/../secret",
    "a link": lambda folder: ((folder / "l").symlink_to("../secret"), "l")[1],
    "an absolute link": lambda folder: ((folder / "l").symlink_to(folder.parent / "secret"), "l")[1],
    "a link to a link": lambda folder: ((folder / "k").symlink_to("../secret"), (folder / "l").symlink_to("k"), "l")[2],
    "a folder that is a link": lambda folder: ((folder / "d").symlink_to(".."), "d/secret")[1],
}
LINKS = {kind for kind in OUTSIDE if "link" in kind}


@pytest.mark.parametrize("kind", OUTSIDE)
def test_what_leads_outside_needs_a_word(folder: Path, kind: str) -> None:
    """Whichever way a name leads out of the folder, it is refused, and opened where that is allowed."""
    name = OUTSIDE[kind](folder)
    with pytest.raises(OutsideError):
        open_beneath(folder, name)
    assert content(open_beneath(folder, name, outside=True)) == SECRET


@pytest.mark.parametrize("kind", OUTSIDE)
def test_without_the_kernels_help_no_link_is_followed(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a kernel that does not know openat2 the same names are refused, links altogether."""
    monkeypatch.setattr(beneath, "_OPENAT2", 100_000)  # a number that no kernel knows
    with pytest.raises(OSError):  # noqa: PT011 - which error depends on the part that is the link
        os.close(open_beneath(folder, OUTSIDE[kind](folder)))
    assert content(open_beneath(folder, "data/in.csv")) == b"a,b\n1,2\n"


def test_what_lies_beneath_is_opened(folder: Path) -> None:
    """Relative and absolute spellings of the folder's own files, and links that stay in it."""
    (folder / "l").symlink_to("data/in.csv")
    for name in ("data/in.csv", "./data//in.csv", "data/../data/in.csv", str(folder / "data/in.csv"), "l"):
        assert content(open_beneath(folder, name)) == b"a,b\n1,2\n"


KERNELS = ["/proc/self/environ", "/proc/self/pagemap", "/proc/1/environ", "/sys/kernel/notes", "/proc/version"]


@pytest.mark.parametrize("name", KERNELS)
def test_the_kernels_own_files_are_never_opened(folder: Path, name: str) -> None:
    """Neither by name nor behind a link, allowed or not: some tell secrets, and some never end."""
    (folder / "l").symlink_to(name)
    for spelled in (name, "l"):
        with pytest.raises(OSError):  # noqa: PT011 - or it is not there
            os.close(open_beneath(folder, spelled, outside=True))


@pytest.mark.parametrize("name", ["/proc/self/root/etc/hostname", "/proc/self/cwd", "/dev/zero", "/dev/stdin"])
def test_magic_links_and_devices_are_refused(folder: Path, name: str) -> None:
    """Links of the kernel's own lead nowhere, and a device is no file."""
    with pytest.raises(OSError):  # noqa: PT011 - ELOOP or no plain file
        os.close(open_beneath(folder, name, outside=True))


def test_a_fifo_is_not_waited_for(folder: Path) -> None:
    """Nobody writes to it, and the open is over all the same."""
    os.mkfifo(folder / "f")
    with pytest.raises(NotPlainError, match="special file"):
        open_beneath(folder, "f")


PLACES = {
    "inputs": ('[[inputs]]\nsource = "l"\ntarget = "t"\n', "inputs[0].source"),
    "array": ('[array]\nvalues = "l.csv"\n', "array.values"),
    "image": ('[container]\nimage = "l.sif"\n', "container.image"),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_file_of_a_descriptor_is_asked_about(folder: Path, place: str) -> None:
    """Inputs, values of arrays and images alike: refused with the option that allows them, then listed."""
    section, path = PLACES[place]
    (folder.parent / "values.csv").write_text("x\n1\n")
    for name in ("l", "l.csv", "l.sif"):
        (folder / name).symlink_to("../values.csv")
    text = f'schema = 1\n[job]\ncommand = ["true"]\n{section}'
    with pytest.raises(DescriptorError) as caught:
        parse(text, folder)
    assert "outside the folder of the descriptor" in str(caught.value)
    assert "--allow-outside" in str(caught.value)
    warnings = parse(text, folder, outside=True).warnings
    assert any(one.startswith(f"{path}: {folder.parent}/values.csv lies outside") for one in warnings)
