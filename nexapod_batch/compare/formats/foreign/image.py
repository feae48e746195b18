"""Images: size, kind and pixels of each frame, by Pillow; when and by whom an image was written does not count."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from PIL import Image, ImageSequence

from nexapod_batch.compare.formats.named import part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.numbers import Batch

__all__ = ["batches"]

_FORMATS = ("PNG", "TIFF", "JPEG", "GIF", "WEBP")
#: Pixels of one frame, and frames, at most.
_MOST_PIXELS, _MOST_FRAMES = 1 << 28, 10_000
#: mode -> code of `array` of one value; of others it is a byte
_CODES = {"I": "i", "F": "f", "I;16": "H", "I;16L": "H", "I;16N": "H"}
_PALETTES = frozenset({"P", "PA"})


def batches(path: str, ignored: frozenset[str]) -> Iterator[Batch]:  # noqa: ARG001
    """Yield each frame.

    Raises:
        ValueError: There are too many frames or pixels.

    """
    Image.MAX_IMAGE_PIXELS = _MOST_PIXELS
    with Image.open(path, formats=_FORMATS) as image:
        for number, frame in enumerate(ImageSequence.Iterator(image)):
            if number >= _MOST_FRAMES or frame.width * frame.height > _MOST_PIXELS:
                raise ValueError(f"more than {_MOST_FRAMES} frames, or {_MOST_PIXELS} pixels in one")
            shown = frame.convert("RGBA") if frame.mode in _PALETTES else frame
            bands = len(shown.getbands())
            yield [part(f"frame {number}, pixel", [shown.height, shown.width, bands], mode=shown.mode)]
            yield array(_CODES.get(shown.mode, "B"), shown.tobytes())
