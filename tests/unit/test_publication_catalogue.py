"""What catalogues are told of a result: valid by their own schemas, whatever people wrote."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from datacite import schema45
from publications import HOSTILE, PUBLICATION, entry, task

from nexapod_batch.errors import UsageError
from nexapod_batch.model.publication import Creator, Publication, publication_document, publication_of
from nexapod_batch.publication import catalogue

CFFCONVERT = Path(__file__).parents[2] / ".venv-cff/bin/cffconvert"

#: Publications, each with something that others lack.
KINDS = {
    "whole": PUBLICATION,
    "least": Publication(title="T", creators=(Creator(name="X"),), license="MIT", description="D"),
    "only a given name": PUBLICATION._replace(creators=(Creator(given_name="Madonna"),)),
    "twice the same word": PUBLICATION._replace(keywords=("pi", "pi")),
    "letters of the world": PUBLICATION._replace(title="π 😀 中文 é", keywords=("中文",)),
    **{
        f"hostile {number}": PUBLICATION._replace(
            title=text, description=text, keywords=(text, "- [a"), publisher=text,
            creators=(Creator(family_name=text, given_name=text, affiliation=text), Creator(name=text)),
        )
        for number, text in enumerate(HOSTILE)
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_datacite_metadata_is_valid(kind: str) -> None:
    """By DataCite's own schema, and it is JSON that can be written."""
    document = catalogue.datacite(entry(KINDS[kind]))
    schema45.validator.validate(document)
    assert json.loads(json.dumps(document, ensure_ascii=False).encode()) == document


def test_datacite_says_who_what_and_under_which_licence() -> None:
    """Names in parts, ORCID, affiliation, licence by SPDX, what was found, and the job by its UUID."""
    document = catalogue.datacite(entry())
    ada = document["creators"][0]
    assert (ada["name"], ada["familyName"], ada["nameType"]) == ("Lovelace, Ada", "Lovelace", "Personal")
    assert ada["nameIdentifiers"][0]["nameIdentifier"] == "https://orcid.org/0000-0002-1825-0097"
    assert document["creators"][1] == {"name": "Difference Engine Ltd", "nameType": "Organizational"}
    assert document["rightsList"][0]["rightsUri"] == "https://spdx.org/licenses/CC-BY-4.0.html"
    assert "2 of 2 agree, 2 sites" in document["descriptions"][0]["description"]
    assert document["alternateIdentifiers"][0]["alternateIdentifier"] == f"urn:uuid:{entry().facts.uuid}"
    assert {"date": "2026-11-29/2026-11-29", "dateType": "Created"} in document["dates"]


def test_citations_are_valid(tmp_path: Path) -> None:
    """By cffconvert, all of them; hostile words stay words."""
    assert CFFCONVERT.exists(), "bin/test installs it"
    program = "import sys; from cffconvert.cli.create_citation import create_citation\nfor one in sys.argv[1:]: create_citation(one, None).validate()"
    files = []
    for number, publication in enumerate(KINDS.values()):
        files.append(tmp_path / f"{number}.cff")
        files[-1].write_text(catalogue.citation(entry(publication)), encoding="utf-8")
    done = subprocess.run([CFFCONVERT.with_name("python"), "-c", program, *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Ada" in files[0].read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_zenodo_and_invenio_get_text_never_markup(kind: str) -> None:
    """Their descriptions are HTML: what people wrote is escaped in them, and nothing invisible is left anywhere."""
    zenodo, invenio = catalogue.zenodo(entry(KINDS[kind])), catalogue.invenio(entry(KINDS[kind]), "example.org")
    for description in (zenodo["description"], invenio["metadata"]["description"]):
        assert "<" not in description.replace("<p>", "").replace("</p>", "")
    for text in (json.dumps(zenodo, ensure_ascii=False), json.dumps(invenio, ensure_ascii=False)):
        assert text.isprintable()
        text.encode()


def test_invenio_names_a_publisher() -> None:
    """No DOI is registered without: where nobody was named it is the repository."""
    without = PUBLICATION._replace(publisher="")
    assert catalogue.invenio(entry(without), "zenodo.org")["metadata"]["publisher"] == "zenodo.org"
    assert catalogue.invenio(entry(), "zenodo.org")["metadata"]["publisher"] == "Example Repository"
    assert catalogue.datacite(entry(without))["publisher"] == {"name": ":tba"}


@pytest.mark.parametrize("missing", ["title", "creators", "license", "description"])
def test_what_is_missing_is_named(missing: str) -> None:
    """Each by itself, and all of them at once."""
    with pytest.raises(UsageError, match=f"got no {missing}, wanted all of"):
        catalogue.check_complete(PUBLICATION._replace(**{missing: Publication()._asdict()[missing]}))
    with pytest.raises(UsageError, match="no title, no creators, no license, no description"):
        catalogue.check_complete(Publication())


def test_a_result_without_agreement_says_so() -> None:
    """A catalogue is not told of an agreement that there is not."""
    document = catalogue.datacite(entry(tasks=(task(accepted=False, state="inconclusive", agreed=0),)))
    assert document["descriptions"][0]["description"].endswith("compared: no agreement.")


@pytest.mark.parametrize("publication", [PUBLICATION, Publication(), KINDS["letters of the world"]])
def test_a_document_gives_the_same_publication(publication: Publication) -> None:
    """What is pinned with a job is read back as it was."""
    assert publication_of(json.loads(json.dumps(publication_document(publication)))) == publication


@pytest.mark.parametrize("document", [{"title": 1}, {"creators": [{"name": []}]}, {"keywords": [None]}, {"creators": [{"age": "3"}]}, {"x": "y"}])
def test_another_document_is_refused(document: dict[str, object]) -> None:
    """Whatever JSON spells: an archive may come from anybody."""
    with pytest.raises((TypeError, ValueError)):
        publication_of(document)
