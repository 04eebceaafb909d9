"""The citation agrees with the package."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

import noduleclip

ROOT = Path(__file__).resolve().parents[1]
CITATION: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Keys of the Citation File Format 1.2.0 that may be used here: of the file, of a reference, of a person or entity.
KEYS = {
    "abstract", "authors", "cff-version", "contact", "date-released", "doi", "identifiers", "keywords", "license",
    "message", "preferred-citation", "references", "repository-code", "title", "type", "url", "version",
}  # fmt: skip
REFERENCE_KEYS = {
    "abstract", "authors", "date-released", "doi", "end", "issue", "journal", "keywords", "license", "publisher",
    "start", "title", "type", "url", "version", "volume", "year",
}  # fmt: skip
NAME_KEYS = {"family-names", "given-names", "name", "name-particle", "name-suffix", "orcid", "affiliation"}
REFERENCE_TYPES = {"article", "book", "conference-paper", "data", "database", "generic", "report", "software"}


def test_it_has_the_keys_of_the_format() -> None:
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] in ("software", "dataset")
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION) <= KEYS
    for reference in CITATION["references"]:
        assert {"authors", "title", "type"} <= set(reference) <= REFERENCE_KEYS
        assert reference["type"] in REFERENCE_TYPES and type(reference["year"]) is int
        assert re.fullmatch(r"10\.\d{4,9}/\S+", reference["doi"])
    for source in (CITATION, *CITATION["references"]):
        for person in source["authors"]:
            assert person and set(person) <= NAME_KEYS
            assert ("name" in person) != ("family-names" in person)


def test_version_licence_and_authors_are_those_of_the_package() -> None:
    assert CITATION["version"] == noduleclip.__version__
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["keywords"] and set(CITATION["keywords"]) <= {*PROJECT["keywords"], "computed tomography"}
    assert [author["name"] for author in CITATION["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_the_date_is_that_of_the_changelog() -> None:
    released = re.search(rf"^## {re.escape(CITATION['version'])} - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released is not None and str(CITATION["date-released"]) == released[1]


def test_the_bibtex_entry_says_the_same() -> None:
    entry = re.search(r"(@software\{.*?\n\}\n)", (ROOT / "docs" / "how-to" / "cite.md").read_text(), re.DOTALL)
    assert entry is not None
    fields = dict(re.findall(r"^  (\w+) = \{(.*)\},?$", entry[1], re.M))
    assert fields["version"] == CITATION["version"] and fields["year"] == str(CITATION["date-released"].year)
    assert fields["title"].replace("{", "").replace("}", "") == CITATION["title"]
    assert fields["author"].strip("{}") == PROJECT["authors"][0]["name"]
    page = (ROOT / "docs" / "how-to" / "cite.md").read_text(encoding="utf-8")
    assert all(reference["doi"] in page for reference in CITATION["references"])
