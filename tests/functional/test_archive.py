"""`archive` and `verify ARCHIVE`: the same bytes each time, checked by anybody's tools, and every change is noticed."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from homes import TRUE, Home

from nexapod_batch.coordinator.archives import bag_format as bag
from nexapod_batch.coordinator.archives.check import verify_archive
from nexapod_batch.files import keyfile
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.keys import spki_pem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Inputs, outputs that need a manifest, names that are unusual, a task that fails, two nodes of two owners.
JOB = """[job]
name = "archived"
command = ["sh", "-c", "cat in.txt; test {task} = 0 || exit 7; mkdir d; for i in $(seq 99); do echo $i > d/$i.txt; done; echo ä > 'd/ö 100% %41.txt'; : > d/empty.txt"]
[array]
ids = "0-1"
[quorum]
distinct = "owner"
[[inputs]]
source = "in.txt"
target = "in.txt"
[[outputs]]
path = "d/*.txt"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home with a job of two nodes and owners that ended, and its archives; nobody may change it."""
    one = Home(tmp_path_factory.mktemp("archives"))
    (one.folder / "in.txt").write_text("hello\n")
    for name in ("alice", "bob"):
        assert one.call("node", "init", "--name", name, "--owner", name).code == 0
    assert one.submit(JOB, "--wait").code == 1  # its second task fails
    assert one.call("archive", 1, "--out", one.folder / "bag").code == 0
    assert one.call("archive", 1, "--out", one.folder / "bag.tar").code == 0
    yield one
    one.end()


@pytest.fixture
def folder(home: Home, tmp_path: Path) -> Path:
    """Return a copy of the archive, to be changed."""
    return Path(shutil.copytree(home.folder / "bag", tmp_path / "bag"))


def files_of(folder: Path) -> dict[str, Path]:
    """Return every file below a folder, by its relative name."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def problems(path: Path, **more: Any) -> str:
    """Return what is found wrong in an archive; "" when everything holds."""
    document = verify_archive(path, more.get("given", {}), more.get("uuid"))
    found = [str(check["problem"]) for check in document["checks"] if not check["ok"]]
    assert document["ok"] == (not found)
    return "; ".join(found)


@pytest.mark.parametrize("name", ["bag", "bag.tar"])
def test_an_archive_is_verified_without_a_home(home: Home, tmp_path: Path, name: str) -> None:
    """As a folder and as a tar, anywhere; a home is neither needed nor made, and keys are said to be nobody's."""
    nowhere = tmp_path / "nowhere"
    done = home.call("verify", home.folder / name, env={"NEXAPOD_HOME": str(nowhere)})
    assert (done.code, done.err) == (0, "")
    assert "all holds: 4 statements, 2 verdicts and" in done.out
    assert done.out.count("unattributed") == 4  # the UUID and three keys
    assert not nowhere.exists()
    assert home.call("verify", name, env={"NEXAPOD_HOME": str(nowhere)}).code == 0  # beside it, by its name alone


def test_the_same_job_gives_the_same_bytes(home: Home, tmp_path: Path) -> None:
    """Made again later, and elsewhere: file by file, and the tar as a whole; what a tar unpacks to is the folder."""
    later = home.submit(TRUE, "--wait")
    assert later.code == 0, later.err
    for name in ("again", "again.tar"):
        assert home.call("archive", 1, "--out", tmp_path / name).code == 0
    first, again = files_of(home.folder / "bag"), files_of(tmp_path / "again")
    assert {name: path.read_bytes() for name, path in first.items()} == {name: path.read_bytes() for name, path in again.items()}
    assert (home.folder / "bag.tar").read_bytes() == (tmp_path / "again.tar").read_bytes()
    subprocess.run(["tar", "-xf", tmp_path / "again.tar", "-C", tmp_path], check=True)
    (unpacked,) = tmp_path.glob("nexapod-*")
    assert {name: path.read_bytes() for name, path in files_of(unpacked).items()} == {
        name: path.read_bytes() for name, path in first.items()
    }
    assert problems(tmp_path / "again") == problems(unpacked) == ""


def test_what_its_readme_says_works_as_it_stands(home: Home) -> None:
    """Every command in it is run in the folder: sha256sum, bagit.py, openssl, securesystemslib, our own."""
    text = (home.folder / "bag/README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert [word for word in ("sha256sum", "bagit.py", "openssl", "securesystemslib", "nexapod-batch verify") if word not in text] == []
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
    for block in blocks:
        done = subprocess.run(["sh", "-ec", block], cwd=home.folder / "bag", env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (block, done.stdout[-2000:], done.stderr[-2000:])
    assert len(blocks) >= 5


def test_every_byte_and_every_file_counts(folder: Path) -> None:
    """Of each file: one bit changed anywhere, cut, made longer, gone, a link: it fails, and the file is named."""
    alike = re.compile(r"data/results/0/d/\d\d.txt")  # one of them stands for all
    for name, path in files_of(folder).items():
        if alike.fullmatch(name) and not name.endswith("/42.txt"):
            continue
        data = path.read_bytes()
        places = {0, len(data) // 2, len(data) - 1} if data else set()
        changed = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in places]
        for other in [*changed, data[:-1], data + b"\n"]:
            if other == data:
                continue
            path.write_bytes(other)
            assert problems(folder) != "", (name, other[:40])
        path.unlink()
        assert f"{Path(name).name!a}".strip("'") in problems(folder), name
        path.symlink_to(path.parent / "elsewhere")
        assert "is no plain file" in problems(folder)
        path.unlink()
        path.write_bytes(data)
    assert problems(folder) == ""


@pytest.mark.parametrize(
    "name", ["notes.txt", "data/notes.txt", "data/proof/x", "data/results/0/d/x.txt", "data/results/1/x", "data/inputs/00", "data/e/"]
)
def test_a_file_or_folder_more_is_named(folder: Path, name: str) -> None:
    """Nothing may lie there that the coordinator did not sign for, not even an empty folder."""
    if name.endswith("/"):
        (folder / name).mkdir()
    else:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert problems(folder) == f"{name.rstrip('/')!r} is not of this archive"


def test_every_byte_of_a_tar_counts(home: Home, tmp_path: Path) -> None:
    """Also those between members: one bit in any block of 512 bytes, and of every byte of some headers."""
    whole = (home.folder / "bag.tar").read_bytes()
    path = tmp_path / "x.tar"
    places = [*range(512), *range(100, len(whole), 2048 + 37)]
    for at in places:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert problems(path) != "", at
    for cut in (len(whole) // 2, len(whole) - 10240, 512, 100):
        path.write_bytes(whole[:cut])
        assert problems(path) != "", cut
    path.write_bytes(whole + b"x" * 512)
    assert "behind its end" in problems(path)
    path.write_bytes(whole)
    assert problems(path) == ""


def member(name: str, data: bytes = b"x", **more: Any) -> Callable[[tarfile.TarFile], None]:
    """Return what adds a member to a tar."""

    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for field, value in more.items():
            setattr(info, field, value)
        tar.addfile(info, io.BytesIO(data))

    return add


HOSTILE = {
    "a symbolic link": (member("TOP/data/x", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a symbolic link"),
    "a hard link": (member("TOP/data/x", b"", type=tarfile.LNKTYPE, linkname="TOP/README.md"), "is a hard link"),
    "a device": (member("TOP/data/x", b"", type=tarfile.CHRTYPE), "is a device"),
    "a fifo": (member("TOP/data/x", b"", type=tarfile.FIFOTYPE), "is a fifo"),
    "a sparse file": (member("TOP/data/x", b"", type=tarfile.GNUTYPE_SPARSE), "of a kind"),
    "upwards": (member("TOP/../x"), "unsafe name"),
    "upwards, hidden": (member("TOP/data/../../x"), "unsafe name"),
    "absolute": (member("/etc/x"), "unsafe name"),
    "a dot": (member("TOP/./x"), "unsafe name"),
    "two slashes": (member("TOP//x"), "unsafe name"),
    "no name": (member(""), "unsafe name"),
    "a line end": (member("TOP/data/a\nb"), "unsafe name"),
    "beside the bag": (member("other/x"), "several folders at its top"),
    "at the top": (member("x"), "unsafe name"),
    "a file twice": (member("TOP/bagit.txt"), "two members have one name"),
    "deep": (member("TOP/" + "d/" * 70 + "x"), "lies too deep"),
    "one more": (member("TOP/data/x"), "is not of this archive"),
    "an empty folder": (member("TOP/data/x", b"", type=tarfile.DIRTYPE), "is not of this archive"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_hostile_members_are_refused(home: Home, tmp_path: Path, kind: str, form: int) -> None:
    """Whatever others put into a tar beside what is ours: it is told, nothing is written anywhere."""
    add, problem = HOSTILE[kind]
    top = f"nexapod-{home.json('archive', 'show', home.folder / 'bag.tar')['uuid']}"

    class Named(tarfile.TarFile):
        """A tar in which TOP stands for the folder at its top."""

        def addfile(self, tarinfo: tarfile.TarInfo, fileobj: Any = None) -> None:
            tarinfo.name = tarinfo.name.replace("TOP", top)
            super().addfile(tarinfo, fileobj)

    path = tmp_path / "x.tar"
    shutil.copy(home.folder / "bag.tar", path)
    with Named.open(path, "a", format=form) as tar:
        add(tar)
    assert problem in problems(path)
    assert sorted(os.listdir(tmp_path)) == ["x.tar"]


def test_names_that_are_no_utf8_are_refused(home: Home, folder: Path, tmp_path: Path) -> None:
    """In a folder and in a tar."""
    path = tmp_path / "x.tar"
    shutil.copy(home.folder / "bag.tar", path)
    with tarfile.open(path, "a", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        member("ö/x")(tar)
    assert "was changed, at byte" in problems(path)
    (folder / os.fsdecode(b"data/\xff")).write_text("x")
    assert "unsafe name" in problems(folder)


def test_others_may_pack_it_again(home: Home, tmp_path: Path) -> None:
    """GNU tar writes folders, owners and times, and Python other headers: what counts is what is in it."""
    gnu, python = tmp_path / "gnu.tar", tmp_path / "python.tar"
    subprocess.run(["tar", "-cf", gnu, "-C", home.folder, "bag"], check=True)
    with tarfile.open(python, "w") as tar:
        tar.add(home.folder / "bag", "./bag")
    assert problems(gnu) == problems(python) == ""
    subprocess.run(["gzip", "-k", gnu], check=True)
    assert "is no tar" in problems(tmp_path / "gnu.tar.gz")


def test_bombs_are_refused_before_they_are_read(folder: Path, tmp_path: Path) -> None:
    """A file of 10^12 bytes, a tar that says it has one, metadata of 1 GB, too many members: none of it is read."""
    crate = folder / bag.CRATE
    os.truncate(crate, 10**12)
    assert "bytes, wanted at most" in problems(folder)
    os.truncate(crate, 10**9)
    assert "its files have another size" in problems(folder)
    path = tmp_path / "x.tar"
    info = tarfile.TarInfo("a/b")
    info.size = 10**12
    path.write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(1 << 20))
    assert "the tar was cut" in problems(path)
    os.truncate(path, 10**12 + (1 << 20))
    assert problems(path) != ""


def sign_again(folder: Path, signer: Signer) -> None:
    """Sign what lies there now as a whole bag: what only the coordinator, or who has another key, can do."""
    import hashlib

    found = files_of(folder)
    payload = {name: path for name, path in found.items() if name.startswith(bag.PAYLOAD)}
    digest = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in payload.items()}
    (folder / bag.MANIFEST).write_bytes(bag.manifest_text(digest.items()))
    info = bag.parse_bag_info((folder / bag.BAG_INFO).read_bytes())
    info["Payload-Oxum"] = f"{sum(path.stat().st_size for path in payload.values())}.{len(payload)}"
    (folder / bag.BAG_INFO).write_bytes(bag.bag_info(info.items()))
    tags = bag.manifest_text([(name, hashlib.sha256((folder / name).read_bytes()).hexdigest()) for name in bag.TAG_FILES])
    (folder / bag.TAGS).write_bytes(tags)
    (folder / bag.SIGNATURE).write_bytes(signer.sign(tags))


def swap_key(folder: Path) -> None:
    """Put another coordinator's key there."""
    (folder / bag.COORDINATOR_KEY).write_text(spki_pem(Signer.from_seed(bytes(32)).public))


def foreign_statement(folder: Path) -> None:
    """Put what was signed of another task where that of the first is expected."""
    shutil.copy(folder / "data/proof/1_1.1.dsse.json", folder / "data/proof/1_0.1.dsse.json")


def other_crate(folder: Path) -> None:
    """Say in the metadata that it is another job's."""
    path = folder / bag.CRATE
    path.write_text(path.read_text().replace("urn:uuid:0", "urn:uuid:f"))


LIES = {
    "a swapped key": (swap_key, "no signature by"),
    "a foreign statement": (foreign_statement, "1_0.1.dsse.json was changed"),
    "a missing statement": (lambda folder: (folder / "data/proof/1_0.2.dsse.json").unlink(), "1_0.2.dsse.json is missing"),
    "another result": (lambda folder: (folder / "data/results/0/d/7.txt").write_text("8\n"), "d/7.txt is not what was signed"),
    "a result less": (lambda folder: (folder / "data/results/0/d/7.txt").unlink(), "d/7.txt is gone"),
    "a result more": (lambda folder: (folder / "data/results/0/d/x.txt").write_text(""), "'d/x.txt' was not signed"),
    "results of a task without": (lambda folder: [(folder / "data/results/1").mkdir(), (folder / "data/results/1/x").write_text("")], "belongs to nothing in the proof"),
    "another input": (lambda folder: [path.write_text("x") for path in (folder / "data/inputs").iterdir()], "is no input of the job"),
    "an input less": (lambda folder: shutil.rmtree(folder / "data/inputs"), "is missing"),
    "any file": (lambda folder: (folder / "data/x").write_text(""), "belongs to nothing in the proof"),
    "another job's metadata": (other_crate, "it is about another job"),
    "metadata that is none": (lambda folder: (folder / bag.CRATE).write_text("[" * 5000), "it cannot be read"),
    "no object": (lambda folder: (folder / bag.CRATE).write_text('{"@graph": [1]}'), "it cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_who_signs_the_bag_again_contradicts_what_was_signed(home: Home, folder: Path, lie: str) -> None:
    """Also the coordinator cannot change what is in the bag without the nodes' keys."""
    change, problem = LIES[lie]
    change(folder)
    sign_again(folder, keyfile.load(home.path / "keys/coordinator"))
    assert problem in problems(folder)


def test_keys_and_uuid_of_the_reader_count(home: Home, folder: Path) -> None:
    """What the reader got elsewhere is compared with what is in the archive, and named as given."""
    uuid = home.json("show", 1)["job"]["uuid"]
    key = home.folder / "coordinator.pem"
    shutil.copy(folder / bag.COORDINATOR_KEY, key)
    done = home.call("verify", folder, "--key", key, "--uuid", uuid)
    assert done.code == 0
    assert "given by you" in done.out
    assert home.call("verify", folder, "--uuid", uuid[:-1]).code == 1
    other = Signer.from_seed(bytes(32))
    assert "is none of this folder" in problems(folder, given={other.key_id: other.public})


def test_inputs_can_be_left_out(home: Home, tmp_path: Path) -> None:
    """Then they are named by digest and source, and the archive holds."""
    assert home.call("archive", 1, "--out", tmp_path / "less", "--without-inputs").code == 0
    assert not (tmp_path / "less/data/inputs").exists()
    assert problems(tmp_path / "less") == ""
    assert home.json("archive", "show", tmp_path / "less")["inputs"] is False
    assert home.json("archive", "show", home.folder / "bag.tar")["inputs"] is True


def test_results_that_changed_are_not_archived(tmp_path: Path) -> None:
    """A published file that is not what was signed, or an input that is gone: an error, and nothing is made."""
    home = Home(tmp_path)
    try:
        (tmp_path / "in.txt").write_text("hello\n")
        text = TRUE.replace('["true"]', '["cp", "in.txt", "a.txt"]')
        text += '[[inputs]]\nsource = "in.txt"\ntarget = "in.txt"\n[[outputs]]\npath = "a.txt"\n'
        assert home.submit(text, "--wait").code == 0
        for out in ("x", "x.tar"):
            (home.path / "results/1/0/a.txt").write_text("Hello\n")
            done = home.call("archive", 1, "--out", tmp_path / out)
            assert (done.code, "is not what was signed" in done.err) == (1, True), done.err
            (home.path / "results/1/0/a.txt").unlink()
            assert "is gone" in home.call("archive", 1, "--out", tmp_path / out).err
            (home.path / "results/1/0/a.txt").write_text("hello\n")
        shutil.rmtree(home.path / "inputs")
        assert "--without-inputs" in home.call("archive", 1, "--out", tmp_path / "x").err
        assert sorted(os.listdir(tmp_path)) == ["home", "in.txt", "job.toml"]
        assert home.call("archive", 1, "--out", tmp_path / "x", "--without-inputs").code == 0
    finally:
        home.end()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_full_disk_leaves_nothing(home: Home, tmp_path: Path) -> None:
    """Where an archive has no room, be it a folder or a tar, that is told, and nothing is half done."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True)
    try:
        for out in ("x", "x.tar"):
            done = home.call("archive", 1, "--out", disk / out)
            assert (done.code, "No space left" in done.err) == (75, True), done.err
            assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (("archive", "7"), 66, "there is no job 7"),
        (("archive", "1_0", "--out", "{here}/x"), 2, "this works on whole jobs"),
        (("archive", "1", "--out", "{bag}"), 2, "is there already"),
        (("archive", "1", "--out", "{bag}.tar"), 2, "is there already"),
        (("archive", "1", "--out", "{here}/none/x"), 2, "is no folder"),
        (("archive", "1", "--out", "{here}/x.tar.gz"), 2, "archives are not compressed"),
        (("archive", "show", "{here}/none"), 66, "archive ID --out DIR makes one"),
        (("archive", "show", "{here}"), 1, "verify {here} says what is wrong"),
        (("verify", "{here}/none"), 66, "archive ID --out DIR makes one"),
        (("verify", "{here}"), 1, ""),
        (("verify", "{bag}", "--results", "{here}"), 2, "an archive holds its own results"),
    ],
)  # fmt: skip
def test_mistakes_are_told(home: Home, tmp_path: Path, argv: tuple[str, ...], code: int, message: str) -> None:
    """A mistake ends with the next step, no traceback, and nothing new."""
    places = {"here": tmp_path, "bag": home.folder / "bag"}
    done = home.call(*[word.format(**places) for word in argv])
    assert done.code == code, done.err
    assert message.format(**places) in done.err
    assert os.listdir(tmp_path) == []
