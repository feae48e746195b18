"""Scripts with `#SBATCH` lines as descriptors, and documents as TOML text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.cli.commands.init import CASES, starter
from nexapod_batch.cli.drafts.named_files import input_rows, named_files, output_rows, words_of_script
from nexapod_batch.cli.drafts.sbatch_script import Translation, directives, translate
from nexapod_batch.cli.drafts.toml_text import toml_text
from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.errors import DescriptorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a descriptor may hold: text of any kind, numbers, and tables of them.
SCALARS = st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans()
TABLES = st.dictionaries(st.text(), SCALARS | st.lists(st.text()), min_size=1)


def script(*lines: str, body: str = "true") -> str:
    """Return a script with these directives."""
    return "\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines), body, ""])


def read(*lines: str, body: str = "true", site: str | None = None) -> Translation:
    """Return the translation of directives, none of which is refused."""
    found = translate(script(*lines, body=body), site)
    assert found.refused == ()
    return found


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (["--time=1:30:00"], {"time": "1:30:00"}),
        (["-t 1-12:00"], {"time": "1-12:00"}),
        (["-t5"], {"time": "5"}),
        (["--time"], None),
        (["--cpus-per-task=4 --mem=2G"], {"cpus_per_task": 4, "mem": "2G"}),
        (["-c 4", "--mem=500"], {"cpus_per_task": 4, "mem": "500M"}),
        (["-c4", "--mem-per-cpu=1G"], {"cpus_per_task": 4, "mem": "4G"}),
        (["--gres=gpu:a100:2"], {"gpus": 2, "gpu_type": "a100"}),
        (["--gres=gpu"], {"gpus": 1}),
        (["--gres=gpu:3"], {"gpus": 3}),
        (["-G 2"], {"gpus": 2}),
        (["--gpus=h100:1"], {"gpus": 1, "gpu_type": "h100"}),
        (["--gpus-per-node=v100:2"], {"gpus": 2, "gpu_type": "v100"}),
        (["--tmp=20G"], {"disk": "20G"}),
        (["-N1 -n1"], {"nodes": 1, "ntasks": 1}),
        (["--ntasks=4 --mem-per-cpu=100M"], {"cpus_per_task": 4, "mem": "400M"}),
        (["--nodes=1 --ntasks-per-node=3 -c 2"], {"nodes": 1, "cpus_per_task": 6}),
        (["--time=5 # a comment"], {"time": "5"}),
    ],
)  # fmt: skip
def test_resources(lines: list[str], wanted: Mapping[str, Any] | None) -> None:
    """Resources become those of one replica, in either spelling of an option."""
    if wanted is None:
        assert translate(script(*lines), None).refused != ()
    else:
        assert read(*lines).tables["resources"] == wanted


def test_sums_are_said() -> None:
    """What is multiplied, and that ranks without a launcher are CPUs, is told."""
    assert any("one process with 4 CPUs" in note for note in read("-n 4").notes)


@pytest.mark.parametrize(
    ("line", "table", "wanted"),
    [
        ("--array=1-10%2", "array", {"ids": "1-10%2"}),
        ("-a 0-15", "array", {"ids": "0-15"}),
        ("--hold", "schedule", {"hold": True}),
        ("-H", "schedule", {"hold": True}),
    ],
)
def test_other_tables(line: str, table: str, wanted: Mapping[str, Any]) -> None:
    """Arrays and holds have tables of their own."""
    assert read(line).tables[table] == wanted


def test_words_of_a_site_need_its_name() -> None:
    """A partition goes to the table of the site that was named, else it is left out with the way to name one."""
    assert read("-p short", "--account=p1", "-q long", site="alpha").tables["site"] == {
        "alpha": {"resources": {"partition": "short", "account": "p1", "qos": "long"}}
    }
    without = read("-p short")
    assert "site" not in without.tables
    assert any("--partition=short: left out" in note and "--site" in note for note in without.notes)


@pytest.mark.parametrize("option", ["--output=x.%j", "-e err", "--mail-type=END", "--mail-user=a@b", "--chdir=/x", "--requeue",
                                    "-w node1", "--exclusive", "--comment='a b'", "--hint=nomultithread", "--nice", "--signal=B:USR1@60"])  # fmt: skip
def test_what_changes_nothing_is_left_out_and_named(option: str) -> None:
    """Each directive without a meaning here is named, with the reason."""
    (note,) = (note for note in read(option).notes if "left out" in note)
    assert note.startswith("line 2: --")


@pytest.mark.parametrize("option", ["--dependency=afterok:41", "-d singleton", "--begin=now+1hour", "-L matlab", "-M other", "--bb=x",
                                    "--nodes=1-2", "--mem=0", "--time=UNLIMITED", "--gres=shard:1", "--frobnicate=1", "-N 2"])  # fmt: skip
def test_what_would_make_another_job_is_refused(option: str) -> None:
    """A directive that cannot be left out is refused by its line or by what is missing."""
    assert len(translate(script(option), None).refused) == 1


@pytest.mark.parametrize("body", ["srun ./a", "  srun --mpi=pmix ./a", "mpirun -n 4 ./a", "mpiexec ./a"])
def test_launchers_in_the_script_are_refused(body: str) -> None:
    """Ranks are started by the site's launcher: a script that does so itself is refused with the way out."""
    (refused,) = translate(script("-n 4", body=body), None).refused
    assert refused.startswith("line 3: ")
    assert "submit --ntasks" in refused


def test_variables_of_slurm() -> None:
    """A script that reads the task's number, or the CPUs, finds them; what is not there is named."""
    found = read("-a 1-3", body="echo $SLURM_ARRAY_TASK_ID ${SLURM_CPUS_PER_TASK} $SLURM_JOB_ID")
    assert found.job["env"] == {"SLURM_ARRAY_TASK_ID": "{task}", "SLURM_CPUS_PER_TASK": "{cpus_per_task}"}
    assert any("SLURM_JOB_ID" in note for note in found.notes)
    assert read(body="echo $SLURM_ARRAY_TASK_ID").job["env"] == {}


def test_directives_end_at_the_first_command() -> None:
    """As for Slurm, lines after the first command and lines that are commented out are none."""
    text = "#!/bin/sh\n##SBATCH -n1\n\n# a word\n#SBATCH -c2\nset -e\n#SBATCH -c4\n"
    assert list(directives(text)) == [(5, "cpus-per-task", "2")]


@pytest.mark.parametrize("line", ["--comment='open", "word", "-? 3"])
def test_lines_that_slurm_would_refuse(line: str) -> None:
    """A broken directive is named by its line."""
    with pytest.raises(DescriptorError, match="line 2"):
        translate(script(line), None)


def test_export_and_module() -> None:
    """Variables that are set are kept, with braces that mean themselves; modules are pointed to the site file."""
    found = read("--export=ALL,A=1,B={x}", body="module load gcc/13")
    assert found.job["env"] == {"A": "1", "B": "{{x}}"}
    assert any("[environment] modules" in note for note in found.notes)


@given(st.dictionaries(st.text(), TABLES | SCALARS | st.lists(TABLES, min_size=1)))
def test_toml_reads_back(document: dict[str, Any]) -> None:
    """Whatever a document holds, its text is TOML that says the same."""
    assert tomli.loads(toml_text(document)) == document


def test_scripts_stay_readable() -> None:
    """A text of several lines is written as it is."""
    assert "\necho 'a' \"b\" \\n\n" in toml_text({"job": {"script": "#!/bin/sh\necho 'a' \"b\" \\n\n"}})


@pytest.mark.parametrize("case", CASES)
def test_starters_are_descriptors(case: str, tmp_path: Path) -> None:
    """What `init` writes is a job as it is, once the files that it names are there."""
    text = starter(case)
    for row in tomli.loads(text)["inputs"]:
        (tmp_path / row["source"]).touch()
    found = parse(text, tmp_path)
    assert found.warnings == ()
    assert found.job.quorum.agree == 2


def test_files_that_words_name(tmp_path: Path) -> None:
    """Only plain files below the folder are taken: no folder, nothing absolute, nothing above, each once."""
    (tmp_path / "d").mkdir()
    for name in ("a.py", "d/b.csv", "-x"):
        (tmp_path / name).touch()
    words = ["python3", "./a.py", "a.py", "d/b.csv", "d", "/etc/passwd", "../up", "-x", "no\0where", "x" * 5000, "~/a"]
    assert named_files(words, tmp_path) == ["a.py", "d/b.csv"]
    text = "#!/bin/sh\n# d/b.csv\ncat <a.py >out; (x --in=d/b.csv)\n"
    assert named_files(words_of_script(text), tmp_path) == ["a.py", "d/b.csv"]


def test_inputs_and_outputs_of_options() -> None:
    """`--input` may say a target, `--output` a comparator with its numbers; anything else is refused."""
    assert input_rows(["a"], ["b", "c:d"]) == [{"source": "a"}, {"source": "b"}, {"source": "c", "target": "d"}]
    assert output_rows(["x", "y:allclose,rtol=1e-6,atol=0"]) == [
        {"path": "x"}, {"path": "y", "compare": "allclose", "rtol": 1e-6, "atol": 0},
    ]  # fmt: skip
    for call, text in ((input_rows, "a:"), (input_rows, ":b")):
        with pytest.raises(UsageError):
            call([], [text])
    with pytest.raises(UsageError):
        output_rows(["x:significant,8"])
