"""A real OCI registry on loopback (Debian's docker-registry), filled over its own API, and its log of requests."""

from __future__ import annotations

import base64
import ctypes
import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["DOCKER", "OCI", "Registry"]

#: Media types of manifest, configuration, layer and list.
OCI = tuple(
    f"application/vnd.oci.image.{one}"
    for one in ("manifest.v1+json", "config.v1+json", "layer.v1.tar+gzip", "index.v1+json")
)
DOCKER = (
    "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.distribution.manifest.list.v2+json",
)  # fmt: skip


class Registry:
    """A running registry, and a client that pushes."""

    def __init__(self, process: subprocess.Popen[str], login: str = "") -> None:
        """Wait until it says where it listens; keep reading what it logs."""
        self.process, self._login = process, login
        self.log: list[str] = []
        self.host = ""
        assert process.stderr is not None
        for line in process.stderr:
            self.log.append(line)
            if found := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                self.host = found[1]
                break
        assert self.host, "".join(self.log)
        threading.Thread(target=self._listen, args=(process.stderr,), daemon=True).start()
        threading.Thread(target=self._listen, args=(process.stdout,), daemon=True).start()

    @classmethod
    @contextmanager
    def start(cls, folder: Path, login: str = "") -> Iterator[Registry]:
        """Yield a registry that keeps its images below a folder; with `user:password` only for that user."""
        (folder / "data").mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info", "formatter": "text"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": "127.0.0.1:0"},
        }
        if login:
            user, _, password = login.partition(":")
            (folder / "htpasswd").write_text(f"{user}:{bcrypt(password)}\n")
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
        (folder / "config.json").write_text(json.dumps(config))  # JSON is YAML
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.json")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield cls(process, login)
        finally:
            process.terminate()
            process.wait(10)
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                stream.close()

    def requests(self, method: str, part: str) -> int:
        """Return how many requests of a method for a path that holds `part` were answered with success."""
        wanted = f" http.request.method={method} "
        answered = [line for line in self.log if "response completed" in line and wanted in line and part in line]
        return sum(bool(re.search(r"http\.response\.status=2\d\d", line)) for line in answered)

    def settled(self) -> None:
        """Wait until everything that was asked so far is in the log."""
        mark = f"mark-{time.monotonic_ns()}"
        self._call("GET", f"/v2/{mark}/tags/list", ok=(404,))
        end = time.monotonic() + 120
        while not any(mark in line and "response" in line for line in self.log):
            assert time.monotonic() < end, "the registry logs nothing"
            time.sleep(0.01)

    def push_tree(
        self, name: str, tag: str, tree: Path, *, kinds: tuple[str, ...] = OCI, machine: str = "amd64"
    ) -> str:
        """Push a tree as an image of one layer; return the digest of its manifest."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(tree, arcname=".")
        layer = gzip.compress(packed.getvalue(), 1, mtime=0)
        config = {
            "architecture": machine,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(packed.getvalue())]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": kinds[0],
            "config": self.blob(name, json.dumps(config).encode(), kinds[1]),
            "layers": [self.blob(name, layer, kinds[2])],
        }
        return self.manifest(name, tag, manifest)

    def push_sif(self, name: str, tag: str, sif: Path) -> str:
        """Push a SIF file as `apptainer push oras://` does; return the digest of its manifest."""
        kind = "application/vnd.sylabs.sif.layer.v1.sif"
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI[0],
            "config": self.blob(name, b"{}", "application/vnd.sylabs.sif.config.v1+json"),
            "layers": [self.blob(name, sif.read_bytes(), kind)],
        }
        return self.manifest(name, tag, manifest)

    def push_list(self, name: str, tag: str, images: dict[str, str], kinds: tuple[str, ...] = OCI) -> str:
        """Push a list of images (architecture in Go's words -> digest); return its digest."""
        entries = [
            {"mediaType": kinds[0], "digest": digest, "size": 1, "platform": {"os": "linux", "architecture": machine}}
            for machine, digest in images.items()
        ]
        for entry in entries:
            entry["size"] = len(self._call("GET", f"/v2/{name}/manifests/{entry['digest']}", accept=kinds[0]))
        return self.manifest(name, tag, {"schemaVersion": 2, "mediaType": kinds[3], "manifests": entries})

    def manifest(self, name: str, tag: str, manifest: dict[str, Any]) -> str:
        """Push a manifest; return its digest."""
        body = json.dumps(manifest).encode()
        self._call("PUT", f"/v2/{name}/manifests/{tag}", body, {"Content-Type": manifest["mediaType"]})
        return _digest(body)

    def blob(self, name: str, body: bytes, kind: str) -> dict[str, Any]:
        """Push a blob; return its descriptor."""
        place = self._call("POST", f"/v2/{name}/blobs/uploads/", b"", location=True).decode()
        joint = "&" if "?" in place else "?"
        self._call("PUT", f"{place}{joint}digest={_digest(body)}", body, {"Content-Type": "application/octet-stream"})
        return {"mediaType": kind, "digest": _digest(body), "size": len(body)}

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        location: bool = False,
        accept: str = "*/*",
        ok: tuple[int, ...] = (),
    ) -> bytes:
        url = path if path.startswith("http") else f"http://{self.host}{path}"
        request = urllib.request.Request(url, body, {**(headers or {}), "Accept": accept}, method=method)  # noqa: S310 - its own host
        if self._login:
            request.add_header("Authorization", "Basic " + base64.b64encode(self._login.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
                return str(answer.headers["Location"]).encode() if location else answer.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code in ok:
                    return b""
                raise AssertionError(f"{method} {url}: {error.code} {error.read()!r}") from error

    def _listen(self, stream: Any) -> None:
        for line in stream:
            self.log.append(line)


def bcrypt(password: str) -> str:
    """Return the hash that htpasswd files of a registry hold, made by the system's libcrypt."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    found: bytes = crypt(password.encode(), b"$2b$05$abcdefghijklmnopqrstuu")
    return found.decode()


def _digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()
