"""What catalogues are told of a result, in their own forms: DataCite, CITATION.cff, Zenodo, InvenioRDM. Pure."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.errors import UsageError
from nexapod_batch.publication.badge import summary
from nexapod_batch.publication.text import day, shown

if TYPE_CHECKING:
    from nexapod_batch.model.publication import Creator, Publication
    from nexapod_batch.publication.facts import Facts

__all__ = ["Entry", "check_complete", "citation", "datacite", "invenio", "zenodo"]

Document = dict[str, Any]
#: DataCite's word for what is to be assigned later.
_LATER = ":tba"
_SPDX = "https://spdx.org/licenses"


class Entry(NamedTuple):
    """One result as a catalogue has it."""

    facts: Facts
    publication: Publication
    date: str  # on which it is published: 2026-11-30
    files: tuple[tuple[str, int], ...] = ()  # names and bytes

    @property
    def description(self) -> str:
        """What it is, and what was found: plain text."""
        found = f"Computed independently and compared: {summary(self.facts)}."
        own = shown(self.publication.description, limit=20_000)
        return f"{own}\n\n{found}" if own else found

    @property
    def identifier(self) -> str:
        """The name of the job for all the world."""
        return f"urn:uuid:{self.facts.uuid}"


def check_complete(publication: Publication) -> None:
    """UsageError that names everything that a catalogue wants to know and nobody has said."""
    wanted = {
        "title": publication.title, "creators": publication.creators, "license": publication.license,
        "description": publication.description,
    }  # fmt: skip
    missing = [name for name, value in wanted.items() if not value]
    if missing:
        raise UsageError(
            "it cannot be published without its particulars",
            got=f"no {', no '.join(missing)}",
            wanted="all of title, creators, license, description",
            hint="write them below [publication] in a file, and give it with --metadata FILE",
        )


def datacite(entry: Entry) -> Document:
    """Return the metadata by DataCite's schema 4.5."""
    publication = entry.publication
    document: Document = {
        "schemaVersion": "http://datacite.org/schema/kernel-4",
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Verified computation"},
        "titles": [{"title": shown(publication.title)}],
        "creators": [_datacite_creator(creator) for creator in publication.creators],
        "publisher": {"name": shown(publication.publisher) or _LATER},
        "publicationYear": entry.date[:4],
        "descriptions": [{"description": entry.description, "descriptionType": "Abstract"}],
        "rightsList": [
            {
                "rights": publication.license,
                "rightsIdentifier": publication.license,
                "rightsIdentifierScheme": "SPDX",
                "rightsUri": f"{_SPDX}/{publication.license}.html",
                "schemeUri": f"{_SPDX}/",
            }
        ],
        "alternateIdentifiers": [{"alternateIdentifier": entry.identifier, "alternateIdentifierType": "URN"}],
        "dates": [{"date": entry.date, "dateType": "Issued"}],
    }
    if entry.facts.period_ms is not None:
        start, end = entry.facts.period_ms
        document["dates"].append({"date": f"{day(start)}/{day(end)}", "dateType": "Created"})
    if publication.keywords:
        document["subjects"] = [{"subject": shown(word)} for word in dict.fromkeys(publication.keywords)]
    if entry.files:
        document["sizes"] = list(dict.fromkeys(f"{name}: {size} bytes" for name, size in entry.files))
    return document


def _datacite_creator(creator: Creator) -> Document:
    document: Document = {"name": shown(creator.shown), "nameType": "Organizational" if creator.name else "Personal"}
    if creator.family_name:
        document["familyName"] = shown(creator.family_name)
    if creator.given_name:
        document["givenName"] = shown(creator.given_name)
    if creator.orcid:
        document["nameIdentifiers"] = [
            {
                "nameIdentifier": f"https://orcid.org/{creator.orcid}",
                "nameIdentifierScheme": "ORCID",
                "schemeUri": "https://orcid.org",
            }
        ]
    if creator.affiliation:
        document["affiliation"] = [{"name": shown(creator.affiliation)}]
    return document


def citation(entry: Entry) -> str:
    """Return CITATION.cff, version 1.2.0. Every value is spelt as JSON spells it, which YAML reads the same."""
    publication = entry.publication
    lines = [
        "cff-version: 1.2.0",
        "type: dataset",
        'message: "If you use this result, please cite it as below."',
        f"title: {_yaml(publication.title)}",
        f"abstract: {_yaml(entry.description)}",
        "authors:",
    ]
    for creator in publication.creators:
        lines += _cff_author(creator)
    lines += [
        f"license: {_yaml(publication.license)}",
        f"date-released: {_yaml(entry.date)}",
        "identifiers:",
        '  - type: "other"',
        f"    value: {_yaml(entry.identifier)}",
        '    description: "UUID of the job"',
    ]
    if publication.keywords:
        lines += ["keywords:", *[f"  - {_yaml(word)}" for word in dict.fromkeys(publication.keywords)]]
    return "\n".join(lines) + "\n"


def _cff_author(creator: Creator) -> list[str]:
    fields = {
        "name": creator.name, "family-names": creator.family_name, "given-names": creator.given_name,
        "orcid": f"https://orcid.org/{creator.orcid}" if creator.orcid else "", "affiliation": creator.affiliation,
    }  # fmt: skip
    lines = [f"    {key}: {_yaml(value)}" for key, value in fields.items() if value]
    return [f"  - {lines[0].lstrip()}", *lines[1:]]


def _yaml(value: str) -> str:
    return json.dumps(shown(value, limit=20_000), ensure_ascii=False)


def zenodo(entry: Entry) -> Document:
    """Return the content of `.zenodo.json`, which Zenodo takes over where it makes records of repositories."""
    publication = entry.publication
    creators = []
    for creator in publication.creators:
        fields = {"name": creator.shown, "orcid": creator.orcid, "affiliation": creator.affiliation}
        creators.append({key: shown(value) for key, value in fields.items() if value})
    return {
        "title": shown(publication.title),
        "upload_type": "dataset",
        "description": _paragraphs(entry.description),
        "creators": creators,
        "license": publication.license.lower(),
        "keywords": [shown(word) for word in dict.fromkeys(publication.keywords)],
        "publication_date": entry.date,
        "access_right": "open",
        "related_identifiers": [{"identifier": entry.identifier, "relation": "isIdenticalTo"}],
    }


def invenio(entry: Entry, host: str) -> Document:
    """Return the body with which InvenioRDM makes a draft: open to all, with files.

    Where no publisher is named it is the `host`: without any, no DOI is registered.
    """
    publication = entry.publication
    metadata: Document = {
        "resource_type": {"id": "dataset"},
        "title": shown(publication.title),
        "creators": [_invenio_creator(creator) for creator in publication.creators],
        "publication_date": entry.date,
        "description": _paragraphs(entry.description),
        "rights": [{"id": publication.license.lower()}],
        "identifiers": [{"scheme": "urn", "identifier": entry.identifier}],
        "publisher": shown(publication.publisher or host),
    }
    if publication.keywords:
        metadata["subjects"] = [{"subject": shown(word)} for word in dict.fromkeys(publication.keywords)]
    return {
        "access": {"record": "public", "files": "public"},
        "files": {"enabled": True},
        "metadata": metadata,
    }


def _invenio_creator(creator: Creator) -> Document:
    if creator.name:
        return {"person_or_org": {"type": "organizational", "name": shown(creator.name)}}
    person: Document = {"type": "personal", "family_name": shown(creator.family_name or creator.given_name)}
    if creator.given_name and creator.family_name:
        person["given_name"] = shown(creator.given_name)
    if creator.orcid:
        person["identifiers"] = [{"scheme": "orcid", "identifier": creator.orcid}]
    document: Document = {"person_or_org": person}
    if creator.affiliation:
        document["affiliations"] = [{"name": shown(creator.affiliation)}]
    return document


def _paragraphs(text: str) -> str:
    """Return plain text as HTML, in which these two keep descriptions."""
    return "".join(f"<p>{escape(part.strip())}</p>" for part in text.split("\n\n") if part.strip())
