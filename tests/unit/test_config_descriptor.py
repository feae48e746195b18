"""Descriptors: what they become, and what each bad one is told."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nexapod_batch.config.job.descriptor import Parsed, load, parse
from nexapod_batch.errors import DescriptorError
from nexapod_batch.model.document import canonical, from_document, to_document
from nexapod_batch.model.job import Comparator, CompareRule, Dependency, Domain, QuorumPolicy, Resources, Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

FULL = """\
schema = 1
[job]
name = "lorenz96"
command = ["python3", "run.py", "--seed", "{seed}"]
env = { OMP_NUM_THREADS = "{cpus_per_task}", DEBUG = 1 }
labels = { project = "weather" }
[resources]
tier = "cpu"
cpus_per_task = 4
mem = "4GiB"
time = "00:30:00"
disk = "1G"
[array]
matrix = { seed = [1, 2, 3], forcing = [8.0, 1e1] }
[quorum]
agree = 3
deadline = "2-00:00:00"
distinct = ["owner", "node"]
[[inputs]]
source = "run.py"
[[outputs]]
path = "out/{seed}-*.npy"
compare = "significant"
digits = 8
[[outputs]]
path = "log.csv"
compare = "allclose"
rtol = 1e-6
[schedule]
priority = 5
depends_on = [{ job = 41 }]
[site.mycluster.resources]
partition = "short"
mem = "8G"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with the one input that FULL names."""
    (tmp_path / "run.py").write_bytes(b"print(1)\n")
    return tmp_path


def minimal(body: str = "", head: str = "") -> str:
    """Return the smallest descriptor, with more keys of [job] (`head`) and more sections (`body`)."""
    return f'schema = 1\n[job]\ncommand = ["true"]\n{head}\n{body}\n'


def refused(text: str, folder: Path, **options: object) -> DescriptorError:
    """Return the error of a descriptor that must be refused."""
    with pytest.raises(DescriptorError) as caught:
        parse(text, folder, **options)  # type: ignore[arg-type]
    assert caught.value.exit_code == 65
    return caught.value


def test_a_full_descriptor_becomes_a_complete_job(folder: Path) -> None:
    """Defaults are filled in, units settled, inputs pinned, numbers of the matrix kept as written."""
    job = parse(FULL, folder).job
    assert job.name == "lorenz96"
    assert job.env == (("DEBUG", "1"), ("OMP_NUM_THREADS", "{cpus_per_task}"))
    assert job.resources == Resources(tier=Tier.CPU, cpus_per_task=4, mem_mib=4_096, time_s=1_800, disk_mib=1_024)
    assert job.array is not None
    assert job.array.matrix == (("seed", ("1", "2", "3")), ("forcing", ("8.0", "1e1")))
    expected = QuorumPolicy(
        agree=3, replicas=3, max_replicas=7, deadline_s=172_800, distinct=(Domain.NODE, Domain.OWNER)
    )
    assert job.quorum == expected
    assert job.inputs[0].source == str(folder / "run.py")
    assert job.inputs[0].target == "run.py"
    assert job.inputs[0].sha256 == hashlib.sha256(b"print(1)\n").hexdigest()
    assert job.outputs[0].rule == CompareRule(comparator=Comparator.SIGNIFICANT, digits=8)
    assert job.outputs[1].rule == CompareRule(comparator=Comparator.ALLCLOSE, rtol=1e-6, atol=0.0)
    assert job.schedule.depends_on == (Dependency(job=41, when="accepted"),)
    assert job.sites == (("mycluster", (("mem_mib", "8192"), ("partition", "short"))),)


def test_a_job_survives_its_document(folder: Path) -> None:
    """The pinned document gives the same job back."""
    job = parse(FULL, folder).job
    assert from_document(to_document(job)) == job
    assert "gpu_mem_mib" not in to_document(job)["resources"]
    more = replace(job, resources=replace(job.resources, gpus=1, gpu_mem_mib=16_384))
    assert from_document(to_document(more)) == more


def test_a_name_is_made_of_the_file_name(tmp_path: Path) -> None:
    """Without job.name, and whatever the file is called."""
    (tmp_path / "my job.toml").write_text(minimal())
    assert load(tmp_path / "my job.toml").job.name == "my_job"


def test_key_order_does_not_change_the_document(tmp_path: Path) -> None:
    """Two spellings of one job have one digest."""
    one = parse(minimal('[quorum]\ndistinct = ["site", "node"]', "env = { B = 1, A = 2 }"), tmp_path).job
    two = parse(minimal('[quorum]\ndistinct = ["node", "site"]', "env = { A = 2, B = 1 }"), tmp_path).job
    assert to_document(one) == to_document(two)


BAD = {
    "broken TOML": ("schema = = 1", "not valid TOML"),
    "duplicate key": ("schema = 1\nschema = 1", "not valid TOML"),
    "no command": ("schema = 1", "job.command: missing"),
    "no schema": ('[job]\ncommand = ["true"]', "schema: missing: wanted the number 1"),
    "newer schema": (minimal().replace("schema = 1", "schema = 2"), "schema: out of range: got 2"),
    "unknown section": (minimal("[resource]\nmem = 1"), "did you mean 'resources'?"),
    "unknown key": (minimal("[resources]\nmemm = 1"), "line 6: resources.memm: unknown key (did you mean 'mem'?)"),
    "wrong type": (minimal('[resources]\ngpus = "1"'), "resources.gpus: wrong type: got '1'"),
    "boolean for a number": (minimal("[resources]\ngpus = true"), "resources.gpus: wrong type: got true"),
    "wrong unit": (minimal('[resources]\nmem = "4 Gigs"'), "resources.mem: not a size"),
    "unquoted time": (minimal("[resources]\ntime = 00:30:00"), "put it in quotes"),
    "negative": (minimal("[resources]\ncpus_per_task = -1"), "resources.cpus_per_task: out of range: got -1"),
    "no size of a GPU": (minimal('[resources]\ngpus = 1\ngpu_mem = "much"'), "resources.gpu_mem: not a size"),
    "negative size": (minimal("[resources]\nmem = -1"), "resources.mem: out of range: got -1"),
    "zero": (minimal("[resources]\ntime = 0"), "resources.time: out of range: got 0"),
    "zero cpus": (minimal("[resources]\ncpus_per_task = 0"), "resources.cpus_per_task: out of range: got 0"),
    "absurd": (minimal('[resources]\nmem = "9000000T"'), "resources.mem: out of range"),
    "absurd hex": (minimal(f"[resources]\ngpus = 0x{'f' * 30_000}"), "a number of 120000 bits"),
    "nan": (minimal('[[outputs]]\npath = "a"\ncompare = "allclose"\nrtol = nan'), "outputs[0].rtol: out of range"),
    "agree > max": (minimal("[quorum]\nagree = 3\nmax_replicas = 2"), "2 replicas can never agree 3 times"),
    "replicas < agree": (minimal("[quorum]\nreplicas = 1"), "quorum.replicas: fewer than agree"),
    "replicas > max": (minimal("[quorum]\nreplicas = 5\nmax_replicas = 4"), "quorum.replicas: more than max_replicas"),
    "no agreement": (minimal("[quorum]\nagree = 0"), "quorum.agree: out of range"),
    "no domain": (minimal("[quorum]\ndistinct = []"), "quorum.distinct: wrong number of values"),
    "other domain": (minimal('[quorum]\ndistinct = "nodes"'), "did you mean 'node'?"),
    "empty command": ("schema = 1\n[job]\ncommand = []", "job.command: wrong number of values"),
    "empty program": ('schema = 1\n[job]\ncommand = [""]', "job.command[0]: empty"),
    "NUL": ('schema = 1\n[job]\ncommand = ["a\\u0000"]', "job.command[0]: unprintable character"),
    "program not staged": ('schema = 1\n[job]\ncommand = ["./run.sh"]', "no input puts the program there"),
    "both programs": (minimal(head='script = "#!/bin/sh"'), "job.script: both command and script"),
    "no interpreter": ('schema = 1\n[job]\nscript = "echo"', "job.script: no interpreter"),
    "missing input": (minimal('[[inputs]]\nsource = "gone"'), "inputs[0].source"),
    "input is a folder": (minimal('[[inputs]]\nsource = "."'), "is a folder"),
    "other digest": (minimal(f'[[inputs]]\nsource = "run.py"\nsha256 = "{"0" * 64}"'), "not the file that was meant"),
    "no digest": (minimal('[[inputs]]\nsource = "run.py"\nsha256 = "abc"'), "inputs[0].sha256: not accepted"),
    "remote input": (minimal('[[inputs]]\nsource = "ftp://x.org/a"'), "no plug-in can fetch ftp://"),
    "target with a slash": (
        minimal('[[inputs]]\nsource = "run.py"\ntarget = "in/"'),
        "inputs[0].target: ends in a slash: got 'in/', wanted in",
    ),
    "target leaves": (minimal('[[inputs]]\nsource = "run.py"\ntarget = "../a"'), "leaves the work folder"),
    "absolute target": (minimal('[[inputs]]\nsource = "run.py"\ntarget = "/a"'), "not a relative path"),
    "target twice": (
        minimal('[[inputs]]\nsource = "run.py"\n[[inputs]]\nsource = "run.py"\ntarget = "./run.py"'),
        "inputs[1].target: is taken",
    ),
    "output leaves": (minimal('[[outputs]]\npath = "a/../../b"'), "outputs[0].path: leaves the work folder"),
    "output newline": (minimal('[[outputs]]\npath = "a\\nb"'), "outputs[0].path: unprintable character"),
    "output twice": (minimal('[[outputs]]\npath = "a"\n[[outputs]]\npath = "a"'), "stands there twice"),
    "output is a log": (minimal('[[outputs]]\npath = "stdout"'), "outputs[0].path: is called as what is kept of stdout is"),
    "output below a log": (minimal('[[outputs]]\npath = "stderr/*.txt"'), "outputs[0].path: is called as what is kept of stderr is"),
    "state is a log": (minimal('[checkpoint]\npath = ["a", "stderr"]'), "checkpoint.path[1]: is called as what is kept of stderr is"),
    "output is the folder": (minimal('[[outputs]]\npath = "."'), "is the work folder"),
    "workdir leaves": (minimal(head='workdir = "../x"'), "job.workdir: leaves the work folder"),
    "digits missing": (minimal('[[outputs]]\npath = "a"\ncompare = "round"'), "outputs[0].digits: missing"),
    "digits unused": (minimal('[[outputs]]\npath = "a"\ndigits = 3'), "outputs[0].digits: not used by exact"),
    "integers unused": (minimal('[[outputs]]\npath = "a"\nintegers = "approximate"'), "outputs[0].integers: not used by exact"),
    "no such policy": (minimal('[quorum]\npolicy = "credibility"'), "quorum.policy: not accepted"),
    "tolerance unused": (minimal('[[outputs]]\npath = "a"\nrtol = 1'), "outputs[0].rtol: not used by exact"),
    "tolerance missing": (minimal('[[outputs]]\npath = "a"\ncompare = "allclose"'), "outputs[0].rtol: missing"),
    "odd name": (minimal(head='name = "a b\\n"'), "job.name"),
    "quote in name": (minimal(head='name = "a\'b"'), "job.name: not accepted"),
    "name leaves": (minimal(head='name = "../b"'), "job.name: not accepted"),
    "no placeholder": (minimal(head='env = { A = "{sed}" }'), "no placeholder {sed}"),
    "lone brace": (minimal(head='env = { A = "{" }'), "job.env.A: lone '{'"),
    "reserved variable": (minimal(head='env = { NEXAPOD_TASK = "1" }'), "name is taken"),
    "stdin of no input": (minimal(head='stdin = "in.txt"'), "job.stdin: no input: got 'in.txt'"),
    "stdin leaves": (minimal(head='stdin = "../in.txt"'), "job.stdin"),
    "what is left over": (minimal(head='left_over = "ignore"'), "job.left_over: not accepted"),
    "home of the account in a container": (
        minimal('[container]\nimage = "run.sif"', head='home = "account"'), "job.home: a container has no home",
    ),
    "variable of the container's program": (
        minimal('[container]\nimage = "run.sif"', head='env = { PREPEND_PATH = "/x" }'), "job.env.PREPEND_PATH: name is taken",
    ),
    "variable name": (minimal(head='env = { "A-B" = "1" }'), "job.env: name not accepted"),
    "dependency twice": (minimal("[schedule]\ndepends_on = [{ job = 1 }, { job = 1 }]"), "stands there twice"),
    "dependency on 0": (minimal("[schedule]\ndepends_on = [{ job = 0 }]"), "schedule.depends_on[0].job: out of range"),
    "shell in a directive": (minimal('[site.x.resources]\npartition = "a; rm"'), "site.x.resources.partition"),
    "directive newline": (minimal('[site.x.resources]\naccount = "a\\n#SBATCH"'), "site.x.resources.account"),
    "section is a value": ("schema = 1\njob = 3", "job: wrong type: got 3"),
    "inputs is a table": (minimal("[inputs]\nsource = 'run.py'"), "inputs: wrong type: got a table"),
    "an array of 10^9": (minimal('[array]\nids = "1-1000000000"'), "1,000,000,000 tasks"),
    "value leaves": (
        minimal('[array]\nmatrix = { a = ["../x"] }\n[[outputs]]\npath = "out/{a}"'),
        "{a} cannot stand in a path: got '../x'",
    ),
    "too large": ("#" * 65_537, "too large"),
    "deep": ("a" + ".a" * 30_000 + " = 1", "nested too deeply"),
    "deep list": ("a = " + "[" * 30_000 + "]" * 30_000, "not valid TOML"),
}


@pytest.mark.parametrize(("text", "told"), BAD.values(), ids=BAD.keys())
def test_bad_descriptors_are_told_why(text: str, told: str, folder: Path) -> None:
    """Exit code 65 and a message with key path, what was got and what was wanted."""
    assert told in str(refused(text, folder))


def test_all_problems_come_at_once_with_their_lines(folder: Path) -> None:
    """One run shows everything that is wrong."""
    text = (
        'schema = 1\n[job]\n# "[\ncommand = ["true"]\nnme = "x"\n[resources]\nmem = "x"\n[[outputs]]\npath = "a"\n'
        '[[outputs]]\npath = "../b"\n[quorum]\nagree = 9\nmax_replicas = 3\n'
    )
    found = [(one.line, one.path) for one in refused(text, folder).problems]
    assert sorted(found) == [(5, "job.nme"), (7, "resources.mem"), (11, "outputs[1].path"), (14, "quorum.max_replicas")]


def test_lines_are_right_after_multi_line_values(folder: Path) -> None:
    """Keys inside strings and lists are not keys."""
    text = 'schema = 1\n[job]\nscript = """#!/bin\n[resources]\nmem=1\n"""\n[resources]\ntime = [\n1,\n]\nmem = "?"\n'
    assert [(one.line, one.path) for one in refused(text, folder).problems] == [
        (11, "resources.mem"),
        (8, "resources.time"),
    ]


@pytest.mark.parametrize("data", [b"\xff\xfe", b'schema = 1\n[job]\ncommand = ["\xc3"]\n'])
def test_files_that_are_not_utf8_are_refused(tmp_path: Path, data: bytes) -> None:
    """The first bad byte is named."""
    (tmp_path / "job.toml").write_bytes(data)
    with pytest.raises(DescriptorError, match="is not UTF-8"):
        load(tmp_path / "job.toml")


@pytest.mark.parametrize("name", ["gone.toml", ".", "a/b", "x" * 300, "\udcff", "a\0b"])
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, name: str) -> None:
    """Whatever the reason."""
    with pytest.raises(DescriptorError, match="cannot be read") as caught:
        load(tmp_path / name)
    str(caught.value).encode()


def test_a_fifo_is_no_input(folder: Path) -> None:
    """It is refused before it is opened, which would wait for ever."""
    os.mkfifo(folder / "pipe")
    assert "special file" in str(refused(minimal('[[inputs]]\nsource = "pipe"'), folder))


def test_a_folder_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """Its name could not stand in the job document."""
    odd = tmp_path / os.fsdecode(b"\xff")
    odd.mkdir()
    (odd / "a").touch()
    assert "not UTF-8" in str(refused(minimal('[[inputs]]\nsource = "a"'), odd))


@pytest.mark.parametrize(
    ("sets", "check"),
    [
        (["resources.mem=4G"], lambda job: job.resources.mem_mib == 4_096),
        (["resources.time=00:30:00"], lambda job: job.resources.time_s == 1_800),
        (["job.name=5"], lambda job: job.name == "5"),
        (['job.command=["echo", "a=b"]'], lambda job: job.command == ("echo", "a=b")),
        (["quorum.distinct=host"], lambda job: job.quorum.distinct == (Domain.HOST,)),
        (["quorum.agree=1", "quorum.agree=3"], lambda job: job.quorum.agree == 3),
        (["array.matrix.x=[1, 2.50]"], lambda job: job.array.matrix == (("x", ("1", "2.50")),)),
        (["site.a.resources.partition=long"], lambda job: job.sites == (("a", (("partition", "long"),)),)),
        (["job.env.A=x y"], lambda job: job.env == (("A", "x y"),)),
    ],
)
def test_set_replaces_a_value(tmp_path: Path, sets: list[str], check: object) -> None:
    """Text needs no quotes; everything else is TOML."""
    assert check(parse(minimal(), tmp_path, sets=sets).job)  # type: ignore[operator]


@pytest.mark.parametrize(
    "one",
    ["", "=", "a", "job=1", "job.command.x=1", "outputs[0].path=a", "a..b=1", "job.name=\udcff", "resources.mem=x\ny"],
)
def test_bad_sets_are_refused(tmp_path: Path, one: str) -> None:
    """With a message that can be printed."""
    str(refused(minimal(), tmp_path, sets=[one])).encode()


def test_precedence_of_values_from_outside(tmp_path: Path) -> None:
    """Options win over --set, --set over the descriptor, the descriptor over defaults."""
    text = minimal("[quorum]\nagree = 1\nmax_lost = 7")
    job = parse(
        text,
        tmp_path,
        sets=["quorum.agree=2", "quorum.max_errors=9"],
        overrides={"quorum.agree": 3},
        defaults={"quorum.max_lost": 1, "resources.mem": "1G"},
    ).job
    assert (job.quorum.agree, job.quorum.max_errors, job.quorum.max_lost, job.resources.mem_mib) == (3, 9, 7, 1_024)


def test_a_forgotten_input_is_warned_of(folder: Path) -> None:
    """An argument that names a file beside the descriptor that is not staged."""
    text = 'schema = 1\n[job]\ncommand = ["python3", "run.py"]\n'
    (warning,) = parse(text, folder).warnings
    assert "job.command[1]: 'run.py' lies beside the descriptor but is not in [[inputs]]" in warning
    assert parse(text + '[[inputs]]\nsource = "run.py"\n', folder).warnings == ()


def test_a_placeholder_in_a_script_is_warned_of(tmp_path: Path) -> None:
    """Scripts read variables; a shell's own ${seed} is left alone."""
    text = "schema = 1\n[job]\nscript = '''#!/bin/sh\necho {seed} ${task}'''\n[array]\nmatrix = { seed = [1] }\n"
    (warning,) = parse(text, tmp_path).warnings
    assert "read $NEXAPOD_SEED" in warning


WORDS = st.sampled_from(
    [
        "[job]", "[resources]", "[array]", "[quorum]", "[[inputs]]", "[[outputs]]", "[schedule]", "[container]",
        "[site.a.resources]", "[site]", "command", "script", "name", "env", "mem", "time", "ids", "matrix",
        "values", "agree", "source", "target", "path", "compare", "digits", "rtol", "depends_on", "distinct",
        "image", ".", "[", "]", "{", "}", ",", '"true"', '"{x}"', '"../a"', '"1-5%2"', '"#!/bin/sh"', "1", "-1",
        "1e400", "nan", "true", "1979-05-27", "00:30:00", '"a"', "0xffffffffffffffffffff", "'''", "#",
        '"allclose"', '"significant"',
    ]
    + ["schema = 1", " = ", "\n", '"\\u0000"', '"""']
)
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.times(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "job", "job.command", "job.command[0]", "job.script", "job.name", "job.env", "job.env.A", "job.workdir",
        "resources", "resources.mem", "resources.time", "resources.tier", "array", "array.ids", "array.values",
        "array.matrix", "array.matrix.x", "array.max_running", "quorum", "quorum.agree", "quorum.distinct",
        "quorum.class", "inputs", "inputs[0].source", "inputs[0].target", "outputs", "outputs[0]",
        "outputs[0].path", "outputs[0].digits", "schedule", "schedule.depends_on", "site", "site.a",
        "site.mycluster.resources", "container", "container.image",
    ]
)


def test_what_was_added_later_is_in_a_document_only_where_it_says_something(tmp_path: Path) -> None:
    """A job that says nothing of it keeps the digest that it had; one that does is read back."""
    output = '[[outputs]]\npath = "a"\ncompare = "significant"\ndigits = 3\n'
    plain, said = (parse(minimal(output + more), tmp_path).job for more in ("", 'integers = "approximate"\n'))
    assert set(to_document(plain)["outputs"][0]) == {"path", "compare", "digits", "rtol", "atol"}
    assert not {"policy", "min_isolation"} & set(to_document(plain)["quorum"])
    assert said.outputs[0].rule == plain.outputs[0].rule._replace(integers="approximate")
    assert from_document(to_document(said)) == said


def parsed_or_refused(text: str, **options: object) -> None:
    """Check that a text gives a job that can be pinned, or an error that can be printed."""
    try:
        parsed = parse(text, Path("/nonexistent"), **options)  # type: ignore[arg-type]
    except DescriptorError as error:
        str(error).encode()
    else:
        assert isinstance(parsed, Parsed)
        document = to_document(parsed.job)
        canonical(document)
        assert from_document(document) == parsed.job


@given(st.text() | st.lists(WORDS, max_size=40).map("".join) | st.lists(WORDS, max_size=40).map("\n".join))
def test_no_text_gives_a_traceback(text: str) -> None:
    """DescriptorError is the only exception, and messages can be printed."""
    parsed_or_refused(text)


@settings(max_examples=300)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_no_value_gives_a_traceback(changes: Mapping[str, object]) -> None:
    """Whatever stands in the place of a value of an otherwise good descriptor."""
    parsed_or_refused(FULL.replace('source = "run.py"', 'source = "/dev/null"'), overrides=changes)
    parsed_or_refused(minimal('[[outputs]]\npath = "a"'), overrides=changes)


@given(st.lists(st.tuples(KEYS, st.text()).map("=".join) | st.text(), max_size=3))
def test_no_set_gives_a_traceback(sets: list[str]) -> None:
    """The command line is as unfriendly as a file."""
    parsed_or_refused(minimal(), sets=sets)
