"""Kinds of values that only site files have: what reaches scripts is held to an allow-list of characters."""

from __future__ import annotations

import re

from nexapod_batch.schema.kinds import Number, Report, Scalar, Text, Value

__all__ = ["OWN_DIRECTIVES", "Directive", "Dispensable", "HostName", "Line", "Rate"]

#: Options of sbatch that nexapod-batch writes itself, or that would change what becomes of a job behind its back.
OWN_DIRECTIVES = (
    "array",
    "chdir",
    "comment",
    "dependency",
    "error",
    "export",
    "export-file",
    "job-name",
    "no-requeue",
    "output",
    "parsable",
    "requeue",
    "signal",
    "test-only",
    "wait",
    "wrap",
)
#: Those without which a job could not be found again, or could run twice.
_NEEDED = ("array", "error", "job-name", "no-requeue", "output", "parsable")

_SET = re.compile(r"\[!?[A-Za-z0-9-]+\]")  # of characters, in a pattern of host names


class HostName(Text):
    """A pattern of host names as a shell has it, that some machine does not match."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the pattern."""
        found = super().check(value, path, report)
        if not isinstance(found, str):
            return found
        rest = _SET.sub("", found)
        if re.search(r"[\[\]!]", rest):
            return report.add(
                path, "brackets that hold no characters", got=found, wanted="as in login[1-4].example.org"
            )
        if not re.search(r"[A-Za-z0-9]", rest):
            return report.add(path, "would be every machine", got=found, wanted="as in login*.example.org")
        return found


class Directive(Text):
    """An option for every script that nexapod-batch does not write itself."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the option."""
        found = super().check(value, path, report)
        if not isinstance(found, str):
            return found
        name = found[2:].partition("=")[0]
        # sbatch takes any beginning of an option's name for the option.
        own = next((own_directive for own_directive in OWN_DIRECTIVES if own_directive.startswith(name)), "")
        if not own:
            return found
        short = "" if own == name else f", which is short for --{own}"
        wanted = "an option that nexapod-batch does not write itself"
        return report.add(path, f"--{name} is taken{short}", got=found, wanted=wanted)


class Dispensable(Text):
    """The name of an option that nexapod-batch can do without."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the name."""
        found = super().check(value, path, report)
        if found in _NEEDED:
            wanted = f"an option other than {', '.join(_NEEDED)}"
            return report.add(path, "nexapod-batch cannot do without it", got=found, wanted=wanted)
        return found


class Rate(Number):
    """A number of events a second."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the number."""
        found = super().check(value, path, report)
        if isinstance(found, float) and not 0.001 <= found <= 1_000:
            return report.add(path, "out of range", got=found, wanted=self.describe())
        return found

    def describe(self) -> str:
        """Return the bounds."""
        return "a number from 0.001 to 1000"


class Line(Scalar):
    """A value of one line: what an environment variable is set to in a script."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the text."""
        found = super().check(value, path, report)
        if isinstance(found, str) and not found.isprintable():
            return report.add(path, "unprintable character", got=found, wanted="one line of text")
        return found
