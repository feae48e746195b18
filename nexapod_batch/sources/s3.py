"""`s3://bucket/key`: objects of S3 and what speaks like it, with obstore.

Endpoint, region and credentials come from the environment (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID` and
so on, `AWS_SKIP_SIGNATURE=true` for anonymous reading), never from the descriptor. `?versionId=ID` names a version.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import obstore
from obstore.exceptions import (
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from nexapod_batch.errors import UnreachableError
from nexapod_batch.sources import Opened, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from obstore import GetOptions

    from nexapod_batch.sources import SourceSettings

__all__ = ["S3Source"]

_BLOCK = 4 << 20
_LOGIN = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are looked at, and AWS_SKIP_SIGNATURE=true for no login"


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
        """Ask for an object, or for the rest of it where it is the same still.

        Raises:
            SourceError: It is not there, or not for us.
            UnreachableError: Nobody answers, or not now.
            ConnectionError: It was changed, or the connection broke.

        """
        parts = urlsplit(url)
        key, wanted = unquote(parts.path.lstrip("/")), dict(parse_qsl(parts.query)).get("versionId")
        options: GetOptions = {"version": wanted} if wanted else {}
        try:
            store = _store(parts.netloc, settings.environ)
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
        except FileNotFoundError as error:  # what obstore has for it
            raise SourceError(f"{url} does not exist", got=_line(error)) from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise SourceError(f"{url} asks for a login", got=_line(error), hint=_LOGIN) from error
        except PreconditionError as error:
            raise ConnectionError("it was changed while it was read") from error
        except BaseError as error:
            hint = "look at AWS_ENDPOINT_URL and at the network, then try again"
            raise UnreachableError(f"{url} cannot be read now", got=_line(error), hint=hint) from error


def _store(bucket: str, environ: Mapping[str, str]) -> S3Store:
    """Return a bucket as the environment says how it is reached; plain HTTP only where that names it."""
    plain = environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    return S3Store(bucket, client_options={"allow_http": plain})


def _blocks(answer: obstore.GetResult) -> Iterator[bytes]:
    try:
        for block in answer.stream(min_chunk_size=_BLOCK):
            yield bytes(block)
    except BaseError as error:
        raise ConnectionError(_line(error)) from error


def _line(error: BaseException) -> str:
    """Return what happened; how obstore sees it inside is left out."""
    return " ".join(str(error).partition("Debug source:")[0].split())[:300]
