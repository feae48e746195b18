"""The badge: what was found, in so few words that they fit into one line of somebody else's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.publication.template import rendered

if TYPE_CHECKING:
    from nexapod_batch.publication.facts import Facts

__all__ = ["badge", "summary"]

#: Text is white on these, and can be read by everybody: each has a contrast of at least 4.5 to 1.
_GREEN, _BLUE, _AMBER, _RED = "#1a7f37", "#1f5fa8", "#8a5a00", "#b3261e"
_LABEL = "computed"
#: Mean width of a character of Verdana at 11 pixels; the text is stretched to what was reserved.
_CHARACTER = 6.6


def summary(facts: Facts) -> str:
    """Return what the badge says: `2 of 2 agree, 2 sites, reproduced 3 times`."""
    if not facts.verified:
        return "does not verify"
    if not facts.accepted:
        return "no agreement"
    parts = [_agreement(facts), _independence(facts)]
    known, unknown = facts.reproduced(known=True), facts.reproduced(known=False)
    if known:
        parts.append(f"reproduced {_times(known)}")
    elif unknown:
        parts.append(f"reproduced {_times(unknown)} by unknown keys")
    if facts.differed:
        parts.append(f"differed {_times(facts.differed)}")
    return ", ".join(part for part in parts if part)


def _agreement(facts: Facts) -> str:
    if len(facts.tasks) == 1:
        (task,) = facts.tasks
        return f"{task.agreed} of {task.votes} agree"
    fewest = min(task.agreed for task in facts.tasks if task.accepted)
    return f"{facts.accepted} of {len(facts.tasks)} tasks, {fewest} agree on each"


def _independence(facts: Facts) -> str:
    """Return how independent the least independent of the accepted tasks is."""
    accepted = [task for task in facts.tasks if task.accepted]
    dependent = [task for task in accepted if not task.independent]
    kinds = {task.independence for task in dependent or accepted}
    if len(kinds) == 1:
        return kinds.pop()
    return "one machine" if dependent else "several machines"


def _times(count: int) -> str:
    if count == 1:
        return "once"
    return f"{count} times"


def _colour(facts: Facts) -> str:
    if not facts.verified or not facts.accepted:
        return _RED
    if facts.accepted < len(facts.tasks) or facts.differed:
        return _AMBER
    if all(task.independent for task in facts.tasks):
        return _GREEN
    return _BLUE


def badge(facts: Facts) -> str:
    """Return the badge as SVG, without a script and without anything from elsewhere."""
    text = summary(facts)
    left, right = round(len(_LABEL) * _CHARACTER) + 12, round(len(text) * _CHARACTER) + 12
    return rendered(
        "badge.svg.jinja", {"label": _LABEL, "text": text, "left": left, "right": right, "colour": _colour(facts)}
    )
