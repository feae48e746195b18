"""What a descriptor may name as an image, taken apart. Pure: nothing is asked of anybody.

| reference | where it is | pinned by |
|---|---|---|
| `docker://[HOST/]NAME[:TAG][@sha256:HEX]` | an OCI registry; Docker Hub where no host is named | manifest |
| `oras://HOST/NAME[:TAG][@sha256:HEX]` | a SIF file in an OCI registry | manifest |
| `library://ENTITY/COLLECTION/NAME[:TAG]` | a SIF file in a library; the tag may be `sha256.HEX` | the file |
| `https://HOST/PATH` | a SIF file on a web server | the file |
| a path | a SIF file, or a sandbox folder | the file, or the tree |
"""

from __future__ import annotations

import re

from msgspec import Struct

from nexapod_batch.errors import ImageError

__all__ = ["SCHEMES", "Reference", "parse"]

#: Schemes of images that are fetched from elsewhere.
SCHEMES = ("docker", "oras", "library", "https", "http")

_HUB, _HUB_API = "docker.io", "registry-1.docker.io"
_NAME = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*", re.ASCII)
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_LIBRARY = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+){0,2}", re.ASCII)
_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+/[!-~]+", re.ASCII)


class Reference(Struct, frozen=True, kw_only=True):
    """One image somewhere else."""

    text: str  # as it was written, without its digest
    scheme: str  # one of SCHEMES
    host: str = ""  # docker, oras: the registry, `HOST[:PORT]`
    name: str = ""  # docker, oras: the repository; library: the path; https: the URL
    tag: str = ""
    digest: str = ""  # docker, oras: `sha256:HEX` of the manifest or index; library: of the file; "" where not known

    @property
    def key(self) -> str:
        """What the same image is always called, once its digest is known."""
        if self.host:
            return f"{self.scheme}://{self.host}/{self.name}@{self.digest}"
        return f"{self.scheme}:{self.digest}"

    def pinned(self) -> str:
        """Return the reference with its digest, to be kept in a job."""
        if self.digest and self.scheme in {"docker", "oras"}:
            return f"{self.text}@{self.digest}"
        return self.text


def parse(text: str) -> Reference:
    """Return a reference taken apart; ImageError for anything else."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES:
        raise _bad(text, ", ".join(f"{scheme}://" for scheme in SCHEMES[:-1]))
    if scheme in {"https", "http"}:
        if not _URL.fullmatch(text):
            raise _bad(text, "https://host/path/image.sif")
        return Reference(text=text, scheme=scheme, name=text)
    rest, _, digest = rest.partition("@")
    if digest and not _DIGEST.fullmatch(digest):
        raise _bad(text, "a digest of the form @sha256: and 64 hex digits")
    path, tag = _split_tag(rest)
    if rest.endswith(":") or (tag and not _TAG.fullmatch(tag)):
        raise _bad(text, "a tag of letters, digits and . _ -")
    written = f"{scheme}://{rest}"
    if scheme == "library":
        return _library(text, written, path, tag, digest)
    return _in_registry(text, written, scheme, path, tag, digest)


def _in_registry(text: str, written: str, scheme: str, path: str, tag: str, digest: str) -> Reference:
    host, name = _split_host(path, scheme, text)
    if not _HOST.fullmatch(host) or not _NAME.fullmatch(name):
        raise _bad(text, f"{scheme}://[host[:port]/]name[:tag], the name in lower case")
    if not tag and not digest:
        tag = "latest"
    return Reference(text=written, scheme=scheme, host=host, name=name, tag=tag, digest=digest)


def _library(text: str, written: str, path: str, tag: str, digest: str) -> Reference:
    if not _LIBRARY.fullmatch(path.removeprefix("/")):
        raise _bad(text, "library://entity/collection/name[:tag]")
    if tag.startswith("sha256."):
        digest = digest or "sha256:" + tag.removeprefix("sha256.")
        if not _DIGEST.fullmatch(digest):
            raise _bad(text, "sha256. and 64 hex digits")
    return Reference(text=written, scheme="library", name=path.removeprefix("/"), tag=tag or "latest", digest=digest)


def _split_tag(rest: str) -> tuple[str, str]:
    """Return what stands before and after the colon of a tag; the colon of a port comes before a slash."""
    path, colon, tag = rest.rpartition(":")
    if colon and "/" not in tag:
        return (path, tag)
    return (rest, "")


def _split_host(path: str, scheme: str, text: str) -> tuple[str, str]:
    first, slash, rest = path.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        if first not in {_HUB, f"index.{_HUB}", _HUB_API}:
            return first, rest
        path = rest
    elif scheme == "oras":
        raise _bad(text, "oras://host/name[:tag]")
    return _HUB_API, path if "/" in path else f"library/{path}"


def _bad(text: str, wanted: str) -> ImageError:
    return ImageError("not an image", got=repr(text if len(text) <= 100 else text[:97] + "..."), wanted=wanted)
