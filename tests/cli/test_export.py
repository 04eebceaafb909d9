"""--export of query, fuse and describe, and `Hits.save`: what is written, for whom, and what is left alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import polars as pl
import pydicom
import pytest
from highdicom.spatial import ImageToReferenceTransformer
from pycocotools.coco import COCO
from pydicom.dataset import Dataset

import noduleclip as nc
from conftest import Collection, Command, Outcome
from enhanced_ct import enhance, make_group
from exporters.places import ORIENTATIONS, POSITION_MM, write_slice
from noduleclip import schema
from noduleclip.errors import InputError, UsageError

SENTENCE = "a lung nodule with diameter > 6 mm"


def search(noduleclip: Command, index: Path, *more: object, code: int = 0) -> Outcome:
    done = noduleclip("query", "--emb-dir", index, "--query", SENTENCE, "--topk", 5, "--format", "csv", *more)
    assert done.code == code, done.err
    return done


def read_points(folder: Path, pattern: str = "*.mrk.json") -> dict[str, list[float]]:
    """Return the position of each point by its label."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(pattern)]
    points = [point for file in files for point in file["markups"][0]["controlPoints"]]
    return {point["label"]: point["position"] for point in points}


def locate(path: Path, x: float, y: float) -> Any:
    """Return where highdicom puts a place of a slice in the patient."""
    header = pydicom.dcmread(path, stop_before_pixels=True)
    to_mm = ImageToReferenceTransformer(
        header.ImagePositionPatient, header.ImageOrientationPatient, header.PixelSpacing
    )  # fmt: skip
    return to_mm(np.array([[x + 0.5, y + 0.5]]))[0]


def copy_without(collection: Collection, folder: Path, hidden: str) -> Path:
    """Copy the slices of a collection without one of them."""
    shutil.copytree(collection.roi_csv.parent, folder)
    (folder / hidden).unlink()
    return folder


def test_query_writes_every_format_and_prints_what_it_prints_without(
    noduleclip: Command, nodule_index: Path, collection: Collection, tmp_path: Path
) -> None:
    names = ("hits.mrk.json", "hits.json", "hits.xlsx", "hits.parquet")
    options = [word for name in names for word in ("--export", tmp_path / "new" / name)]
    done = search(noduleclip, nodule_index, *options)
    assert done.out == search(noduleclip, nodule_index).out
    table = pl.read_parquet(tmp_path / "new" / "hits.parquet")
    assert table.equals(nc.open_index(nodule_index).query(SENTENCE, k=5).table)
    series = table[schema.SERIES_UID].n_unique()
    markups = sorted(path.name for path in (tmp_path / "new").glob("*.mrk.json"))
    assert markups == [f"hits-{number}.mrk.json" for number in range(1, series + 1)]
    of_best = table.filter(pl.col(schema.SERIES_UID) == table[0, schema.SERIES_UID])
    told = f"{of_best.height} hit{'' if of_best.height == 1 else 's'} in {tmp_path / 'new' / 'hits-1.mrk.json'}"
    assert f"{told}, of patient {table[0, schema.PATIENT_ID]}\n" in done.err
    for name in names[1:]:
        assert f"5 hits in {tmp_path / 'new' / name}\n" in done.err
    points = read_points(tmp_path / "new")
    for hit in table.iter_rows(named=True):
        slice_file = collection.roi_csv.parent / hit[schema.DICOM_PATH]
        expected = locate(slice_file, hit[schema.CENTROID_X], hit[schema.CENTROID_Y])
        found = points[f"{hit[schema.RANK]}: {hit[schema.DIAMETER_MM]:.1f} mm"]
        assert np.abs(np.array(found) - expected).max() < 0.1
    coco = COCO(tmp_path / "new" / "hits.json")
    assert [one["attributes"][schema.NODULE_ID] for one in coco.dataset["annotations"]] == table[
        schema.NODULE_ID
    ].to_list()
    assert all(len(one["segmentation"]) >= 1 for one in coco.dataset["annotations"])
    assert all((tmp_path / "new" / image["file_name"]).is_file() for image in coco.dataset["images"])
    nodules, about = openpyxl.load_workbook(tmp_path / "new" / "hits.xlsx")
    header, *rows = nodules.iter_rows(values_only=True)
    assert list(header) == table.columns
    assert [row[header.index(schema.DIAMETER_MM)] for row in rows] == pytest.approx(table[schema.DIAMETER_MM].to_list())
    assert [cell.value for cell in about[2]][:2] == [SENTENCE, "read as: diameter larger than 6 mm, (6, inf) mm"]


def test_fuse_and_several_sentences_are_one_export(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("> 6 mm\na small nodule\n")
    done = noduleclip(
        "fuse", "--emb-dir", index, "--queries-file", tmp_path / "q.txt", "--topk", 2, "--export", tmp_path / "h.json"
    )
    assert done.code == 0, done.err
    found = [one["attributes"] for one in COCO(tmp_path / "h.json").dataset["annotations"]]
    assert [(one[schema.QUERY], one[schema.RANK]) for one in found] == [
        ("> 6 mm", 1), ("> 6 mm", 2), ("a small nodule", 1), ("a small nodule", 2),
    ]  # fmt: skip
    assert all(schema.SCORE in one for one in found)


def test_describe_exports_the_nodules_of_an_index(
    noduleclip: Command, nodule_index: Path, collection: Collection, tmp_path: Path
) -> None:
    options = ("--export", tmp_path / "d.mrk.json", "--export", tmp_path / "d.xlsx", "--format", "csv")
    done = noduleclip("describe", "--emb-dir", nodule_index, "--where", "row < 4", *options)
    assert done.code == 0, done.err
    table = nc.open_index(nodule_index).table.head(4)
    points = read_points(tmp_path)
    for number, row in enumerate(table.iter_rows(named=True), 1):
        expected = locate(
            collection.roi_csv.parent / row[schema.DICOM_PATH], row[schema.CENTROID_X], row[schema.CENTROID_Y]
        )
        assert np.abs(np.array(points[f"{number}: {row[schema.DIAMETER_MM]:.1f} mm"]) - expected).max() < 0.1
    nodules, about = openpyxl.load_workbook(tmp_path / "d.xlsx")
    assert (nodules.max_row, about["A2"].value) == (5, "row < 4")
    assert f"4 nodules in {tmp_path / 'd.xlsx'}" in done.err


def test_describe_exports_the_nodules_of_a_table(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    table = pl.read_csv(collection.roi_csv).head(6).with_columns(pl.lit("=1+1").alias(schema.PATIENT_ID))
    table.write_csv(tmp_path / "t.csv")
    done = noduleclip(
        "describe", "--roi-csv", tmp_path / "t.csv", "--dicom-root", collection.roi_csv.parent, "--model", checkpoint,
        "--cache-dir", exported, "--unit", "outline", "--export", tmp_path / "d.json", "--export", tmp_path / "d.xlsx",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = COCO(tmp_path / "d.json").dataset["annotations"]
    assert [one["attributes"][schema.DIAMETER_MM] for one in found] == table[schema.DIAMETER_MM].to_list()
    for one, text in zip(found, table[schema.POINTS_JSON], strict=True):
        (outline,) = one["segmentation"]
        assert np.allclose(np.array(outline).reshape(-1, 2) - 0.5, json.loads(text), atol=0.01)
    header, first, *_ = openpyxl.load_workbook(tmp_path / "d.xlsx")["nodules"].iter_rows()
    cell = first[[one.value for one in header].index(schema.PATIENT_ID)]
    assert (cell.value, cell.data_type) == ("=1+1", "s")


def test_a_frame_of_a_volume_is_placed_by_its_own_position(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    first = pl.read_csv(collection.roi_csv).head(1)
    folder = (collection.roi_csv.parent / first[0, schema.DICOM_PATH]).parent
    slices = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))[:3]]

    def put(volume: Dataset) -> None:
        for one, group in zip(slices, volume.PerFrameFunctionalGroupsSequence, strict=True):
            position = make_group(PlanePositionSequence={"ImagePositionPatient": one.ImagePositionPatient})
            group.PlanePositionSequence = position.PlanePositionSequence

    enhance(slices, tmp_path / "volume.dcm", change=put)
    frames = pl.concat([first] * 3).with_columns(
        pl.lit("volume.dcm").alias(schema.DICOM_PATH), pl.Series(schema.FRAME, [1, 2, 3])
    )
    frames.write_csv(tmp_path / "t.csv")
    done = noduleclip(
        "describe", "--roi-csv", tmp_path / "t.csv", "--model", checkpoint, "--cache-dir", exported,
        "--unit", "outline", "--export", tmp_path / "d.mrk.json", "--export", tmp_path / "d.json",
    )  # fmt: skip
    assert done.code == 0, done.err
    heights = [position[2] for position in read_points(tmp_path).values()]
    assert heights == pytest.approx([float(one.ImagePositionPatient[2]) for one in slices], abs=0.1)
    assert [image[schema.FRAME] for image in COCO(tmp_path / "d.json").dataset["images"]] == [1, 2, 3]


@pytest.mark.parametrize("name", ["hits.csv", "hits.nii", "hits", ".mrk.json"])
def test_an_unknown_ending_is_found_before_the_search(noduleclip: Command, tmp_path: Path, name: str) -> None:
    endings = ".mrk.json (3D Slicer markups), .json (COCO), .xlsx (Excel), .parquet (Parquet), .dcm (DICOM SR)"
    for command in (["query", "--query", "> 6 mm"], ["fuse", "--query", "> 6 mm"], ["describe"]):
        done = noduleclip(*command, "--emb-dir", tmp_path / "no index", "--export", tmp_path / name)
        assert done.code == 2
        assert f"--export {tmp_path / name}: must be a name with one of the endings {endings}" in done.err
        assert ("; --out writes topk.csv or estimates.csv" in done.err) == (name == "hits.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_text_is_refused(noduleclip: Command, nodule_index: Path, tmp_path: Path) -> None:
    refused = search(noduleclip, nodule_index, "--export", tmp_path / "h\udcff.json", code=2)
    assert "h\\xff.json: has characters that this locale cannot read" in refused.err


def test_a_missing_library_is_named_before_the_search(
    noduleclip: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    done = noduleclip("query", "--emb-dir", tmp_path / "x", "--query", "> 6 mm", "--export", tmp_path / "h.xlsx")
    assert (done.code, 'h.xlsx: Excel needs xlsxwriter: pip install "noduleclip[excel]"' in done.err) == (2, True)


def test_an_export_is_replaced_as_a_whole_and_only_with_overwrite(
    noduleclip: Command, nodule_index: Path, tmp_path: Path
) -> None:
    exports = ("--export", tmp_path / "h.mrk.json", "--export", tmp_path / "h.json")
    search(noduleclip, nodule_index, *exports)
    assert len(list(tmp_path.glob("h-*.mrk.json"))) > 1
    assert len(list((tmp_path / "h_images").iterdir())) == 5
    (tmp_path / "h-x.mrk.json").write_text("mine")
    for export in (exports[:2], exports[2:]):
        refused = search(noduleclip, nodule_index, *export, code=2)
        assert "already there; --overwrite replaces it" in refused.err
    (tmp_path / "h.json").unlink()
    refused = search(noduleclip, nodule_index, *exports[2:], code=2)
    assert "its folder of pictures" in refused.err and "is already there; --overwrite replaces it" in refused.err
    search(noduleclip, nodule_index, *exports, "--overwrite", "--topk", 1)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "0001.png", "h-x.mrk.json", "h.json", "h.mrk.json", "h_images",
    ]  # fmt: skip
    search(noduleclip, nodule_index, *exports, "--overwrite")
    assert not (tmp_path / "h.mrk.json").exists(), "the export of one series"


def test_other_files_are_not_replaced(noduleclip: Command, nodule_index: Path, tmp_path: Path) -> None:
    (tmp_path / "h_images").mkdir()
    (tmp_path / "h_images" / "holiday.jpg").write_text("mine")
    refused = search(noduleclip, nodule_index, "--export", tmp_path / "h.json", "--overwrite", code=2)
    assert "holiday.jpg is none of them; move it, or rename the export" in refused.err
    (tmp_path / "target.xlsx").write_text("mine")
    (tmp_path / "link.xlsx").symlink_to(tmp_path / "target.xlsx")
    refused = search(noduleclip, nodule_index, "--export", tmp_path / "link.xlsx", "--overwrite", code=2)
    assert "is a link and is not replaced" in refused.err
    shutil.copy(nodule_index / schema.META, tmp_path / "t.parquet")
    table = tmp_path / "t.parquet"
    refused = noduleclip("describe", "--roi-csv", table, "--export", table, "--overwrite")
    assert (refused.code, "would replace --roi-csv" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("one", "other"), [("h.xlsx", "x/../h.xlsx"), ("h.mrk.json", "h-2.mrk.json"), ("h.dcm", "h-02.dcm")]
)
def test_two_exports_of_one_name_are_refused(
    noduleclip: Command, nodule_index: Path, tmp_path: Path, one: str, other: str
) -> None:
    (tmp_path / "x").mkdir()
    for first, second in ((one, other), (other, one)):
        exports = ("--export", tmp_path / first, "--export", tmp_path / second)
        refused = search(noduleclip, nodule_index, *exports, code=2)
        assert "writes the same file; rename one" in refused.err


def test_hits_without_their_slice_are_left_out_and_counted(
    noduleclip: Command, nodule_index: Path, collection: Collection, tmp_path: Path
) -> None:
    hits = nc.open_index(nodule_index).query(SENTENCE, k=5).table
    gone = hits[1, schema.DICOM_PATH]
    root = copy_without(collection, tmp_path / "some", gone)
    left = hits.filter(pl.col(schema.DICOM_PATH) != gone).height
    done = search(noduleclip, nodule_index, "--dicom-root", root, "--export", tmp_path / "h.mrk.json")
    assert f"warning: {5 - left} of 5 nodules are not exported, as their slices cannot be used; first: " in done.err
    assert "no such file" in done.err
    assert len(read_points(tmp_path)) == left
    (tmp_path / "empty").mkdir()
    for name in ("g.mrk.json", "g.json"):
        export = ("--dicom-root", tmp_path / "empty", "--export", tmp_path / name)
        refused = search(noduleclip, nodule_index, *export, code=3)
        assert "nothing is exported: the slices of all 5 nodules cannot be used; first: " in refused.err
        assert refused.out == ""
    assert list(tmp_path.glob("g*")) == []
    search(noduleclip, nodule_index, "--dicom-root", tmp_path / "empty", "--export", tmp_path / "g.parquet")
    refused = search(noduleclip, nodule_index, "--dicom-root", tmp_path / "no", "--export", tmp_path / "g.json", code=2)
    assert "no: no such folder" in refused.err


def test_an_index_from_elsewhere_reads_no_slices(
    noduleclip: Command, nodule_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    refused = search(noduleclip, nodule_index, "--export", tmp_path / "h.json", code=3)
    assert "lies outside the DICOM folders; name its folder with --dicom-root" in refused.err


def test_slices_that_cannot_be_decoded_leave_the_earlier_export(
    noduleclip: Command, nodule_index: Path, collection: Collection, tmp_path: Path
) -> None:
    export = ("--export", tmp_path / "h.json")
    search(noduleclip, nodule_index, *export)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    root = tmp_path / "broken"
    shutil.copytree(collection.roi_csv.parent, root)
    slices = sorted(root.rglob("*.dcm"))
    for path in slices:
        path.write_bytes(path.read_bytes()[:-1000])
    refused = search(noduleclip, nodule_index, "--dicom-root", root, *export, "--overwrite", code=3)
    assert "the slices of all 5 nodules cannot be used; first: " in refused.err
    assert "cut short" in refused.err
    assert {path: path.read_bytes() for path in before} == before
    refused = search(noduleclip, nodule_index, "--dicom-root", root, "--export", tmp_path / "new.json", code=3)
    assert not list(tmp_path.glob("new*"))


def test_no_hits_are_an_empty_export(noduleclip: Command, nodule_index: Path, tmp_path: Path) -> None:
    names = ("h.mrk.json", "h.json", "h.xlsx", "h.parquet")
    options = [word for name in names for word in ("--export", tmp_path / name)]
    done = noduleclip("fuse", "--emb-dir", nodule_index, "--query", "> 99 mm", "--min-score", 0.99, *options)
    assert done.code == 0, done.err
    assert COCO(tmp_path / "h.json").dataset["annotations"] == []
    assert read_points(tmp_path) == {}
    assert pl.read_parquet(tmp_path / "h.parquet").height == 0
    assert not (tmp_path / "h_images").exists()


def test_a_table_is_exported_without_what_reads_dicom(nodule_index: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from noduleclip.cli import main
for name in ("h.xlsx", "h.parquet"):
    try:
        main(["query", "--emb-dir", {str(nodule_index)!r}, "--query", "> 6 mm", "--export", name])
    except SystemExit as end:
        assert not end.code, end.code
loaded = {{name.split(".")[0] for name in sys.modules}} & {{"torch", "pydicom", "onnxruntime", "contourpy"}}
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_hits_save_writes_what_the_command_writes(
    noduleclip: Command, nodule_index: Path, collection: Collection, tmp_path: Path
) -> None:
    hits = nc.open_index(nodule_index).query(SENTENCE, k=5)
    (tmp_path / "api").mkdir()
    (tmp_path / "cli").mkdir()
    for name in ("h.mrk.json", "h.json", "h.parquet"):
        written = hits.save(tmp_path / "api" / name)
        search(noduleclip, nodule_index, "--export", tmp_path / "cli" / name)
        assert all(path.is_file() and path.parent == tmp_path / "api" for path in written)
    found = {path.relative_to(tmp_path / "cli"): path for path in (tmp_path / "cli").rglob("*") if path.is_file()}
    assert len(found) > 8
    for relative, path in found.items():
        assert (tmp_path / "api" / relative).read_bytes() == path.read_bytes()
    assert hits.save(tmp_path / "api" / "h.xlsx") == [tmp_path / "api" / "h.xlsx"]
    with pytest.raises(UsageError, match=r"h\.xlsx: is already there; --overwrite replaces it"):
        hits.save(tmp_path / "api" / "h.xlsx")
    assert hits.save(str(tmp_path / "api" / "h.xlsx"), overwrite=True) == [tmp_path / "api" / "h.xlsx"]
    with pytest.raises(UsageError, match=r"path .*h\.csv: must be a name with one of the endings"):
        hits.save(tmp_path / "h.csv")


def test_hits_save_warns_of_hits_without_a_slice(nodule_index: Path, collection: Collection, tmp_path: Path) -> None:
    gone = nc.open_index(nodule_index).query(SENTENCE, k=5).table[0, schema.DICOM_PATH]
    root = copy_without(collection, tmp_path / "some", gone)
    hits = nc.open_index(nodule_index, dicom_roots=[root]).query(SENTENCE, k=5)
    with pytest.warns(UserWarning, match=r"\d of 5 nodules are not exported"):
        hits.save(tmp_path / "h.mrk.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="the slices of all 5 nodules cannot be used"):
        nc.open_index(nodule_index, dicom_roots=[tmp_path / "empty"]).query(SENTENCE, k=5).save(tmp_path / "g.json")


@pytest.mark.parametrize("kind", ORIENTATIONS)
def test_a_position_that_was_prepared_comes_back(
    noduleclip: Command, checkpoint: Path, exported: Path, tmp_path: Path, kind: str
) -> None:
    """From millimetres to a row of a table, and by the slice's header to millimetres again."""
    orientation = ORIENTATIONS[kind]
    normal = np.cross(orientation[:3], orientation[3:])
    for index in range(6):
        position = np.array(POSITION_MM) + 2.0 * index * normal
        path = tmp_path / "ct" / f"{index}.dcm"
        write_slice(path, orientation=orientation, position_mm=position.tolist(), index=index)
    series = pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID
    along_row, along_column = np.array(orientation).reshape(2, 3)
    wanted = np.array(POSITION_MM) + 25.33 * along_row + 11.71 * along_column + 4.6 * normal  # 0.6 mm above a slice
    (tmp_path / "t.csv").write_text(f"seriesuid,x,y,z,diameter_mm\n{series},{','.join(map(str, wanted))},6.5\n")
    prepared = noduleclip(
        "prepare", "csv", "--table", tmp_path / "t.csv", "--data-root", tmp_path / "ct", "--out", tmp_path / "out"
    )
    assert prepared.code == 0, prepared.err
    done = noduleclip(
        "describe", "--roi-csv", tmp_path / "out" / schema.ROI_CSV, "--model", checkpoint, "--cache-dir", exported,
        "--export", tmp_path / "d.mrk.json",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = np.array(read_points(tmp_path)["1: 6.5 mm"]) - wanted
    assert np.linalg.norm(found - (found @ normal) * normal) < 0.01, "in the plane"
    assert found @ normal == pytest.approx(-0.6, abs=0.01), "on the nearest slice"
