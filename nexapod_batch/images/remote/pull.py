"""Images that lie elsewhere: in a registry, in a library, behind a URL.

| scheme | what is fetched | what makes the file |
|---|---|---|
| `docker` | configuration and layers, by digest, into an OCI layout on disk | `apptainer build` |
| `oras` | the SIF file, a layer, by digest | nothing |
| `library` | the SIF file, by the digest that the library gives | nothing |
| `https` | the SIF file | nothing |

Layers are fetched here and not by `apptainer pull`, so that a pull goes on where it broke off, every byte shows in the
progress, and a refusal can be told from a fault.
"""

from __future__ import annotations

import http.client
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from nexapod_batch.errors import ImageError
from nexapod_batch.images.cache import faults, mismatch
from nexapod_batch.images.remote.credentials import login_for
from nexapod_batch.images.remote.registry import Registry, is_loopback
from nexapod_batch.images.remote.web import Web, told
from nexapod_batch.images.sif import ARCHITECTURES
from nexapod_batch.sources.web import netrc_login

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nexapod_batch.images.build import Builder
    from nexapod_batch.images.cache import Cache, Image, Progress
    from nexapod_batch.images.reference import Reference
    from nexapod_batch.images.remote.registry import Blob, Manifest

__all__ = ["Sources", "from_remote"]

#: The kind of layer that holds a SIF file.
_SIF_LAYER = "application/vnd.sylabs.sif.layer.v1.sif"
#: The largest answer of a library that is read, in bytes.
_MOST = 1024 * 1024


class Sources(Struct, frozen=True, kw_only=True):
    """How other machines are reached."""

    web: Web
    plain_http: tuple[str, ...]  # registries without TLS, besides those on this machine
    library: str  # server of library:// images
    environ: Mapping[str, str] | None  # where logins are found; None: nobody logs in
    builder: Callable[[], Builder]  # what makes SIF files; an error where there is none


def from_remote(
    cache: Cache, reference: Reference, wanted: str, architecture: str, sources: Sources, progress: Progress
) -> tuple[Image, Reference]:
    """Return the image of a reference for an architecture (`uname -m`), and the reference with its digest.

    What is in the cache already is not fetched again; a reference with a digest then asks nobody.
    """
    pull = {"docker": _docker, "oras": _oras, "library": _library, "https": _https, "http": _https}[reference.scheme]
    found, reference = pull(cache, reference, wanted, architecture, sources, progress)
    return cache.refer(found.sha256, reference.pinned()), reference


def _docker(
    cache: Cache, reference: Reference, wanted: str, architecture: str, sources: Sources, progress: Progress
) -> tuple[Image, Reference]:
    registry = _registry(reference, sources)
    reference = _with_digest(reference, registry, progress)
    if found := cache.find(reference.key, architecture):
        return cache.refer(found.sha256, reference.key), reference
    builder = sources.builder()
    with cache.pulling(f"{reference.key} {architecture}", progress) as folder:
        if found := cache.find(reference.key, architecture):  # somebody else pulled it meanwhile
            return cache.refer(found.sha256, reference.key), reference
        manifest = _for_platform(registry, reference, architecture)
        if any(layer.kind == _SIF_LAYER for layer in manifest.layers):
            raise ImageError(f"{reference.text} holds a SIF file", hint=f"oras://{reference.text[9:]}")
        _check_platform(registry, reference, manifest, architecture)
        cache.make_room(sum(layer.size for layer in manifest.layers))
        blobs = _layout(folder, manifest)
        for blob in (manifest.config, *manifest.layers):
            registry.blob(reference.name, blob, blobs / blob.digest.removeprefix("sha256:"), progress)
        built = builder.build("oci:oci", folder, progress)
        return cache.keep(built, reference.key, wanted), reference


def _oras(
    cache: Cache, reference: Reference, wanted: str, architecture: str, sources: Sources, progress: Progress
) -> tuple[Image, Reference]:
    registry = _registry(reference, sources)
    reference = _with_digest(reference, registry, progress)
    if found := cache.find(reference.key):
        return _same(cache, found, reference, wanted), reference
    with cache.pulling(reference.key, progress) as folder:
        if found := cache.find(reference.key):
            return _same(cache, found, reference, wanted), reference
        layer = _sif_layer(_for_platform(registry, reference, architecture), reference)
        sha256 = layer.digest.removeprefix("sha256:")
        if wanted not in {"", sha256}:
            raise mismatch(reference.pinned(), sha256, wanted)
        if cache.image(sha256) is None:
            registry.blob(reference.name, layer, folder / "image.sif", progress, cache.make_room)
            return cache.keep(folder / "image.sif", reference.key, sha256), reference
    return cache.refer(sha256, reference.key), reference


def _library(
    cache: Cache, reference: Reference, wanted: str, architecture: str, sources: Sources, progress: Progress
) -> tuple[Image, Reference]:
    path, query = quote(f"{reference.name}:{reference.tag}", safe="/:"), urlencode({"arch": _go_name(architecture)})
    sha256 = reference.digest.removeprefix("sha256:")
    if not sha256:
        said = _ask_library(f"{sources.library}/v1/images/{path}?{query}", reference, sources.web)
        sha256 = str(said.get("hash", "")).removeprefix("sha256.")
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise ImageError(f"{reference.text}: the library gives no digest", got=str(said.get("hash"))[:100])
    if wanted not in {"", sha256}:
        raise mismatch(reference.text, sha256, wanted)
    url = f"{sources.library}/v1/imagefile/{path}?{query}"
    reference = replace(reference, digest=f"sha256:{sha256}")
    return _file(cache, url, reference.text, sha256, sources.web, progress), reference


def _https(
    cache: Cache, reference: Reference, wanted: str, _architecture: str, sources: Sources, progress: Progress
) -> tuple[Image, Reference]:
    login = ""
    if reference.scheme == "https" and sources.environ is not None:  # never in the clear
        login = netrc_login(urlsplit(reference.text).hostname or "", sources.environ)
    return _file(cache, reference.text, reference.text, wanted, sources.web, progress, login), reference


def _file(
    cache: Cache, url: str, name: str, sha256: str, web: Web, progress: Progress, login: str = ""
) -> Image:
    """Return the image that a URL leads to; where its digest is known, one that is there is not fetched again."""
    if sha256 and cache.image(sha256):
        return cache.refer(sha256, name)
    with cache.pulling(sha256 or url, progress) as folder:
        if sha256 and cache.image(sha256):
            return cache.refer(sha256, name)
        try:
            web.download(
                url, folder / "image.sif", what=name, progress=progress, sha256=sha256, room=cache.make_room,
                login=login,
            )
        except (OSError, http.client.HTTPException) as error:
            raise told(error, name) from error
        return cache.keep(folder / "image.sif", name, sha256)


def _registry(reference: Reference, sources: Sources) -> Registry:
    plain = is_loopback(reference.host) or reference.host in sources.plain_http
    login = None if sources.environ is None else login_for(reference.host, sources.environ)
    return Registry(sources.web, reference.host, plain=plain, login=login)


def _with_digest(reference: Reference, registry: Registry, progress: Progress) -> Reference:
    if reference.digest:
        return reference
    found = replace(reference, digest=registry.digest_of(reference.name, reference.tag))
    progress.say(f"{reference.text} is {found.digest}")
    return found


def _for_platform(registry: Registry, reference: Reference, architecture: str) -> Manifest:
    """Return the manifest of one image; of several that a list names, the one for Linux on this architecture."""
    manifest = registry.manifest(reference.name, reference.digest)
    platforms = manifest.platforms()
    if not platforms:
        return manifest
    for system, machine, digest in platforms:
        if system == "linux" and ARCHITECTURES.get(machine) == architecture:
            return registry.manifest(reference.name, digest)
    raise _other_platform(reference, ", ".join(f"{system}-{machine}" for system, machine, _ in platforms), architecture)


def _check_platform(registry: Registry, reference: Reference, manifest: Manifest, architecture: str) -> None:
    """Refuse an image for other machines before its layers are fetched."""
    try:
        said = json.loads(registry.small(reference.name, manifest.config))
        system, machine = str(said.get("os", "linux")), str(said.get("architecture", ""))
    except (ValueError, AttributeError, RecursionError) as error:
        raise ImageError(f"{reference.pinned()} has no configuration that can be read") from error
    if system != "linux" or (machine and ARCHITECTURES.get(machine) != architecture):
        raise _other_platform(reference, f"{system}-{machine}", architecture)


def _other_platform(reference: Reference, got: str, architecture: str) -> ImageError:
    return ImageError(f"{reference.pinned()} is for other machines", got=got, wanted=f"linux-{_go_name(architecture)}")


def _sif_layer(manifest: Manifest, reference: Reference) -> Blob:
    marked = [layer for layer in manifest.layers if layer.kind == _SIF_LAYER]
    if len(marked) != 1:
        kinds = ", ".join(layer.kind for layer in manifest.layers) or "nothing"
        hint = "an image of layers is pulled with docker://"
        raise ImageError(f"{reference.text} holds no SIF file", got=kinds[:200], wanted="one layer, a SIF", hint=hint)
    return marked[0]


def _layout(folder: Path, manifest: Manifest) -> Path:
    """Make an OCI layout with one manifest, or find the one that an earlier pull began; return where its blobs go."""
    layout, blobs = folder / "oci", folder / "oci" / "blobs" / "sha256"
    entry = {"mediaType": manifest.kind, "digest": manifest.digest, "size": len(manifest.body)}
    with faults(folder):
        blobs.mkdir(parents=True, exist_ok=True)
        (blobs / manifest.digest.removeprefix("sha256:")).write_bytes(manifest.body)
        (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return blobs


def _same(cache: Cache, image: Image, reference: Reference, wanted: str) -> Image:
    if wanted not in {"", image.sha256}:
        raise mismatch(reference.pinned(), image.sha256, wanted)
    return cache.refer(image.sha256, reference.key)


def _ask_library(url: str, reference: Reference, web: Web) -> dict[str, Any]:
    try:
        with web.open(url, headers={"Accept": "application/json"}) as answer:
            said = json.loads(answer.read(_MOST))
        return dict(said["data"])
    except (OSError, http.client.HTTPException) as error:
        raise told(error, reference.text) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImageError(f"{reference.text}: the library sent something else than JSON", got=url) from error


def _go_name(machine: str) -> str:
    return next((go for go, name in ARCHITECTURES.items() if name == machine), machine)

