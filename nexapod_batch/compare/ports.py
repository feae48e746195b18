"""What a comparator is to those who use it, and what two versions of a file differ in."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.model.job import CompareRule

__all__ = ["Comparison", "Difference", "Normalization"]


class Difference(Struct, frozen=True, kw_only=True):
    """The first place at which two versions of a file differ."""

    name: str  # of the file
    where: str  # `line 3, word 2`, `row 3, column 2`, `.runs[3].energy`, `element 17`, `byte 12 (line 2)`
    left: str  # what stands there, shortened and printable
    right: str


class Comparison(Protocol):
    """What every comparator does. It keeps nothing between calls: one object serves all files of a process.

    Guarantees that `testing.comparators` holds every comparator to: files with the same bytes do not differ; the sides
    can be exchanged; how many bytes a read returns changes nothing; memory is bounded, whatever the content.
    """

    def first_difference(self, left: BinaryIO, right: BinaryIO, name: str, rule: CompareRule) -> Difference | None:
        """Return the first place at which two versions of a file differ under a rule; None when they agree.

        Args:
            left: one version, from its start. It need not be seekable, and may return less than it is asked for.
            right: the other version.
            name: path of the output, relative; its suffix may decide the format.
            rule: the comparator's parameters; those that its table line does not name are None.

        Raises:
            CompareError: a side is not of the format that its name promises, or breaks a limit.
            OSError: a side cannot be read now.

        """
        ...


class Normalization(Comparison, Protocol):
    """A comparator whose agreement is `NORMAL_FORM`: equal under the rule are files with the same normal form."""

    def normal_form(self, stream: BinaryIO, name: str, rule: CompareRule) -> Iterator[bytes]:
        """Yield the normal form in pieces; what is signed is the digest of all of them, so where they are cut is free.

        Args:
            stream: the file, from its start. It need not be seekable, and may return less than it is asked for.
            name: path of the output, relative; its suffix may decide the format.
            rule: the comparator's parameters.

        Raises:
            CompareError: the file is not of the format that its name promises, or breaks a limit.
            OSError: the file cannot be read now.

        """
        ...
