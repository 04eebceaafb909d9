"""--export of reports: they come back through `prepare sr` as the nodules that were hit, and replace nothing else."""

import shutil
import sys
from pathlib import Path
from typing import Any

import highdicom as hd
import polars as pl
import pytest
from pydicom.sr.codedict import codes

import noduleclip as nc
from conftest import Collection, Command, Outcome
from noduleclip import schema
from noduleclip.io.roi_table import read_roi_table

SENTENCE = "a lung nodule with diameter > 6 mm"


def search(noduleclip: Command, index: Path, *more: object, code: int = 0) -> Outcome:
    done = noduleclip("query", "--emb-dir", index, "--query", SENTENCE, "--topk", 5, "--format", "csv", *more)
    assert done.code == code, done.err
    return done


def test_hits_come_back_as_the_same_nodules(
    noduleclip: Command, nodule_index: Path, collection: Collection, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(collection.roi_csv.parent / "dicom", root / "dicom")
    done = search(noduleclip, nodule_index, "--export", root / "hits.dcm")
    hits = nc.open_index(nodule_index).query(SENTENCE, k=5).table
    reports = sorted(root.glob("hits*.dcm"))
    assert len(reports) == hits[schema.SERIES_UID].n_unique()
    assert f" in {reports[0]}, of patient {hits[0, schema.PATIENT_ID]}\n" in done.err
    contents: list[Any] = [hd.sr.srread(path).content for path in reports]
    assert sum(len(content.get_planar_roi_measurement_groups()) for content in contents) == hits.height
    prepared = noduleclip("prepare", "sr", "--data-root", root, "--out", tmp_path / "out", "--workers", 1)
    assert prepared.code == 0, prepared.err
    rows = read_roi_table(tmp_path / "out" / schema.ROI_CSV).frame
    assert rows.height == hits.height
    for hit in hits.iter_rows(named=True):
        of_slice = rows.filter(pl.col(schema.SOP_UID) == hit[schema.SOP_UID])
        (row,) = of_slice.filter((pl.col(schema.CENTROID_X) - hit[schema.CENTROID_X]).abs() < 0.05).to_dicts()
        assert row[schema.CENTROID_Y] == pytest.approx(hit[schema.CENTROID_Y], abs=0.05)
        assert row[schema.DIAMETER_MM] == pytest.approx(hit[schema.DIAMETER_MM], abs=1e-3)
        assert row[schema.PATIENT_ID] == hit[schema.PATIENT_ID]
        assert row[schema.DIAMETER_KIND] == (hit.get(schema.DIAMETER_KIND) or schema.UNKNOWN_KIND)
        for name in set(schema.RATING_COLUMNS) & set(hits.columns):
            assert row[name] == pytest.approx(hit[name], abs=1e-4)


def test_what_is_no_report_is_not_replaced(
    noduleclip: Command, nodule_index: Path, collection: Collection, tmp_path: Path
) -> None:
    """Slices end in .dcm, too, and some are numbered: 1-001.dcm."""
    export = ("--export", tmp_path / "1.dcm", "--overwrite")
    search(noduleclip, nodule_index, *export)
    search(noduleclip, nodule_index, *export)
    some = next((collection.roi_csv.parent / "dicom").rglob("*.dcm"))
    for name in ("1-77.dcm", "1.dcm"):
        shutil.copy(some, tmp_path / name)
        refused = search(noduleclip, nodule_index, *export, code=2)
        assert f"{tmp_path / name} is there, is no DICOM SR of an earlier export, and is not replaced" in refused.err
        (tmp_path / name).unlink()
    (tmp_path / "1.dcm").write_text("mine")
    assert "is no DICOM SR of an earlier export" in search(noduleclip, nodule_index, *export, code=2).err


def test_no_hits_make_no_report(noduleclip: Command, nodule_index: Path, tmp_path: Path) -> None:
    export = ("--export", tmp_path / "h.dcm")
    done = noduleclip("fuse", "--emb-dir", nodule_index, "--query", "> 99 mm", "--min-score", 0.99, *export)
    assert done.code == 0, done.err
    assert f"warning: {tmp_path / 'h.dcm'}: not written, there is nothing to export" in done.err
    assert list(tmp_path.iterdir()) == []


def test_reports_are_saved_and_the_estimates_of_an_index_stand_in_them(nodule_index: Path, tmp_path: Path) -> None:
    files = nc.open_index(nodule_index).query(SENTENCE, k=1).save(tmp_path / "h.dcm")
    assert files == [tmp_path / "h.dcm"]
    (group,) = hd.sr.srread(files[0]).content.get_planar_roi_measurement_groups()  # type: ignore[attr-defined]
    derivations = [one.derivation for one in group.get_measurements(name=codes.SCT.Diameter)]
    assert derivations[-1] == codes.SCT.Estimated


def test_a_missing_library_is_named(noduleclip: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    done = noduleclip("query", "--emb-dir", tmp_path / "x", "--query", "> 6 mm", "--export", tmp_path / "h.dcm")
    assert (done.code, 'h.dcm: DICOM SR needs highdicom: pip install "noduleclip[seg]"' in done.err) == (2, True)
