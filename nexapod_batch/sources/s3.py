"""`s3://bucket/key`: objects of S3 and what speaks like it, with obstore. `?versionId=ID` names a version."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import obstore
from obstore.exceptions import BaseError

from nexapod_batch.sources import Opened
from nexapod_batch.sources.buckets import named_errors, one_line, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore import GetOptions

    from nexapod_batch.sources import SourceSettings

__all__ = ["S3Source"]

_BLOCK = 4 << 20


class S3Source:
    """Objects of a bucket."""

    def refusal(self, url: str) -> str:
        """Return why a URL cannot be used."""
        parts = urlsplit(url)
        if not parts.netloc or "@" in parts.netloc:
            return "wanted s3://bucket/key, without a login"
        key = unquote(parts.path.lstrip("/"))
        if not key or key.endswith("/") or any(part in {"", ".", ".."} for part in key.split("/")):
            return "its key names no object"
        if set(dict(parse_qsl(parts.query))) - {"versionId"}:
            return "it may have ?versionId=ID and nothing else"
        return ""

    @contextmanager
    def open(self, url: str, start: int, version: str, settings: SourceSettings) -> Iterator[Opened]:
        """Ask for an object, or for the rest of it where it is the same still. Errors are those of buckets."""
        parts = urlsplit(url)
        key, wanted = unquote(parts.path.lstrip("/")), dict(parse_qsl(parts.query)).get("versionId")
        options: GetOptions = {"version": wanted} if wanted else {}
        with named_errors(url):
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


def _blocks(answer: obstore.GetResult) -> Iterator[bytes]:
    try:
        for block in answer.stream(min_chunk_size=_BLOCK):
            yield bytes(block)
    except BaseError as error:
        raise ConnectionError(one_line(error)) from error
