"""Buckets of S3 and what speaks like it, with obstore: how one is reached, and what may go wrong, said once.

Endpoint, region and credentials come from the environment (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID` and
so on, `AWS_SKIP_SIGNATURE=true` for anonymous reading), never from a descriptor.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from nexapod_batch.errors import UnreachableError
from nexapod_batch.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from obstore.store import ClientConfig, S3Config

__all__ = ["Bucket", "named_errors", "one_line", "open_store"]

_LOGIN = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are looked at, and AWS_SKIP_SIGNATURE=true for no login"
_RENEW = "renew it (AWS_SESSION_TOKEN and the like), then do the same again: it goes on from what is there"
#: How servers say that a login was good once.
_EXPIRED = re.compile(r"ExpiredToken|RequestExpired|TokenRefreshRequired|security token.{0,40}expired", re.IGNORECASE)
#: How obstore says that a listing has a key with `//`, `..` or a control character, which it cannot name.
_ODD_KEY = "object with invalid path"
_NO_LISTING = "invalid list response"  # what came is no XML, or none of a listing
#: Objects that are sent in one request; larger ones go in parts.
_WHOLE = 8 << 20
_PARTS_AT_ONCE = 2
_BLOCK = 4 << 20
#: How variables begin that say how a bucket is reached.
_ABOUT = ("AWS_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_")
_CHECKSUM = "AWS_CHECKSUM_ALGORITHM"  # how another one is chosen
#: Silence after which a connection counts as broken, and how long one request may take: an object of any size is one.
_SILENCE, _WHOLE_REQUEST = "60s", "7days"


def open_store(bucket: str, environ: Mapping[str, str], *, writes: bool = False) -> S3Store:
    """Return a bucket as the environment says how it is reached; plain HTTP only where that names it.

    What is written has a checksum with it, which S3 wants where objects are locked. One serves for all objects: to make
    one takes longer than to ask for a small object, and connections are kept.
    """
    about = [(name, value) for name, value in environ.items() if name.upper().startswith(_ABOUT)]
    plain = environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    return _opened(bucket, tuple(sorted(about)), plain=plain, writes=writes)


@lru_cache(maxsize=8)
def _opened(bucket: str, about: tuple[tuple[str, str], ...], *, plain: bool, writes: bool) -> S3Store:
    """Return a bucket; `about` is all of the environment, which obstore reads, that says how it is reached."""
    options: ClientConfig = {"allow_http": plain, "read_timeout": _SILENCE, "timeout": _WHOLE_REQUEST}
    checks = writes and _CHECKSUM not in dict(about)
    config: S3Config = {"checksum_algorithm": "SHA256"} if checks else {}
    return S3Store(bucket, config=config, client_options=options)


@contextmanager
def named_errors(url: str, *, begun: bool = False) -> Iterator[None]:
    """Turn what obstore raises into what a person can act on; `begun`: a part of it came by the same login before.

    Raises:
        SourceError: It is not there, or not for us.
        UnreachableError: Nobody answers, or not now.
        ConnectionError: It was changed meanwhile.

    """
    try:
        yield
    except FileNotFoundError as error:  # what obstore has for it
        raise SourceError(f"{url} does not exist", got=one_line(error)) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        if begun or _EXPIRED.search(str(error)):
            what = f"the login for {url} is not good any more"
            raise SourceError(what, got=one_line(error), hint=_RENEW) from error
        raise SourceError(f"{url} asks for a login", got=one_line(error), hint=_LOGIN) from error
    except PreconditionError as error:
        raise ConnectionError("it was changed while it was read") from error
    except BaseError as error:
        raise _named(url, error) from error


def _named(url: str, error: BaseError) -> SourceError | UnreachableError:
    """Return the error for what obstore has no class for."""
    why = str(error)
    if _EXPIRED.search(why):  # S3 says it with 400
        return SourceError(f"the login for {url} is not good any more", got=one_line(error), hint=_RENEW)
    if "NoSuchBucket" in why:  # of a listing, which knows no missing object
        return SourceError(f"{url} does not exist", got="no such bucket")
    if _NO_LISTING in why:
        hint = "a key has a character that XML has not, or AWS_ENDPOINT_URL is no server of S3: name other folders"
        return SourceError(f"{url} cannot be listed", got=one_line(error), hint=hint)
    if _ODD_KEY in why:
        hint = "name folders that have none of these, or rename the object"
        return SourceError(f"{url} has a key that is no plain path", got=one_line(error), hint=hint)
    hint = "look at AWS_ENDPOINT_URL and at the network, then try again"
    return UnreachableError(f"{url} cannot be reached now", got=one_line(error), hint=hint)


def one_line(error: BaseException) -> str:
    """Return what happened; how obstore sees it inside is left out."""
    return " ".join(str(error).partition("Debug source:")[0].split())[:300]


class Bucket:
    """What lies below one prefix of a bucket. Names are relative to it."""

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        """Take `s3://bucket/prefix`; nobody is asked."""
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._prefix = parts.path.strip("/")
        with named_errors(url):
            self._store = open_store(parts.netloc, environ, writes=True)

    def read(self, name: str, limit: int) -> bytes | None:
        """Return a small object; None where there is none, or it is larger than `limit` bytes. Errors are named."""
        size = self.size(name)
        if size is None or size > limit:
            return None
        with named_errors(f"{self.url}/{name}"):
            return bytes(obstore.get(self._store, self._key(name)).bytes())

    def size(self, name: str) -> int | None:
        """Return how many bytes an object has; None where there is none. Errors are named."""
        with named_errors(f"{self.url}/{name}"):
            try:
                return int(obstore.head(self._store, self._key(name))["size"])
            except FileNotFoundError:
                return None

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield what is in an object. Errors are named."""
        with named_errors(f"{self.url}/{name}"):
            for block in obstore.get(self._store, self._key(name)).stream(min_chunk_size=_BLOCK):
                yield bytes(block)

    def digest(self, name: str) -> str:
        """Return the hex SHA-256 of an object, which is read for that. Errors are named."""
        digest = hashlib.sha256()
        for block in self.blocks(name):
            digest.update(block)
        return digest.hexdigest()

    def write(self, name: str, data: bytes, *, replace: bool) -> None:
        """Write a small object in one request.

        Raises:
            SourceError: There is one, and it is not to be replaced.

        """
        with named_errors(f"{self.url}/{name}"):
            try:
                obstore.put(
                    self._store, self._key(name), data, mode="overwrite" if replace else "create", use_multipart=False
                )
            except AlreadyExistsError as error:
                raise SourceError(f"{self.url}/{name} is there already", got=one_line(error)) from error

    def stream(self, name: str, blocks: Iterator[bytes], size: int) -> None:
        """Write an object of so many bytes as they come; one of an interrupted try never shows. Errors are named."""
        if size <= _WHOLE:
            self.write(name, b"".join(blocks), replace=True)
            return
        with named_errors(f"{self.url}/{name}"):
            obstore.put(
                self._store, self._key(name), blocks, use_multipart=True, chunk_size=_WHOLE,
                max_concurrency=_PARTS_AT_ONCE,
            )  # fmt: skip

    def remove(self, name: str) -> None:
        """Remove an object. Errors are named."""
        with named_errors(f"{self.url}/{name}"):
            obstore.delete(self._store, self._key(name))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name
