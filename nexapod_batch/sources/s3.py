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
    from collections.abc import Iterator

    from obstore import GetOptions

    from nexapod_batch.sources import SourceSettings

__all__ = ["S3Source"]

_BLOCK = 1 << 20
#: Keys that a pattern looks through, at most.
_LOOKED_AT = 100_000
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_KEY = 1024  # bytes
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
        found: list[str] = []
        seen = 0
        with named_errors(url):
            for page in obstore.list(open_store(parts.netloc, settings.environ), fixed or None, chunk_size=1000):
                seen += len(page)
                found += [key for key in (str(entry["path"]) for entry in page) if matches(key, pattern)]
                if seen > _LOOKED_AT or len(found) > limit:
                    raise SourceError(
                        f"{url} takes too many objects, or looks through too many",
                        got=f"{len(found)} objects so far, of {seen} keys", wanted=f"at most {limit}, of {_LOOKED_AT}",
                        hint="name folders that have fewer, or pack the files into one",
                    )  # fmt: skip
        if not found:
            raise SourceError(f"{url} takes no object", got=f"{seen} keys were looked at", wanted="at least one")
        for key in found:
            if not safe_name(key):
                raise SourceError(f"{url} takes a key that is no plain path", got=ascii(key)[:200])
        return [(f"s3://{parts.netloc}/{quote(key)}", key) for key in sorted(found)]


def _blocks(answer: obstore.GetResult) -> Iterator[bytes]:
    try:
        for block in answer.stream(min_chunk_size=_BLOCK):
            yield bytes(block)
    except BaseError as error:
        raise ConnectionError(one_line(error)) from error
