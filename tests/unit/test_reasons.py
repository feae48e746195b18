"""Reasons as data: how they are stored, compared and printed, and that each code has a meaning and a sentence."""

from __future__ import annotations

import sqlite3
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from nexapod_batch.errors import UnsafeOutputError, VerificationError
from nexapod_batch.model.reason import Code, Reason, same
from nexapod_batch.store import Store
from nexapod_batch.store.migrations import MIGRATIONS
from nexapod_batch.wording import sentence, sentences
from nexapod_batch.wording.meanings import MEANINGS
from nexapod_batch.wording.reference import reference
from nexapod_batch.wording.sentences import all_templates

SITES = Reason(code=Code.FROM_SITES, parameters={"sites": 2, "owners": 1})
ACCEPTED = Reason(code=Code.ACCEPTED, parameters={"winners": 2, "votes": 3, "independence": SITES})


CODES = {value for name, value in vars(Code).items() if name.isupper()}


def test_each_code_has_a_meaning_and_a_sentence() -> None:
    """Whoever adds a code says what it means, for the reference, and how it is put; one that goes takes both along."""
    assert set(MEANINGS) == CODES
    assert set(all_templates()) == CODES


def test_a_sentence_is_found_by_its_code_alone() -> None:
    """Whatever was said before: the first part of a code leads to the module that has it."""
    modules = sentences._MODULES
    astray = {
        code for name in set(modules.values()) for code in import_module(f"nexapod_batch.wording.{name}").TEMPLATES
        if modules.get(code.partition(".")[0]) != name
    }  # fmt: skip
    assert astray == set()


def test_the_reference_is_current() -> None:
    """Made again with `python -m nexapod_batch.wording.reference > docs/reference/reasons.md`."""
    page = Path(__file__).parents[2] / "docs/reference/reasons.md"
    assert page.read_text(encoding="utf-8") == reference()


def test_a_reason_comes_back_as_it_was_stored() -> None:
    """Reasons inside reasons too; the sentence of what was read is that of what was made."""
    again = Reason.parse(ACCEPTED.stored())
    assert again is not None
    assert same(ACCEPTED, again)
    assert again.document() == ACCEPTED.document()
    assert sentence(again) == sentence(ACCEPTED) == "2 of 3 agree, from 2 sites"


def test_a_reason_is_printed_as_plain_json() -> None:
    """What `--json` prints has code and parameters, all the way down."""
    assert ACCEPTED.document() == {
        "code": "quorum.accepted",
        "parameters": {
            "winners": 2,
            "votes": 3,
            "independence": {"code": "independence.sites", "parameters": {"sites": 2, "owners": 1}},
        },
    }


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (ACCEPTED, True),
        (Reason(code="quorum.accepted", parameters={**ACCEPTED.parameters, "independence": SITES.document()}), True),
        (Reason(code=Code.ACCEPTED, parameters={**ACCEPTED.parameters, "votes": 2}), False),
        (Reason(code=Code.ACCEPTED, parameters={**ACCEPTED.parameters, "one_account": True}), False),
        (Reason(code=Code.USED_UP, parameters=ACCEPTED.parameters), False),
        (None, False),
    ],
    ids=["itself", "as read", "another number", "one more", "another code", "none"],
)
def test_reasons_are_compared_by_what_is_stored(other: Reason | None, expected: bool) -> None:
    """Kinds of strings and sequences do not matter; every parameter does."""
    assert same(ACCEPTED, other) is expected
    assert same(other, ACCEPTED) is expected
    assert same(None, None)


@pytest.mark.parametrize("text", ["no JSON", "{", "[]", '{"code": 7}', '{"parameters": {}}', '"text"', "{}", "null"])
def test_what_is_no_reason_is_read_as_text(text: str) -> None:
    """A damaged database is shown as it is; nothing raises."""
    assert Reason.parse(text) == Reason.text(text)
    assert sentence(Reason.parse(text)) == text
    assert Reason.parse("") is None
    assert sentence(None) == ""


@pytest.mark.parametrize(
    ("code", "parameters", "expected"),
    [
        ("quorum.of_tomorrow", {"n": 2}, "quorum.of_tomorrow (n = 2)"),
        ("quorum.of_tomorrow", {}, "quorum.of_tomorrow"),
        (Code.ACCEPTED, {"winners": 2}, "quorum.accepted (winners = 2)"),
        (Code.TOO_MANY_LOST, {}, "quorum.too_many_lost"),
        (Code.TOO_FEW_AGREE, {"agree": 1, "votes": 2, "needed": 2, "one_machine": 7}, None),
        (Code.TIE, {"failures": 9, "size": 2}, "quorum.tie (failures = 9, size = 2)"),
        (Code.TEXT, {"text": "{evil} %s {0.__class__}"}, "{evil} %s {0.__class__}"),
        (Code.FAILED_ALIKE, {"failed": 1, "placed": 1, "detail": {"code": "x.y"}}, "errors: 1 of 1 replicas failed: x.y"),
    ],
)
def test_a_sentence_never_fails(code: str, parameters: dict[str, Any], expected: str | None) -> None:
    """Of an unknown code, or of parameters that do not fit, both are shown; what others wrote is no template."""
    text = sentence(Reason(code=code, parameters=parameters))
    assert text == (expected or f"{code} ({', '.join(f'{name} = {value}' for name, value in parameters.items())})")


NODE = (
    "INSERT INTO node (id, name, key_id, public_key, site, owner, host, tier, backend, cpus, mem_mib, max_queued, created_at)"
    " VALUES (1, 'n', 'k', zeroblob(32), 'local', 'o', 'h', 'cpu', 'local', 1, 1, 1, 0)"
)
REPLICA = (
    "INSERT INTO replica (job_id, task, number, node_id, launch_id, nonce, execution, reason, created_at, deadline)"
    " VALUES (1, 0, 1 + ?, 1, 1, ?, 'lost', ?, 0, 0)"
)

#: The sentences of earlier versions, word by word: people and scripts know them.
GOLDEN: list[tuple[str, dict[str, Any], str]] = [
    (Code.CANCELLED, {}, "cancelled by its submitter"),
    (Code.REPLICA_CANCELLED, {}, "cancelled by its submitter"),
    (Code.NOT_NEEDED, {}, "no longer needed"),
    (Code.TWO_STATEMENTS, {}, "two different signed statements"),
    (Code.OVERDUE, {}, "deadline passed"),
    (Code.OVERDUE, {"also": Reason(code="x.y", parameters={"text": "gone"})}, "deadline passed; gone"),
    (Code.SIGNED, {"text": "exit code {7}"}, "exit code {7}"),
    (Code.NO_REPORT, {"native": "COMPLETED"}, "the runner ended without a report (COMPLETED)"),
    (Code.NOT_ASKED_FOR, {"sites": ["alpha", "beta"]}, "the job is for alpha, beta only (schedule.sites)"),
    (
        Code.SITE_REFUSES,
        {"problems": [{"key": "resources.time", "message": "too long"}, {"key": "job.name", "message": "no"}]},
        "resources.time: too long; job.name: no",
    ),
    (Code.UNDECLARED, {"site": "alpha"}, "the file of site alpha declares no such node any more"),
    (
        Code.NO_PARTITION,
        {"partitions": ["short", "long"], "site": "alpha"},
        "none of its partitions (short, long) can run it, others of site alpha can",
    ),
    (Code.RESTORED, {}, "the database was put back from a backup"),
    (Code.TAKEN_BACK, {"node": "ws", "text": "is snoozed"}, "taken back before it began: ws is snoozed"),
    (
        Code.WAITS_FOR_JOB,
        {"job": 7, "condition": "accepted", "ended": False},
        "waits for job 7 to be accepted; it is still open",
    ),
    (
        Code.WAITS_FOR_JOB,
        {"job": 7, "condition": "failed", "ended": True},
        "waits for job 7 to be failed; it ended otherwise",
    ),
    (Code.RETRIED, {}, "retry"),
    (
        Code.ACCEPTED,
        {"winners": 2, "votes": 2, "independence": Reason(code=Code.UNREPEATED), "one_account": True},
        "2 of 2 agree, nobody repeated it: not independent; isolation none: the word of one account",
    ),
    (
        Code.TOO_MANY_ERRORS,
        {"failed": 4, "placed": 5, "max_errors": 3, "alike": Reason.text("exit code 7")},
        "errors: 4 of 5 replicas failed (max_errors = 3), all alike: exit code 7",
    ),
    (Code.TOO_MANY_ERRORS, {"failed": 4, "placed": 5, "max_errors": 3}, "errors: 4 of 5 replicas failed (max_errors = 3)"),
    (Code.TOO_MANY_LOST, {"lost": 21, "max_lost": 20}, "infrastructure: 21 replicas were lost (max_lost = 20)"),
    (
        Code.FAILED_ALIKE,
        {"failed": 2, "placed": 3, "detail": Reason.text("exit code 7")},
        "errors: 2 of 3 replicas failed alike: exit code 7",
    ),
    (
        Code.UNDECIDED,
        {"agree": 1, "needed": 2, "out": 1, "want": 0},
        "1 of 2 needed agree, 1 out",
    ),
    (Code.UNDECIDED, {"agree": 1, "needed": 3, "out": 1, "want": 1}, "1 of 3 needed agree, 1 out, 1 more wanted"),
    (
        Code.NO_DOMAIN_LEFT,
        {
            "fields": ["site", "owner"],
            "found": Reason(code=Code.TOO_FEW_AGREE, parameters={"agree": 1, "votes": 1, "needed": 2}),
        },
        "domains: 1 of 1 answers agree, 2 needed, and no node with another site and owner is left; register one, then retry",
    ),
    (
        Code.NO_DOMAIN_LEFT,
        {"fields": ["node"], "found": Reason(code=Code.TIE, parameters={"failures": 0, "size": 2})},
        "domains: two answers tie with 2 each, and no other node is left; register one, then retry",
    ),
    (
        Code.USED_UP,
        {"max_replicas": 4, "extra": 2, "found": Reason(code=Code.TIE, parameters={"failures": 1, "size": 2})},
        "no quorum: an answer and a kind of failure tie with 2 each, and max_replicas = 4 (6 by retry) is used up",
    ),
    (
        Code.USED_UP,
        {
            "max_replicas": 4,
            "found": Reason(
                code=Code.TIE, parameters={"failures": 2, "size": 2, "failed": 4, "placed": 4, "alike": Reason.text("x")}
            ),
        },
        (
            "no quorum: two kinds of failure tie with 2 each; 4 of 4 replicas failed, all alike: x,"
            " and max_replicas = 4 is used up"
        ),
    ),
    (
        Code.TOO_FEW_AGREE,
        {
            "agree": 1,
            "votes": 2,
            "needed": 2,
            "one_machine": ["10.0.0.1", "10.1.0.1"],
            "shared_account": True,
            "failed": 1,
            "placed": 5,
            "without_vote": 2,
            "why_not": [
                Reason(code=Code.HOST_UNCONFIRMED),
                Reason(code=Code.OTHER_CLASS, parameters={"class": "os-arch"}),
            ],
        },
        (
            "1 of 2 answers agree (10.0.0.1 and 10.1.0.1 are one machine; somebody else's command ran unconfined beside"
            " them by the same account: they count as one), 2 needed; 1 of 5 replicas failed; 2 more without a vote"
            " (another os-arch than the task's; the scheduler does not confirm its host)"
        ),
    ),
    (
        Code.TOO_LITTLE_ISOLATION,
        {"isolation": "none", "wanted": "filesystem"},
        "isolation none, at least filesystem wanted",
    ),
    (
        Code.DOUBTED,
        {"replicas": [2, 3], "agree": 1, "needed": 2},
        "replica 2 and replica 3 signed two different statements, and 1 of 2 needed still agree",
    ),
    (Code.REPORT_TOO_LONG, {"max_bytes": 7}, "a line of more than 7 bytes"),
    (Code.REPORT_UNREADABLE, {"kind": "KeyError"}, "it cannot be read: KeyError"),
    (
        Code.REPORT_REFUSED,
        {"error": Reason.of_error(VerificationError("no signature verifies", got="key hint x", wanted="one by y"))},
        "no signature verifies: got key hint x, wanted one by y",
    ),
    (
        Code.REPORT_OF_OTHER_NODE,
        {"replica": "1_0.1", "node": "m"},
        "replica 1_0.1 was given to another node: got a report of m",
    ),
    (
        Code.REPORT_FROM_ELSEWHERE,
        {"replica": "1_0.1", "native_id": "", "launch": "7_0"},
        "replica 1_0.1 ran outside the scheduler, and its launch is 7_0: no vote",
    ),
    (
        Code.REPORT_FROM_ELSEWHERE,
        {"replica": "1_0.1", "native_id": "8", "launch": "7_0"},
        "replica 1_0.1 ran in 8, and its launch is 7_0: no vote",
    ),
    (
        Code.REPORT_CONTRADICTS,
        {"replica": "1_0.1", "node": "n", "contradiction": Reason(code=Code.DELEGATED_FOR_OTHER_JOB)},
        "replica 1_0.1: the delegation is for another job: got a statement signed by n",
    ),
    (
        Code.REPORT_CONTRADICTS,
        {
            "replica": "1_0.1", "node": "n",
            "contradiction": Reason(code=Code.OUTPUT_UNDECLARED, parameters={"output": "{evil}'"}),
        },
        """replica 1_0.1: the job declares no output "{evil}'": got a statement signed by n""",
    ),
    (
        Code.JOB_REFUSED_FAULT,
        {"node": "n", "job": 3, "reason": Reason(code="slurm.refused", parameters={"text": "no such account"})},
        "node n: job 3: no such account",
    ),
    (
        Code.UNPUBLISHED_FILES,
        {
            "replicas": [
                {"number": 1, "error": Reason.of_error(OSError(2, "No such file or directory", "/w/1"))},
                {"number": 3, "error": Reason.of_error(UnsafeOutputError("a.txt is a link"))},
            ]
        },
        "replica 1: No such file or directory: /w/1; replica 3: a.txt is a link",
    ),
    (
        Code.UNPUBLISHED_FOLDER_TAKEN,
        {"folder": "/r/1/0"},
        "/r/1/0 holds other files, which are never replaced: move them away, then nexapod-batch reconcile",
    ),
]


@pytest.mark.parametrize(("code", "parameters", "expected"), GOLDEN)
def test_sentences_are_what_they_were(code: str, parameters: dict[str, Any], expected: str) -> None:
    """As data the reasons say what they said as sentences, made or read."""
    reason = Reason(code=code, parameters=parameters)
    assert sentence(reason) == sentence(Reason.parse(reason.stored())) == expected


def test_sentences_of_an_older_database_are_kept(tmp_path: Path) -> None:
    """They are under the code `imported`, word by word; what was empty stays so."""
    path = tmp_path / "home" / "state.db"
    version = next(i for i, one in enumerate(MIGRATIONS) if one.name == "reasons of verdicts as data")
    words = ["2 of 2 agree, from 2 sites", "", 'quotes " and \\ and é']
    with Store.open(path, create=True, migrations=MIGRATIONS[:version]):
        pass
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO job (id, uuid, name, user, digest, folder, created_at, n_tasks, n_waiting, n_want)"
        " VALUES (1, 'u', 'n', 'me', ?, '/', 1, 3, 3, 0)",
        ("0" * 64,),
    )
    connection.executemany("INSERT INTO task (job_id, idx, reason, doubt) VALUES (1, ?, ?, '')", enumerate(words))
    connection.execute("UPDATE job SET blocked = 'waits for job 7 to be accepted; it is still open'")
    connection.execute(NODE)
    connection.execute("INSERT INTO launch (id, key, node_id, job_id, reason, created_at) VALUES (1, ?, 1, 1, 'p', 0)", ("0" * 32,))
    connection.executemany(REPLICA, [(n, f"{n:032}", text) for n, text in enumerate(["deadline passed", *words])])
    connection.commit()
    connection.close()
    with Store.open(path) as store:
        rows = store.tasks.after(1, -1, 9)
        assert [sentence(Reason.parse(row.reason)) for row in rows] == words
        reasons = [Reason.parse(row.reason) for row in rows]
        assert [one and one.code for one in reasons] == [Code.IMPORTED, None, Code.IMPORTED]
        assert [row.doubt for row in rows] == [""] * 3
        replicas = [Reason.parse(row.reason) for row in store.replicas.of_task(1, 0)]
        assert replicas[0] == Reason(code=Code.OVERDUE)
        assert [sentence(one) for one in replicas[1:]] == words
        (launch,) = store.launches.all_open()
        assert sentence(Reason.parse(launch.reason)) == "p"
        assert (launch.native_state, launch.native_reason) == ("", "")
        blocked = sentence(Reason.parse(store.jobs.get(1).blocked))
        assert blocked == "waits for job 7 to be accepted; it is still open"


def test_faults_of_an_older_database_are_kept(tmp_path: Path) -> None:
    """Standing faults, bad lines and what was not published stay in their words, and nothing stays nothing."""
    path = tmp_path / "home" / "state.db"
    version = next(i for i, one in enumerate(MIGRATIONS) if one.name.startswith("reasons of faults"))
    with Store.open(path, create=True, migrations=MIGRATIONS[:version]):
        pass
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO job (id, uuid, name, user, digest, folder, created_at, n_tasks, n_waiting, n_want)"
        " VALUES (1, 'u', 'n', 'me', ?, '/', 1, 2, 2, 0)",
        ("0" * 64,),
    )
    connection.executemany("INSERT INTO task (job_id, idx, unpublished) VALUES (1, ?, ?)", [(0, "no room"), (1, "")])
    connection.execute(NODE)
    connection.execute("INSERT INTO fault (key, text, told_at, seen_at) VALUES ('site:a', 'away \"now\"', 1, 1)")
    connection.execute(
        "INSERT INTO quarantine (node_id, segment, position, reason, line, created_at)"
        " VALUES (1, 'a.jsonl', 0, 'not a report line', x'00', 1)"
    )
    connection.commit()
    connection.close()
    with Store.open(path) as store:
        stored = [
            store.operations.faults()["site:a"],
            store.reports.last_quarantined(1)[0].reason,
            *(row.unpublished for row in store.tasks.after(1, -1, 9)),
        ]
    reasons = [Reason.parse(text) for text in stored]
    assert [sentence(one) for one in reasons] == ['away "now"', "not a report line", "no room", ""]
    assert [one and one.code for one in reasons] == [Code.IMPORTED] * 3 + [None]


SIGNED = Reason(code=Code.SIGNED, parameters={"text": "stopped by a signal"})
BACKEND = Reason(code="slurm.ended", parameters={"text": "the node failed"})


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("", "the node failed"),
        (SIGNED.stored(), "stopped by a signal; the node failed"),
        (Reason(code=Code.OVERDUE).stored(), "deadline passed; the node failed"),
        (Reason(code=Code.IMPORTED, parameters={"text": "stopped"}).stored(), "stopped; the node failed"),
        (Reason(code=Code.SIGNED, parameters={"text": "stopped: the node failed"}).stored(), "stopped: the node failed"),
        (BACKEND.stored(), "the node failed"),
        ("no JSON", "no JSON"),
    ],
    ids=["nothing", "signed", "without parameters", "imported", "said already", "the same", "damaged"],
)
def test_what_the_backend_knows_stands_beside_what_was_signed(tmp_path: Path, before: str, expected: str) -> None:
    """It is added once, however often the launch is ended; a damaged row stops nobody."""
    path = tmp_path / "home" / "state.db"
    with Store.open(path, create=True):
        pass
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO job (id, uuid, name, user, digest, folder, created_at, n_tasks, n_waiting, n_want)"
        " VALUES (1, 'u', 'n', 'me', ?, '/', 1, 1, 1, 0)",
        ("0" * 64,),
    )
    connection.execute("INSERT INTO task (job_id, idx) VALUES (1, 0)")
    connection.execute(NODE)
    connection.execute("INSERT INTO launch (id, key, node_id, job_id, created_at) VALUES (1, ?, 1, 1, 0)", ("0" * 32,))
    connection.execute(REPLICA, (1, "0" * 32, before))
    connection.commit()
    connection.close()
    with Store.open(path) as store:
        for _ in range(2):
            store.launches.explain_lost(1, BACKEND.stored(), "the node failed")
        (row,) = store.replicas.of_task(1, 0)
        assert sentence(Reason.parse(row.reason)) == expected
