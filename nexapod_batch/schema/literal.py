"""Numbers with a fraction, as a TOML file has them."""

from __future__ import annotations

from typing import Self

__all__ = ["Literal"]


class Literal(float):
    """A float that remembers how it was written."""

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Self:
        """Keep the text beside the number, without the underscores that TOML allows."""
        number = super().__new__(cls, text)
        number.text = text.replace("_", "")
        return number
