"""Paths as site files have them: absolute, and of characters that are safe in scripts."""

from __future__ import annotations

from nexapod_batch.schema.kinds import Report, Text, Value

__all__ = ["BIND", "PART", "PATH", "USER_PATH", "AbsolutePath"]

#: One character of such a path.
PART = r"[A-Za-z0-9_.,+@=:-]"


class AbsolutePath(Text):
    """An absolute path without `.` and `..` in it."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the path."""
        found = super().check(value, path, report)
        if isinstance(found, str) and {".", ".."} & set(found.split("/")):
            return report.add(path, "goes back on its way", got=found, wanted="a path without . and .. in it")
        return found


class _Bind(AbsolutePath):
    """A folder of the host that a container gets to see."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the path and its mode."""
        found = super().check(value, path, report)
        if isinstance(found, str) and ":" in found.removesuffix(":rw"):
            return report.add(path, "a colon separates path and mode", got=found, wanted="as in /data or /scratch:rw")
        return found


PATH = AbsolutePath("an absolute path of letters, digits, `_ . , + @ = : -`", pattern=rf"(/{PART}+)+", max_length=1_024)
USER_PATH = AbsolutePath(
    "an absolute path of letters, digits, `_ . , + @ = : -`; `{user}` is filled in",
    pattern=rf"(/({PART}|\{{user\}})+)+",
    max_length=1_024,
)
BIND = _Bind("a path, or a path and `:rw`", pattern=rf"(/{PART}+?)+(:rw)?", max_length=1_024)
