"""By how much two files differ, in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.model.rule_text import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["figure_lines", "lines"]

_CAUSES = {
    "blanks": "blanks",
    "dates": "dates or times",
    "hosts": "host names",
    "line_ends": "line ends",
    "numbers": "numbers",
    "order": "positions of the same lines",
    "packing": "ways of writing the same values",
    "paths": "paths",
    "threads": "numbers of threads or processes",
}


def lines(comparison: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is known of one file, the first line with its name."""
    name = comparison["name"]
    if comparison["agree"]:
        yield f"{name}: agrees under {comparison['rule']}"
    elif "only" in comparison:
        yield f"{name}: only in {comparison['only']}"
    elif "unreadable" in comparison:
        yield f"{name}: cannot be compared: {comparison['unreadable']}"
    else:
        first = comparison["first"]
        yield f"{name}: differs under {comparison['rule']}, first at {first['where']}"
        yield f"  there: {first['left']} | {first['right']}"
        yield from figure_lines(comparison)


def figure_lines(comparison: Mapping[str, Any]) -> Iterator[str]:
    """Yield figures and the rule that would do, as far as they are known."""
    figures = comparison.get("figures")
    if figures is None:
        return
    if figures.get("through"):
        yield f"  measured up to {figures['through']}: the files are too large for more"
    count = figures["numbers"]
    yield f"  {count} of {figures['values']} numbers differ" + _words(figures)
    yield from _under_the_rule(figures)
    if figures["causes"] not in ([], ["numbers"]):
        yield f"  only {_joined([_CAUSES[cause] for cause in figures['causes']])} differ"
    for key, title in (("absolute", "largest difference"), ("relative", "largest relative difference")):
        if (farthest := figures[key]) is not None:
            by = "not finite" if farthest["by"] is None else f"{farthest['by']:.3g}"
            shown = f"{by} at {farthest['where']}: {farthest['left']} | {farthest['right']}"
            yield f"  {title}: {shown}"
    if figures["decades"]:
        yield f"  relative differences: {_histogram(figures['decades'])}"
    yield from (f"  {line}" for line in figures["first"])
    if figures["shape"]:
        yield f"  from {figures['shape']} on one side has something else in its place; behind that nothing was measured"
    would = comparison.get("would_agree")
    if would:
        yield "  these would agree under, in the descriptor:"
        yield from (f"    {key}" for key in keys_of(would))
    elif "would_agree" in comparison:
        yield "  no rule was found under which these agree and that would still tell a wrong result"


def _under_the_rule(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield how many numbers differ under the rule, where these are not all, and how many of them just so."""
    beyond, border = figures["beyond"], figures["border"]
    if 0 < beyond < figures["numbers"]:
        yield f"  by more than the rule lets pass: {beyond}"
    if border:
        yield f"  {border} of {beyond} lie close together, with a border of rounding between: allclose has no borders"


def _joined(words: Sequence[str]) -> str:
    *others, last = words
    if others:
        return f"{', '.join(others)} and {last}"
    return last


def _words(figures: Mapping[str, Any]) -> str:
    if not figures["texts"]:
        return ""
    return f", and {figures['texts']} words ({', '.join(figures['kinds'])})"


def _histogram(decades: Mapping[Any, int]) -> str:
    parts = []
    for decade, count in sorted((int(decade), count) for decade, count in decades.items()):
        title = "not finite" if decade == 99 else f"1e{decade}"
        parts.append(f"{title}: {count}")
    return ", ".join(parts)
