"""Files of IPFS from gateways that lie: whatever comes, only the bytes that the CID names get through.

All in `golden/ipfs` was made by `npx ipfs-car pack` (3.1): `folder.car` of a folder with `a.txt` (hello) and `sub/big.bin` (40,000
bytes); with `--no-wrap` `leaf.car` of a file with hello, `blocks.car` of 1 MiB of a, 1 MiB of b and 300,000 c, and `sharded.car` of a
folder with 1,100 empty files, 0 to 1099.
"""

from __future__ import annotations

import gzip
import hashlib
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gateways import Gateway, serving

from nexapod_batch.errors import NexapodError, UnreachableError
from nexapod_batch.sources import SourceError, SourceSettings
from nexapod_batch.sources.car import CutError, blocks
from nexapod_batch.sources.cids import RAW, Cid, CidError
from nexapod_batch.sources.fetching import fetch
from nexapod_batch.sources.ipfs import IpfsSource
from nexapod_batch.sources.unixfs import file_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).parents[1] / "golden/ipfs"
CAR = (GOLDEN / "folder.car").read_bytes()
BLOCKS, SHARDED = (gzip.decompress((GOLDEN / f"{name}.car.gz").read_bytes()) for name in ("blocks", "sharded"))
#: What a CAR is of: the CID that the program printed, and the bytes.
FILES = {
    "one raw block": ("bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am", (GOLDEN / "leaf.car").read_bytes(), b"hello\n"),
    "several blocks": (
        "bafybeidglfcvx2rlv2cusu24tt72zx5hqempyxswgsm4j4ucy4ga6vnsxq", BLOCKS, b"a" * (1 << 20) + b"b" * (1 << 20) + b"c" * 300_000,
    ),
}  # fmt: skip
ROOT = "bafybeieifeq6st34xo5chshexbg3ncfl56bjneauuhscc5fivxsduyqgge"
BIG = random.Random(1).randbytes(40_000)  # noqa: S311 - the same each time
KEPT = dict(blocks([CAR]))


def varint(value: int) -> bytes:
    """Return a number as protobuf has it."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | int) -> bytes:
    """Return a field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def raw_cid(cid: Cid) -> bytes:
    """Return the bytes of a CID."""
    return bytes([1, cid.codec, 0x12, 32]) + cid.digest


def node(*children: Cid, kind: int = 2, data: bytes = b"") -> tuple[Cid, bytes]:
    """Return a dag-pb block and its CID."""
    body = b"".join(field(2, field(1, raw_cid(child))) for child in children) + field(1, field(1, kind) + (field(2, data) if data else b""))
    return Cid(0x70, hashlib.sha256(body).digest()), body


def leaf(data: bytes) -> tuple[Cid, bytes]:
    """Return a raw block and its CID."""
    return Cid(RAW, hashlib.sha256(data).digest()), data


def car(*found: tuple[Cid, bytes]) -> bytes:
    """Return a CAR of these blocks."""
    header = CAR[: CAR[0] + 1]
    return header + b"".join(varint(36 + len(block)) + raw_cid(cid) + block for cid, block in found)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Yield a gateway on a port of the loopback that the kernel chose."""
    with serving(CAR) as made:
        yield made


class Quiet:
    """Progress that nobody hears."""

    def start(self, *_: object) -> None:
        """Say nothing."""

    def advance(self, _: int) -> None:
        """Say nothing."""

    def say(self, _: str) -> None:
        """Say nothing."""


def brought(
    gateway: Gateway, folder: Path, url: str, *more: str, max_bytes: int = 1 << 30, window_s: float = 60.0
) -> bytes:
    """Fetch a file by gateways, that one last; return its bytes."""
    settings = SourceSettings(max_bytes=max_bytes, gateways=(*more, gateway.url), scratch=folder, window_s=window_s)
    return (folder / fetch(IpfsSource(), url, folder, settings, Quiet(), pause=lambda _: None)).read_bytes()


@pytest.mark.parametrize(("path", "wanted"), [("a.txt", b"hello\n"), ("sub/big.bin", BIG)])
@pytest.mark.parametrize("order", ["as it is", "backwards", "with more"])
def test_a_file_of_a_folder(gateway: Gateway, tmp_path: Path, path: str, wanted: bytes, order: str) -> None:
    """In whatever order its blocks come, and with others among them."""
    if order == "backwards":
        gateway.body = car(*reversed(KEPT.items()))
    elif order == "with more":
        gateway.body = car(leaf(b"nobody asked"), *KEPT.items(), leaf(b"for these"))
    assert brought(gateway, tmp_path, f"ipfs://{ROOT}/{path}") == wanted
    assert gateway.asked == [f"/ipfs/{ROOT}/{path}?format=car&dag-scope=entity"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("order", ["as it is", "backwards", "each twice"])
def test_a_file_of_its_own(gateway: Gateway, tmp_path: Path, name: str, order: str) -> None:
    """Of raw blocks under one node, or of one alone; in whatever order they come, and however often."""
    cid, whole, wanted = FILES[name]
    kept = list(blocks([whole]))
    gateway.body = {"as it is": whole, "backwards": car(*reversed(kept)), "each twice": car(*kept, *kept)}[order]
    assert brought(gateway, tmp_path, f"ipfs://{cid}") == wanted


def test_a_sharded_folder_is_not_read(gateway: Gateway, tmp_path: Path) -> None:
    """It says what it is: files of very large folders are named by their own CID."""
    gateway.body = SHARDED
    with pytest.raises(UnreachableError, match="a sharded directory"):
        brought(gateway, tmp_path, "ipfs://bafybeigeyhovurqffew7uwc3gl5fljzgzikcoiqtkufxzax63kovcodmze/7")


def test_a_car_that_is_cut(gateway: Gateway, tmp_path: Path) -> None:
    """Wherever: at the end of a block or within one, nothing gets a name."""
    cid, whole, _ = FILES["several blocks"]
    first = len(car(*list(blocks([whole]))[:1]))
    for at in (0, 10, first, first + 1, len(whole) // 2, len(whole) - 1):
        gateway.body = whole[:at]
        with pytest.raises(UnreachableError, match="came from no gateway"):
            brought(gateway, tmp_path, f"ipfs://{cid}")
    assert not [file for file in tmp_path.iterdir() if not file.name.startswith(".")]


def test_gateways_are_tried_in_their_order(gateway: Gateway, tmp_path: Path) -> None:
    """A page, another file's blocks, a cut one and one that hardly moves are passed over; the honest one is asked last."""
    cid, whole, wanted = FILES["several blocks"]
    with serving(CAR) as page, serving(CAR) as other, serving(CAR) as cut, serving(CAR) as slow, serving(CAR) as unasked:
        page.kind, page.body = "text/html", b"<html>"
        other.body, cut.body, gateway.body = CAR, whole[:-1], whole
        slow.body = b""
        slow.drips.set()
        urls = [one.url for one in (page, other, cut, slow, gateway)]
        assert brought(unasked, tmp_path, f"ipfs://{cid}", *urls, window_s=2.0) == wanted
        slow.drips.clear()
        assert [len(one.asked) for one in (page, other, cut, slow, gateway, unasked)] == [1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("where", ["ftp://127.0.0.1/x", "http://127.0.0.2:%s/x", "http://2130706434:%s/x", "file:///etc/passwd"])
def test_where_a_gateway_leads(gateway: Gateway, tmp_path: Path, where: str) -> None:
    """To itself, and to no other private host, nor out of HTTP."""
    port = gateway.url.rpartition(":")[2]
    gateway.status, gateway.headers = 302, {"Location": where.replace("%s", port)}
    with pytest.raises(UnreachableError, match="came from no gateway"):
        brought(gateway, tmp_path, f"ipfs://{ROOT}/a.txt")
    assert len(gateway.asked) == 1


def test_every_bit_counts() -> None:
    """A flipped bit, or a cut, anywhere behind the header is noticed, or changes nothing of the file."""
    dice = random.Random(7)  # noqa: S311
    header = CAR[0] + 1
    for _ in range(300):
        at = dice.randrange(header, len(CAR))
        forged = bytearray(CAR)
        forged[at] ^= 1 << dice.randrange(8)
        with pytest.raises((CidError, CutError)):
            dict(blocks([bytes(forged)]))
    whole = len(KEPT)
    for at in sorted(dice.sample(range(header + 1, len(CAR)), 100)):
        try:
            assert len(dict(blocks([CAR[:at]]))) < whole
        except (CidError, CutError):
            continue


def test_pieces_of_any_size() -> None:
    """The stream may be cut wherever the network cuts it."""
    for size in (1, 7, 4096):
        assert dict(blocks(CAR[at : at + size] for at in range(0, len(CAR), size))) == KEPT


LEAF = leaf(b"x" * 1000)
EMPTY = node()
HUGE = node(*[LEAF[0]] * 2000)
WIDE = node(*[HUGE[0]] * 2000)
BILLION = node(*[WIDE[0]] * 250)  # 10^9 names of one block
#: What the gateway sends for which root, with which status and kind -> the error says.
LIES = {
    "a page": (b"<html>", LEAF[0], 200, "text/html", "it sent text/html, not a CAR"),
    "a refusal": (b"", LEAF[0], 404, "text/plain", "404"),
    "nothing": (b"", LEAF[0], 200, "application/vnd.ipld.car", "no CAR of version 1"),
    "no root": (car(leaf(b"other")), LEAF[0], 200, "application/vnd.ipld.car", "did not come"),
    "a missing part": (car(HUGE), HUGE[0], 200, "application/vnd.ipld.car", "did not come"),
    "a directory": (car(node(kind=1)), node(kind=1)[0], 200, "application/vnd.ipld.car", "it is a directory"),
    "a sharded directory": (car(node(kind=5)), node(kind=5)[0], 200, "application/vnd.ipld.car", "a sharded directory"),
    "a length that lies": (CAR[: CAR[0] + 1] + varint(1 << 40) + b"x", LEAF[0], 200, "application/vnd.ipld.car", "a block has"),
    "an identity hash": (CAR[: CAR[0] + 1] + varint(6) + bytes([1, 0x55, 0, 2]) + b"hi", LEAF[0], 200, "application/vnd.ipld.car", "hash 0x0"),
    "a block that is named 10^9 times": (car(BILLION, WIDE, HUGE, LEAF), BILLION[0], 200, "application/vnd.ipld.car", "is larger than announced"),
    "a small tree without end": (car(WIDE, HUGE, LEAF), WIDE[0], 200, "application/vnd.ipld.car", "is larger than announced"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_lies(gateway: Gateway, tmp_path: Path, name: str) -> None:
    """Each is told, and nothing gets a name."""
    gateway.body, root, gateway.status, gateway.kind, wanted = LIES[name]
    with pytest.raises(NexapodError) as refusal:
        brought(gateway, tmp_path, f"ipfs://{root}")
    assert isinstance(refusal.value, (UnreachableError, SourceError))
    assert wanted in str(refusal.value)
    assert not [file for file in tmp_path.iterdir() if not file.name.startswith(".")]


def test_empty_nodes_without_end() -> None:
    """They have no bytes that a limit could count: visits are counted."""
    level = EMPTY
    kept = {level[0]: level[1]}
    for _ in range(4):
        level = node(*[level[0]] * 200)
        kept[level[0]] = level[1]
    with pytest.raises(CidError, match="without end"):
        list(file_bytes(level[0], kept.__getitem__))


def test_the_next_gateway(gateway: Gateway, tmp_path: Path) -> None:
    """One that does not answer, or lies, is no end."""
    assert brought(gateway, tmp_path, f"ipfs://{ROOT}/a.txt", "http://127.0.0.1:1") == b"hello\n"


@pytest.mark.parametrize(("url", "wanted"), [
    ("ipfs://QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "version 0"), ("ipfs://zb2rh", "no CID of version 1 in base32"),
    (f"ipfs://{ROOT}/../x", "names no file"), (f"ipfs://{ROOT}//x", "names no file"), ("ipfs://b", "cut off"), ("ipfs://b11", "no base32"),
    (f"ipfs://{ROOT[:-2]}", "cut off"), (f"ipfs://{ROOT}/a?x=1", "a path and nothing else"), (f"ipfs://{ROOT}/a#x", "a path and nothing else"),
    (f"ipfs://{ROOT}/%ff", "no text"), (f"ipfs://{ROOT}/a%00b", "names no file"), ("ipfs://[x", "no CID"), ("ipfs://", "no CID"),
])  # fmt: skip
def test_urls_that_are_none(url: str, wanted: str) -> None:
    """They are told before anybody is asked."""
    assert wanted in IpfsSource().refusal(url)
    assert IpfsSource().refusal(f"ipfs://{ROOT}/a/b") == ""
