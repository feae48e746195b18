"""The evidence of a job, checked on the client's side by the verifier of `nexapod-batch verify --folder`."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexapod_client.errors import NexaPodError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["verified"]


def verified(archive: bytes, pinned: Sequence[str], uuid: str | None) -> dict[str, Any]:
    """Return what was found in an exported proof, a tar file; `pinned` are fingerprints of keys that are trusted.

    Raises:
        NexaPodError: The archive cannot be read.

    """
    from nexapod_batch.coordinator.verification.export_check import verify_folder  # noqa: PLC0415
    from nexapod_batch.coordinator.verification.export_files import given_keys  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="nexapod-proof-") as folder:
        try:
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                tar.extractall(folder, filter="data")
        except (tarfile.TarError, OSError) as error:
            raise NexaPodError("the proof cannot be read", problem={"got": str(error)}) from error
        folders = list(Path(folder).iterdir())
        if len(folders) != 1 or not folders[0].is_dir():
            raise NexaPodError("the proof cannot be read", problem={"got": f"{len(folders)} folders", "wanted": "one"})
        files = [*folders[0].glob("*.pem"), *folders[0].glob("coordinator.spki")]
        given = {name: public for name, public in given_keys(files).items() if name in pinned}
        return verify_folder(folders[0], given, uuid=uuid)
