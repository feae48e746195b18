"""An OCI registry, as much of it as a pull needs: manifests and blobs by digest, with or without a login.

Source: OCI distribution specification 1.1, and Docker's token authentication. Everything that comes from a registry
is digested and compared before it is believed.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import urllib.error
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from msgspec import Struct

from nexapod_batch.errors import ImageError
from nexapod_batch.images.remote.web import told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nexapod_batch.images.cache import Progress
    from nexapod_batch.images.remote.web import Web

__all__ = ["MANIFESTS", "Blob", "Manifest", "Registry", "is_loopback"]

T = TypeVar("T")

_OCI, _DOCKER = "application/vnd.oci.image", "application/vnd.docker.distribution.manifest"
#: The kinds of manifest that are understood: one image, and a list of them by platform.
MANIFESTS = (f"{_OCI}.manifest.v1+json", f"{_DOCKER}.v2+json")
LISTS = (f"{_OCI}.index.v1+json", f"{_DOCKER}.list.v2+json")
#: The largest manifest or answer that is read, in bytes; the specification allows registries to stop at this.
_MOST = 4 * 1024 * 1024
_FIELD = re.compile(r'([A-Za-z]+)="([^"]*)"')
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


class Blob(Struct, frozen=True, kw_only=True):
    """One content that a manifest names."""

    digest: str  # sha256:HEX
    size: int
    kind: str  # media type


class Manifest(Struct, frozen=True, kw_only=True):
    """A manifest, as its digest says that it is."""

    digest: str
    kind: str
    body: bytes
    document: dict[str, Any]

    @property
    def layers(self) -> list[Blob]:
        """Return the layers, in order; ImageError when the manifest has none that can be used."""
        return [_blob(layer) for layer in self.document.get("layers") or ()]

    @property
    def config(self) -> Blob:
        """Return the configuration."""
        return _blob(self.document.get("config"))

    def platforms(self) -> list[tuple[str, str, str]]:
        """Return (system, architecture in Go's words, digest) of every image that a list names; none for one image."""
        found = []
        for manifest in self.document.get("manifests") or () if self.kind in LISTS else ():
            platform = manifest.get("platform") or {}
            found.append((str(platform.get("os")), str(platform.get("architecture")), _blob(manifest).digest))
        return found


class Registry:
    """One registry; `login` is `user:password`, "" for nobody, None where nobody may log in."""

    def __init__(self, web: Web, host: str, *, plain: bool, login: str | None = "") -> None:
        """Keep how it is reached; nothing is asked yet."""
        self._web, self._host, self._login = web, host, login or ""
        self._nobody = login is None
        scheme = "http" if plain else "https"
        self._base = f"{scheme}://{host}/v2"
        self._authorization = ""

    def digest_of(self, name: str, tag: str) -> str:
        """Return the digest that a tag stands for now; a HEAD, which counts nowhere as a pull."""
        headers = {"Accept": ", ".join((*LISTS, *MANIFESTS))}

        def ask() -> str:
            with self._web.open(
                f"{self._base}/{name}/manifests/{tag}", method="HEAD", headers=headers, login=self._authorization
            ) as answer:
                return str(answer.headers.get("Docker-Content-Digest", ""))

        found = self._call(f"{self._host}/{name}:{tag}", name, ask)
        if _DIGEST.fullmatch(found):
            return found
        return self.manifest(name, tag).digest

    def manifest(self, name: str, reference: str) -> Manifest:
        """Return the manifest of a digest or tag; ImageError when it does not hash to the digest."""
        mark = "@" if ":" in reference else ":"  # a digest has a colon, a tag has none
        what = f"{self._host}/{name}{mark}{reference}"
        headers = {"Accept": ", ".join((*LISTS, *MANIFESTS))}

        def ask() -> tuple[str, bytes]:
            with self._web.open(
                f"{self._base}/{name}/manifests/{reference}", headers=headers, login=self._authorization
            ) as answer:
                return answer.headers.get_content_type(), answer.read(_MOST + 1)

        kind, body = self._call(what, name, ask)
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        if ":" in reference and digest != reference:
            raise ImageError(f"{what}: the registry sent another manifest", got=digest, wanted=reference)
        said = _json(body, what)
        kind = said.get("mediaType") or kind
        if kind not in {*MANIFESTS, *LISTS}:
            raise ImageError(f"{what} is no image that can be used", got=str(kind)[:100], wanted="an OCI image")
        return Manifest(digest=digest, kind=kind, body=body, document=said)

    def small(self, name: str, blob: Blob) -> bytes:
        """Return a small blob (a configuration), compared with its digest.

        Raises:
            ImageError: It is not what its digest says.

        """

        def ask() -> bytes:
            with self._web.open(f"{self._base}/{name}/blobs/{blob.digest}", login=self._authorization) as answer:
                return answer.read(_MOST + 1)

        what = f"{self._host}/{name}"
        body = self._call(what, name, ask)
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != blob.digest:
            raise ImageError(f"{what}: the registry sent another configuration", wanted=blob.digest)
        return body

    def blob(
        self, name: str, blob: Blob, target: Path, progress: Progress, room: Callable[[int], None] = lambda _: None
    ) -> None:
        """Bring a blob into a file, going on from what is there."""

        def ask() -> None:
            self._web.download(
                f"{self._base}/{name}/blobs/{blob.digest}", target, what=f"layer {blob.digest[7:19]}",
                progress=progress, sha256=blob.digest.removeprefix("sha256:"), size=blob.size,
                login=self._authorization, room=room,
            )  # fmt: skip

        self._call(f"{self._host}/{name}", name, ask)

    def _call(self, what: str, name: str, ask: Callable[[], T]) -> T:
        """Return what a request returns, after a login where the registry asks for one."""
        for attempt in range(2):
            try:
                return ask()
            except urllib.error.HTTPError as error:
                error.close()  # nothing of what it says is read
                if error.code != 401 or attempt:
                    raise told(error, what, self._how()) from error
                self._authenticate(error.headers.get("WWW-Authenticate", ""), name, what, error)
            except (OSError, http.client.HTTPException) as error:
                raise told(error, f"registry {self._host}") from error
        raise AssertionError  # the second attempt returned or raised

    def _authenticate(self, challenge: str, name: str, what: str, refusal: Exception) -> None:
        """Answer a challenge: with the login itself, or with a token that is fetched with it."""
        kind, _, rest = challenge.partition(" ")
        fields = dict(_FIELD.findall(rest))
        basic = "Basic " + base64.b64encode(self._login.encode()).decode() if self._login else ""
        if kind.lower() == "basic" and basic:
            self._authorization = basic
        elif kind.lower() == "bearer" and "realm" in fields:
            self._authorization = "Bearer " + self._token(fields, name, what, basic)
        else:
            raise told(refusal, what, self._how()) from refusal

    def _token(self, fields: dict[str, str], name: str, what: str, basic: str) -> str:
        self._check_realm(fields["realm"], what)
        query = {"scope": fields.get("scope") or f"repository:{name}:pull"}
        if "service" in fields:
            query["service"] = fields["service"]
        try:
            with self._web.open(f"{fields['realm']}?{urlencode(query)}", login=basic) as answer:
                said = _json(answer.read(_MOST + 1), what)
        except (OSError, http.client.HTTPException) as error:
            raise told(error, what, self._how()) from error
        token = said.get("token") or said.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise ImageError(f"{what}: the registry gives no token", wanted="a token that can be sent")
        return token

    def _check_realm(self, realm: str, what: str) -> None:
        """Raise ImageError where a login would go over the network as plain text."""
        scheme = urlsplit(realm).scheme
        if scheme != "https" and not (scheme == "http" and self._base.startswith("http:")):
            raise ImageError(f"{what}: a login would be sent without TLS", got=realm[:200], wanted="https://")

    def _how(self) -> str:
        """Return how a person logs in here; a login that was found did not do."""
        if self._nobody:
            return "look at the name and at the tag; for somebody else's job nobody logs in: take a public image"
        refused = f"the login of {self._login.partition(':')[0]} was refused; log in anew: " if self._login else ""
        return f"{refused}apptainer registry login --username NAME docker://{self._host}"


def is_loopback(host: str) -> bool:
    """Say whether a registry is on this machine, where nobody listens in between."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    return name in {"localhost", "[::1]"} or re.fullmatch(r"127(\.\d{1,3}){3}", name) is not None


def _blob(descriptor: Any) -> Blob:  # noqa: ANN401 - whatever a registry sent
    try:
        digest, size, kind = descriptor["digest"], descriptor["size"], descriptor.get("mediaType", "")
        if _DIGEST.fullmatch(digest) and type(size) is int and 0 <= size < 1 << 50:
            return Blob(digest=digest, size=size, kind=str(kind))
    except (TypeError, KeyError, AttributeError):
        pass
    got = str(descriptor)[:100]
    raise ImageError("a manifest names something that cannot be used", got=got, wanted="digest and size")


def _json(body: bytes, what: str) -> dict[str, Any]:
    try:
        if len(body) <= _MOST and isinstance(said := json.loads(body), dict):
            return said
    except (ValueError, RecursionError):
        pass
    raise ImageError(f"{what}: the registry sent something else than a manifest", got=f"{len(body)} bytes")
