"""The image cache: a name only for what is whole and right, room by last use, nothing that a job needs is lost."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from pathlib import Path

import pytest
from sifs import AMD64, ARM64, sif_bytes, write_sif

from nexapod_batch.errors import ConfigError, ImageError, TryAgainError
from nexapod_batch.images.cache import Cache
from nexapod_batch.images.local import from_file, tree_digest


class Heard:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.said: list[str] = []

    def start(self, what: str, total: int | None) -> None:  # noqa: ARG002 - the port's
        """Keep it."""
        self.said.append(what)

    def advance(self, count: int) -> None:
        """Count nothing."""

    def say(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Return a cache whose folder nobody made yet."""
    return Cache(tmp_path / "images")


def sif(tmp_path: Path, name: str, size: int = 1000, architecture: bytes = AMD64) -> Path:
    """Write an image of its own for each name."""
    return write_sif(tmp_path / f"{name}.sif", content=name.encode().ljust(size, b"."), architecture=architecture)


def add(cache: Cache, path: Path) -> str:
    """Add a file to a cache; return its digest."""
    return from_file(cache, path, "", Heard()).sha256


def test_an_image_is_a_file_named_by_its_digest(cache: Cache, tmp_path: Path) -> None:
    """Whole, read-only, a copy that edits of the original do not reach."""
    path = sif(tmp_path, "a")
    body = path.read_bytes()
    found = from_file(cache, path, "", Heard())
    assert found.path == cache.folder / f"{hashlib.sha256(body).hexdigest()}.sif"
    assert found.path.stat().st_mode & 0o777 == 0o444
    with path.open("r+b") as stream:
        stream.seek(5)
        stream.write(b"edited")
    assert found.path.read_bytes() == body
    assert (found.architecture, found.references, found.size) == ("x86_64", (str(path),), len(body))


def test_the_same_file_again_is_the_same_image(cache: Cache, tmp_path: Path) -> None:
    """Under every name that it came by; it is copied once."""
    first, second = sif(tmp_path, "a"), tmp_path / "b.sif"
    second.write_bytes(first.read_bytes())
    heard = Heard()
    from_file(cache, first, "", heard)
    found = from_file(cache, second, "", heard)
    assert [found.references, len(cache.images())] == [(str(first), str(second)), 1]
    assert heard.said == [f"copying {first}"]


def test_another_image_than_pinned_is_refused(cache: Cache, tmp_path: Path) -> None:
    """With both digests, and nothing is kept."""
    path = sif(tmp_path, "a")
    with pytest.raises(ImageError, match=f"not the one that was meant: got sha256 [0-9a-f]{{64}}, wanted {'0' * 64}"):
        from_file(cache, path, "0" * 64, Heard())
    assert cache.images() == []


def test_a_pull_that_brought_something_else_keeps_nothing(cache: Cache, tmp_path: Path) -> None:
    """What is no image, or not the one wanted, gets no name and is begun anew."""
    for body, wanted in ((b"not an image", ""), (sif_bytes(), "0" * 64)):
        with pytest.raises(ImageError), cache.pulling("key", Heard()) as folder:  # noqa: PT012 - inside is the point
            (folder / "image.sif").write_bytes(body)
            cache.keep(folder / "image.sif", "docker://x", wanted)
        assert not list(cache.folder.rglob("*.sif"))


def test_a_lost_record_is_read_from_the_image_again(cache: Cache, tmp_path: Path) -> None:
    """The record is a help, the file is the thing."""
    digest = add(cache, sif(tmp_path, "a", architecture=ARM64))
    for body in (b"", b"{}", b"nonsense"):
        (cache.folder / f"{digest}.json").write_bytes(body)
        found = cache.image(digest)
        assert found is not None
        assert (found.architecture, found.references) == ("aarch64", ())


def test_images_are_found_by_reference_and_architecture(cache: Cache, tmp_path: Path) -> None:
    """One reference may lead to several images."""
    ours, theirs = add(cache, sif(tmp_path, "a")), add(cache, sif(tmp_path, "b", architecture=ARM64))
    for digest in (ours, theirs):
        cache.refer(digest, "docker://x@sha256:1")
    found = [cache.find("docker://x@sha256:1", machine) for machine in ("x86_64", "aarch64", "s390x")]
    assert [one.sha256 if one else None for one in found] == [ours, theirs, None]


def used(cache: Cache, *digests: str) -> None:
    """Say in which order images were used, the longest ago first."""
    for at, digest in enumerate(digests):
        os.utime(cache.folder / f"{digest}.json", (at, at))


def test_the_longest_unused_goes_first_and_what_jobs_need_stays(cache: Cache, tmp_path: Path) -> None:
    """`prune` down to a limit; a dry run removes nothing and says the same."""
    a, b, c = (add(cache, sif(tmp_path, name)) for name in "abc")
    used(cache, a, b, c)
    cache.hold("me", [a])
    one = cache.images()[0].size
    assert [image.sha256 for image in cache.prune(one, dry_run=True)] == [b, c]
    assert [image.sha256 for image in cache.prune(2 * one, dry_run=True)] == [b]
    assert [image.sha256 for image in cache.prune(2 * one)] == [b]
    assert {image.sha256 for image in cache.images()} == {a, c}
    assert not (cache.folder / f"{b}.json").exists()
    cache.hold("me", [])
    assert len(cache.prune(0)) == 2


def test_two_coordinators_hold_their_own(cache: Cache, tmp_path: Path) -> None:
    """Each says what it needs, and nothing about the other."""
    a, b = add(cache, sif(tmp_path, "a")), add(cache, sif(tmp_path, "b"))
    cache.hold("me", [a])
    cache.hold("you", [b])
    cache.hold("me", [])
    assert cache.held() == {b}


def test_an_image_that_is_gone_cannot_be_held(cache: Cache, tmp_path: Path) -> None:
    """A job is not stored for an image that somebody removed meanwhile."""
    add(cache, sif(tmp_path, "a"))
    with pytest.raises(TryAgainError, match="removed meanwhile"):
        cache.hold("me", ["0" * 64])


def test_room_is_made_for_what_comes(tmp_path: Path) -> None:
    """By removing what is unused; who knows of ended jobs is asked first, and only when room is wanted."""
    sizes = len(sif_bytes(content=b"x" * 1000))
    cache, asked = Cache(tmp_path / "images", 2 * sizes + 10), []
    cache.before_prune = lambda: asked.append(1)
    a, b = (add(cache, sif(tmp_path, name)) for name in "ab")
    assert asked == []
    used(cache, a, b)
    c = add(cache, sif(tmp_path, "c"))
    assert ({image.sha256 for image in cache.images()}, len(asked)) == ({b, c}, 1)


def test_no_room_is_said_with_numbers(tmp_path: Path) -> None:
    """75 while jobs need what is there, 78 when the image alone is too large."""
    sizes = len(sif_bytes(content=b"x" * 1000))
    cache = Cache(tmp_path / "images", sizes + 10)
    cache.hold("me", [add(cache, sif(tmp_path, "a"))])
    with pytest.raises(
        TryAgainError, match=r"no room in the image cache: got 32\.4 KiB that open jobs need and 32\.4 KiB more"
    ):
        add(cache, sif(tmp_path, "b"))
    with pytest.raises(
        ConfigError, match=r"larger than the cache may be: got .*wanted at most .*\n  -> raise images\.max_size"
    ):
        add(cache, sif(tmp_path, "c", size=100_000))
    assert len(cache.images()) == 1


def _pull(folder: Path, key: str, started: multiprocessing.synchronize.Event) -> None:
    """Pull in another process, and never end by itself."""
    with Cache(folder).pulling(key, Heard()) as work:
        (work / "half").write_text("half")
        started.set()
        multiprocessing.Event().wait()


def test_a_killed_pull_leaves_no_image_and_holds_nobody_up(cache: Cache) -> None:
    """Kill -9: the lock is free at once, and the next pull finds what was there already."""
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    other = context.Process(target=_pull, args=(cache.folder, "key", started))
    other.start()
    assert started.wait(60)
    other.kill()
    other.join()
    assert cache.images() == []
    with cache.pulling("key", Heard()) as folder:
        assert (folder / "half").read_text() == "half"
    assert [name for name in os.listdir(cache.folder) if name.startswith(".pull-")] == []


def test_what_nobody_goes_on_with_is_pruned_and_what_runs_is_not(cache: Cache) -> None:
    """A folder of a pull goes with the next prune unless somebody holds its lock."""
    with pytest.raises(RuntimeError), cache.pulling("dead", Heard()):
        raise RuntimeError
    with cache.pulling("alive", Heard()) as folder:
        cache.prune(0)
        assert folder.is_dir()
        assert (
            len([name for name in os.listdir(cache.folder) if name.startswith(".pull-") and "." not in name[1:]]) == 1
        )


def test_a_tree_is_what_is_in_it(tmp_path: Path) -> None:
    """Names, modes, contents and targets of links count; times do not."""
    tree = tmp_path / "t"
    (tree / "d").mkdir(parents=True)
    (tree / "f").write_text("x")
    (tree / "l").symlink_to("f")
    seen = [tree_digest(tree)]
    os.utime(tree / "f", (1, 1))
    assert tree_digest(tree) == seen[0]
    for change in (
        lambda: (tree / "f").write_text("y"),
        lambda: (tree / "f").chmod(0o755),
        lambda: (tree / "d" / "e").write_text(""),
        lambda: ((tree / "l").unlink(), (tree / "l").symlink_to("d")),
        lambda: (tree / "f").rename(tree / "g"),
    ):
        change()
        seen.append(tree_digest(tree))
    assert len(set(seen)) == len(seen)


def test_a_record_is_json_with_a_schema(cache: Cache, tmp_path: Path) -> None:
    """For whoever looks into the folder."""
    digest = add(cache, sif(tmp_path, "a"))
    assert json.loads((cache.folder / f"{digest}.json").read_text())["schema"] == 1
