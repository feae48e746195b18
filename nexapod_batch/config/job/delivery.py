"""The table `[results]` of a descriptor: where accepted results are delivered to."""

from __future__ import annotations

from nexapod_batch.model.destination import destination_fault
from nexapod_batch.schema.kinds import REQUIRED, Key, Report, Table, Text, Value

__all__ = ["DESTINATION", "RESULTS"]


class Destination(Text):
    """A folder, or a bucket and a prefix."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the destination."""
        checked = super().check(value, path, report)
        if isinstance(checked, str) and (fault := destination_fault(checked)):
            return report.add(path, fault, got=checked, wanted=self.words)
        return checked


DESTINATION = Destination("a folder, as /project/x, or s3://bucket/prefix", max_length=1_024)

RESULTS = Table(
    {
        "to": Key(
            DESTINATION,
            "Folder, or `s3://bucket/prefix`, that `[delivery] allow` of `config.toml` has: the archive of the job "
            "without its inputs is put there when the job has ended. `{job}`, `{name}` and `{uuid}` are those of the "
            "job; without any of them it is put in `{name}-{job}` there.",
            REQUIRED,
        ),
    },
    "Where accepted results are delivered to. It decides nothing.",
)
