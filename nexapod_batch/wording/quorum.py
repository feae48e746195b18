"""Sentences about verdicts: what the votes came to, and how independent the winners were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.model.reason_codes import Code
from nexapod_batch.wording.sentences import Parameters, Template, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TEMPLATES"]

_TIES = ("two answers", "an answer and a kind of failure", "two kinds of failure")


def _accepted(p: Parameters) -> str:
    text = f"{p['winners']} of {p['votes']} agree, {sentence(p['independence'])}"
    if p.get("one_account"):
        text += "; isolation none: the word of one account"
    return text


def _failed_alike(p: Parameters) -> str:
    alike = "" if p["failed"] == 1 else " alike"
    return f"errors: {p['failed']} of {p['placed']} replicas failed{alike}: {sentence(p['detail'])}"


def _too_many_errors(p: Parameters) -> str:
    return f"errors: {p['failed']} of {p['placed']} replicas failed (max_errors = {p['max_errors']}){_alike(p)}"


def _no_domain_left(p: Parameters) -> str:
    missing = "no other node"
    if p["fields"] not in ([], ["node"]):
        missing = f"no node with another {' and '.join(p['fields'])}"
    return f"domains: {sentence(p['found'])}, and {missing} is left; register one, then retry"


def _used_up(p: Parameters) -> str:
    allowed = p["max_replicas"]
    raised = f" ({allowed + p['extra']} by retry)" if p.get("extra") else ""
    return f"no quorum: {sentence(p['found'])}, and max_replicas = {allowed}{raised} is used up"


def _undecided(p: Parameters) -> str:
    text = f"{p['agree']} of {p['needed']} needed agree, {p['out']} out"
    if p["want"]:
        text += f", {p['want']} more wanted"
    return text


def _tie(p: Parameters) -> str:
    return f"{_TIES[p['failures']]} tie with {p['size']} each{_failed(p)}"


def _too_few_agree(p: Parameters) -> str:
    shared = []
    if p.get("one_machine"):
        shared.append(f"{' and '.join(p['one_machine'])} are one machine")
    if p.get("shared_account"):
        shared.append("somebody else's command ran unconfined beside them by the same account: they count as one")
    text = f"{p['agree']} of {p['votes']} answers agree"
    if shared:
        text += f" ({'; '.join(shared)})"
    text += f", {p['needed']} needed{_failed(p)}"
    if p.get("without_vote"):
        why = "; ".join(sorted(sentence(one) for one in p["why_not"]))
        text += f"; {p['without_vote']} more without a vote ({why})"
    return text


def _failed(p: Parameters) -> str:
    """Return how many failed beside, and why, as the end of a sentence."""
    if p.get("failed"):
        return f"; {p['failed']} of {p['placed']} replicas failed{_alike(p)}"
    return ""


def _alike(p: Parameters) -> str:
    if not p.get("alike"):
        return ""
    alike = ", all alike" if p["failed"] > 1 else ""
    return f"{alike}: {sentence(p['alike'])}"


def _doubted(p: Parameters) -> str:
    which = " and ".join(f"replica {number}" for number in p["replicas"])
    what = "signed two different statements"
    if p.get("overruled"):
        what = "did not end well by its scheduler's word"
    elif p.get("revoked"):
        what = "rests on a key that was revoked"
    elif p.get("not_possessed"):
        what = "never had the outputs that it signed"
    return f"{which} {what}, and {p['agree']} of {p['needed']} needed still agree"


def _from_sites(p: Parameters) -> str:
    owners = f" of {_owners(p)}" if p["owners"] > 1 else ""
    return f"from {p['sites']} sites{owners}{_run_by_one(p)}"


def _from_owners(p: Parameters) -> str:
    return f"from {_owners(p)} on {p['machines']} machines of one site{_run_by_one(p)}"


def _from_machines(p: Parameters) -> str:
    return f"from {p['machines']} machines of one site and owner{_run_by_one(p)}"


def _owners(p: Parameters) -> str:
    """Return how many owners there are, by what their files or `--owner` call them where one account has all keys."""
    by_label = " by label" if p.get("run_by_one") else ""
    return f"{p['owners']} owners{by_label}"


def _run_by_one(p: Parameters) -> str:
    if p.get("run_by_one"):
        return ", all run by one account"
    return ""


def _from_one_machine(p: Parameters) -> str:
    every = "both" if p["replicas"] == 2 else "all"
    where = p["machine"] or "one machine"
    addresses = p["addresses"]
    if addresses:
        more = ", ..." if len(addresses) > 3 else ""
        where += f" ({', '.join(addresses[:3])}{more})"
    return f"{every} on {where}: reproducible there, not independent"


TEMPLATES: Mapping[str, Template] = {
    Code.ACCEPTED: _accepted,
    Code.FAILED_ALIKE: _failed_alike,
    Code.TOO_MANY_ERRORS: _too_many_errors,
    Code.TOO_MANY_LOST: "infrastructure: {lost} replicas were lost (max_lost = {max_lost})",
    Code.NO_DOMAIN_LEFT: _no_domain_left,
    Code.USED_UP: _used_up,
    Code.UNDECIDED: _undecided,
    Code.TIE: _tie,
    Code.TOO_FEW_AGREE: _too_few_agree,
    Code.DOUBTED: _doubted,
    Code.FROM_SITES: _from_sites,
    Code.FROM_OWNERS: _from_owners,
    Code.FROM_MACHINES: _from_machines,
    Code.FROM_ONE_MACHINE: _from_one_machine,
    Code.UNREPEATED: "nobody repeated it: not independent",
    Code.OTHER_CLASS: "another {class} than the task's",
    Code.TOO_LITTLE_ISOLATION: "isolation {isolation}, at least {wanted} wanted",
    Code.HOST_UNCONFIRMED: "the scheduler does not confirm its host",
}
