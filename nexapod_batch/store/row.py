"""What every row is: frozen, and made of its columns in their order."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Row"]


class Row(Struct, frozen=True, gc=False):
    """A row of a query; each field is a column, named and typed.

    Times are whole milliseconds since 1970 (UTC) unless the field says otherwise.
    """

    @classmethod
    def flags(cls) -> frozenset[str]:
        """Return the fields that are yes or no: the database may keep them as 1 or 0."""
        annotations = [getattr(base, "__annotations__", {}) for base in cls.__mro__]
        return frozenset(field for of_base in annotations for field, kind in of_base.items() if kind in {"bool", bool})
