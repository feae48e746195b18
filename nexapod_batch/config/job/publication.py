"""The table `[publication]`: in a descriptor, and in a file of its own when a result is published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.config import rules
from nexapod_batch.config.toml import decode, key_lines, read_text
from nexapod_batch.errors import DescriptorError
from nexapod_batch.model.publication import Creator, Publication
from nexapod_batch.schema.kinds import BAD, Key, ListOf, Report, Table, Text, Value

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PUBLICATION", "load_publication", "read_publication"]

_NAME = Text("a name", max_length=256)
_CREATOR = Table(
    {
        "name": Key(_NAME, "Name of an organisation, or of a person as `Family, Given`."),
        "family_name": Key(_NAME, "Family name of a person."),
        "given_name": Key(_NAME, "Given names of a person."),
        "orcid": Key(
            Text("an ORCID iD, as 0000-0002-1825-0097", pattern=r"(?:https://orcid\.org/)?(?:\d{4}-){3}\d{3}[\dX]"),
            "ORCID iD of a person.",
        ),
        "affiliation": Key(_NAME, "Where the person works."),
    },
    "Who made it.",
)

PUBLICATION = Table(
    {
        "title": Key(Text("a title", max_length=512), "Title of what is published."),
        "creators": Key(
            ListOf(_CREATOR, 0, 1_000),
            'Who made it, as `{ family_name = "Lovelace", given_name = "Ada" }`.',
            [],
            shown="none",
        ),
        "license": Key(Text("a licence by its SPDX identifier, as CC-BY-4.0", max_length=64), "Licence of it."),
        "description": Key(Text("text", max_length=20_000, multiline=True), "What it is, in plain text."),
        "keywords": Key(ListOf(Text("a keyword", max_length=128), 0, 100), "Words to find it by.", [], shown="none"),
        "publisher": Key(_NAME, "Who holds what is published.", shown="the repository"),
    },
    "What catalogues are told when the result is published. It decides nothing.",
)

_FILE = Table({"publication": Key(PUBLICATION, PUBLICATION.text, {})}, "What catalogues are told.")


def read_publication(section: Value, report: Report, path: str = "publication") -> Publication:
    """Return a checked section as a noun; what is wrong beyond its types is reported."""
    if not isinstance(section, dict) or BAD in section.values():
        return Publication()
    creators = []
    for number, one in enumerate(section["creators"]):
        if BAD not in one.values():
            creators.append(_creator(one, f"{path}.creators[{number}]", report))
    return Publication(
        title=section["title"] or "",
        creators=tuple(creators),
        license=_license(section["license"] or "", f"{path}.license", report),
        description=section["description"] or "",
        keywords=tuple(section["keywords"]),
        publisher=section["publisher"] or "",
    )


def load_publication(path: Path) -> Publication:
    """Return what a file of its own says under `[publication]`.

    Raises:
        DescriptorError: With every fault that was found in it.

    """
    text = read_text(path)
    document = decode(text, path.name)
    lines = key_lines(text)
    report = Report(lambda key: rules.nearest_line(lines, key))
    checked = _FILE.check(document, "", report)
    section = checked["publication"] if isinstance(checked, dict) else BAD
    publication = read_publication(section, report)
    if report.problems:
        raise DescriptorError(f"{path.name} cannot be used", problems=tuple(report.problems))
    return publication


def _creator(one: dict[str, Value], path: str, report: Report) -> Creator:
    said = {key: value or "" for key, value in one.items()}
    name, family, given = said["name"], said["family_name"], said["given_name"]
    orcid = said["orcid"].removeprefix("https://orcid.org/")
    if bool(name) == bool(family or given):
        report.add(path, "who is it?", wanted="either name, or family_name and given_name")
    if "," in name and not (family or given):  # a person, as catalogues sort them
        family, given = (part.strip() for part in name.split(",", 1))
        name = ""
    if orcid and not _good_orcid(orcid):
        report.add(f"{path}.orcid", "its last character does not fit: mistyped?", got=orcid)
    return Creator(
        name=name, family_name=family, given_name=given, orcid=orcid, affiliation=said["affiliation"]
    )


def _good_orcid(orcid: str) -> bool:
    """Say whether the last character is the check character of the others (ISO 7064, mod 11-2)."""
    total = 0
    digits = orcid.replace("-", "")
    for digit in digits[:-1]:
        total = (total + int(digit)) * 2
    rest = (12 - total % 11) % 11
    wanted = "X" if rest == 10 else str(rest)
    return digits[-1] == wanted


def _license(text: str, path: str, report: Report) -> str:
    """Return SPDX's spelling of a licence."""
    if not text:
        return ""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression  # noqa: PLC0415 - seldom

    try:
        found = str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        found = " "
    if " " in found or found.endswith("+") or found.startswith("LicenseRef-"):
        wanted = "one identifier of https://spdx.org/licenses, as CC-BY-4.0 or CC0-1.0"
        report.add(path, "no licence that catalogues know", got=text, wanted=wanted)
    return found
