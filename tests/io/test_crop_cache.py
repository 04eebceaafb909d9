"""Each slice is decoded once, every row gets its own crop, and what cannot be cut is named by its row."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from enhanced_ct import enhance
from noduleclip import schema
from noduleclip.config import CropConfig
from noduleclip.errors import RejectCode
from noduleclip.io import crop_cache, job_pool
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.crops import make_crop
from noduleclip.io.dicom import slice as dicom
from noduleclip.io.dicom.slice import CtSlice, read_ct_slice
from noduleclip.io.job_pool import WorkerCrashed
from noduleclip.io.slice_crops import CutSettings, SliceJob, make_jobs

SETTINGS = CutSettings(fov_mm=20, size_px=16)
Spacing = tuple[float, float] | None


def write_slice(path: Path, seed: int, spacing_yx_mm: Spacing = (0.5, 0.8)) -> str:
    """Write a CT slice of noise, 40 rows by 30 columns."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID(f"1.2.{seed}")
    dataset.Modality, dataset.ImageType, dataset.SeriesInstanceUID = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "1.2"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = 40, 30
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "HU"
    dataset.ImageOrientationPatient, dataset.PatientID = [1, 0, 0, 0, 1, 0], "P"
    if spacing_yx_mm is not None:
        dataset.PixelSpacing = list(spacing_yx_mm)
    noise = np.random.default_rng(seed).integers(-1000, 400, (40, 30), dtype=np.int16)
    dataset.add_new("PixelData", "OW", noise.tobytes())
    path.parent.mkdir(exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return str(path)


def make_frame(places: list[tuple[str, float, float]], spacing: list[Spacing] | None = None) -> pl.DataFrame:
    paths, xs, ys = zip(*places, strict=True)
    frame = pl.DataFrame({schema.ABSOLUTE_PATH: paths, schema.CENTER_X: xs, schema.CENTER_Y: ys})
    if spacing is None:
        return frame
    rows, columns = zip(*(pair or (None, None) for pair in spacing), strict=True)
    return frame.with_columns(
        pl.Series(schema.SPACING_ROW, rows, pl.Float64), pl.Series(schema.SPACING_COL, columns, pl.Float64)
    )


def cut_directly(frame: pl.DataFrame, row: int, spacing: Spacing = None) -> NDArray[np.float32]:
    """The oracle: one slice read and one crop made for one row."""
    path, x, y = frame.select(schema.ABSOLUTE_PATH, schema.CENTER_X, schema.CENTER_Y).row(row)
    ct = read_ct_slice(Path(path))
    used = spacing or ct.spacing_yx_mm
    assert used is not None
    return make_crop(ct.hu, used, (x, y), fov_mm=SETTINGS.fov_mm, size_px=SETTINGS.size_px)


def fill(folder: Path, frame: pl.DataFrame, cut: CutSettings = SETTINGS) -> tuple[CropCache, int]:
    cache = CropCache(folder, frame, cut)
    return cache, cache.fill(workers=1)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("slices")
    (folder / "text.dcm").write_text("no slice")
    good = {name: write_slice(folder / f"{name}.dcm", seed) for seed, name in enumerate("abc")}
    return {**good, "missing": str(folder / "missing.dcm"), "text": str(folder / "text.dcm")}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the slices that are decoded from now on."""
    names: list[str] = []

    def count(path: Path, *, frame: float | None, max_pixels: int, assume_hu: bool) -> CtSlice:
        names.append(path.stem)
        return read_ct_slice(path, frame=frame, max_pixels=max_pixels, assume_hu=assume_hu)

    monkeypatch.setattr(dicom, "read_ct_slice", count)
    return names


def test_each_slice_is_decoded_once_and_never_again(slices: dict[str, str], tmp_path: Path, decoded: list[str]) -> None:
    frame = make_frame([(slices[name], 10.0 + n, 12.5) for n, name in enumerate("abacabbc")])
    ticks: list[int] = []
    cache = CropCache(tmp_path, frame, SETTINGS)
    assert cache.slices == 3
    assert cache.fill(workers=1, on_slice=lambda: ticks.append(1)) == 3
    assert decoded == ["a", "b", "c"]
    cache.read(range(8))
    again, count = fill(tmp_path, frame)
    np.testing.assert_array_equal(again.read(range(8)), cache.read(range(8)))
    assert count == 0
    assert decoded == ["a", "b", "c"]
    assert len(ticks) == 3


KINDS = {
    "good a": ("a", 14.0, 20.0),
    "good b": ("b", 3.25, 36.5),
    "corner of b": ("b", -0.5, 39.5),
    "right of a": ("a", 29.6, 20.0),
    "above b": ("b", 5.0, -0.6),
    "missing": ("missing", 5.0, 5.0),
    "text": ("text", 5.0, 5.0),
}
CODES = {"right of a": "outside", "above b": "outside", "missing": "missing-file", "text": "not-dicom"}


@settings(max_examples=40, deadline=None)
@given(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=9))
def test_rejects_stand_anywhere_and_move_no_other_row(slices: dict[str, str], kinds: list[str]) -> None:
    frame = make_frame([(slices[KINDS[kind][0]], *KINDS[kind][1:]) for kind in kinds])
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):  # cut, then found
            cache, _ = fill(Path(folder), frame)
            rejected = {row: CODES[kind] for row, kind in enumerate(kinds) if kind in CODES}
            assert [(reject.row, reject.code) for reject in cache.rejects] == sorted(rejected.items())
            rows = [row for row in range(len(kinds)) if row not in rejected][::-1]
            crops = cache.read(rows)
            assert crops.shape == (len(rows), 16, 16)
            for crop, row in zip(crops, rows, strict=True):
                np.testing.assert_allclose(crop, cut_directly(frame, row), atol=0.51)


def test_reasons_name_the_file(slices: dict[str, str], tmp_path: Path) -> None:
    frame = make_frame([(slices["a"], 99.0, 5.0), (slices["text"], 5.0, 5.0), (slices["missing"], 5.0, 5.0)])
    cache, _ = fill(tmp_path, frame)
    outside, text, missing = (reject.reason for reject in cache.rejects)
    assert outside == "a.dcm: the box's centre (99.0, 5.0) lies outside the slice"
    assert "text.dcm" in text
    assert "missing.dcm" in missing


@pytest.mark.parametrize(
    ("of_header", "of_table", "used", "code"),
    [
        ((0.5, 0.8), (0.5, 0.8), (0.5, 0.8), None),
        ((0.5, 0.8), (0.504, 0.8), (0.5, 0.8), None),
        ((0.5, 0.8), None, (0.5, 0.8), None),
        (None, (0.6, 0.9), (0.6, 0.9), None),
        (None, None, None, "no-spacing"),
        ((0.5, 0.8), (0.506, 0.8), None, "spacing-mismatch"),
        ((0.5, 0.8), (0.8, 0.5), None, "spacing-mismatch"),
        ((0.5, 0.8), (0.0, 0.8), None, "bad-spacing"),
        (None, (0.5, -0.8), None, "bad-spacing"),
    ],
)
def test_table_and_header_must_agree_on_the_spacing(
    tmp_path: Path, of_header: Spacing, of_table: Spacing, used: Spacing, code: str | None
) -> None:
    path = write_slice(tmp_path / "s.dcm", 5, of_header)
    frame = make_frame([(path, 12.0, 21.0)], [of_table])
    cache, _ = fill(tmp_path / "cache", frame)
    assert [reject.code for reject in cache.rejects] == ([] if code is None else [code])
    if used is not None:
        np.testing.assert_allclose(cache.read([0])[0], cut_directly(frame, 0, used), atol=0.51)


def test_frames_of_a_file_are_slices_of_their_own(slices: dict[str, str], tmp_path: Path, decoded: list[str]) -> None:
    path = str(enhance([pydicom.dcmread(slices[name]) for name in "abc"], tmp_path / "volume.dcm"))
    numbers = [2.0, 1.0, 2.0, None, 4.0, 3.0, 1.5]
    frame = make_frame([(path, 12.0, 21.0)] * 7).with_columns(pl.Series(schema.FRAME, numbers, pl.Float64))
    cache, cut = fill(tmp_path / "cache", frame)
    assert cache.slices == cut + cache.unreadable == len(decoded) == 6
    assert [(reject.row, reject.code) for reject in cache.rejects] == [
        (3, RejectCode.MULTI_FRAME), (4, RejectCode.BAD_FRAME), (6, RejectCode.BAD_FRAME),
    ]  # fmt: skip
    for row, name in {0: "b", 1: "a", 2: "b", 5: "c"}.items():
        alone, _ = fill(tmp_path / "cache", make_frame([(slices[name], 12.0, 21.0)]))
        np.testing.assert_array_equal(cache.read([row]), alone.read([0]))


def test_a_frame_is_named_where_its_box_lies_outside(slices: dict[str, str], tmp_path: Path) -> None:
    path = str(enhance([pydicom.dcmread(slices[name]) for name in "ab"], tmp_path / "volume.dcm"))
    frame = make_frame([(path, 99.0, 21.0)]).with_columns(pl.lit(2.0).alias(schema.FRAME))
    cache, _ = fill(tmp_path / "cache", frame)
    assert [r.reason for r in cache.rejects] == [
        "volume.dcm, frame 2: the box's centre (99.0, 21.0) lies outside the slice"
    ]


def test_a_table_without_frames_keeps_its_entries(slices: dict[str, str]) -> None:
    frame = make_frame([(slices["a"], 12.0, 21.0)])
    empty = frame.with_columns(pl.lit(None, pl.Float64).alias(schema.FRAME))
    first = frame.with_columns(pl.lit(1.0).alias(schema.FRAME))
    (plain,), (of_none,), (of_one,) = (make_jobs(each, SETTINGS) for each in (frame, empty, first))
    assert plain == of_none
    assert of_one.entry != plain.entry


def test_a_changed_file_is_cut_again(tmp_path: Path, decoded: list[str]) -> None:
    path = write_slice(tmp_path / "s.dcm", 1)
    frame = make_frame([(path, 12.0, 21.0)])
    before, _ = fill(tmp_path / "cache", frame)
    write_slice(tmp_path / "s.dcm", 2)
    os.utime(path, ns=(1, 1))
    after, _ = fill(tmp_path / "cache", frame)
    assert decoded == ["s", "s"]
    assert before.fingerprint() != after.fingerprint()
    np.testing.assert_allclose(after.read([0])[0], cut_directly(frame, 0), atol=0.51)


@pytest.mark.parametrize(
    "other",
    [
        CutSettings(fov_mm=21, size_px=16),
        CutSettings(fov_mm=20, size_px=20),
        CutSettings(fov_mm=20, size_px=16, assume_hu=True),
        CutSettings(fov_mm=20, size_px=16, max_pixels=5000),
    ],
)
def test_other_settings_use_other_entries(
    slices: dict[str, str], tmp_path: Path, decoded: list[str], other: CutSettings
) -> None:
    frame = make_frame([(slices["a"], 12.0, 21.0)])
    one, two = fill(tmp_path, frame)[0], fill(tmp_path, frame, other)[0]
    assert decoded == ["a", "a"]
    assert one.fingerprint() != two.fingerprint()
    assert two.read([0]).shape == (1, other.size_px, other.size_px)


def test_a_margin_keeps_the_size_of_a_pixel() -> None:
    crop = CropConfig(fov_mm=48, size_px=64)
    assert CutSettings.for_crop(crop) == CutSettings(fov_mm=48, size_px=64)
    assert CutSettings.for_crop(crop, margin_px=8, assume_hu=True) == CutSettings(fov_mm=60, size_px=80, assume_hu=True)


@pytest.mark.parametrize("zeroed", [slice(0, None), slice(5, None), slice(100, None), slice(200, 201), slice(-1, None)])
def test_an_entry_that_a_power_cut_left_zeros_in_is_cut_again(
    slices: dict[str, str], tmp_path: Path, zeroed: slice
) -> None:
    frame = make_frame([(slices["a"], 12.0, 21.0)])
    before, _ = fill(tmp_path, frame)
    (entry,) = tmp_path.rglob("*.npy")
    content = bytearray(entry.read_bytes())
    content[zeroed] = bytes(len(content[zeroed]))
    entry.write_bytes(content)
    after, _ = fill(tmp_path, frame)
    np.testing.assert_array_equal(after.read([0]), before.read([0]))
    np.testing.assert_array_equal(np.load(entry), before.read([0]), "it is an array file still")


@pytest.mark.parametrize("kept_bytes", [0, 5, 100, -1])
def test_a_truncated_entry_is_cut_again(slices: dict[str, str], tmp_path: Path, kept_bytes: int) -> None:
    frame = make_frame([(slices["a"], 12.0, 21.0), (slices["a"], 99.0, 21.0)])
    before, _ = fill(tmp_path, frame)
    (entry,) = tmp_path.rglob("*.npy")
    entry.write_bytes(entry.read_bytes()[:kept_bytes])
    after, _ = fill(tmp_path, frame)
    assert [reject.row for reject in after.rejects] == [1]
    np.testing.assert_array_equal(after.read([0]), before.read([0]))


def test_a_pool_gives_what_one_process_gives(
    slices: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = make_frame([(path, 5.0 + n, 20.0) for n in range(4) for path in slices.values()])
    alone, _ = fill(tmp_path / "alone", frame)
    monkeypatch.setattr(job_pool, "_JOBS_WORTH_A_POOL", 1)
    together = CropCache(tmp_path / "together", frame, SETTINGS)
    ticks: list[int] = []
    decoded = together.fill(workers=2, on_slice=lambda: ticks.append(1))
    assert (decoded, together.unreadable, len(ticks)) == (3, 2, 5)
    assert together.rejects == alone.rejects
    rejected = {reject.row for reject in alone.rejects}
    rows = [row for row in range(frame.height) if row not in rejected]
    np.testing.assert_array_equal(together.read(rows), alone.read(rows))


FILL = """
import sys, polars as pl
from pathlib import Path
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.slice_crops import CutSettings
cache = CropCache(Path(sys.argv[1]), pl.read_parquet(sys.argv[2]), CutSettings(fov_mm=20, size_px=16))
input()
cache.fill(workers=1)
print(cache.read(range(60)).astype(int).tolist(), cache.rejects)
"""


def test_two_processes_may_fill_one_cache(tmp_path: Path) -> None:
    paths = [write_slice(tmp_path / f"{seed}.dcm", seed) for seed in range(30)]
    frame = make_frame([(path, x, 20.0) for x in (9.0, 20.0) for path in paths])
    frame.write_parquet(tmp_path / "frame.parquet")
    command = [sys.executable, "-c", FILL, str(tmp_path / "cache"), str(tmp_path / "frame.parquet")]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as one,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as two,
    ):
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said = [process.communicate()[0] for process in (one, two)]
    alone, _ = fill(tmp_path / "alone", frame)
    expected = f"{alone.read(range(60)).astype(int).tolist()} []\n"
    assert said == [expected, expected]
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 30
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_worker_killed_by_its_decoder_costs_its_slice_alone(
    slices: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(
        work: Callable[[SliceJob], object], jobs: Sequence[SliceJob], _workers: int, *, apart: bool
    ) -> Iterator[tuple[SliceJob, object]]:
        assert not apart
        for job in jobs:
            yield job, WorkerCrashed() if job.path == slices["b"] else work(job)

    monkeypatch.setattr(crop_cache, "run_jobs", run)
    cache = CropCache(tmp_path, make_frame([(slices[name], 10.0, 12.5) for name in "abcab"]), SETTINGS)
    cache.fill(workers=2)
    assert [reject.row for reject in cache.rejects] == [1, 4]
    assert all("its decoder ended the process" in reject.reason for reject in cache.rejects)
    assert cache.read([0, 2, 3]).shape[0] == 3


def test_a_broken_entry_of_a_slice_that_no_longer_reads_costs_its_rows_alone(
    slices: dict[str, str], tmp_path: Path
) -> None:
    spoilt = tmp_path / "spoilt.dcm"
    content = Path(slices["a"]).read_bytes()
    spoilt.write_bytes(content)
    status = spoilt.stat()
    frame = make_frame([(str(spoilt), 10.0, 12.5), (slices["b"], 10.0, 12.5)])
    CropCache(tmp_path, frame, SETTINGS).fill(1)
    (tmp_path / make_jobs(frame, SETTINGS)[0].entry).write_bytes(b"broken")
    spoilt.write_bytes(bytes(len(content)))
    os.utime(spoilt, ns=(status.st_atime_ns, status.st_mtime_ns))
    cache = CropCache(tmp_path, frame, SETTINGS)
    cache.fill(1)
    assert [(reject.row, reject.code) for reject in cache.rejects] == [(0, RejectCode.NOT_DICOM)]


@pytest.mark.parametrize("spacing", [0.0007, 99.0])
def test_a_spacing_of_the_table_that_is_not_in_millimetres_is_rejected(
    slices: dict[str, str], tmp_path: Path, spacing: float
) -> None:
    columns = {name: pl.Series([spacing]) for name in (schema.SPACING_ROW, schema.SPACING_COL)}
    cache = CropCache(tmp_path, make_frame([(slices["a"], 10.0, 12.5)]).with_columns(**columns), SETTINGS)
    cache.fill(1)
    assert [reject.code for reject in cache.rejects] == [RejectCode.BAD_SPACING]
