"""The suite of sources, for those that are shipped, with real servers."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import pytest
from clusters.certificates import Authority
from gateways import serving
from moto_server import s3_server
from obstore.store import S3Store
from web_server import web_server

from nexapod_batch.sources import SourceSettings
from nexapod_batch.sources.https import HttpsSource
from nexapod_batch.sources.ipfs import IpfsSource
from nexapod_batch.sources.s3 import S3Source
from nexapod_batch.testing.sources import Served, SourceConformance

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).parents[1] / "golden/ipfs"
CID = "bafybeidglfcvx2rlv2cusu24tt72zx5hqempyxswgsm4j4ucy4ga6vnsxq"
OTHER = "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am"
CONTENT = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def endpoint() -> Iterator[dict[str, str]]:
    """Yield the environment by which a server of a bucket is reached."""
    with s3_server() as environ:
        yield environ


class TestHttps(SourceConformance):
    """Files of a web server."""

    source = HttpsSource()
    refused = ("https://", "https://me:secret@example.org/x", "https:///x", "https://a b/x", "https://x:0/")

    @pytest.fixture
    def served(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
        """Yield a file with a tag of its version."""
        authority = Authority(tmp_path_factory.mktemp("tls") / "ca")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        with web_server(*authority.issue("server", "localhost")) as web:

            def change(content: bytes) -> None:
                web.files["x"] = content
                web.tags["x"] = f'"{hashlib.sha256(content).hexdigest()}"'

            change(CONTENT)
            yield Served(f"{web.url}/x", CONTENT, f"{web.url}/y", SourceSettings(private_hosts=("localhost",)), change)


class TestS3(SourceConformance):
    """Objects of a bucket."""

    source = S3Source()
    refused = ("s3://", "s3://bucket", "s3://me:secret@bucket/x", "s3://bucket/../x", "s3://bucket//x", "s3://bucket/x#y")

    @pytest.fixture
    def served(self, endpoint: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Served:
        """Return an object."""
        for name, value in endpoint.items():
            monkeypatch.setenv(name, value)
        store = S3Store(
            "data", endpoint=endpoint["AWS_ENDPOINT_URL"], region="us-east-1", access_key_id="me",
            secret_access_key=endpoint["AWS_SECRET_ACCESS_KEY"], client_options={"allow_http": True},
        )  # fmt: skip

        def change(content: bytes) -> None:
            obstore.put(store, "deep/x", content)

        change(CONTENT)
        return Served("s3://data/deep/x", CONTENT, "s3://data/deep/y", SourceSettings(environ=endpoint), change)


class TestIpfs(SourceConformance):
    """A file of several blocks from an honest gateway: what its CID names is the same for ever."""

    source = IpfsSource()
    refused = ("ipfs://", "ipfs://no-cid", "ipfs://QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", f"ipfs://{CID}?x")

    @pytest.fixture
    def served(self, tmp_path: Path) -> Iterator[Served]:
        """Yield what a CAR holds that another program made."""
        car = gzip.decompress((GOLDEN / "blocks.car.gz").read_bytes())
        content = b"a" * (1 << 20) + b"b" * (1 << 20) + b"c" * 300_000
        with serving(car) as gateway:
            settings = SourceSettings(gateways=(gateway.url,), scratch=tmp_path)
            yield Served(f"ipfs://{CID}", content, f"ipfs://{OTHER}", settings)
