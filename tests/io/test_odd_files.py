"""A folder of odd CT files as they come: each ends in the right pixels or the right reason, alone and in the cache."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from enhanced_ct import enhance, hu_of, nest, transcode
from noduleclip import schema
from noduleclip.errors import RejectCode, SliceError
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.dicom.slice import check_ct_slice, read_ct_slice
from noduleclip.io.slice_crops import CutSettings
from noduleclip.phantom.patients import PhantomConfig, make_phantoms

SETTINGS = CutSettings(fov_mm=20, size_px=16)
COS30, SIN30 = 0.8660254, 0.5
SYNTAXES = {
    "implicit": uid.ImplicitVRLittleEndian,
    "big endian": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
    "RLE": uid.RLELossless,
    "JPEG lossless": uid.JPEGLosslessSV1,
    "JPEG lossless process 14": uid.JPEGLossless,
    "JPEG-LS": uid.JPEGLSLossless,
    "JPEG 2000": uid.JPEG2000Lossless,
}
AXIAL: dict[str, object] = {
    "y-flipped": [1, 0, 0, 0, -1, 0],
    "x-flipped": [-1, 0, 0, 0, 1, 0],
    "turned by a quarter": [0, 1, 0, -1, 0, 0],
    "turned by 30 degrees": [COS30, SIN30, 0, -SIN30, COS30, 0],
    "gantry tilted by 30 degrees": [1, 0, 0, 0, COS30, SIN30],
    "gantry tilted back": [1, 0, 0, 0, COS30, -SIN30],
    "not of unit length": [2, 0, 0, 0, 2, 0],
    "orientation empty": "",
    "orientation absent": None,
}
NOT_AXIAL: dict[str, tuple[list[float], str]] = {
    "coronal": ([1, 0, 0, 0, 0, -1], "a coronal plane, 90 degrees"),
    "sagittal": ([0, 1, 0, 0, 0, -1], "a sagittal plane, 90 degrees"),
    "oblique": ([1, 0, 0, 0, 0.7071068, 0.7071068], "an oblique plane, 45 degrees"),
    "steep": ([1, 0, 0, 0, 0.8, 0.6], "an oblique plane, 37 degrees"),
}
BAD_ORIENTATION: dict[str, list[float]] = {
    "five cosines": [1, 0, 0, 0, 1],
    "seven cosines": [1, 0, 0, 0, 1, 0, 0],
    "a direction of no length": [0, 0, 0, 0, 1, 0],
    "twice the same direction": [1, 0, 0, 1, 0, 0],
    "a skew": [1, 0, 0, 0.5, 0.8660254, 0],
}


@dataclass(frozen=True)
class Odd:
    """A file, and what must become of it: the pixels of the phantom, or a reason."""

    path: Path
    code: RejectCode | None = None
    says: str = ""


Folder = dict[str, Odd]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slice that all others are made from: 96 x 96, unsigned 12 bits."""
    summary = make_phantoms(tmp_path_factory.mktemp("phantom"), PhantomConfig(patients=1, seed=3, matrix_px=96))
    paths = sorted(summary.roi_csv.parent.rglob("*.dcm"))
    return next(path for path in paths if pydicom.dcmread(path).PixelRepresentation == 0)


@pytest.fixture(scope="module")
def folder(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """All of them."""
    root = tmp_path_factory.mktemp("odd")
    files: Folder = {}

    def place(name: str) -> Path:
        return root / f"{name}.dcm"

    def add(name: str, code: RejectCode | None = None, says: str = "", **changes: object) -> None:
        dataset = pydicom.dcmread(phantom)
        for keyword, value in changes.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)
        dataset.save_as(place(name))
        files[name] = Odd(place(name), code, says)

    def add_bytes(name: str, content: bytes, code: RejectCode, says: str) -> None:
        place(name).write_bytes(content)
        files[name] = Odd(place(name), code, says)

    for name, syntax in SYNTAXES.items():
        files[name] = Odd(transcode(phantom, place(name), syntax))
    for name, axial in AXIAL.items():
        add(name, ImageOrientationPatient=axial)
    for name, (across, says) in NOT_AXIAL.items():
        add(
            name, RejectCode.NOT_AXIAL, f"{says} from the axial one, not an axial slice", ImageOrientationPatient=across
        )
    for name, malformed in BAD_ORIENTATION.items():
        add(name, RejectCode.BAD_HEADER, "two directions at right angles", ImageOrientationPatient=malformed)
    for name in ("LOCALIZER", "TOPOGRAM", "SCOUT", "SURVIEW", "CT_SOM5 TOPOGRAM"):
        add(name, RejectCode.LOCALIZER, "a localizer", ImageType=["ORIGINAL", "PRIMARY", name, "FRONTAL"])
    add("spacing absent", RejectCode.NO_SPACING, "no PixelSpacing", PixelSpacing=None)
    add("spacing of three values", RejectCode.BAD_SPACING, "two numbers", PixelSpacing=[0.7, 0.7, 1])
    add("RGB", RejectCode.COLOUR, "'RGB'", SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    add("MR", RejectCode.NOT_CT, "'MR', not CT", Modality="MR")
    pixels = pydicom.dcmread(phantom).PixelData
    add("many frames", RejectCode.MULTI_FRAME, "2 frames.* column frame", NumberOfFrames=2, PixelData=2 * pixels)
    files["one frame of enhanced CT"] = Odd(enhance([pydicom.dcmread(phantom)], place("one frame of enhanced CT")))
    _add_broken(files, add_bytes, phantom)
    return files


def _add_broken(files: Folder, add_bytes: Callable[[str, bytes, RejectCode, str], None], phantom: Path) -> None:
    """Add files that end early, begin late or never end."""
    whole = phantom.read_bytes()
    meta_bytes = pydicom.filereader.read_file_meta_info(phantom).FileMetaInformationGroupLength
    repair = "looks like a data set without.*dcmconv"
    add_bytes("no preamble", whole[132:], RejectCode.NOT_DICOM, repair)
    for name in ("explicit", "implicit", "big endian"):
        content = whole if name == "explicit" else files[name].path.read_bytes()
        after_meta = content[132 + 12 + _meta_length(content) :]
        add_bytes(f"no file meta information, {name}", after_meta, RejectCode.NOT_DICOM, repair)
    add_bytes("text", b"\x08\x00 is no DICOM", RejectCode.NOT_DICOM, "no DICM prefix")
    pixels_at = whole.index(b"\xe0\x7f\x10\x00OW")
    add_bytes("cut in its header", whole[: 132 + meta_bytes + 40], RejectCode.TRUNCATED_HEADER, "header")
    add_bytes("cut in its pixels", whole[: pixels_at + 1000], RejectCode.TRUNCATED_PIXELS, "cut short")
    for name in ("RLE", "JPEG-LS", "JPEG 2000", "JPEG lossless"):
        content = files[name].path.read_bytes()
        add_bytes(f"{name}, cut", content[:-1000], RejectCode.TRUNCATED_PIXELS, "cut short")
    add_bytes("deflated, cut", files["deflated"].path.read_bytes()[:-1000], RejectCode.TRUNCATED_HEADER, "header")
    nested = whole[:pixels_at] + nest(10_000) + whole[pixels_at:]
    add_bytes("sequences without end", nested, RejectCode.BAD_HEADER, "sequences in sequences")


def _meta_length(content: bytes) -> int:
    return int.from_bytes(content[140:144], "little")


def test_each_ends_in_the_right_pixels_or_the_right_reason(folder: Folder, phantom: Path) -> None:
    expected = pydicom.dcmread(phantom)
    for name, odd in folder.items():
        if odd.code in (None, RejectCode.NO_SPACING):  # without a spacing the table may give one
            ct = read_ct_slice(odd.path)
            np.testing.assert_array_equal(ct.hu, hu_of(expected), name)
            check_ct_slice(odd.path)
            if odd.code is None:
                assert ct.spacing_yx_mm == tuple(expected.PixelSpacing), name
            continue
        with pytest.raises(SliceError, match=odd.says) as caught:
            read_ct_slice(odd.path)
        assert caught.value.code == odd.code, f"{name}: {caught.value}"
        assert str(caught.value).startswith(f"{odd.path}: ")


def test_the_cache_keeps_the_good_ones_and_names_the_others(folder: Folder, phantom: Path, tmp_path: Path) -> None:
    def fill(paths: list[str]) -> CropCache:
        places = {schema.ABSOLUTE_PATH: paths, schema.CENTER_X: 50.0, schema.CENTER_Y: 40.0}
        cache = CropCache(tmp_path, pl.DataFrame(places), SETTINGS)
        cache.fill(1)
        return cache

    cache = fill([str(odd.path) for odd in folder.values()])
    rejected = {reject.row: reject for reject in cache.rejects}
    good = fill([str(phantom)]).read([0])
    for row, (name, odd) in enumerate(folder.items()):
        assert (rejected[row].code if row in rejected else None) == odd.code, name
        if odd.code is None:
            np.testing.assert_array_equal(cache.read([row]), good, name)
        elif odd.code is not RejectCode.NO_SPACING:
            assert odd.path.name in rejected[row].reason


def test_a_direction_that_is_no_number_is_rejected(phantom: Path, tmp_path: Path) -> None:
    def write(text: bytes) -> Path:
        dataset: Dataset = pydicom.dcmread(phantom)
        dataset.ImageOrientationPatient = ["1.2345678", 0, 0, 0, 1, 0]
        dataset.save_as(tmp_path / "odd.dcm")
        content = (tmp_path / "odd.dcm").read_bytes()
        assert content.count(b"1.2345678") == 1
        (tmp_path / "odd.dcm").write_bytes(content.replace(b"1.2345678", text))
        return tmp_path / "odd.dcm"

    for text, says in (
        (b"nan      ", "is not finite"),
        (b"inf      ", "is not finite"),
        (b"left     ", "is no number"),
    ):
        with pytest.raises(SliceError, match=f"ImageOrientationPatient {says}") as caught:
            read_ct_slice(write(text))
        assert caught.value.code == RejectCode.BAD_HEADER
