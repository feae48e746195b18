"""What single replicas wrote can be had, accepted or not, as long as the retention rule keeps it."""

from __future__ import annotations

from homes import TRUE, Home

ONCE = '[quorum]\nagree = 1\nreplicas = 1\nmax_replicas = 1\nmax_errors = 0\ndistinct = "run"\n'


def copied(home: Home, replica: str) -> tuple[dict[str, str], dict[str, bytes]]:
    """Copy what a replica wrote; return (name -> signed) and (name -> content)."""
    target = home.folder / f"copy-{replica}"
    document = home.json("results", replica, "--replica", "--out", target)
    files = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert files.keys() == {one["name"] for one in document["files"]}
    return {one["name"]: one["signed"] for one in document["files"]}, files


def test_a_failed_replica_keeps_what_it_wrote(home: Home) -> None:
    """However short its screen output: its files stay, links and fifos in them are named and not followed."""
    command = "mkdir -p d; echo half > d/table.txt; ln -s /etc/passwd link; mkfifo pipe; echo oops >&2; exit 3"
    assert home.submit(f'[job]\nname = "f"\ncommand = ["sh", "-c", "{command}"]\n{ONCE}', "--wait").code == 1
    signed, files = copied(home, "1_0.1")
    assert files == {"stderr": b"oops\n", "stdout": b"", "work/d/table.txt": b"half\n"}
    assert signed == {"stderr": "yes", "stdout": "yes", "work/d/table.txt": "unsigned"}
    done = home.call("results", "1_0.1", "--out", home.folder / "again")
    assert "link was left out: no plain file" in done.out
    assert "pipe was left out: no plain file" in done.out
    assert "nexapod-batch results 1_0 --replica" in home.call("explain", "1").out


def test_rivals_of_a_task_without_a_result_can_be_compared(home: Home) -> None:
    """Answers that never agree are all kept, small ones that came with their reports and large ones."""
    for job, size in ((1, 10), (2, 9_000)):
        command = f"head -c {size} /dev/urandom > out"
        quorum = '[quorum]\ndistinct = "run"\nmax_replicas = 2\n'
        text = f'[job]\nname = "r"\ncommand = ["sh", "-c", "{command}"]\n[[outputs]]\npath = "out"\n{quorum}'
        assert home.submit(text, "--wait").code == 3
        listed = home.json("results", f"{job}_0", "--replica")["replicas"]
        assert [one["kept"] for one in listed] == [True, True]
        outs = [copied(home, f"{job}_0.{number}") for number in (1, 2)]
        assert all(signed["work/out"] == "yes" for signed, _ in outs)
        assert len({files["work/out"] for _, files in outs}) == 2


def test_what_was_changed_afterwards_is_said(home: Home) -> None:
    """A file whose digest is not the signed one is copied, and named."""
    text = '[job]\nname = "c"\ncommand = ["sh", "-c", "echo $RANDOM$NEXAPOD_REPLICA > o; head -c 9000 /dev/urandom > out"]\n'
    quorum = '[[outputs]]\npath = "out"\n[quorum]\ndistinct = "run"\nmax_replicas = 2\n'
    assert home.submit(text + quorum, "--wait").code == 3
    (folder,) = home.path.glob("work/*/1_0.1")
    (folder / "out").write_text("other")
    done = home.call("results", "1_0.1", "--replica", "--out", home.folder / "x")
    assert (done.code, "work/out is not what was signed" in done.out) == (0, True)


def test_what_is_not_there_is_refused(home: Home) -> None:
    """An unknown replica, a replica whose files are gone, a target that is there, and words that name no replica."""
    assert home.submit(TRUE, "--wait").code == 0
    assert home.submit(f'[job]\nname = "f"\ncommand = ["false"]\n{ONCE}', "--wait").code == 1
    for argv, code, words in (
        (("1_0.9", "--replica"), 66, "no replica 1_0.9"),
        (("1_0.1", "--out", home.folder / "z"), 66, "its folder was removed"),
        (("2_0.1", "--out", home.folder), 78, "is there already"),
        (("1_0.x", "--replica"), 2, "not a replica"),
        (("1_0", "--replica", "--out", home.folder / "y"), 2, "--out takes what one replica wrote"),
    ):
        done = home.call("results", *argv)
        assert (done.code, words in done.err) == (code, True), done.err
