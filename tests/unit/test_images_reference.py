"""What may be named as an image, and how it is called once its digest is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.errors import ImageError
from nexapod_batch.images.reference import Reference, parse

HEX = "a" * 64


@pytest.mark.parametrize(
    ("text", "host", "name", "tag", "digest"),
    [
        ("docker://python", "registry-1.docker.io", "library/python", "latest", ""),
        ("docker://python:3.12-slim", "registry-1.docker.io", "library/python", "3.12-slim", ""),
        ("docker://user/tool:1", "registry-1.docker.io", "user/tool", "1", ""),
        ("docker://docker.io/user/tool:1", "registry-1.docker.io", "user/tool", "1", ""),
        ("docker://ghcr.io/a/b/c:v1", "ghcr.io", "a/b/c", "v1", ""),
        ("docker://localhost/x", "localhost", "x", "latest", ""),
        ("docker://127.0.0.1:5000/x:y", "127.0.0.1:5000", "x", "y", ""),
        ("docker://[::1]:5000/x:y", "[::1]:5000", "x", "y", ""),
        (f"docker://h:5/x@sha256:{HEX}", "h:5", "x", "", f"sha256:{HEX}"),
        (f"docker://h:5/x:t@sha256:{HEX}", "h:5", "x", "t", f"sha256:{HEX}"),
        ("oras://ghcr.io/lab/sif:1", "ghcr.io", "lab/sif", "1", ""),
        ("library://lolcow", "", "lolcow", "latest", ""),
        ("library://lab/tools/md:2", "", "lab/tools/md", "2", ""),
        (f"library://lab/tools/md:sha256.{HEX}", "", "lab/tools/md", f"sha256.{HEX}", f"sha256:{HEX}"),
    ],
)
def test_references_are_taken_apart(text: str, host: str, name: str, tag: str, digest: str) -> None:
    """Docker Hub is meant where no host is named; a colon before a slash is a port's."""
    found = parse(text)
    assert (found.host, found.name, found.tag, found.digest) == (host, name, tag, digest)


@pytest.mark.parametrize(
    "text",
    [
        "docker://", "docker:///x", "docker://x:", "docker://UPPER/case", "docker://a//b", "docker://a@sha256:12", "docker://h:5/x:t@md5:1",
        "oras://name", "library://a/b/c/d", "library://a:sha256.zz", "library://a b", "https://", "https:///x", "https://h/a b",
        "ftp://h/x", "file:///x", "x.sif", "", "docker://-/x", "docker://x:" + "t" * 129, "docker://a/../b", "docker://x\n", "https://u:p@h/x",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    """With what would be one."""
    with pytest.raises(ImageError, match=r"not an image: got .*wanted"):
        parse(text)


def test_a_job_is_told_the_digest_beside_the_tag() -> None:
    """People read the tag, machines the digest; what was written with a digest stays as it is."""
    assert parse(f"docker://h:5/x:t@sha256:{HEX}").pinned() == f"docker://h:5/x:t@sha256:{HEX}"
    assert parse("docker://x").pinned() == "docker://x"
    assert parse("https://h/x.sif").pinned() == "https://h/x.sif"


def test_the_same_image_has_one_key_whatever_its_tag() -> None:
    """And whether Docker Hub is named or not."""
    keys = {
        parse(f"docker://{name}@sha256:{HEX}").key
        for name in ("python", "python:3", "docker.io/python", "docker.io/library/python:2")
    }
    assert keys == {f"docker://registry-1.docker.io/library/python@sha256:{HEX}"}


@given(st.text(max_size=60), st.sampled_from(["docker", "oras", "library", "https", "http", "x"]))
def test_any_text_is_a_reference_or_an_image_error(text: str, scheme: str) -> None:
    """And what was taken apart can be read again."""
    try:
        found = parse(f"{scheme}://{text}")
    except ImageError:
        return
    assert isinstance(found, Reference)
    assert parse(found.pinned()) == found
