"""`prepare` on sources without a usable annotation: one line that names what was found in their place."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from cli.test_prepare_imports import UID, list_voxels, prepare, scans
from conftest import Outcome
from importers.lidc_phantoms import Curve, Nodule, Series, annotate
from importers.metaimages import write_mhd
from noduleclip import schema

__all__ = ["scans"]


def last_line(done: Outcome, out: Path) -> str:
    assert done.code == 3, done.err
    assert "Traceback" not in done.err
    assert not (out / schema.ROI_CSV).exists()
    return done.err.splitlines()[-1]


@pytest.fixture
def luna(tmp_path: Path) -> Path:
    """A series of LUNA16, alone, and the table of its nodule."""
    values = np.random.default_rng(0).integers(-1000, 400, (7, 96, 80)).astype("<i2")
    write_mhd(tmp_path / f"luna/{UID}0.mhd", values)
    (tmp_path / "annotations.csv").write_text(list_voxels((0, 20, 30, 1)))
    return tmp_path / "luna"


def change_data(raw: Path, kind: str) -> None:
    content = raw.read_bytes()
    raw.unlink()
    match kind:
        case "cut":
            raw.write_bytes(content[:100])
        case "wrong case":
            raw.with_suffix(".RAW").write_bytes(content)
        case "gzip beside":
            raw.with_suffix(".raw.gz").write_bytes(gzip.compress(content))
        case "gzip within":
            raw.write_bytes(gzip.compress(content[:100]))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "are not beside it; copy or download them again"),
        ("cut", "ends before slice 0; copy or download it again"),
        ("wrong case", "0.RAW, which is"),
        ("gzip beside", "0.raw.gz, which is"),
        ("gzip within", "is a gzip file, where its header says raw; unpack it"),
    ],
)
def test_an_only_image_without_its_data_is_one_line(luna: Path, tmp_path: Path, kind: str, message: str) -> None:
    change_data(luna / f"{UID}0.raw", kind)
    arguments = ("--annotations", tmp_path / "annotations.csv", "--data-root", luna)
    assert message in last_line(prepare("luna16", tmp_path / "out", *arguments), tmp_path / "out")


def test_an_only_image_with_a_broken_header_is_named(luna: Path, tmp_path: Path) -> None:
    header = luna / f"{UID}0.mhd"
    header.write_text(header.read_text().replace("NDims = 3", "NDims = 4"))
    arguments = ("--annotations", tmp_path / "annotations.csv", "--data-root", luna)
    assert "NDims is '4'" in last_line(prepare("luna16", tmp_path / "out", *arguments), tmp_path / "out")


@pytest.mark.parametrize(
    ("box", "mode", "message"),
    [
        ([-3, -10, -86, 9, 2, -74], "cccwhd", "training[0], box[0]: read as cccwhd, its sides are 9, 2 and -74 mm"),
        ([-3, -10, -86, 9, 2, -74], "cccwhd", "they do with --box-mode xyzxyz"),
        ([3, 4, 5, -1, -1, -1], "cccwhd", "its sides are -1, -1 and -1 mm; they must lie in (0, 100] mm"),
        ([5, 6, 7, 4, 4, 4], "xyzxyz", "they do with --box-mode cccwhd or xyzwhd"),
    ],
)
def test_boxes_of_another_mode_are_named(
    scans: Path, tmp_path: Path, box: list[float], mode: str, message: str
) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"training": [{"image": "1.2.3.4.5.6.7.mhd", "box": [box]}]}))
    arguments = ("--datalist", tmp_path / "a.json", "--data-root", scans, "--box-mode", mode)
    assert message in last_line(prepare("monai", tmp_path / "out", *arguments), tmp_path / "out")


def test_a_table_without_a_diameter_says_what_it_has(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y,z,diameter_mm,seriesuid\n1,2,3,-1,1.2\n1,2,4,-1,1.2\n")
    done = prepare("csv", tmp_path / "out", "--table", tmp_path / "a.csv", "--data-root", scans)
    found = last_line(done, tmp_path / "out")
    assert "none of its 2 places can be used" in found
    assert "row 1: diameter_mm is -1, where a number in (0, 100] mm is needed" in found


def test_a_patient_of_small_nodules_and_non_nodules_says_so(tmp_path: Path) -> None:
    series = Series(1)
    series.write(tmp_path / "data")
    point = Nodule([Curve(1, [(5, 5)])])
    xml = annotate(tmp_path / "data/a.xml", series, [[point], [point]])
    text = xml.read_text().replace("</readingSession>", "<nonNodule/><nonNodule/><nonNodule/></readingSession>", 1)
    xml.write_text(text)
    found = last_line(prepare("lidc", tmp_path / "out", "--data-root", tmp_path / "data"), tmp_path / "out")
    assert "no nodule has an outline or a diameter" in found
    assert found.endswith("found: 3 annotations of non-nodules; 2 nodules under 3 mm, a point each")
