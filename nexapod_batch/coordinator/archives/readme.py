"""What an archive says to people: what it is, and how to check it with and without our code. Pure.

Every command in it is run as it stands by a test.
"""

from __future__ import annotations

__all__ = ["readme"]

_TEXT = """# Archive of job {job}: {name}

Everything that is known of how this result came about, in one folder: the job, its inputs{without}, what
independent nodes computed and signed, the verdict on it, and the published files.

    uuid of the job      {uuid}
    SHA-256 of the job   {digest}

| file | what it is |
|---|---|
| `data/results/T/` | the published files of task T |
| `data/results/T.judged-N/` | the result of verdict N on task T by other rules than the job's, which the job did not name |
| `data/inputs/` | the inputs, each called by its SHA-256; `data/proof/job.json` says what they are |
| `data/differences/T.txt` | where replicas that lost differed from what was accepted |
| `data/proof/` | signed statements, verdicts and keys; its `README.md` explains each |
| `data/ro-crate-metadata.json` | the same for programs: an RO-Crate, one CreateAction a replica |
| `bagit.txt`, `bag-info.txt`, `manifest-sha256.txt`, `tagmanifest-sha256.txt` | a BagIt bag: the SHA-256 of every file |
| `tagmanifest-sha256.sig` | the coordinator's signature of `tagmanifest-sha256.txt`, 64 bytes |
| `reproductions/` | what readers who ran it again signed, each by itself |

## Check it

Run these in this folder. Each ends with exit code 0 when it finds nothing wrong.

The files, with what every system has:

```sh
sha256sum --check --quiet tagmanifest-sha256.txt manifest-sha256.txt
```

The same, with the library of those who defined the format (`pip install bagit`):

```sh
bagit.py --validate .
```

The coordinator's signature of all of that, and of the proof, with OpenSSL 3:

```sh
openssl pkeyutl -verify -pubin -inkey data/proof/coordinator.spki -rawin -in tagmanifest-sha256.txt -sigfile tagmanifest-sha256.sig
openssl pkeyutl -verify -pubin -inkey data/proof/coordinator.spki -rawin -in data/proof/manifest-sha256.txt -sigfile data/proof/manifest-sha256.sig
```

Every signed verdict, with the library of the Secure Systems Lab (`pip install securesystemslib cryptography`):

```sh
python3 - <<'END'
import glob, json
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
key = SSlibKey.from_crypto(load_pem_public_key(open("data/proof/coordinator.spki", "rb").read()))
for name in sorted(glob.glob("data/proof/*.vsa.json")):
    envelope = Envelope.from_dict(json.load(open(name)))
    key.keyid = next(iter(envelope.signatures))
    envelope.verify([key], 1)
    print("signed by the coordinator:", name)
END
```

Everything, the decision too, worked out again from the statements (nexapod-batch; no account and no database is needed):

```sh
nexapod-batch verify . --uuid {uuid}
```

A key that lies in a folder proves nothing about whose it is. Get the keys of the nodes, or the coordinator's, from their
owners, and give each with `--key FILE`; `--uuid` is the job's as whoever published it says. What was signed can be
checked without any of our code, too:

    python3 data/proof/check.py --uuid UUID --key alice.pem --key bob.pem --results data/results

## Run it again

    nexapod-batch reproduce .

runs the job on your own nodes, compares by the job's own rules, and signs what came out. `nexapod-batch archive add FILE .`
puts such a statement into `reproductions/`, for the next reader.
"""  # noqa: E501 - commands are copied line by line


def readme(job: int, uuid: str, name: str, digest: str, *, inputs: bool) -> bytes:
    """Return the README of an archive."""
    without = "" if inputs else " by digest and source"
    plain = " ".join(name.split())
    return _TEXT.format(job=job, uuid=uuid, name=plain, digest=digest, without=without).encode()
