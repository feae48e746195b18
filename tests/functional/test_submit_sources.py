"""`submit` takes commands, scripts and stdin beside descriptors; `init` writes one to start from."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from homes import PROGRAM, TRUE, Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SQUARE = "import sys\nprint(int(sys.argv[1]) ** 2)\n"
SCRIPT = "#!/bin/bash\n#SBATCH --time=5 --mail-type=END\n#SBATCH --array=2-3\npython3 square.py $SLURM_ARRAY_TASK_ID\n"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Give a home in a folder with a program, and end its workers."""
    found = Home(tmp_path)
    (tmp_path / "square.py").write_text(SQUARE)
    yield found
    found.end()


def test_a_command_is_a_job(home: Home) -> None:
    """One line runs a command twice; the file that it names goes with it, options say what it needs and leaves."""
    done = home.call("submit", "--time", "1", "--name", "sq", "--output", "out.txt", "--wait", "--",
                     "sh", "-c", 'python3 square.py 7 > "$1"', "square.py", "out.txt", "square.py")  # fmt: skip
    assert done.code == 0, done.err
    assert (home.path / "results/1/0/out.txt").read_text() == "49\n"
    assert "inputs: square.py" in done.err
    assert home.jobs()[0]["name"] == "sq"


def test_a_command_may_look_like_options(home: Home) -> None:
    """What follows `--` belongs to the command, also a second `--` and words that submit has itself."""
    assert home.call("submit", "--wait", "--", "printf", "%s\n", "--wait", "--", "{x}").code == 0
    assert home.call("logs", "last").out == "--wait\n--\n{x}\n"


def test_a_script_with_directives(home: Home) -> None:
    """Each directive is shown with what became of it; the tasks of the array find their number."""
    (home.folder / "run.sh").write_text(SCRIPT)
    done = home.call("submit", "run.sh", "--wait")
    assert done.code == 0, done.err
    assert 'line 2: --time=5: resources.time = "5"' in done.err
    assert "line 2: --mail-type=END: left out" in done.err
    assert [home.call("logs", f"1_{task}").out for task in (2, 3)] == ["4\n", "9\n"]


def test_what_cannot_be_translated_is_named_and_nothing_is_stored(home: Home) -> None:
    """A script that asks for what is not there ends with 65 and the lines, and no job."""
    (home.folder / "run.sh").write_text(SCRIPT.replace("--time=5", "--begin=noon").replace("python3", "srun python3"))
    done = home.call("submit", "run.sh")
    assert done.code == 65
    assert "line 2: --begin=noon" in done.err
    assert "line 4: srun" in done.err
    assert home.jobs() == []


def test_the_descriptor_of_a_script_can_be_kept(home: Home) -> None:
    """`--print` prints a descriptor that can be submitted itself, and submits nothing."""
    (home.folder / "run.sh").write_text(SCRIPT)
    printed = home.call("submit", "run.sh", "--print")
    assert home.jobs() == []
    (home.folder / "job.toml").write_text(printed.out)
    assert home.call("submit", "job.toml", "--dry-run").code == 0


@pytest.mark.parametrize("text", ["schema = 1\n" + TRUE, "#!/bin/sh\ntrue\n"])
def test_stdin(home: Home, text: str) -> None:
    """`submit -` reads a descriptor or a script."""
    done = subprocess.run(
        [PROGRAM, "submit", "-", "--wait"], input=text, env=home.env, cwd=home.folder, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("argv", "text", "hint"),
    [
        (["x.py"], SQUARE, "submit -- python3 x.py"),
        (["x.py", "1"], SQUARE, "submit -- python3 x.py 1"),
        (["x.sh"], "echo 1\n", "submit -- bash x.sh"),
        (["x"], "#SBATCH -n1\necho 1\n", "submit -- bash x"),
        (["x.sh"], "#!/bin/sh\n#SBATCH --partiton=short\ntrue\n", "did you mean 'partition'?"),
        (["x.sh"], "#!/bin/sh\n#SBATCH --cpu-per-task=2\ntrue\n", "did you mean 'cpus-per-task'?"),
        (["Snakefile"], "rule a:\n", "nexapod-batch init"),
        (["x.yaml"], "a: 1\n", "nexapod-batch init"),
        ([], "", "submit -- python3 run.py"),
        (["x.toml", "--", "true"], TRUE, "not both"),
        (["x.toml", "--input", "x"], TRUE, "a descriptor names its inputs"),
        (["--"], "", "PROGRAM ARGUMENTS"),
    ],
)
def test_what_is_no_descriptor_gets_the_way_to_submit_it(home: Home, argv: list[str], text: str, hint: str) -> None:
    """A program, a script without an interpreter, and files of other systems end with what to type instead."""
    if argv:
        (home.folder / argv[0]).write_text(text)
    done = home.call("submit", *argv)
    assert done.code in {2, 65}
    assert hint in done.err


def test_a_binary_gets_the_way_to_submit_it(home: Home) -> None:
    """A compiled program is told apart from a descriptor."""
    shutil.copy("/bin/true", home.folder / "prog")
    done = home.call("submit", "prog")
    assert done.code == 65
    assert "submit -- ./prog" in done.err


def test_init_writes_once(home: Home) -> None:
    """`init` writes the descriptor of a case and never over a file that is there, unless it is told to."""
    assert home.call("init").out == "job.toml\n"
    done = home.call("init", "sweep")
    assert done.code == 1
    assert "--force" in done.err
    assert home.call("init", "sweep", "--force").code == 0
    assert "matrix" in (home.folder / "job.toml").read_text()
    assert home.call("init", "gpu", "--out", "-").out.startswith("# ")


@pytest.mark.parametrize(
    ("word", "meant"),
    [("new", "init"), ("run", "submit"), ("status", "show"), ("squeue", "ls"), ("scancel", "cancel"), ("sbatch", "submit")],
)
def test_words_of_other_systems(home: Home, word: str, meant: str) -> None:
    """Who types another system's command is told ours."""
    done = home.call(word, "x")
    assert done.code == 2
    assert f"Did you mean '{meant}'?" in done.err
