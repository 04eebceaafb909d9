"""`--columns` chooses what is printed, in each format; files keep all columns."""

import csv
import io
import json
from pathlib import Path

import pytest

from conftest import Command
from noduleclip import schema

NAMES = (schema.RANK, schema.PATIENT_ID, schema.PROBABILITY)


@pytest.mark.parametrize("command", ["query", "fuse"])
def test_hits_are_printed_with_the_columns_asked_for(
    noduleclip: Command, index: Path, tmp_path: Path, command: str
) -> None:
    asked = (command, index, "> 6 mm", "--topk", 3, "--columns", ",".join(NAMES))
    done = noduleclip(*asked, "--out", tmp_path)
    assert done.code == 0, done.err
    rows = list(csv.reader(io.StringIO(done.out)))
    assert rows[0] == list(NAMES)
    assert [row[0] for row in rows[1:]] == ["1", "2", "3"]
    kept = (tmp_path / schema.TOP_K_CSV).read_text().splitlines()[0].split(",")
    assert {*NAMES, schema.SIMILARITY, schema.DICOM_PATH} <= set(kept)
    lines = noduleclip(*asked, "--format", "json").out.splitlines()
    assert [list(json.loads(line)) for line in lines] == [list(NAMES)] * 3
    table = noduleclip(*asked, "--format", "table").out
    assert table.splitlines()[0].strip() == "> 6 mm"
    assert table.splitlines()[2].split() == list(NAMES)
    assert "read as: diameter larger than 6 mm" in table


def test_nodules_are_described_with_the_columns_asked_for(noduleclip: Command, index: Path) -> None:
    names = f"{schema.ROW},{schema.DESCRIPTION}"
    done = noduleclip("describe", index, "--where", "row < 2", "--columns", names)
    assert done.code == 0, done.err
    assert [row[0] for row in csv.reader(io.StringIO(done.out))] == [schema.ROW, "0", "1"]
    table = noduleclip("describe", index, "--where", "row < 2", "--columns", names, "--format", "table").out
    assert table.split()[:2] == [schema.ROW, schema.DESCRIPTION]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("rank,patientid", "--columns: there is no column 'patientid'; did you mean 'patient_id'"),
        ("zzz", "--columns: there is no column 'zzz'; --columns list prints the "),
        ("rank,,row", "--columns: 'rank,,row' is no list of different names"),
        ("rank,rank", "--columns: 'rank,rank' is no list of different names"),
    ],
)
def test_columns_that_are_none_are_told(
    noduleclip: Command, index: Path, tmp_path: Path, columns: str, message: str
) -> None:
    done = noduleclip("query", index, "> 6 mm", "--columns", columns, "--out", tmp_path / "out")
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "out" / schema.TOP_K_CSV).exists()


def test_columns_do_not_go_with_paths_alone(noduleclip: Command, index: Path) -> None:
    done = noduleclip("query", index, "> 6 mm", "--columns", "rank", "--paths-only")
    assert done.code == 2
    assert "--columns is for the table, CSV or JSON" in done.err


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_the_names_of_all_columns_are_listed(noduleclip: Command, index: Path, tmp_path: Path, form: str) -> None:
    asked = ("query", index, "> 6 mm", "--topk", 2, "--format", form)
    done = noduleclip(*asked, "--columns", "list", "--out", tmp_path)
    assert done.code == 0, done.err
    kept = (tmp_path / schema.TOP_K_CSV).read_text().splitlines()[0].split(",")
    assert done.out.split() == kept, "each of them can be chosen"
    everything = noduleclip(*asked, "--columns", ",".join(kept))
    assert everything.code == 0, everything.err
    names = noduleclip("describe", index, "--columns", "list").out.split()
    assert names == noduleclip("describe", index, "--format", "csv").out.splitlines()[0].split(",")


def test_names_are_listed_once_for_many_sentences(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    (tmp_path / "sentences.txt").write_text("".join(f"> {mm / 4:g} mm\n" for mm in range(8, 308)))
    listed = noduleclip("query", index, "--queries-file", tmp_path / "sentences.txt", "--columns", "list").out.split()
    assert listed == noduleclip("query", index, "> 6 mm", "--columns", "list").out.split()
