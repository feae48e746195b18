"""`s3://bucket/key`: objects of S3 and what speaks like it, with obstore. `?versionId=ID` names a version."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import obstore
from obstore.exceptions import BaseError

from nexapod_batch.files.output_files import matches
from nexapod_batch.sources import Opened, SourceError
from nexapod_batch.sources.buckets import named_errors, one_line, open_store
from nexapod_batch.trust.statement_rules import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from obstore import GetOptions
    from obstore.store import S3Store

    from nexapod_batch.sources import SourceSettings

__all__ = ["S3Source"]

_BLOCK = 1 << 20
#: Keys that a pattern looks through, at most.
_LOOKED_AT = 100_000
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_KEY = 1024  # bytes
_LONGEST_PART = 255  # bytes between two slashes, where a key becomes the name of a file
_GLOB = re.compile(r"[*\[]")


class S3Source:
    """Objects of a bucket."""

    def refusal(self, url: str) -> str:
        """Return why a URL cannot be used."""
        try:
            parts = urlsplit(url)
            key = unquote(parts.path[1:], errors="strict")
            size = len(key.encode())
        except ValueError:
            return "it is no URL"
        if not _BUCKET.fullmatch(parts.netloc):
            return "wanted s3://bucket/key, without a login"
        if _CONTROL.search(url) or _CONTROL.search(key) or any(part in {"", ".", ".."} for part in key.split("/")):
            return "its key names no object"
        if size > _LONGEST_KEY:
            return f"its key has {size} bytes, and none has more than {_LONGEST_KEY}"
        if "#" in url or not re.fullmatch(r"(versionId=[^&#=]+)?", parts.query):
            return "it may have ?versionId=ID and nothing else; in a key ? is %3F and # is %23"
        return ""

    @contextmanager
    def open(self, url: str, start: int, version: str, settings: SourceSettings) -> Iterator[Opened]:
        """Ask for an object, or for the rest of it where it is the same still. Errors are those of buckets."""
        parts = urlsplit(url)
        key, wanted = unquote(parts.path.lstrip("/")), dict(parse_qsl(parts.query)).get("versionId")
        options: GetOptions = {"version": wanted} if wanted else {}
        with named_errors(url, begun=bool(start)):
            store = open_store(parts.netloc, settings.environ)
            meta = obstore.get(store, key, options={**options, "head": True}).meta
            tag = str(meta.get("e_tag") or "")
            at = start if start and tag and tag == version and start <= meta["size"] else 0
            if tag:
                options["if_match"] = tag  # what it was a moment ago
            if at == meta["size"]:
                yield Opened(at, at, tag, iter(()))
                return
            if at:
                options["range"] = {"offset": at}
            answer = obstore.get(store, key, options=options)
            yield Opened(at, meta["size"], tag, _blocks(answer))

    def listed(self, url: str, limit: int, settings: SourceSettings) -> list[tuple[str, str]]:
        """Return what a pattern takes of a bucket; what has the pattern's fixed folders is looked at, and no more.

        Raises:
            SourceError: There are none, too many, or a key that is no plain path.

        """
        parts = urlsplit(url)
        pattern = unquote(parts.path.lstrip("/"))
        fixed = _GLOB.split(pattern, maxsplit=1)[0].rpartition("/")[0]
        with named_errors(url):
            store = open_store(parts.netloc, settings.environ)
            taken, seen = _taken(url, store, pattern, fixed, limit)
            found = sorted([key for key, is_empty in taken.items() if not is_empty or _is_object(store, key)])
        if not found:
            raise SourceError(f"{url} takes no object", got=f"{seen} keys were looked at", wanted="at least one")
        _check_names(url, found)
        return [(f"s3://{parts.netloc}/{quote(key)}", key) for key in found]


def _taken(url: str, store: S3Store, pattern: str, fixed: str, limit: int) -> tuple[dict[str, bool], int]:
    """Return the keys that a pattern takes below a folder, each with whether it is empty, and how many there are.

    Raises:
        SourceError: There are too many.

    """
    taken: dict[str, bool] = {}
    seen = 0
    for page in obstore.list(store, fixed or None, chunk_size=1000):
        seen += len(page)
        for entry in page:
            key = str(entry["path"])
            if matches(key, pattern):
                taken[key] = taken.get(key, True) and not entry["size"]
        if seen > _LOOKED_AT or len(taken) > limit:
            raise SourceError(
                f"{url} takes too many objects, or looks through too many",
                got=f"{len(taken)} objects so far, of {seen} keys", wanted=f"at most {limit}, of {_LOOKED_AT}",
                hint="name folders that have fewer, or pack the files into one",
            )  # fmt: skip
    return taken, seen


def _is_object(store: S3Store, key: str) -> bool:
    """Say whether there is an object of this key: a listing has folders that programs mark by `key/` as well."""
    try:
        obstore.head(store, key)
    except FileNotFoundError:
        return False
    return True


def _check_names(url: str, keys: Sequence[str]) -> None:
    """Raise SourceError where a key cannot be the name of a file."""
    for key in keys:
        if not safe_name(key):
            raise SourceError(f"{url} takes a key that is no plain path", got=ascii(key)[:200])
        if any(len(part.encode()) > _LONGEST_PART for part in key.split("/")):
            wanted = f"parts of {_LONGEST_PART} bytes at most, as names of files have"
            raise SourceError(f"{url} takes a key with a longer part", got=ascii(key)[:200], wanted=wanted)


def _blocks(answer: obstore.GetResult) -> Iterator[bytes]:
    try:
        for block in answer.stream(min_chunk_size=_BLOCK):
            yield bytes(block)
    except BaseError as error:
        raise ConnectionError(one_line(error)) from error
