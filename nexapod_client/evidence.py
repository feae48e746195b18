"""The evidence of a job, checked on the client's side by the verifier of `nexapod-batch verify --folder`."""

from __future__ import annotations

import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexapod_client.errors import NexaPodError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["unpacked", "verified"]

_FINGERPRINT = "SHA256:"


def verified(
    fetch: Callable[[Path], Path], keys: Sequence[str | Path], uuid: str | None, results: str | Path | None
) -> dict[str, Any]:
    """Return what was found in an exported proof that `fetch` saves as a tar file.

    `keys` are fingerprints, or PEM files, of those that are trusted.

    Raises:
        NexaPodError: The archive cannot be read, or a file is no key.

    """
    from nexapod_batch.coordinator.verification.export_check import verify_folder  # noqa: PLC0415
    from nexapod_batch.coordinator.verification.export_files import given_keys  # noqa: PLC0415
    from nexapod_batch.errors import NexapodError  # noqa: PLC0415

    pinned = {key for key in keys if isinstance(key, str) and key.startswith(_FINGERPRINT)}
    files = [Path(key) for key in keys if key not in pinned]
    try:
        given = given_keys(files)
    except NexapodError as error:
        problem = {"got": error.got, "wanted": error.wanted, "hint": error.hint}
        raise NexaPodError(error.what, problem=problem) from error
    with unpacked(fetch) as folder:
        there = given_keys([*folder.glob("*.pem"), *folder.glob("coordinator.spki")])
        given |= {name: public for name, public in there.items() if name in pinned}
        document = verify_folder(folder, given, None if results is None else Path(results), uuid)
    unknown = sorted(pinned - there.keys())
    if unknown:
        fault = f"a key that is trusted is none of this proof: {', '.join(unknown)}"
        check = {"check": "keys", "of": str(document["job"]), "ok": False, "problem": fault}
        document |= {"ok": False, "checks": [*document["checks"], check]}
    return document


@contextmanager
def unpacked(fetch: Callable[[Path], Path]) -> Iterator[Path]:
    """Yield the only folder of a tar file that `fetch` saves, until the block ends.

    Raises:
        NexaPodError: The archive cannot be read.

    """
    with tempfile.TemporaryDirectory(prefix="nexapod-proof-") as above:
        file, inside = fetch(Path(above) / "proof.tar"), Path(above) / "inside"
        try:
            with tarfile.open(file) as tar:
                tar.extractall(inside, filter="data")
        except (tarfile.TarError, OSError) as error:
            raise NexaPodError("the proof cannot be read", problem={"got": str(error)}) from error
        folders = list(inside.iterdir())
        if len(folders) != 1 or not folders[0].is_dir():
            raise NexaPodError("the proof cannot be read", problem={"got": f"{len(folders)} folders", "wanted": "one"})
        yield folders[0]
