"""Every error that the library raises on purpose, under one root.

The class says how a program should treat the fault (`exit_code` for the command line, `http_status` for the server);
the message says what is wrong, what was got, what was wanted and what to do next. Foreign errors are wrapped once,
where they enter, `from` their cause.
"""

from __future__ import annotations

__all__ = [
    "BusyError",
    "CompareError",
    "ConfigError",
    "CorruptStoreError",
    "DescriptorError",
    "DeviceError",
    "ForeignPathError",
    "ImageError",
    "KeyFileError",
    "NexapodError",
    "NotFoundError",
    "OnTheWayError",
    "PluginError",
    "PluginFaultError",
    "Problem",
    "QuorumImpossibleError",
    "SchedulerError",
    "SiteBrokenError",
    "TryAgainError",
    "UnreachableError",
    "UnsafeOutputError",
    "UsageError",
    "VerificationError",
    "last_message",
]


class NexapodError(Exception):
    """Something went wrong that nexapod-batch can name."""

    exit_code = 1
    http_status = 500

    def __init__(
        self, what: str = "", *, got: object = None, wanted: object = None, hint: str | None = None
    ) -> None:
        """Compose the message from its four parts; `what` defaults to the first line of the class docstring."""
        self.what = what or (type(self).__doc__ or "error").splitlines()[0].rstrip(".")
        self.got, self.wanted, self.hint = got, wanted, hint
        super().__init__(self.what)

    def __str__(self) -> str:
        """Return `what: got X, wanted Y. Next step.` with the parts that are known."""
        text = self.what
        parts = [f"{word} {part}" for word, part in (("got", self.got), ("wanted", self.wanted)) if part is not None]
        if parts:
            text += ": " + ", ".join(parts)
        if self.hint:
            return f"{text}\n  -> {self.hint}"
        return text

    @property
    def one_line(self) -> str:
        """Return the whole message in one line, its next step behind an arrow."""
        return " ".join(str(self).split())


def last_message(text: str) -> str:
    """Return the last message of a log in one line: errors go on in lines that are indented, with what helps last."""
    lines = text.rstrip().splitlines()
    first = len(lines) - 1
    while first > 0 and lines[first][:1] in {" ", "\t"}:
        first -= 1
    return " ".join(" ".join(lines[max(0, first) :]).split())


class UsageError(NexapodError):
    """The command was not understood."""

    exit_code = 2
    http_status = 400


class Problem:
    """One fault in a descriptor or configuration file: where it is and what it is."""

    __slots__ = ("line", "message", "path")

    def __init__(self, path: str, message: str, line: int | None = None) -> None:
        """Keep the key path (`resources.mem`, `outputs[0].path`), the message, and the line where it is known."""
        self.path, self.message, self.line = path, message, line

    def __str__(self) -> str:
        """Return `line 4: resources.mem: message`."""
        where = f"line {self.line}: " if self.line is not None else ""
        return where + (f"{self.path}: " if self.path else "") + self.message


class DescriptorError(NexapodError):
    """The job descriptor cannot be used; `problems` lists every fault found."""

    exit_code = 65
    http_status = 422

    def __init__(
        self,
        what: str = "",
        *,
        problems: tuple[Problem, ...] = (),
        got: object = None,
        wanted: object = None,
        hint: str | None = None,
    ) -> None:
        """Keep the single problems beside the summary, so that all of them are shown at once."""
        super().__init__(what, got=got, wanted=wanted, hint=hint)
        self.problems = problems

    def __str__(self) -> str:
        """Return the summary and one indented line for each problem."""
        return "\n".join([super().__str__(), *(f"  {problem}" for problem in self.problems)])


class ImageError(DescriptorError):
    """The container image cannot be used."""


class QuorumImpossibleError(DescriptorError):
    """The nodes in reach cannot form the quorum that the job asks for."""

    http_status = 409


class NotFoundError(NexapodError):
    """No such job, task or node."""

    exit_code = 66
    http_status = 404


class SchedulerError(NexapodError):
    """The scheduler cannot be reached or refused the launch."""

    exit_code = 69
    http_status = 502


class UnreachableError(SchedulerError):
    """A registry, a server or a login node cannot be reached."""


class OnTheWayError(SchedulerError):
    """Files were asked for and have not come yet: that is no fault."""


class PluginFaultError(SchedulerError):
    """A plug-in, or a library below it, broke."""


class TryAgainError(NexapodError):
    """Something else holds what is needed; the same command may succeed later."""

    exit_code = 75
    http_status = 503


class BusyError(TryAgainError):
    """Another process is at work on the same database: that is no fault."""


class ConfigError(DescriptorError):
    """A configuration file or directory cannot be used."""

    exit_code = 78
    http_status = 500


class KeyFileError(ConfigError):
    """A key file cannot be used."""


class ForeignPathError(ConfigError):
    """A path is not this account's own, or others can change what is there."""


class CorruptStoreError(ConfigError):
    """The database is damaged or was written by a newer version."""


class PluginError(ConfigError):
    """A backend or runtime cannot be loaded."""


class ReaderMissingError(ConfigError):
    """What reads a format of files is not installed here."""


class SiteBrokenError(ConfigError):
    """A site ends everything before it begins."""


class VerificationError(NexapodError):
    """A signed statement does not prove what it is offered for."""

    http_status = 422


class DeviceError(NexapodError):
    """A device or its driver does not answer."""

    exit_code = 69


class UnsafeOutputError(NexapodError):
    """An output is not a plain file inside the work folder."""


class CompareError(NexapodError):
    """A file cannot be read in the format that its comparator needs."""


class CompareTimeError(CompareError):
    """A file takes more processor time to compare than it may."""


