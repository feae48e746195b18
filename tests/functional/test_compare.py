"""`compare` by hand, and what `explain` says of answers that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homes import Home, ended

from nexapod_batch.model.rule_text import keys_of

if TYPE_CHECKING:
    from pathlib import Path

JOB = """[job]
name = "noisy"
command = ["sh", "-c", "n=$(mkdir {flag}/1 2>/dev/null && echo 1 || echo 2); printf 'made at 12:00:0%s\\nE = 1.50000000%s\\n' $n $n > a.txt"]
[quorum]
distinct = "run"
max_replicas = 2
[[outputs]]
path = "a.txt"
"""


def test_two_files(tmp_path: Path) -> None:
    """Exit code 1 and the rule that would do; 0 under that rule."""
    home = Home(tmp_path)
    (tmp_path / "a.txt").write_text("# date 2026-11-01\nE 1.00000000001\n")
    (tmp_path / "b.txt").write_text("# date 2026-11-02\nE 1.0\n")
    done = home.call("compare", "a.txt", "b.txt")
    assert done.code == 1
    rule = 'compare = "significant"\n    digits = 8\n    ignore = ["^# date"]'
    assert f"these would agree under, in the descriptor:\n    {rule}\n" in done.out
    rules = ("--rule", "compare=significant", "--rule", "digits=8", "--rule", 'ignore=["^# date"]')
    assert home.call("compare", "a.txt", "b.txt", *rules).code == 0
    assert home.json("compare", "a.txt", "b.txt", code=1)["files"][0]["figures"]["numbers"] == 1


def test_two_folders(tmp_path: Path) -> None:
    """File by file; what only one of them has differs."""
    home = Home(tmp_path)
    for folder, more in (("one", "x"), ("other", "y")):
        (tmp_path / folder / "in").mkdir(parents=True)
        (tmp_path / folder / "in/a.txt").write_text("1.5\n")
        (tmp_path / folder / more).write_text("")
    files = home.json("compare", "one", "other", code=1)["files"]
    assert [(file["name"], file["agree"]) for file in files] == [("in/a.txt", True), ("x", False), ("y", False)]
    assert home.call("compare", "one", "one/in/a.txt").code == 2
    assert home.call("compare", "one", "other", "--rule", "digits").code == 2
    assert home.call("compare", "one", "other", "--rule", "compare=nearly").code == 65


def test_explain_says_how_far_answers_are_and_what_would_do(tmp_path: Path) -> None:
    """Nobody wins: figures, and a line for the descriptor under which the next job is accepted."""
    (tmp_path / "flag").mkdir()
    with ended(Home(tmp_path), "mine") as home:
        text = JOB.format(flag=tmp_path / "flag")
        assert home.submit(text, "--wait=90s").code == 3
        said = home.call("explain", "1").out
        assert "1 of 2 numbers differ, and 1 words" in said
        (pair,) = home.json("explain", 1)["tasks"][0]["differences"]
        (file,) = pair["files"]
        assert (pair["replica"], pair["against"], pair["accepted"], pair["problem"]) == ("1_0.2", "1_0.1", False, None)
        assert (file["name"], file["first"]["place"]["line"]) == ("a.txt", 1)
        assert file["figures"]["absolute"]["place"] == {"line": 2, "word": 3}
        assert file["figures"]["causes"] == ["dates", "numbers"]
        assert "only dates or times and numbers differ" in said
        shown = said.partition("these would agree under, in the descriptor:\n")[2].splitlines()
        would = [line.strip() for line in shown if line.startswith("      ")]
        assert keys_of(file["would_agree"]) == would
        (tmp_path / "flag/1").rmdir()
        assert home.submit(text + "\n".join(would), "--wait=90s").code == 0
        pasted = home.call("compare", "job.toml", "job.toml", "--rule", file["would_agree"])
        assert pasted.code == 0, pasted.err


LOSER = """[job]
name = "one-loses"
command = ["sh", "-c", "n=$(mkdir {flag}/1 2>/dev/null && echo 1 || echo 2); printf 'n\\n1.50%s\\n' $n > a.csv; test $n = 2 || echo > more"]
[quorum]
agree = 2
max_replicas = 3
distinct = "run"
[[outputs]]
path = "a.csv"
compare = "allclose"
atol = 1e-9
[[outputs]]
path = "more"
optional = true
"""


def test_figures_of_who_lost_are_kept(tmp_path: Path) -> None:
    """With the verdict, as data: of tolerances too, and a file that only one side has; they stay when files are gone."""
    (tmp_path / "flag").mkdir()
    with ended(Home(tmp_path), "mine") as home:
        assert home.submit(LOSER.format(flag=tmp_path / "flag"), "--wait=90s").code == 0
        (pair,) = home.json("explain", "1_0")["tasks"][0]["differences"]
        (lost,) = [one for one in home.json("show", 1)["tasks"][0]["replicas"] if one["validation"] == "invalid"]
        assert (pair["replica"], pair["node"], pair["accepted"]) == (lost["id"], "mine", True)
        file, more = pair["files"]
        assert file["figures"]["format"] == "csv"
        assert (file["figures"]["values"], file["figures"]["beyond"]) == (1, 1)
        assert file["figures"]["relative"]["place"] == {"row": 2, "column": 1}
        assert (file["figures"]["decades"], file["would_agree"]) == ({"-4": 1}, 'compare = "allclose", rtol = 0.007')
        assert more == {"name": "more", "agree": False, "only_of": "right"}
        said = home.call("explain", "1_0").out
        assert f"{lost['id']} on node mine" in said
        assert "more: only other replica has it" in said
