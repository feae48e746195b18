"""The table `[publication]`, in a descriptor and in a file of its own: what it takes, and what it says of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.config.job.publication import load_publication
from nexapod_batch.errors import DescriptorError
from nexapod_batch.model.document import canonical, from_document, to_document
from nexapod_batch.model.publication import Creator, Publication

ADA = '{family_name = "Lovelace", given_name = "Ada"}'


def publication(path: Path, text: str) -> Publication:
    """Return what a file with this table says."""
    file = path / "about.toml"
    file.write_text(f"[publication]\n{text}\n")
    return load_publication(file)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Publication()),
        ('title = "T"\nkeywords = ["a", "b"]\npublisher = "P"', Publication(title="T", keywords=("a", "b"), publisher="P")),
        ('license = "cc-by-4.0"', Publication(license="CC-BY-4.0")),
        ('license = "apache-2.0"', Publication(license="Apache-2.0")),
        ('description = """two\nlines"""', Publication(description="two\nlines")),
        (f"creators = [{ADA}]", Publication(creators=(Creator(family_name="Lovelace", given_name="Ada"),))),
        ('creators = [{name = "Lovelace, Ada"}]', Publication(creators=(Creator(family_name="Lovelace", given_name="Ada"),))),
        ('creators = [{name = "CERN"}]', Publication(creators=(Creator(name="CERN"),))),
        ('creators = [{name = "A, B", orcid = "https://orcid.org/0000-0001-5109-3700"}]',
         Publication(creators=(Creator(family_name="A", given_name="B", orcid="0000-0001-5109-3700"),))),
        ('creators = [{name = "A, B", orcid = "0000-0002-9079-593X"}]',
         Publication(creators=(Creator(family_name="A", given_name="B", orcid="0000-0002-9079-593X"),))),
    ],
)  # fmt: skip
def test_what_is_said_is_taken(tmp_path: Path, text: str, wanted: Publication) -> None:
    """In SPDX's spelling, with names in parts, and an ORCID without its address."""
    assert publication(tmp_path, text) == wanted


def test_the_example_of_the_page_is_one(tmp_path: Path) -> None:
    """What people copy from the page on publishing is taken as it stands."""
    page = (Path(__file__).parents[2] / "docs/how-to/publish.md").read_text(encoding="utf-8")
    file = tmp_path / "about.toml"
    file.write_text(page.split("```toml\n")[1].split("```")[0])
    found = load_publication(file)
    assert all(found._replace(publisher="said"))
    assert [creator.shown for creator in found.creators] == ["Lovelace, Ada", "Difference Engine Ltd"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('license = "CC BY"', "publication.license: no licence that catalogues know"),
        ('license = "MIT OR Apache-2.0"', "publication.license: no licence"),
        ('license = "LicenseRef-mine"', "publication.license: no licence"),
        ('license = "MIT+"', "publication.license: no licence"),
        ('creators = [{name = "A, B", orcid = "0000-0002-1825-0098"}]', "publication.creators[0].orcid: its last character does not fit"),
        ('creators = [{name = "A, B", orcid = "0000-0002-1825-097"}]', "publication.creators[0].orcid: not accepted"),
        ('creators = [{orcid = "0000-0002-1825-0097"}]', "publication.creators[0]: who is it?"),
        ('creators = [{name = "A", family_name = "B"}]', "publication.creators[0]: who is it?"),
        ("creators = [{}]", "publication.creators[0]: who is it?"),
        ('creators = ["Ada"]', "publication.creators[0]: wrong type"),
        ('creator = "Ada"', "publication.creator: unknown key"),
        ('title = ""', "publication.title: 0 characters"),
        ('title = "a\\u0000b"', "publication.title: unprintable character"),
        ("title = 3", "publication.title: wrong type"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_named(tmp_path: Path, text: str, problem: str) -> None:
    """With its key and its line, in a file of its own as in a descriptor, and never a traceback."""
    with pytest.raises(DescriptorError) as caught:
        publication(tmp_path, text)
    assert f"line 2: {problem}" in str(caught.value)
    job = f'schema = 1\n[job]\ncommand = ["true"]\n[publication]\n{text}\n'
    with pytest.raises(DescriptorError) as caught:
        parse(job, tmp_path)
    assert problem in str(caught.value)


def test_it_is_pinned_with_the_job_and_changes_nothing_where_it_is_not_said(tmp_path: Path) -> None:
    """A job without it has the document that it always had; with it, it comes back whole."""
    plain = parse('schema = 1\n[job]\ncommand = ["true"]\n', tmp_path).job
    assert "publication" not in to_document(plain)
    told = parse(f'schema = 1\n[job]\ncommand = ["true"]\n[publication]\ntitle = "T"\ncreators = [{ADA}]\n', tmp_path).job
    document = to_document(told)
    assert document["publication"] == {"title": "T", "creators": [{"family_name": "Lovelace", "given_name": "Ada"}]}
    assert from_document(document) == told
    canonical(document)
