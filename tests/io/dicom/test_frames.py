"""Frames of enhanced CT: each as its slice alone would be, at the price of one, and a reason where there is none."""

import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from enhanced_ct import Change, carry_streams, compress, enhance, hu_of, make_group, nest, transcode
from noduleclip.errors import RejectCode, SliceError
from noduleclip.io.dicom import header as dicom_header
from noduleclip.io.dicom.slice import check_ct_slice, read_ct_slice
from noduleclip.phantom.patients import PhantomConfig, make_phantoms

FRAMES = 4
Enhance = Callable[..., Path]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four phantom slices, each with a spacing and a rescale of its own."""
    folder = tmp_path_factory.mktemp("slices")
    make_phantoms(folder, PhantomConfig(patients=1, seed=3, matrix_px=96))
    found = []
    for number, path in enumerate(sorted(folder.rglob("*.dcm"))[:FRAMES]):
        dataset = pydicom.dcmread(path)
        dataset.PixelSpacing = [0.5 + number / 10, 0.9]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + number / 4, -1000 - number
        dataset.save_as(folder / f"{number}.dcm")
        found.append(folder / f"{number}.dcm")
    return found


@pytest.fixture(scope="module")
def slices(paths: list[Path]) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in paths]


@pytest.fixture
def volume(slices: list[Dataset], tmp_path: Path) -> Enhance:
    """Write the four slices as an enhanced CT, changed by what the test says."""

    def write(
        change: Change = lambda _: None, syntax: str = uid.ExplicitVRLittleEndian, undefined: bool = False
    ) -> Path:
        return enhance(slices, tmp_path / "volume.dcm", syntax=syntax, undefined_lengths=undefined, change=change)

    return write


def assert_frames(path: Path, slices: list[Dataset]) -> None:
    for number in (3, 1, 4, 2):
        ct, alone = read_ct_slice(path, frame=number), slices[number - 1]
        np.testing.assert_array_equal(ct.hu, hu_of(alone).astype(np.float32))
        assert ct.spacing_yx_mm == tuple(alone.PixelSpacing)
        assert ct.patient_id == alone.PatientID


def assert_rejected(path: Path, frame: float | None, code: RejectCode, match: str) -> None:
    with pytest.raises(SliceError, match=match) as caught:
        read_ct_slice(path, frame=frame)
    assert caught.value.code == code, caught.value
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


# --- What is read


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize(
    "syntax",
    [
        *(uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian),
        *(uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian),
    ],
)
def test_native_frames_are_their_slices(volume: Enhance, slices: list[Dataset], syntax: str, undefined: bool) -> None:
    path = volume(syntax=syntax, undefined=undefined)
    assert_frames(path, slices)
    for number in range(1, FRAMES + 1):
        check_ct_slice(path, frame=number)


@pytest.mark.parametrize(
    ("syntax", "table", "fragments"),
    [
        (uid.RLELossless, "basic", 1),
        (uid.RLELossless, "none", 1),
        (uid.RLELossless, "extended", 1),
        (uid.RLELossless, "basic", 3),
        (uid.JPEGLosslessSV1, "none", 1),
        (uid.JPEGLSLossless, "none", 3),
        (uid.JPEGLSLossless, "extended", 1),
        (uid.JPEG2000Lossless, "basic", 2),
        (uid.JPEG2000Lossless, "none", 2),
    ],
)
def test_compressed_frames_are_their_slices(
    volume: Enhance, paths: list[Path], slices: list[Dataset], tmp_path: Path, syntax: str, table: str, fragments: int
) -> None:
    streams = [compress(path, tmp_path / "scratch.dcm", syntax) for path in paths]
    assert_frames(volume(lambda dataset: carry_streams(dataset, streams, syntax, table, fragments)), slices)


def test_a_group_of_the_frame_wins_over_a_shared_one_and_that_over_the_top(volume: Enhance) -> None:
    def change(dataset: Dataset) -> None:
        dataset.PixelSpacing, dataset.RescaleSlope, dataset.RescaleIntercept = [3, 3], 9, 9
        dataset.SharedFunctionalGroupsSequence = [
            make_group(
                PixelMeasuresSequence={"PixelSpacing": [2, 2]},
                PixelValueTransformationSequence={"RescaleSlope": 5, "RescaleIntercept": 7},
            )
        ]
        groups = dataset.PerFrameFunctionalGroupsSequence
        for frame in (1, 2, 3):
            del groups[frame].PixelMeasuresSequence
        del groups[2].PixelValueTransformationSequence
        groups[3].PixelValueTransformationSequence = []

    path = volume(change)
    found = [read_ct_slice(path, frame=number) for number in range(1, FRAMES + 1)]
    assert [ct.spacing_yx_mm for ct in found] == [(0.5, 0.9), (2, 2), (2, 2), (2, 2)]
    assert [(ct.slope, ct.intercept_hu) for ct in found] == [(1, -1000), (1.25, -1001), (5, 7), (5, 7)]


def test_the_top_level_serves_where_there_are_no_groups(volume: Enhance) -> None:
    def change(dataset: Dataset) -> None:
        del dataset.PerFrameFunctionalGroupsSequence
        dataset.PixelSpacing, dataset.RescaleSlope, dataset.RescaleIntercept = [3, 3], 2, 9

    ct = read_ct_slice(volume(change), frame=2)
    assert (ct.spacing_yx_mm, ct.slope, ct.intercept_hu) == ((3, 3), 2, 9)


def test_a_slope_is_never_paired_with_an_intercept_of_elsewhere(volume: Enhance) -> None:
    def change(dataset: Dataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        del dataset.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence[0].RescaleIntercept

    assert_rejected(volume(change), 2, RejectCode.NO_RESCALE, "no RescaleIntercept")


def test_a_file_of_one_frame_has_a_frame_1(paths: list[Path], slices: list[Dataset], tmp_path: Path) -> None:
    enhanced = enhance(slices[:1], tmp_path / "one.dcm")
    for path in (paths[0], enhanced):
        alone = read_ct_slice(path)
        np.testing.assert_array_equal(read_ct_slice(path, frame=1).hu, alone.hu)
        assert alone.spacing_yx_mm == (0.5, 0.9)
        assert_rejected(path, 2, RejectCode.BAD_FRAME, "frame 2 is asked for, it has frame 1 alone")


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless]
)
def test_a_large_file_of_one_frame_is_read_as_a_small_one(
    paths: list[Path], slices: list[Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str
) -> None:
    path = transcode(paths[0], tmp_path / "large.dcm", syntax)
    monkeypatch.setattr(dicom_header, "LARGEST_HEADER_BYTES", 3000)
    assert path.stat().st_size > 3000
    np.testing.assert_array_equal(read_ct_slice(path).hu, hu_of(slices[0]).astype(np.float32))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(SliceError, match=r"frame 1|cannot be parsed"):
        read_ct_slice(path)


def test_a_changed_file_is_read_anew(volume: Enhance) -> None:
    before = read_ct_slice(volume(), frame=2)

    def change(dataset: Dataset) -> None:
        dataset.PerFrameFunctionalGroupsSequence[1].PixelMeasuresSequence[0].PixelSpacing = [4, 4.125]

    assert read_ct_slice(volume(change), frame=2).spacing_yx_mm == (4, 4.125) != before.spacing_yx_mm


def test_a_real_file_in_fragments_without_a_table(shared_data: Path) -> None:
    path = shared_data / "ct_encodings" / "CT0012.fragmented_no_bot_jpeg_baseline.51.dcm"
    for frame in (1, 2):
        assert_rejected(path, frame, RejectCode.NOT_HU, "RescaleType is 'US'")  # a perfusion map
    assert_rejected(path, 3, RejectCode.BAD_FRAME, "frames 1 to 2")


# --- What is rejected


@pytest.mark.parametrize("frame", [0, -1, 5, 1.5, float("inf"), float("nan")])
def test_a_frame_that_the_file_has_not(volume: Enhance, frame: float) -> None:
    path = volume()
    assert_rejected(path, frame, RejectCode.BAD_FRAME, f"frame {frame:g} is asked for, it has frames 1 to 4")


def test_many_frames_and_none_named(volume: Enhance) -> None:
    assert_rejected(volume(), None, RejectCode.MULTI_FRAME, "4 frames.*give its number, from 1, in a column frame")


@pytest.mark.parametrize(
    ("macro", "values", "code", "match"),
    [
        ("CTImageFrameTypeSequence", {"FrameType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer", "a localizer"),
        ("PlaneOrientationSequence", {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "not-axial", "a coronal plane"),
        ("PixelMeasuresSequence", {"PixelSpacing": [0, 1]}, "bad-spacing", "PixelSpacing is 0"),
        (
            "PixelValueTransformationSequence",
            {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"},
            "not-hu",
            "US",
        ),
    ],
)
def test_only_the_frame_that_is_odd(
    volume: Enhance, macro: str, values: dict[str, object], code: str, match: str
) -> None:
    def change(dataset: Dataset) -> None:
        odd = make_group(**{macro: values})
        setattr(dataset.PerFrameFunctionalGroupsSequence[1], macro, odd[macro].value)

    path = volume(change)
    assert_rejected(path, 2, RejectCode(code), match)
    for frame in (1, 3, 4):
        read_ct_slice(path, frame=frame)


def test_groups_of_fewer_frames(volume: Enhance) -> None:
    path = volume(lambda dataset: dataset.PerFrameFunctionalGroupsSequence.pop())
    read_ct_slice(path, frame=3)
    assert_rejected(path, 4, RejectCode.BAD_HEADER, "has 3 items, none for frame 4")


@pytest.mark.parametrize("table", ["basic", "extended", "none", "native"])
def test_a_cut_file_gives_the_frames_before_the_cut(
    volume: Enhance, paths: list[Path], slices: list[Dataset], tmp_path: Path, table: str
) -> None:
    streams = [compress(path, tmp_path / "scratch.dcm", uid.RLELossless) for path in paths]

    def change(dataset: Dataset) -> None:
        if table != "native":
            carry_streams(dataset, streams, uid.RLELossless, table)

    path = volume(change)
    content = path.read_bytes()
    path.write_bytes(content[:-3000])
    assert_rejected(path, 4, RejectCode.TRUNCATED_PIXELS, "end before those of frame 4 do")
    np.testing.assert_array_equal(read_ct_slice(path, frame=1).hu, hu_of(slices[0]).astype(np.float32))
    path.write_bytes(content[: len(content) * 6 // 10])
    if table == "none":  # where its frames start cannot be known
        assert_rejected(path, 1, RejectCode.TRUNCATED_PIXELS, "end before those of frame 1 do")
    else:
        assert_rejected(path, 3, RejectCode.TRUNCATED_PIXELS, "end before those of frame 3 do")
        np.testing.assert_array_equal(read_ct_slice(path, frame=1).hu, hu_of(slices[0]).astype(np.float32))


def test_more_frames_than_pixels(volume: Enhance) -> None:
    def change(dataset: Dataset) -> None:
        dataset.NumberOfFrames = 5
        dataset.DataSetTrailingPadding = bytes(96 * 96 * 2)  # it follows the pixels, and is none
        dataset.PerFrameFunctionalGroupsSequence.append(dataset.PerFrameFunctionalGroupsSequence[0])

    assert_rejected(volume(change), 5, RejectCode.TRUNCATED_PIXELS, "frame 5")


def test_no_pixels(volume: Enhance) -> None:
    path = volume()
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\xe0\x7f\x10\x00OW")])
    assert_rejected(path, 2, RejectCode.NO_PIXEL_DATA, "ends before its pixel data")


@pytest.mark.parametrize("frames", [1, FRAMES])
def test_lengths_that_lie_are_no_bytes_read(volume: Enhance, paths: list[Path], tmp_path: Path, frames: int) -> None:
    streams = [compress(path, tmp_path / "scratch.dcm", uid.RLELossless) for path in paths]

    def change(dataset: Dataset) -> None:
        carry_streams(dataset, streams, uid.RLELossless, "none")
        dataset.NumberOfFrames = frames

    path = volume(change)
    content = path.read_bytes()
    at = content.index(b"\xe0\x7f\x10\x00OB") + 12
    for place in (at + 4, at + 12):  # of the table of offsets; of the first fragment
        forged = content[:place] + struct.pack("<I", 0xFFFFFFF0) + content[place + 4 :]
        path.write_bytes(forged)
        with path.open("r+b") as file:
            file.truncate(2**30)  # sparse: there is as much to read
        with pytest.raises(SliceError, match=r"frame 1|cannot be decoded") as caught:
            read_ct_slice(path, frame=1)
        assert caught.value.code in (RejectCode.TRUNCATED_PIXELS, RejectCode.DECODE_FAILED)


def test_sequences_without_end_are_rejected(volume: Enhance) -> None:
    path = volume()
    content = path.read_bytes()
    at = content.index(b"\x00\x52\x30\x92SQ")
    path.write_bytes(content[:at] + nest(10_000) + content[at:])
    assert_rejected(path, 2, RejectCode.BAD_HEADER, "sequences in sequences")


def test_a_value_of_no_use_may_be_broken(volume: Enhance, slices: list[Dataset]) -> None:
    path = volume(lambda dataset: setattr(dataset, "KVP", 120))
    content = path.read_bytes()
    voltage = b"\x18\x00\x60\x00DS"
    assert content.count(voltage) == 1
    path.write_bytes(content.replace(voltage, b"\x18\x00\x60\x00D\0"))
    np.testing.assert_array_equal(read_ct_slice(path, frame=2).hu, hu_of(slices[1]).astype(np.float32))


def test_a_frame_without_a_byte(volume: Enhance, paths: list[Path], tmp_path: Path) -> None:
    streams = [compress(path, tmp_path / "scratch.dcm", uid.RLELossless) for path in paths]
    path = volume(lambda dataset: carry_streams(dataset, streams, uid.RLELossless, "extended"))
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(content.index(b"\xe0\x7f\x02\x00OV") + 12)
        file.write(struct.pack("<Q", 0))  # length of the first frame
    assert_rejected(path, 1, RejectCode.DECODE_FAILED, "its stream is empty")


def test_groups_that_are_no_sequence_are_rejected(volume: Enhance) -> None:
    path = volume()
    content = path.read_bytes()
    assert content.count(b"\x00\x52\x30\x92SQ") == 1
    path.write_bytes(content.replace(b"\x00\x52\x30\x92SQ", b"\x00\x52\x30\x92UT"))
    assert_rejected(path, 2, RejectCode.BAD_HEADER, "PerFrameFunctionalGroupsSequence is no sequence")


def test_a_header_without_end_is_not_read(volume: Enhance, monkeypatch: pytest.MonkeyPatch) -> None:
    path = volume(undefined=True)
    monkeypatch.setattr(dicom_header, "LARGEST_HEADER_BYTES", 1000)
    assert_rejected(path, 2, RejectCode.TOO_LARGE, "its header is longer than")


def test_bytes_that_may_be_swapped_across_frames_are_not_guessed_at(volume: Enhance) -> None:
    def change(dataset: Dataset) -> None:
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7

    path = volume(change, syntax=uid.ExplicitVRBigEndian)
    assert_rejected(path, 2, RejectCode.NO_DECODER, r"swapped across frames; .*dcmconv \+te")


# --- What it costs


def test_a_frame_of_two_gigabytes_costs_one_frame(slices: list[Dataset], tmp_path: Path) -> None:
    side, frames = 512, 4000

    def change(dataset: Dataset) -> None:
        dataset.Rows = dataset.Columns = side
        dataset.NumberOfFrames = frames
        dataset.SharedFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:1]
        del dataset.PerFrameFunctionalGroupsSequence

    path = enhance(slices[:1], tmp_path / "large.dcm", change=change)
    head = path.read_bytes()
    at = head.index(b"\xe0\x7f\x10\x00OW") + 8
    size = frames * side * side * 2
    with path.open("wb") as file:
        file.write(head[:at] + struct.pack("<I", size))
        file.truncate(at + 4 + size)  # sparse
        file.seek(at + 4 + size - side * side * 2)
        file.write(np.full((side, side), 1234, "<u2").tobytes())
    read_ct_slice(path, frame=1)
    tracemalloc.start()
    started = time.process_time()
    ct = read_ct_slice(path, frame=frames)
    spent_s, peak_bytes = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.all(ct.stored == 1234)
    assert peak_bytes < 4 * side * side * 2
    assert spent_s < 1
    assert_rejected(path, None, RejectCode.MULTI_FRAME, "4000 frames")


def test_a_compressed_frame_costs_one_frame(volume: Enhance, paths: list[Path], tmp_path: Path) -> None:
    stream, copies = compress(paths[0], tmp_path / "scratch.dcm", uid.RLELossless), 2000

    def change(dataset: Dataset) -> None:
        carry_streams(dataset, [stream] * copies, uid.RLELossless, "none")
        dataset.NumberOfFrames = copies
        dataset.SharedFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:1]
        del dataset.PerFrameFunctionalGroupsSequence

    path = volume(change)
    assert path.stat().st_size > 16 * 2**20
    read_ct_slice(path, frame=1)
    tracemalloc.start()
    read_ct_slice(path, frame=copies)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2**20
