"""What strangers wrote is shown so that it can do nothing to a terminal, and nothing of it is hidden."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from nexapod_batch.cli.rendering.terminal import clean

#: Format characters that are seen: signs that enclose numbers, and joiners of hieroglyphs.
SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}


def test_no_character_that_acts_or_hides_is_left() -> None:
    """Of all of Unicode no control, format or separator character is left but tab and blanks; each is spelt out."""
    for number in range(sys.maxunicode + 1):
        char = chr(number)
        kind = unicodedata.category(char)
        if kind in {"Cc", "Cf", "Zl", "Zp", "Cs"} and char != "\t" and number not in SEEN:
            assert clean(f"a{char}b") == f"a{ascii(char)[1:-1]}b", hex(number)


@pytest.mark.parametrize(
    "text",
    ["\u034f", "\u115f", "\u3164", "\uffa0", "\ufe0f", "\U000e0041", "\U000e0100", "\u180e", "\u200b", "\u2060", "\u061c"],
    ids=ascii,
)
def test_what_cannot_be_seen_is_spelt_out(text: str) -> None:
    """Fillers, joiners, variation selectors and tags carry words past a reader; Python calls some of them printable."""
    assert clean(f"a{text}b") == f"a{ascii(text)[1:-1]}b"


@pytest.mark.parametrize("text", ["plain", "a\tb", "\u00e4\u00f6\u00fc", "\u65e5\u672c\u8a9e", "\u03b1 \u2264 \u03b2", "e\u0301", "\u0627\u0644"])
def test_words_of_all_languages_stay(text: str) -> None:
    """Letters, marks, signs and tabs are shown as they are."""
    assert clean(text) == text
