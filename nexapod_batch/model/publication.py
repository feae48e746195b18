"""What whoever publishes a result says of it: title, authors, licence, and words to find it by.

Nothing here decides a result. It is pinned with the job, so that an archive says who made it, and may be said again, or
otherwise, when it is published.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Creator", "Publication", "publication_document", "publication_of"]


class Creator(NamedTuple):
    """A person, or an organisation, that made what is published."""

    name: str = ""  # of an organisation; a person's is made of the two parts below
    family_name: str = ""
    given_name: str = ""
    orcid: str = ""  # 0000-0000-0000-0000, its last character checked
    affiliation: str = ""

    @property
    def shown(self) -> str:
        """The name as catalogues sort it: `Family, Given`, or that of the organisation."""
        if self.name:
            return self.name
        return ", ".join(part for part in (self.family_name, self.given_name) if part)


class Publication(NamedTuple):
    """What a catalogue wants to know; empty where nobody has said it yet."""

    title: str = ""
    creators: tuple[Creator, ...] = ()
    license: str = ""  # SPDX's identifier
    description: str = ""
    keywords: tuple[str, ...] = ()
    publisher: str = ""  # who holds what is published


def publication_document(publication: Publication) -> dict[str, Any]:
    """Return a publication as JSON has it, without what is empty."""
    document = {key: value for key, value in publication._asdict().items() if value}
    if publication.creators:
        document["creators"] = [_creator_document(creator) for creator in publication.creators]
    if publication.keywords:
        document["keywords"] = list(publication.keywords)
    return document


def _creator_document(creator: Creator) -> dict[str, str]:
    return {key: value for key, value in creator._asdict().items() if value}


def publication_of(document: dict[str, Any]) -> Publication:
    """Return the publication of a document that `publication_document` made; TypeError or ValueError for another."""
    found = dict(document)
    found["creators"] = tuple(Creator(**creator) for creator in document.get("creators", ()))
    found["keywords"] = tuple(document.get("keywords", ()))
    values = [*found.values(), *found["keywords"], *(part for creator in found["creators"] for part in creator)]
    if not all(isinstance(value, str | tuple) for value in values):
        raise ValueError("publication: strings only")
    return Publication(**found)
