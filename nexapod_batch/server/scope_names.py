"""What a connection and the answer to its request tell each other, by names in the scope of the request."""

from __future__ import annotations

__all__ = ["LEFT", "PLACE"]

#: The `Arriving` that the connection is to fill.
PLACE = "nexapod.place"
#: The future that is false when whoever asks has left; None where they had before there was one.
LEFT = "nexapod.left"
