"""A comparison rule that is given on the command line, read and checked as one of a descriptor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.errors import DescriptorError, Problem, UsageError
from nexapod_batch.model.job import Agreement, Output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.model.job import CompareRule, Job

__all__ = ["other_outputs", "rule_of"]

_DESCRIPTOR = 'schema = 1\n[job]\ncommand = ["true"]\n[[outputs]]\npath = "{path}"\n[[outputs]]\npath = "other"\n'

#: Keys that say how a table is read.
_OF_TABLES = ("unordered", "delimiter", "decimal", "comments", "quoted_numbers")


def rule_of(words: Sequence[str], name: str, path: str = "a") -> CompareRule:
    """Return the rule that `words` (`compare=allclose`) make for an output whose name ends as that of `path`.

    Raises:
        DescriptorError: With every fault that was found; messages call it `name`.

    """
    suffix = path.rpartition(".")[2]
    plain = f"a.{suffix}" if suffix != path and suffix.isalnum() else "a"
    text = _DESCRIPTOR.format(path=plain)
    try:
        parsed = parse(text, Path("/"), name=name, sets=[f"outputs[0].{word}" for word in words])
    except DescriptorError as error:  # in terms of the rule: nobody wrote the rest
        problems = tuple([_of_rule(problem) for problem in error.problems])
        raise DescriptorError(error.what, problems=problems, hint=error.hint) from error
    return parsed.job.outputs[0].rule


def _of_rule(problem: Problem) -> Problem:
    return Problem(problem.path.removeprefix("outputs[0]."), problem.message)


def other_outputs(
    job: Job, given: Mapping[str, object], ignore: Sequence[str], paths: Sequence[str]
) -> tuple[Output, ...]:
    """Return the outputs of a job with another rule for those of `paths`: all that have a vote where there are none.

    Without a `compare` among what is `given`, outputs keep their comparators, and `ignore` is added to what they leave
    out.

    Raises:
        UsageError: A path is none of the job's outputs, or no rule is given.
        DescriptorError: The rule cannot be used.

    """
    outputs = job.outputs or (Output(path="stdout"),)
    known = [output.path for output in outputs]
    for path in paths:
        if path not in known:
            raise UsageError("the job has no such output", got=path, wanted=f"one of: {', '.join(known)}")
    if not given and not ignore:
        raise UsageError("no rule is given", wanted="--compare, or --ignore", hint="nexapod-batch judge --help")
    changed = [
        output._replace(rule=_other_rule(output, given, ignore)) if _is_meant(output, paths) else output
        for output in outputs
    ]
    if all(output.optional or output.rule.agreement is Agreement.NOTHING for output in changed):
        raise UsageError("none of the outputs would have to agree", wanted="at least one that is compared")
    return tuple(changed)


def _is_meant(output: Output, paths: Sequence[str]) -> bool:
    if paths:
        return output.path in paths
    return output.rule.agreement is not Agreement.NOTHING


def _other_rule(output: Output, given: Mapping[str, object], ignore: Sequence[str]) -> CompareRule:
    words, entries = dict(given), list(ignore)
    if "compare" not in words:
        rule = output.rule
        if rule.normalize:
            what = f"output {output.path} is compared by what a command prints, which only its node can run"
            raise UsageError(what, wanted="--compare, or --output for others")
        own = {"compare": rule.comparator.value, "digits": rule.digits, "rtol": rule.rtol, "atol": rule.atol}
        own |= {name: getattr(rule, name) or None for name in _OF_TABLES}
        own["integers"] = None if rule.integers == "exact" else rule.integers
        if rule.delimiter == "\t":
            own["delimiter"] = "tab"
        words = {name: value for name, value in own.items() if value is not None} | words
        entries = [*rule.ignore, *[entry for entry in ignore if entry not in rule.ignore]]
    texts = [f"{name}={_as_toml(value)}" for name, value in words.items()]
    if entries:
        texts.append(f"ignore={json.dumps(entries)}")
    return rule_of(texts, "judge", output.path)


def _as_toml(value: object) -> str:
    if isinstance(value, str | bool):
        return json.dumps(value)
    return repr(value)
