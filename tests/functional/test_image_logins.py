"""Logins of web servers that have images: from ~/.netrc, for the host that it names and for no other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from clusters.certificates import Authority
from sifs import sif_bytes
from web_server import web_server

if TYPE_CHECKING:
    from pathlib import Path

    from homes import Home

BODY = sif_bytes(content=bytes(range(256)) * 40)
DIGEST = hashlib.sha256(BODY).hexdigest()


def test_an_image_behind_a_login(home: Home, tmp_path: Path) -> None:
    """The host of the URL gets it; where a redirect leads nobody does."""
    authority = Authority(tmp_path / "ca")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login me password secret\n")
    netrc.chmod(0o600)
    env = {"SSL_CERT_FILE": str(authority.certificate), "NETRC": str(netrc)}
    with web_server(*authority.issue("server", "localhost")) as web, web_server(*authority.issue("other", "127.0.0.1")) as other:
        other.files["image.sif"] = BODY
        web.redirects["away.sif"] = other.url.replace("localhost", "127.0.0.1") + "/image.sif"
        done = home.call("image", "pull", f"{web.url}/away.sif", "--sha256", DIGEST, env=env)
        assert done.code == 0, done.err
    assert [login for _, _, login in web.asked] == ["Basic bWU6c2VjcmV0"]
    assert [login for _, _, login in other.asked] == [None]
