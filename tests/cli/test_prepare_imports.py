"""Collections other than LIDC's XML through the command: each nodule on its slice and pixel, and what is no use."""

import json
import math
import shlex
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from numpy.typing import NDArray

from conftest import Collection, Command, Outcome, call
from importers.metaimages import TURNED, write_mhd
from importers.segmentations import ReaderFinding, read_slices, write_seg, write_sr
from noduleclip import schema
from noduleclip.io.dicom.slice import read_ct_slice
from noduleclip.io.roi_table import read_roi_table

UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1002252872223"
SPACING, ORIGIN = (0.7, 0.9, 2.5), (-100.5, 20.25, -300.125)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


@pytest.fixture(scope="module")
def scans(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four phantom patients; the second one's slices turned by half a turn, of unequal spacing."""
    root = tmp_path_factory.mktemp("scans")
    for number in range(1, 5):
        name = f"PHANTOM-{number:04d}"
        shutil.copytree(collection.folder / "phantoms/dicom" / name, root / name)
    for path in (root / "PHANTOM-0002").iterdir():
        data = pydicom.dcmread(path)
        data.ImageOrientationPatient = list(FLIPPED)
        data.PixelSpacing = ["0.9", "0.6"]
        data.save_as(path)
    return root


def list_places(scans: Path) -> pl.DataFrame:
    """A place on each slice of each patient: column 40.25, row 30.5, a little above the slice."""
    rows = []
    for path in sorted(scans.rglob("*.dcm")):
        data = pydicom.dcmread(path, stop_before_pixels=True)
        along_row, along_column = np.array(data.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = map(float, data.PixelSpacing)
        place = (
            np.array(data.ImagePositionPatient, float) + 40.25 * column_mm * along_row + 30.5 * row_mm * along_column
        )
        rows.append((*(place + np.array([0, 0, 0.2])).tolist(), 7.5, str(data.SeriesInstanceUID), str(path)))
    return pl.DataFrame(rows, schema=["x", "y", "z", "diameter_mm", "seriesuid", "file"], orient="row")


def prepare(name: str, out: Path, *more: object) -> Outcome:
    return call("prepare", name, "--out", out, "--workers", 1, "--format", "csv", *more)


def read_rows(out: Path) -> pl.DataFrame:
    return read_roi_table(out / schema.ROI_CSV).frame


def test_a_csv_of_places_becomes_a_table(scans: Path, tmp_path: Path) -> None:
    places = list_places(scans)
    places.drop("file").write_csv(tmp_path / "nodules.csv")
    done = prepare("csv", tmp_path / "out", "--table", tmp_path / "nodules.csv", "--data-root", scans)
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "out")
    assert sorted(rows[schema.ABSOLUTE_PATH]) == sorted(places["file"])
    assert set(rows[schema.CENTROID_X].round(2)) == {40.25}
    assert set(rows[schema.CENTROID_Y].round(2)) == {30.5}
    assert set(rows[schema.DIAMETER_KIND]) == {"unknown"}
    assert set(rows[schema.DIAMETER_MM]) == {7.5}
    turned = rows.filter(pl.col(schema.PATIENT_ID) == "PHANTOM-0002").row(0, named=True)
    assert (turned[schema.SPACING_ROW], turned[schema.SPACING_COL]) == (0.9, 0.6)
    assert turned[schema.BBOX_XMIN] == np.floor(40.25 - np.sqrt(3.75**2 - 0.2**2) / 0.6)
    assert turned[schema.BBOX_YMAX] == np.ceil(30.5 + np.sqrt(3.75**2 - 0.2**2) / 0.9)
    assert turned[schema.POINTS_JSON] is None
    assert (tmp_path / "out" / schema.NODULES_CSV).exists()
    assert sorted(path.name for path in (tmp_path / "out/splits").iterdir()) == [
        schema.TEST_PATIENTS, schema.TRAIN_PATIENTS, schema.VAL_PATIENTS,
    ]  # fmt: skip


def test_ras_places_become_the_same_table(scans: Path, tmp_path: Path) -> None:
    places = list_places(scans).drop("file")
    places.write_csv(tmp_path / "lps.csv")
    places.with_columns(-pl.col("x"), -pl.col("y")).write_csv(tmp_path / "ras.csv")
    for name, *more in (("lps",), ("ras", "--coordinates", "ras")):
        done = prepare("csv", tmp_path / name, "--table", tmp_path / f"{name}.csv", "--data-root", scans, *more)
        assert done.code == 0, done.err
    tables = [(tmp_path / name / schema.ROI_CSV).read_bytes() for name in ("lps", "ras")]
    assert tables[0] == tables[1]


def test_what_readers_said_and_who_they_were_is_kept(scans: Path, tmp_path: Path) -> None:
    places = list_places(scans).drop("file")[[0, 0, 3]]
    places.with_columns(
        reader=pl.Series(["1", "2", "1"]),
        malignancy=pl.Series([5, 4, None]),
        x=pl.col("x") + pl.Series([0.0, 0.3, 0.0]),
    ).write_csv(tmp_path / "nodules.csv")
    done = prepare(
        "csv",
        tmp_path / "out",
        "--table",
        tmp_path / "nodules.csv",
        "--data-root",
        scans,
        "--diameter-kind",
        "axes-mean",
    )
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "out")
    assert rows[schema.READER].to_list() == ["1", "2", "1"]
    assert rows[schema.MALIGNANCY].to_list() == [5.0, 4.0, None]
    assert rows[schema.NODULE_ID].to_list() == ["1", "1", "2"]
    assert set(rows[schema.DIAMETER_KIND]) == {"axes-mean"}


def test_a_nodule_id_in_several_series_is_told(scans: Path, tmp_path: Path) -> None:
    places = list_places(scans).unique("seriesuid", maintain_order=True).drop("file")
    ids = pl.Series(["7", "7", "8", "9"])
    places.with_columns(patient_id=pl.lit("one"), nodule_id=ids).write_csv(tmp_path / "nodules.csv")
    done = prepare("csv", tmp_path / "out", "--table", tmp_path / "nodules.csv", "--data-root", scans)
    assert done.code == 0, done.err
    assert "1 nodule(s) have rows in several series and count as one each; first: one nodule 7" in done.err
    assert pl.read_csv(tmp_path / "out" / schema.NODULES_CSV).height == 3


def test_places_that_lie_on_no_slice_are_rejected(scans: Path, tmp_path: Path) -> None:
    places = list_places(scans).drop("file")
    odd = places[[0, 1, 2]].with_columns(
        z=pl.Series([9999.0, *places["z"][[1, 2]]]),
        x=pl.Series([places["x"][0], 9999.0, places["x"][2]]),
        diameter_mm=pl.Series([5.0, 5.0, -1.0]),
    )
    pl.concat([places, odd]).write_csv(tmp_path / "nodules.csv")
    few = prepare("csv", tmp_path / "few", "--table", tmp_path / "nodules.csv", "--data-root", scans)
    assert few.code == 3
    assert len(few.err.splitlines()[-1]) < 500 and "allowed is a share of 0.01" in few.err
    done = prepare(
        "csv", tmp_path / "out", "--table", tmp_path / "nodules.csv", "--data-root", scans, "--max-rejects", 0.5
    )
    assert done.code == 0, done.err
    rejects = pl.read_csv(tmp_path / "out" / schema.REJECTS_CSV)
    assert sorted(rejects[schema.REJECT_CODE]) == ["no-diameter", "no-slice", "outside"]
    assert read_rows(tmp_path / "out").height == places.height


def test_patients_and_folders_named_like_formulas_are_found_again(scans: Path, tmp_path: Path) -> None:
    """Cells are guarded for spreadsheets; what reads the table takes the guard off."""
    names = dict(zip(sorted(path.name for path in scans.iterdir()), ("-1", "=2", "@3", "+4"), strict=True))
    for name, other in names.items():
        shutil.copytree(scans / name, tmp_path / "scans" / other)
    places = list_places(scans)
    patients = [names[Path(path).parent.name] for path in places["file"]]
    places.with_columns(pl.Series(schema.PATIENT_ID, patients)).drop("file").write_csv(tmp_path / "nodules.csv")
    data = ("--data-root", tmp_path / "scans", "--relative-paths")
    done = prepare("csv", tmp_path / "out", "--table", tmp_path / "nodules.csv", *data)
    assert done.code == 0, done.err
    assert "'=2/" in (tmp_path / "out" / schema.ROI_CSV).read_text()
    table = ("--roi-csv", tmp_path / "out" / schema.ROI_CSV, "--dicom-root", tmp_path / "scans", "--workers", 1)
    for patient_list in (tmp_path / "out/splits").iterdir():
        checked = call("check", *table, "--patients-file", patient_list)
        assert checked.code == 0, checked.err
    assert set(read_roi_table(tmp_path / "out" / schema.ROI_CSV).frame[schema.PATIENT_ID]) == set(names.values())


def test_a_limit_takes_no_part_of_the_rows_that_a_share_is_of(scans: Path, tmp_path: Path) -> None:
    places = list_places(scans).drop("file")
    bad = places[[0]].with_columns(diameter_mm=pl.lit(-1.0))
    pl.concat([places, bad]).write_csv(tmp_path / "nodules.csv")
    arguments = ("--table", tmp_path / "nodules.csv", "--data-root", scans, "--limit", 1, "--max-rejects")
    done = prepare("csv", tmp_path / "out", *arguments, 1 / places.height)
    assert done.code == 0, done.err
    assert read_rows(tmp_path / "out")[schema.SERIES_UID].n_unique() == 1
    done = prepare("csv", tmp_path / "few", *arguments, 0.5 / places.height)
    assert done.code == 3
    assert f"1 of {places.height + 1} annotations give no row" in done.err


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("x,y,z,diameter_mm,seriesuid\n1,2,3,4 mm,1.2\n", "row 1, column diameter_mm: '4 mm' is not a number"),
        ("x;y;z;diameter_mm;seriesuid\n1;2;3;4;1.2\n", "is separated by ';' or tabs"),
        ("x,y,z,diameter_mm,seriesuid\n1,2,3,4,1.2.3.4.5.6.7\n", "none of its 1 series is below"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(scans: Path, tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "nodules.csv").write_text(table)
    done = prepare("csv", tmp_path / "out", "--table", tmp_path / "nodules.csv", "--data-root", scans)
    assert done.code == 3
    assert message in done.err.splitlines()[-1]
    assert not (tmp_path / "out" / schema.ROI_CSV).exists()


@pytest.fixture
def luna(tmp_path: Path) -> tuple[Path, NDArray[np.int16]]:
    """Three series as LUNA16 has them, turned, and lungs of the same names."""
    values = np.random.default_rng(0).integers(-1000, 400, (7, 96, 80)).astype("<i2")
    for number in range(3):
        name = f"subset{number}/{UID}{number}.mhd"
        write_mhd(tmp_path / "luna" / name, values + number, spacing_xyz_mm=SPACING, origin_mm=ORIGIN, axes=TURNED)
    lungs = tmp_path / f"luna/seg-lungs-LUNA16/{UID}0.mhd"
    write_mhd(lungs, values.astype("u1"), compressed=True)
    return tmp_path / "luna", values


def list_voxels(*voxels: tuple[int, int, int, int]) -> str:
    """LUNA16's table of voxels: series, column, row, slice."""
    rows = ["seriesuid,coordX,coordY,coordZ,diameter_mm"]
    for number, *voxel in voxels:
        x, y, z = np.array(ORIGIN) + np.array(TURNED).T @ (np.array(SPACING) * voxel)
        rows.append(f"{UID}{number},{x},{y},{z},6.25")
    return "\n".join(rows) + "\n"


def test_luna16_becomes_a_table_with_the_slices_that_it_needs(
    luna: tuple[Path, NDArray[np.int16]], tmp_path: Path
) -> None:
    root, values = luna
    (tmp_path / "annotations.csv").write_text(
        list_voxels((0, 20, 30, 1), (0, 50, 60, 1), (1, 41, 33, 6), (2, 9, 80, 0))
    )
    arguments = ("--annotations", tmp_path / "annotations.csv", "--data-root", root)
    done = prepare("luna16", tmp_path / "out", *arguments)
    assert done.code == 0, done.err
    assert "the patients of 3 series are not known" in done.err
    rows = read_rows(tmp_path / "out").sort(schema.SERIES_UID, schema.CENTROID_X)
    places = rows.select(schema.SERIES_UID, schema.CENTROID_X, schema.CENTROID_Y).rows()
    # Turned: a column of the file is a row of the slices, and its rows run from back to front.
    assert places == [(f"{UID}0", 30, 59), (f"{UID}0", 60, 29), (f"{UID}1", 33, 38), (f"{UID}2", 80, 70)]
    assert set(rows[schema.DIAMETER_KIND]) == {"volume"}
    assert rows[schema.PATIENT_ID].to_list() == rows[schema.SERIES_UID].to_list()
    for row, (number, index) in zip(rows.to_dicts(), ((0, 1), (0, 1), (1, 6), (2, 0)), strict=True):
        np.testing.assert_array_equal(read_ct_slice(Path(row[schema.ABSOLUTE_PATH])).hu, values[index].T[::-1] + number)
    nodules = pl.read_csv(tmp_path / "out" / schema.NODULES_CSV).sort(schema.SERIES_UID, schema.CENTROID_X)
    said = pl.read_csv(tmp_path / "annotations.csv")
    for name, axis in ((schema.X_MM, "coordX"), (schema.Y_MM, "coordY"), (schema.Z_MM, "coordZ")):
        np.testing.assert_allclose(nodules[name], said[axis], atol=2e-3)
    assert len(list((tmp_path / "out/dicom").rglob("*.dcm"))) == 3
    checked = call("check", "--roi-csv", tmp_path / "out" / schema.ROI_CSV, "--workers", 1)
    assert checked.code == 0, checked.err
    files = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "out/dicom").rglob("*.dcm")}
    again = prepare("luna16", tmp_path / "out", *arguments, "--overwrite")
    assert again.code == 0, again.err
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == files
    assert read_rows(tmp_path / "out").sort(schema.SERIES_UID, schema.CENTROID_X).equals(rows)


def test_slices_that_it_wrote_itself_are_none_of_the_collections(
    luna: tuple[Path, NDArray[np.int16]], tmp_path: Path
) -> None:
    root, _ = luna
    (tmp_path / "annotations.csv").write_text(list_voxels((0, 20, 30, 1), (1, 41, 33, 6), (2, 9, 80, 0)))
    for out in (root, tmp_path / "link"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(root, target_is_directory=True)
        arguments = ("--annotations", tmp_path / "annotations.csv", "--data-root", root, "--overwrite")
        done = prepare("luna16", out, *arguments)
        assert done.code == 0, done.err
        assert "CT series,3" in done.out and "CT slices,21" in done.out
    (root / "dicom/patient").mkdir()
    shutil.copy(next((root / "dicom").rglob("*.dcm")), root / "dicom/patient/a.dcm")
    assert "CT series,4" in prepare("luna16", root, *arguments).out


@pytest.mark.parametrize("mixed", [False, True])
def test_relative_paths_of_images_start_where_the_next_command_looks(
    luna: tuple[Path, NDArray[np.int16]], scans: Path, tmp_path: Path, *, mixed: bool
) -> None:
    root, _ = luna
    lines = list_voxels((0, 20, 30, 1), (1, 41, 33, 6), (2, 9, 80, 0))
    if mixed:
        shutil.copytree(scans, root / "scans")
        lines += (
            list_places(root / "scans")
            .select("seriesuid", "x", "y", "z", "diameter_mm")[:1]
            .write_csv(include_header=False)
        )
    (tmp_path / "annotations.csv").write_text(lines)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/link").symlink_to(root, target_is_directory=True)
    arguments = ("--annotations", tmp_path / "annotations.csv", "--data-root", tmp_path / "a/link", "--relative-paths")
    done = prepare("luna16", tmp_path / "out", *arguments)
    assert done.code == 0, done.err
    paths = pl.read_csv(tmp_path / "out" / schema.ROI_CSV)[schema.DICOM_PATH]
    assert len(paths) == 3 + mixed
    assert not any(path.startswith(("..", "/")) for path in paths)
    assert "no picture" not in (tmp_path / "out" / schema.PREPARE_PAGE).read_text(encoding="utf-8")
    (line,) = [line for line in done.err.splitlines() if line.startswith("next: noduleclip ")]
    checked = call(*shlex.split(line)[2:], "--workers", 1)
    assert checked.code == 0, checked.err


def test_a_limit_writes_no_more_than_it_takes(luna: tuple[Path, NDArray[np.int16]], tmp_path: Path) -> None:
    root, _ = luna
    (tmp_path / "annotations.csv").write_text(list_voxels((0, 20, 30, 1), (1, 41, 33, 6), (2, 9, 80, 0)))
    (root / f"subset0/{UID}0.mhd").unlink()
    arguments = ["--annotations", tmp_path / "annotations.csv", "--data-root", root, "--limit", 1]
    done = prepare("luna16", tmp_path / "out", *arguments)
    assert done.code == 0, done.err
    assert read_rows(tmp_path / "out")[schema.SERIES_UID].to_list() == [f"{UID}1"]
    assert len(list((tmp_path / "out/dicom").rglob("*.dcm"))) == 1


def test_patients_of_luna16_come_from_a_table(luna: tuple[Path, NDArray[np.int16]], tmp_path: Path) -> None:
    root, _ = luna
    (tmp_path / "annotations.csv").write_text(list_voxels((0, 20, 30, 1), (1, 41, 33, 6), (2, 9, 80, 0)))
    (tmp_path / "patients.csv").write_text(f"SeriesUID,patient_id\n{UID}0,A\n{UID}1,A\n{UID}2,B\n")
    arguments = ["--annotations", tmp_path / "annotations.csv", "--data-root", root]
    done = prepare("luna16", tmp_path / "out", *arguments, "--patients", tmp_path / "patients.csv")
    assert done.code == 0, done.err
    assert "not known" not in done.err
    assert dict(read_rows(tmp_path / "out").select(schema.SERIES_UID, schema.PATIENT_ID).rows()) == {
        f"{UID}0": "A", f"{UID}1": "A", f"{UID}2": "B",
    }  # fmt: skip
    (tmp_path / "patients.csv").write_text(f"seriesuid,patient_id\n{UID}0,A\n{UID}0,B\n")
    twice = prepare("luna16", tmp_path / "twice", *arguments, "--patients", tmp_path / "patients.csv")
    assert twice.code == 3
    assert "row 2: series" in twice.err and "is of 'B', and before of 'A'" in twice.err


def test_an_image_cut_short_is_rejected(luna: tuple[Path, NDArray[np.int16]], tmp_path: Path) -> None:
    root, _ = luna
    (root / f"subset1/{UID}1.raw").write_bytes(b"")
    (tmp_path / "annotations.csv").write_text(list_voxels((0, 20, 30, 1), (1, 41, 33, 6), (2, 9, 80, 0)))
    arguments = ["--annotations", tmp_path / "annotations.csv", "--data-root", root]
    done = prepare("luna16", tmp_path / "out", *arguments, "--max-rejects", 0.5)
    assert done.code == 0, done.err
    assert pl.read_csv(tmp_path / "out" / schema.REJECTS_CSV)[schema.REJECT_CODE].to_list() == ["truncated-pixels"]
    assert read_rows(tmp_path / "out").height == 2


def test_luna16_with_the_dicom_of_lidc(scans: Path, tmp_path: Path) -> None:
    list_places(scans).drop("file").rename({"x": "coordX", "y": "coordY", "z": "coordZ"}).write_csv(tmp_path / "a.csv")
    done = prepare("luna16", tmp_path / "out", "--annotations", tmp_path / "a.csv", "--data-root", scans)
    assert done.code == 0, done.err
    assert "not known" not in done.err
    assert set(read_rows(tmp_path / "out")[schema.PATIENT_ID]) == {f"PHANTOM-000{number}" for number in range(1, 5)}
    assert not (tmp_path / "out/dicom").exists()


def write_list(path: Path, **lists: list[tuple[str, list[float]]]) -> Path:
    content = {part: [{"image": image, "box": [box], "label": [0]} for image, box in it] for part, it in lists.items()}
    path.write_text(json.dumps(content))
    return path


def test_monais_lists_become_a_table_and_its_splits(scans: Path, tmp_path: Path) -> None:
    places = list_places(scans).unique("seriesuid", maintain_order=True)
    images = [(f"{uid}/{uid}.nii.gz", [x, y, z, 7.5, 7.5, 7.5]) for x, y, z, _, uid, _ in places.rows()]
    images[3] = ("scans/PHANTOM-0004", images[3][1])  # a folder of DICOM
    path = write_list(tmp_path / "list.json", training=images[:2], validation=images[2:3], test=images[3:])
    done = prepare("monai", tmp_path / "out", "--datalist", path, "--data-root", scans)
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "out")
    assert sorted(rows[schema.ABSOLUTE_PATH]) == sorted(places["file"])
    assert set(rows[schema.CENTROID_X].round(2)) == {40.25}
    lists = {
        name: (tmp_path / "out/splits" / f"{name}_patients.txt").read_text().split()
        for name in ("train", "val", "test")
    }
    assert lists == {"train": ["PHANTOM-0001", "PHANTOM-0002"], "val": ["PHANTOM-0003"], "test": ["PHANTOM-0004"]}


def test_lists_without_a_test_list_leave_none(scans: Path, tmp_path: Path) -> None:
    places = list_places(scans).unique("seriesuid", maintain_order=True)
    images = [(f"{uid}.mhd", [x, y, z, 7.5, 7.5, 7.5]) for x, y, z, _, uid, _ in places.rows()]
    arguments = ["--datalist", tmp_path / "list.json", "--data-root", scans]
    write_list(tmp_path / "list.json", training=images[:2], validation=images[2:3], test=images[3:])
    assert prepare("monai", tmp_path / "out", *arguments).code == 0
    write_list(tmp_path / "list.json", training=images[:2], validation=images[2:])
    done = prepare("monai", tmp_path / "out", *arguments, "--overwrite")
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "out/splits").iterdir()) == [
        schema.TRAIN_PATIENTS, schema.VAL_PATIENTS,
    ]  # fmt: skip
    assert schema.TEST_PATIENTS not in done.err


def test_lists_that_share_a_patient_are_split_anew(scans: Path, tmp_path: Path) -> None:
    images = [(f"{uid}.mhd", [x, y, z, 7.5, 7.5, 7.5]) for x, y, z, _, uid, _ in list_places(scans).rows()]
    path = write_list(tmp_path / "list.json", training=images, validation=images[:1])
    done = prepare("monai", tmp_path / "out", "--datalist", path, "--data-root", scans)
    assert done.code == 0, done.err
    assert "1 patient(s) are in two of its lists, first PHANTOM-0001; new splits are made" in done.err


def test_a_list_of_unknown_images_says_what_is_read(scans: Path, tmp_path: Path) -> None:
    path = write_list(tmp_path / "list.json", training=[("case7.nii.gz", [1, 2, 3, 4, 4, 4])])
    done = prepare("monai", tmp_path / "out", "--datalist", path, "--data-root", scans)
    assert done.code == 3
    assert "the first is case7; name the folder of their DICOM, NIfTI, NRRD or MetaImage" in done.err


@pytest.fixture
def segmented(scans: Path, tmp_path: Path) -> Path:
    """The scans, two readers' segmentations of the first patient's nodule, one of the turned patient's, and reports."""
    root = tmp_path / "segmented"
    shutil.copytree(scans, root)
    (root / "seg").mkdir()
    for number, boxes in ((1, [(20, 30, 40, 50), (21, 31, 41, 51)]), (2, [(10, 15, 60, 70)])):
        slices = read_slices(sorted((root / f"PHANTOM-000{number}").iterdir()))
        for reader, (top, bottom, left, right) in enumerate(boxes):
            mask = np.zeros((len(slices), slices[0].Rows, slices[0].Columns), bool)
            mask[1, top : bottom + 1, left : right + 1] = True
            mask[0, top + 2 : bottom - 1, left + 2 : right - 1] = True
            readings = [ReaderFinding(mask, f"Nodule 1 - Annotation {reader}", f"2.25.{number}", 9.5 + reader)]
            seg = write_seg(root / f"seg/{number}{reader}.dcm", slices, readings)
            write_sr(root / f"seg/sr{number}{reader}.dcm", slices, seg, readings)
    return root


def test_segmentations_become_a_table_rated_by_their_reports(segmented: Path, tmp_path: Path) -> None:
    done = prepare("seg", tmp_path / "out", "--data-root", segmented)
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "out")
    assert rows.height == 6
    first = rows.filter(pl.col(schema.PATIENT_ID) == "PHANTOM-0001")
    assert set(first[schema.READER]) == {"1", "2"}
    assert first[schema.NODULE_ID].n_unique() == 1
    assert set(rows[schema.MALIGNANCY]) == {2.0}
    assert set(rows[schema.CALCIFICATION]) == {6.0}
    pixels = 11 * 11 + 7 * 7
    first_slice, second_slice = read_slices(sorted((segmented / "PHANTOM-0001").iterdir()))[:2]
    gap_mm = abs(float(second_slice.ImagePositionPatient[2]) - float(first_slice.ImagePositionPatient[2]))
    voxel_mm3 = math.prod(map(float, first_slice.PixelSpacing)) * gap_mm
    np.testing.assert_allclose(first[schema.VOLUME_MM3], pixels * voxel_mm3, atol=1e-3)
    for row in rows.to_dicts():
        large = Path(row[schema.DICOM_PATH]).stem == "00002"
        number, reader = row[schema.PATIENT_ID][-1], row[schema.READER]
        top, bottom, left, right = {"11": (20, 30, 40, 50), "12": (21, 31, 41, 51)}.get(
            number + reader, (10, 15, 60, 70)
        )
        inset = 0 if large else 2
        assert row[schema.CENTROID_X] == pytest.approx((left + right) / 2)
        assert row[schema.CENTROID_Y] == pytest.approx((top + bottom) / 2)
        points = np.array(json.loads(row[schema.POINTS_JSON]))
        assert points.min(axis=0).tolist() == [left + inset - 0.5, top + inset - 0.5]
        assert points.max(axis=0).tolist() == [right - inset + 0.5, bottom - inset + 0.5]


def test_readers_whom_nothing_names_are_counted_in_each_nodule(scans: Path, tmp_path: Path) -> None:
    """Two masks that overlap on the first of two slices, one of them in two parts there."""
    root = tmp_path / "masks"
    shutil.copytree(scans, root)
    slices = read_slices(sorted((root / "PHANTOM-0001").iterdir()))
    whole = np.zeros((len(slices), slices[0].Rows, slices[0].Columns), bool)
    whole[1, 20:31, 40:52] = True
    parts = whole.copy()
    parts[1, 20:31, 48] = False
    parts[0, 22:28, 42:48] = True
    for name, mask in (("a", whole), ("b", parts)):
        write_seg(root / f"{name}.dcm", slices, [ReaderFinding(mask, f"Mask {name}", f"2.25.1{ord(name)}")])
    done = prepare("seg", tmp_path / "out", "--data-root", root)
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "out")
    counts = rows.group_by(schema.READER).len()
    assert (sorted(counts[schema.READER]), sorted(counts["len"])) == (["1", "2"], [1, 3])
    ((readers, size_mm, spread_mm),) = (
        pl.read_csv(tmp_path / "out" / schema.NODULES_CSV)
        .select(schema.READERS, schema.DIAMETER_MM, schema.DIAMETER_SPREAD)
        .rows()
    )
    large = rows.filter(pl.len().over(schema.DICOM_PATH) == 3)
    one_mm, other_mm = large.group_by(schema.READER).agg(pl.col(schema.DIAMETER_MM).max())[schema.DIAMETER_MM]
    assert readers == 2
    assert size_mm == pytest.approx((one_mm + other_mm) / 2, abs=1e-3)
    assert spread_mm == pytest.approx(abs(one_mm - other_mm), abs=1e-3) != 0


def test_a_message_names_a_reader_where_there_is_one(scans: Path, tmp_path: Path) -> None:
    root = tmp_path / "masks"
    shutil.copytree(scans, root)
    paths = sorted((root / "PHANTOM-0001").iterdir())
    for path in paths:
        data = pydicom.dcmread(path)
        data.PixelSpacing = ["5", "5"]
        data.save_as(path)
    slices = read_slices(paths)
    mask = np.ones((len(slices), slices[0].Rows, slices[0].Columns), bool)
    write_seg(root / "a.dcm", slices, [ReaderFinding(mask, "Mask a", "2.25.1")])
    done = prepare("seg", tmp_path / "out", "--data-root", root)
    assert done.code == 3
    assert ", Mask a: " in done.err and ", reader" not in done.err


def test_reports_become_a_table_of_their_diameters(segmented: Path, tmp_path: Path) -> None:
    done = prepare("sr", tmp_path / "out", "--data-root", segmented)
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "out").sort(schema.PATIENT_ID, schema.READER)
    assert rows[schema.DIAMETER_MM].to_list() == [9.5, 10.5, 9.5]
    assert rows[schema.CENTROID_X].round(2).to_list() == [45.0, 46.0, 65.0]
    assert rows[schema.CENTROID_Y].round(2).to_list() == [25.0, 26.0, 12.5]
    assert [Path(path).stem for path in rows[schema.DICOM_PATH]] == ["00002"] * 3
    assert set(rows[schema.MALIGNANCY]) == {2.0}
    assert set(rows[schema.DIAMETER_KIND]) == {"3d"}


@pytest.mark.parametrize("name", ["seg", "sr"])
def test_copies_of_segmentations_and_reports_count_once(segmented: Path, tmp_path: Path, name: str) -> None:
    assert prepare(name, tmp_path / "once", "--data-root", segmented).code == 0
    shutil.copytree(segmented / "seg", segmented / "seg copied")
    done = prepare(name, tmp_path / "twice", "--data-root", segmented)
    assert done.code == 0, done.err
    assert "warning: 6 files have the SOP Instance UID of another one and are left out" in done.err
    tables = [(tmp_path / out / schema.ROI_CSV).read_bytes() for out in ("once", "twice")]
    assert tables[0] == tables[1]
    counts = json.loads((tmp_path / "twice" / schema.PREPARE_JSON).read_text())["counts"]
    names = ("files left out as copies", "segmentations", "reports", "DICOM files of other kinds")
    assert [counts[name] for name in names] == [6, 3, 3, 6]


def test_a_lung_is_no_reader_of_the_nodule_in_it(scans: Path, tmp_path: Path) -> None:
    root = tmp_path / "masks"
    shutil.copytree(scans, root)
    slices = read_slices(sorted((root / "PHANTOM-0001").iterdir()))
    nodule, lung = np.zeros((2, len(slices), slices[0].Rows, slices[0].Columns), bool)
    nodule[1, 20:31, 40:52] = True
    lung[:, 5:60, 5:70] = True
    write_seg(root / "nodule.dcm", slices, [ReaderFinding(nodule, "Nodule 1", "2.25.1")])
    seg = write_seg(root / "lung.dcm", slices, [ReaderFinding(lung, "Lung", "2.25.2")])
    seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning = "Lung"
    seg.save_as(root / "lung.dcm")
    done = prepare("seg", tmp_path / "out", "--data-root", root)
    assert done.code == 0, done.err
    assert "1 segments of lungs and other anatomy are left out, first: 'Lung' in" in done.err
    assert read_rows(tmp_path / "out").height == 1
    (root / "nodule.dcm").unlink()
    alone = prepare("seg", tmp_path / "alone", "--data-root", root)
    assert alone.code == 3
    assert "no segment is a nodule; found: 1 segments of lungs" in alone.err


def test_reports_without_a_diameter_say_what_they_have(segmented: Path, tmp_path: Path) -> None:
    for path in (segmented / "seg").glob("sr*.dcm"):
        path.write_bytes(path.read_bytes().replace(b"M-02550 ", b"M-02551 ").replace(b"81827009", b"81827000"))
    done = prepare("sr", tmp_path / "out", "--data-root", segmented)
    assert done.code == 3
    assert "found: 3 reported segments without a diameter in mm, the first: Diameter of 9.5 in unit 'mm'" in done.err


def test_broken_segmentations_are_rejected(segmented: Path, tmp_path: Path) -> None:
    path = segmented / "seg/10.dcm"
    data = pydicom.dcmread(path)
    data.SegmentationType = "FRACTIONAL"
    data.save_as(path)
    done = prepare("seg", tmp_path / "out", "--data-root", segmented, "--max-rejects", 0.5)
    assert done.code == 0, done.err
    assert pl.read_csv(tmp_path / "out" / schema.REJECTS_CSV)[schema.REJECT_CODE].to_list() == ["bad-segmentation"]
    assert "1 measurement groups are on segments that are not here" in done.err


def test_a_folder_without_segmentations_is_told(scans: Path, tmp_path: Path, noduleclip: Command) -> None:
    for name, wanted in (("seg", "segmentation (SEG)"), ("sr", "report (SR)")):
        done = prepare(name, tmp_path / name, "--data-root", scans)
        assert done.code == 3
        assert f"no usable {wanted} among 0 DICOM files that are no CT" in done.err
