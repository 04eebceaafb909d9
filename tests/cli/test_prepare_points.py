"""Bare points through the commands: on their voxels in every coordinate system, and what comes after without sizes."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from numpy.typing import NDArray

import noduleclip as nc
from cli.test_prepare_imports import list_places, prepare, read_rows, scans
from conftest import Outcome, call
from noduleclip import schema
from noduleclip.importers.annotations import Sphere
from noduleclip.importers.catalogue_scan import read_catalogue
from noduleclip.importers.coordinates import Coordinates, PixelPlace
from noduleclip.importers.pixel_places import place_in_patient
from noduleclip.importers.point_table import PointOptions
from noduleclip.io.dicom.derived_ct import make_derived_slice
from noduleclip.io.dicom.slice import read_ct_slice
from noduleclip.io.index.open import open_index
from noduleclip.workflows.prepare import prepare as run_prepare
from noduleclip.workflows.prepare_spheres import SphereCsvRequest
from volume_files import write_volume

__all__ = ["scans"]

SHAPE_KJI = (9, 40, 50)
STEPS_MM = (0.7, 0.9, 2.5)


def turn(x_deg: float, z_deg: float) -> NDArray[np.float64]:
    """Return a rotation about the x axis, then about the z axis."""
    a, b = np.radians([x_deg, z_deg])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x, np.float64)


AXES = {
    "straight": np.eye(3),
    "flipped": np.diag([-1.0, 1.0, -1.0]),
    "oblique": turn(20, 10),
    "oblique and flipped": turn(-15, 12) @ np.diag([-1.0, -1.0, 1.0]),
}


def make_affine(axes: NDArray[np.float64], order: Sequence[int] = (0, 1, 2)) -> NDArray[np.float64]:
    """Return the affine (LPS) of voxels whose stored axis n runs along the axis `order[n]`."""
    affine = np.eye(4)
    affine[:3, :3] = (axes * STEPS_MM)[:, list(order)]
    affine[:3, 3] = (-20.5, 15.25, -130.75)
    return affine


def make_voxels() -> tuple[NDArray[np.int16], list[tuple[int, int, int]]]:
    """Return (K, J, I) noise of lung with five voxels of their own values, and where these are."""
    stored = np.random.default_rng(1).integers(-950, -600, SHAPE_KJI).astype(np.int16)
    places = [(20, 30, 4), (5, 8, 1), (44, 33, 7), (25, 20, 4), (24, 12, 0)]
    for number, (i, j, k) in enumerate(places):
        stored[k, j, i] = 100 + number
    return stored, places


def write_points(path: Path, series: str, places: Sequence[Sequence[float]]) -> Path:
    pl.DataFrame(
        [(series, *map(float, place)) for place in places], schema=["seriesuid", *"xyz"], orient="row"
    ).write_csv(path)
    return path


def prepare_quickly(out: Path, table: Path, root: Path, options: PointOptions) -> None:
    """Prepare a table without the page."""
    run_prepare(SphereCsvRequest(table=table, data_root=root, points=options, out=out, diameter_kind="", workers="1"))


def check_points(out: Path, places_mm: NDArray[np.float64]) -> None:
    """Check that points lie where they were said to, and on the pixels of their own values."""
    rows = read_rows(out)
    values = [
        read_ct_slice(Path(row[schema.ABSOLUTE_PATH])).hu[round(row[schema.CENTER_Y]), round(row[schema.CENTER_X])]
        for row in rows.to_dicts()
    ]
    nodules = pl.read_csv(out / schema.NODULES_CSV)
    found_mm = nodules.select(schema.X_MM, schema.Y_MM, schema.Z_MM).to_numpy()
    for number, place_mm in enumerate(places_mm):
        nearest = int(np.linalg.norm(found_mm - place_mm, axis=1).argmin())
        np.testing.assert_allclose(found_mm[nearest], place_mm, atol=0.1)
        assert values.count(100 + number) == 1
    assert rows[schema.DIAMETER_MM].null_count() == rows.height == len(places_mm)
    assert rows.select(schema.CENTER_X, schema.CENTER_Y).equals(
        rows.select(pl.col(schema.CENTROID_X).alias(schema.CENTER_X), pl.col(schema.CENTROID_Y).alias(schema.CENTER_Y))
    )


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mhd"])
@pytest.mark.parametrize("axes", AXES)
def test_points_of_a_volume_lie_on_their_voxels(tmp_path: Path, name: str, axes: str) -> None:
    orders = list(itertools.permutations(range(3))) if axes == "oblique and flipped" else [(0, 1, 2)]
    stored, places = make_voxels()
    for number, order in enumerate(orders if name == "a.nii.gz" else orders[:1]):
        affine = make_affine(AXES[axes], order)
        root = tmp_path / f"scans{number}"
        turned = stored.transpose(tuple(2 - order[2 - axis] for axis in range(3)))
        write_volume(root / name, turned, affine)
        ijk = [tuple(place[axis] for axis in order) for place in places]
        places_mm = np.array([(affine @ (*one, 1))[:3] for one in ijk])
        tables = {"lps": places_mm, "ras": places_mm * (-1, -1, 1), "voxel": np.array(ijk)}
        for coordinates, numbers in tables.items():
            table = write_points(tmp_path / "points.csv", name, numbers.tolist())
            out = tmp_path / f"{number} {coordinates}"
            prepare_quickly(out, table, root, PointOptions(coordinates=Coordinates(coordinates)))
            check_points(out, places_mm)
        contents = {(tmp_path / f"{number} {one}" / schema.ROI_CSV).read_text().replace(one, "") for one in tables}
        assert len(contents) == 1


ORIENTATIONS = {
    "straight": (np.eye(3), False),
    "half a turn": (np.diag([-1.0, -1.0, 1.0]), False),
    "downwards": (np.diag([1.0, -1.0, -1.0]), True),
    "oblique": (turn(20, 10), False),
}


def write_series(root: Path, axes: NDArray[np.float64], *, from_above: bool) -> tuple[str, NDArray[np.float64]]:
    """Write the phantom as DICOM, and return its series and the affine (LPS) of column, row and slice upwards."""
    stored, _ = make_voxels()
    affine = make_affine(axes)
    upwards = affine.copy()
    if affine[2, 2] < 0:  # the stored slices run downwards
        upwards[:3, 2] *= -1
        upwards[:3, 3] += (SHAPE_KJI[0] - 1) * affine[:3, 2]
        stored = stored[::-1]
    root.mkdir()
    for k, hu in enumerate(stored):
        content = make_derived_slice(
            np.ascontiguousarray(hu), key="points", index=k, patient_id="P1",
            position_mm=(upwards @ (0, 0, k, 1))[:3].tolist(), orientation=axes[:, :2].T.ravel().tolist(),
            spacing_yx_mm=(STEPS_MM[1], STEPS_MM[0]), spacing_z_mm=STEPS_MM[2],
        )  # fmt: skip
        path = root / f"{k * 7 % 9}.dcm"  # not in their order
        path.write_bytes(content)
        data = pydicom.dcmread(path)
        data.InstanceNumber = SHAPE_KJI[0] - k if from_above else k + 11
        data.SliceThickness = STEPS_MM[2]
        data.save_as(path)
        series = str(data.SeriesInstanceUID)
    return series, upwards


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_points_of_a_dicom_series_lie_on_their_pixels(tmp_path: Path, name: str) -> None:
    axes, from_above = ORIENTATIONS[name]
    series, upwards = write_series(tmp_path / "scans", axes, from_above=from_above)
    _, places = make_voxels()
    if make_affine(axes)[2, 2] < 0:
        places = [(i, j, SHAPE_KJI[0] - 1 - k) for i, j, k in places]
    places_mm = np.array([(upwards @ (*place, 1))[:3] for place in places])
    instances = [(i, j, SHAPE_KJI[0] - k if from_above else k + 11) for i, j, k in places]
    tables: dict[str, tuple[int, NDArray[np.float64]]] = {
        "lps": (0, places_mm),
        "ras": (0, places_mm * (-1, -1, 1)),
        "voxel": (0, np.array(places)),
        "instance": (0, np.array(instances)),
        "voxel 1": (1, np.array(places) + 1),
        "instance 1": (1, np.add(instances, (1, 1, 0))),
    }
    for coordinates, (base, numbers) in tables.items():
        table = write_points(tmp_path / "points.csv", series, numbers.tolist())
        out = tmp_path / f"out {coordinates}"
        options = PointOptions(coordinates=Coordinates(coordinates.split()[0]), index_base=base)
        prepare_quickly(out, table, tmp_path / "scans", options)
        check_points(out, places_mm)
    assert len({(tmp_path / f"out {one}" / schema.ROI_CSV).read_text() for one in tables}) == 1


def test_a_voxel_between_slices_lies_between_them(tmp_path: Path) -> None:
    series, upwards = write_series(tmp_path / "scans", turn(20, 10), from_above=False)

    catalogue = read_catalogue(tmp_path / "scans", tmp_path / "cache", workers=1)
    positions = [(10.25, 20.5, 3.4), (0, 0, -0.5), (49.5, 39.5, 8.5)]
    nowhere = (float("nan"),) * 3
    spheres = [
        Sphere(series, nowhere, None, pixel_place=PixelPlace(one, Coordinates.VOXEL, (10, 8, 2))) for one in positions
    ]
    placed, rejected = place_in_patient(spheres, catalogue, {}, tmp_path)
    assert not rejected
    for sphere, position in zip(placed, positions, strict=True):
        np.testing.assert_allclose(sphere.center_mm, (upwards @ (*position, 1))[:3], atol=1e-3)
        assert sphere.diameter_mm == pytest.approx(8 * 0.9)  # the longer side in mm: 10 columns are 7.0


@pytest.mark.parametrize(
    ("coordinates", "place", "code", "reason"),
    [
        ("voxel", (50, 3, 4), "outside", "(50, 3, 4) lies outside the series, which has 50 x 40 x 9 voxels, from 0"),
        ("voxel", (3, 3, 9), "outside", "(3, 3, 9) lies outside the series"),
        ("instance", (3, 40, 12), "outside", "lies outside its slice, which has 50 x 40 x 1 voxels"),
        ("instance", (3, 4, 5), "no-slice", "no slice has the InstanceNumber 5, they are 11 to 19"),
        ("instance", (3, 4, 11.5), "no-slice", "no slice has the InstanceNumber 11.5"),
        ("voxel", (1e9, 3, 4), "outside", "x, y, z are 1e+09, 3, 4, no place in pixels"),
    ],
)
def test_what_is_no_place_in_its_image_is_rejected(
    tmp_path: Path, coordinates: str, place: tuple[float, float, float], code: str, reason: str
) -> None:
    series, _ = write_series(tmp_path / "scans", np.eye(3), from_above=False)
    table = write_points(tmp_path / "points.csv", series, [(5, 5, 12 if coordinates == "instance" else 2), place])
    arguments = ("--table", table, "--data-root", tmp_path / "scans", "--coordinates", coordinates)
    done = prepare("csv", tmp_path / "out", *arguments, "--max-rejects", 0.5)
    assert done.code == 0, done.err
    rejects = pl.read_csv(tmp_path / "out" / schema.REJECTS_CSV)
    assert rejects[schema.REJECT_CODE].to_list() == [code]
    assert reason in rejects[0, schema.REJECT_REASON]


def test_a_volume_has_no_instance_numbers(tmp_path: Path) -> None:
    stored, _ = make_voxels()
    write_volume(tmp_path / "scans/a.nii", stored, make_affine(np.eye(3)))
    table = write_points(tmp_path / "points.csv", "a", [(5, 5, 2)])
    done = prepare(
        "csv", tmp_path / "out", "--table", table, "--data-root", tmp_path / "scans", "--coordinates", "instance"
    )
    assert done.code == 3
    assert "is a volume, whose slices have no InstanceNumber; give its voxels (--coordinates voxel)" in done.err


@pytest.fixture(scope="module")
def bare(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms' places without diameters, with labels and scores, prepared."""
    folder = tmp_path_factory.mktemp("bare")
    places = list_places(scans).drop("file", "diameter_mm")
    places = places.with_columns(
        label=pl.int_range(pl.len()) % 2, probability=pl.int_range(1, pl.len() + 1) / (pl.len() + 1)
    )
    places.write_csv(folder / "points.csv")
    done = prepare("csv", folder / "out", "--table", folder / "points.csv", "--data-root", scans, "--keep", "label")
    assert done.code == 0, done.err
    return folder / "out"


def test_points_are_prepared_split_and_summarised(bare: Path, scans: Path) -> None:
    rows = pl.read_csv(bare / schema.ROI_CSV)
    places = list_places(scans)
    assert rows.height == places.height
    assert rows[schema.DIAMETER_MM].null_count() == rows.height
    assert rows[schema.DIAMETER_KIND].null_count() == rows.height
    assert (rows[schema.BBOX_XMIN] == rows[schema.BBOX_XMAX]).all()
    assert set(rows["label"]) == {0, 1}
    assert rows[schema.DETECTION_SCORE].is_between(0, 1).all()
    nodules = pl.read_csv(bare / schema.NODULES_CSV)
    assert nodules.height == rows.height
    assert nodules[schema.DIAMETER_MM].null_count() == nodules.height
    summary = json.loads((bare / schema.PREPARE_JSON).read_text())
    assert summary["sizes"]["unknown"] == nodules.height
    assert summary[schema.DIAMETER_KIND] == ""
    page = (bare / schema.PREPARE_PAGE).read_text(encoding="utf-8")
    assert "no diameters" in page
    assert "None" not in page
    lists = [(bare / schema.SPLITS_FOLDER / name).read_text().split() for name in schema.SPLIT_FILES]
    assert sorted(itertools.chain(*lists)) == sorted(set(rows[schema.PATIENT_ID]))
    assert all(lists)


@pytest.fixture(scope="module")
def bare_index(bare: Path, checkpoint: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bare index") / "index"
    done = call(
        "embed", "--roi-csv", bare / schema.ROI_CSV, "--model", checkpoint, "--out-dir", out, "--device", "cpu",
        "--keep", "label", "--workers", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "diameter" not in done.err, "nothing to warn of"
    return out


def run(*arguments: object) -> Outcome:
    done = call(*arguments)
    assert done.code == 0, done.err
    return done


def test_points_are_checked_embedded_described_and_found(bare: Path, bare_index: Path) -> None:
    rows = pl.read_csv(bare / schema.ROI_CSV)
    checked = run("check", "--roi-csv", bare / schema.ROI_CSV, "--workers", 1, "--format", "csv")
    assert "cannot be used" not in checked.err
    assert not [line for line in checked.err.splitlines() if "warning" in line]
    index = open_index(bare_index)
    meta = index.load_table(schema.META)
    assert meta.height == rows.height
    assert meta[schema.DIAMETER_MM].null_count() == meta.height
    assert meta[schema.ESTIMATED_DIAMETER].null_count() == 0
    assert sorted(meta[schema.CENTER_X]) == pytest.approx(sorted(rows[schema.CENTROID_X]), abs=1e-3)
    described = run("describe", "--emb-dir", bare_index, "--where", "label = '1'", "--format", "csv")
    assert len(described.out.splitlines()) == 1 + (rows["label"] == 1).sum()
    found = run("query", "--emb-dir", bare_index, "--query", "> 6 mm", "--topk", 3, "--format", "csv")
    assert len(found.out.splitlines()) == 4
    run("query", "--emb-dir", bare_index, "--query", "> 6 mm", "--format", "table")
    run("fuse", "--emb-dir", bare_index, "--query", "> 6 mm, malignancy >= 4", "--rule", "estimated")
    run("query", "--emb-dir", bare_index, "--like", "0", "--where", f"{schema.DETECTION_SCORE} > 0.5")
    hits = nc.open_index(bare_index).query("> 6 mm", k=2)
    assert hits.table[schema.DIAMETER_MM].null_count() == 2


def test_what_needs_diameters_says_so_in_a_line(bare: Path, bare_index: Path, tmp_path: Path) -> None:
    evaluated = call("evaluate", "--emb-dir", bare_index, "--out", tmp_path / "report")
    assert evaluated.code == 3
    assert "0 nodule(s) with a diameter, at least 2 are needed: evaluate compares" in evaluated.err.splitlines()[-1]
    (tmp_path / "all.txt").write_text("\n".join(set(pl.read_csv(bare / schema.ROI_CSV)[schema.PATIENT_ID])))
    cache = tmp_path / "cache"
    trained = call(
        "train", "--roi-csv", bare / schema.ROI_CSV, "--train-patients", tmp_path / "all.txt", "--out",
        tmp_path / "run", "--cache-dir", cache, "--device", "cpu",
    )  # fmt: skip
    assert trained.code == 3
    assert "no row has a diameter, and training learns sizes from diameter_mm" in trained.err.splitlines()[-1]
    assert not list(cache.rglob("*.npy")), "found before crops were cut"
    assert not (tmp_path / "run" / schema.BEST_CHECKPOINT).exists()


def test_points_and_spheres_may_stand_in_one_table(scans: Path, tmp_path: Path) -> None:
    places = list_places(scans).drop("file")
    first = pl.int_range(pl.len()) < 2
    places.with_columns(diameter_mm=pl.when(first).then("diameter_mm")).write_csv(tmp_path / "points.csv")
    done = prepare(
        "csv", tmp_path / "out", "--table", tmp_path / "points.csv", "--data-root", scans, "--diameter-kind", "volume"
    )
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "out")
    assert rows[schema.DIAMETER_MM].drop_nulls().to_list() == [7.5, 7.5]
    assert set(rows[schema.DIAMETER_KIND]) == {"volume"}


def test_two_readers_points_of_one_nodule_are_one(scans: Path, tmp_path: Path) -> None:
    place = list_places(scans).drop("file", "diameter_mm")[:1]
    points = pl.concat([place.with_columns(pl.col("x") + shift) for shift in (0.0, 4.5, 12.0)])
    points.with_columns(reader=pl.Series(["1", "2", "2"])).write_csv(tmp_path / "points.csv")
    done = prepare("csv", tmp_path / "out", "--table", tmp_path / "points.csv", "--data-root", scans)
    assert done.code == 0, done.err
    nodules = pl.read_csv(tmp_path / "out" / schema.NODULES_CSV)
    assert sorted(nodules[schema.READERS]) == [1, 2]


def test_a_score_leaves_the_weak_ones_out(bare: Path, scans: Path, tmp_path: Path) -> None:
    table, arguments = bare.parent / "points.csv", ("--data-root", scans, "--min-score")
    total = pl.read_csv(table).height
    strong = (pl.read_csv(table)["probability"] >= 0.6).sum()
    done = prepare("csv", tmp_path / "out", "--table", table, *arguments, 0.6)
    assert done.code == 0, done.err
    assert read_rows(tmp_path / "out").height == strong
    counts = json.loads((tmp_path / "out" / schema.PREPARE_JSON).read_text())["counts"]
    assert counts["places below the score 0.6, left out"] == total - strong
    none = prepare("csv", tmp_path / "none", "--table", table, *arguments, 2)
    assert none.code == 3
    assert f"none of its {total} places has a score of 2 or more; the highest is 0." in none.err
    list_places(scans).drop("file").write_csv(tmp_path / "plain.csv")
    plain = prepare("csv", tmp_path / "plain", "--table", tmp_path / "plain.csv", *arguments, 0.5)
    assert plain.code == 2
    assert "has no scores; leave it out, or name their column with --map" in plain.err


def test_a_patient_stands_for_the_only_series(scans: Path, tmp_path: Path) -> None:
    places = list_places(scans)
    patients = pl.Series("Case", [Path(file).parent.name.lower() for file in places["file"]])
    places.drop("file", "diameter_mm", "seriesuid").with_columns(patients).write_csv(tmp_path / "points.csv")
    done = prepare(
        "csv", tmp_path / "out", "--table", tmp_path / "points.csv", "--data-root", scans, "--map", "patient_id=Case"
    )
    assert done.code == 0, done.err
    assert sorted(read_rows(tmp_path / "out")[schema.ABSOLUTE_PATH]) == sorted(places["file"])


def test_patients_of_volumes_are_found_in_their_paths(tmp_path: Path) -> None:
    stored, _ = make_voxels()
    names = ("s01/ct_a.nii", "s01/ct_b.nii", "s02/ct_c.nii", "LIDC-IDRI-0007/ct_d.nii")
    for name in names:
        write_volume(tmp_path / "scans" / name, stored, make_affine(np.eye(3)))
    places_mm = [(make_affine(np.eye(3)) @ (9, 9, 3, 1))[:3]] * 4
    rows = [(Path(name).stem, *place.tolist()) for name, place in zip(names, places_mm, strict=True)]
    pl.DataFrame(rows, schema=["seriesuid", *"xyz"], orient="row").write_csv(tmp_path / "points.csv")
    arguments = ("--table", tmp_path / "points.csv", "--data-root", tmp_path / "scans", "--patient-pattern")
    done = prepare("csv", tmp_path / "out", *arguments, "(s[0-9]+)/")
    assert done.code == 0, done.err
    assert sorted(read_rows(tmp_path / "out")[schema.PATIENT_ID]) == ["LIDC-IDRI-0007", "s01", "s01", "s02"]
    for pattern, message in (("s[0-9]+", "has no group"), ("(s", "is no regular expression")):
        wrong = prepare("csv", tmp_path / "wrong", *arguments, pattern)
        assert wrong.code == 2
        assert message in wrong.err.splitlines()[-1]


def test_a_table_of_slices_and_pixels_is_embedded_as_it_is(
    scans: Path, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    paths = sorted(scans.rglob("*.dcm"))[:3]
    table = tmp_path / "points.csv"
    table.write_text("".join(["dicom_path,x,y\n", *(f"{path},{40.3 + at},{30.6}\n" for at, path in enumerate(paths))]))
    shared = ("--roi-csv", table, "--model", checkpoint, "--device", "cpu", "--workers", 1)
    run("check", "--roi-csv", table, "--workers", 1)
    described = run("describe", *shared, "--cache-dir", exported, "--format", "csv")
    assert len(described.out.splitlines()) == 4
    run("embed", *shared, "--out-dir", tmp_path / "index")
    meta = open_index(tmp_path / "index").load_table(schema.META)
    assert meta[schema.CENTER_X].to_list() == pytest.approx([40.3, 41.3, 42.3])
    assert meta[schema.CENTER_Y].to_list() == pytest.approx([30.6] * 3)
    run("query", "--emb-dir", tmp_path / "index", "--like", f"{paths[0]}:41,31")
    assert nc.describe(table, model=checkpoint, cache_dir=exported).height == 3
