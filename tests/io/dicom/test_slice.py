"""Reading CT slices: every compression, every reason to reject, and what must never happen on the way."""

import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import DataElement, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.pixels.processing import apply_modality_lut

from enhanced_ct import compress
from noduleclip.errors import RejectCode, SliceError
from noduleclip.io.dicom.slice import CtSlice, check_ct_slice, read_ct_slice, read_patient_id

SHARED_DATA = Path(__file__).parents[3].parent / "shared" / "data"
PATIENT_NAME = "Doe^Jane"
CT_IMAGE = "CTImage.dcm"
ENCODED = f"{CT_IMAGE}_"
STORED = np.arange(-40, 40, dtype=np.int16).reshape(8, 10) * 20

LOSSLESS = {
    "BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2",
    "DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99",
    "JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90",
    "JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80",
    "JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70",
    "JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57",
    "LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1",
    "LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2",
    "RLELosslessTransferSyntax_1.2.840.10008.1.2.5",
}
# The mean error in HU that the loss may cost: 8 bits for 4,000 HU are coarse.
LOSSY_MEAN_ERROR_HU = {
    "JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91": 1.0,
    "JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81": 1.0,
    "JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50": 20.0,
    "JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51": 5.0,
}
UNDECODABLE = {
    "JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55",
    "JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53",
}
COMPRESSED = sorted(name for name in LOSSLESS | set(LOSSY_MEAN_ERROR_HU) if ".1.2.4." in name or ".1.2.5" in name)


@pytest.fixture(scope="module")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real CT data are absent: {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def encodings(shared_data: Path) -> Path:
    return shared_data / "ct_encodings"


@pytest.fixture
def write_ct(tmp_path: Path) -> Callable[..., Path]:
    """Write a sound little CT slice, changed by what the test names; None deletes an element."""

    def write(stored: NDArray[np.generic] = STORED, **changes: object) -> Path:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = uid.UID(str(changes.pop("TransferSyntaxUID", uid.ExplicitVRLittleEndian)))
        meta.MediaStorageSOPClassUID = uid.CTImageStorage
        meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3.4")
        dataset = Dataset()
        dataset.file_meta = meta
        values: dict[str, object] = {
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SOPClassUID": uid.CTImageStorage,
            "SOPInstanceUID": "1.2.3.4",
            "SeriesInstanceUID": "1.2.3",
            "Modality": "CT",
            "PatientName": PATIENT_NAME,
            "PatientID": " P-1 ",
            "PatientBirthDate": "19700101",
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": stored.shape[0],
            "Columns": stored.shape[1],
            "PixelSpacing": [0.5, 0.9],
            "BitsAllocated": 8 * stored.itemsize,
            "BitsStored": 8 * stored.itemsize,
            "HighBit": 8 * stored.itemsize - 1,
            "PixelRepresentation": int(stored.dtype.kind == "i"),
            "RescaleSlope": 1,
            "RescaleIntercept": -100,
            "PixelData": stored.tobytes(),
        }
        path = tmp_path / "slice.dcm"
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            for keyword, value in (values | changes).items():
                if value is not None:
                    setattr(dataset, keyword, value)
            dataset["PixelData"].VR = "OW"
            dataset.save_as(path, enforce_file_format=True)
        return path

    return write


def encode(stored: NDArray[np.generic], syntax: str) -> bytes:
    """Encode pixels of 16 bits by one of pydicom's encoders."""
    frame: bytes = get_encoder(syntax).encode(
        stored,
        rows=stored.shape[0],
        columns=stored.shape[1],
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=16,
        pixel_representation=int(stored.dtype.kind == "i"),
        photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
    )
    return frame


def assert_rejected(path: Path, code: RejectCode, match: str) -> None:
    with pytest.raises(SliceError, match=match) as caught:
        read_ct_slice(path)
    message = str(caught.value)
    assert caught.value.code == code
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "; " in message
    assert "Doe" not in message
    assert "1970" not in message


def oracle_hu(path: Path) -> NDArray[np.float64]:
    dataset = pydicom.dcmread(path)
    hu: NDArray[np.float64] = apply_modality_lut(dataset.pixel_array, dataset).astype(np.float64)
    return np.maximum(hu, -1024)


# --- What is read


def test_slice_has_hu_spacing_and_identity(write_ct: Callable[..., Path]) -> None:
    ct = read_ct_slice(write_ct(RescaleSlope=2, RescaleIntercept=-10))
    assert isinstance(ct, CtSlice)
    assert ct.hu.dtype == np.float32
    np.testing.assert_array_equal(ct.hu, np.maximum(STORED * 2.0 - 10, -1024))
    assert ct.spacing_yx_mm == (0.5, 0.9)
    assert (ct.patient_id, ct.series_uid, ct.sop_uid) == ("P-1", "1.2.3", "1.2.3.4")


def test_patient_id_needs_no_image(write_ct: Callable[..., Path]) -> None:
    assert read_patient_id(write_ct(Modality="SR", Rows=None)) == "P-1"
    assert read_patient_id(write_ct(PatientID=None)) == ""


def test_patient_id_with_a_backslash_is_one_text(write_ct: Callable[..., Path]) -> None:
    path = write_ct(PatientID="AB\\12")
    assert read_ct_slice(path).patient_id == read_patient_id(path) == "AB\\12"


def test_spacing_absent_is_left_to_the_caller(write_ct: Callable[..., Path]) -> None:
    path = write_ct(PixelSpacing=None, ImagerPixelSpacing=[0.3, 0.3])
    assert read_ct_slice(path).spacing_yx_mm is None


def test_monochrome1_is_not_inverted(write_ct: Callable[..., Path]) -> None:
    inverted, plain = write_ct(PhotometricInterpretation="MONOCHROME1"), STORED - 100.0
    np.testing.assert_array_equal(read_ct_slice(inverted).hu, np.maximum(plain, -1024))


@pytest.mark.parametrize("padding", [-2000, -2048, -3024])
def test_values_below_air_become_air(write_ct: Callable[..., Path], padding: int) -> None:
    stored = STORED.copy()
    stored[:2] = padding
    assert np.all(read_ct_slice(write_ct(stored)).hu[:2] == -1024)


@pytest.mark.parametrize(
    ("changes", "air"),
    [
        ({"PixelPaddingValue": 300}, STORED == 300),
        ({"PixelPaddingValue": 300, "PixelPaddingRangeLimit": 400}, (STORED >= 300) & (STORED <= 400)),
        ({"PixelPaddingValue": 400, "PixelPaddingRangeLimit": 300}, (STORED >= 300) & (STORED <= 400)),
        ({"PixelPaddingValue": -300}, STORED == -300),
        ({"PixelPaddingValue": -32768}, np.zeros_like(STORED, dtype=bool)),
    ],
)
def test_padding_is_air_and_nothing_else_is(
    write_ct: Callable[..., Path], changes: dict[str, int], air: NDArray[np.bool_]
) -> None:
    expected = np.where(air, -1024.0, STORED - 100.0)
    np.testing.assert_array_equal(read_ct_slice(write_ct(**changes)).hu, expected)


def test_padding_written_unsigned_matches_signed_pixels(write_ct: Callable[..., Path]) -> None:
    path = write_ct(PixelPaddingValue=-300)
    data = path.read_bytes()
    assert data.count(b"\x28\x00\x20\x01SS") == 1
    path.write_bytes(data.replace(b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US"))
    assert read_ct_slice(path).hu[STORED == -300] == -1024


def test_unsigned_twelve_bits(write_ct: Callable[..., Path]) -> None:
    stored = (STORED + 1000).astype(np.uint16)
    ct = read_ct_slice(write_ct(stored, BitsStored=12, HighBit=11, RescaleIntercept=-1024))
    np.testing.assert_array_equal(ct.hu, stored - 1024.0)


@pytest.mark.parametrize(("bits", "high_bit"), [(12, 15), (10, 13), (8, 15), (16, 15)])
@pytest.mark.parametrize("kind", ["i", "u"])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless])
def test_left_aligned_bits_are_shifted(
    write_ct: Callable[..., Path], bits: int, high_bit: int, kind: str, syntax: str
) -> None:
    values = np.arange(80).reshape(8, 10) * (2**bits // 80) - (2 ** (bits - 1) if kind == "i" else 0)
    cells = (values << (high_bit + 1 - bits)).astype(f"{kind}2")
    pixels = cells.tobytes() if syntax == uid.ExplicitVRLittleEndian else encapsulate([encode(cells, syntax)])
    path = write_ct(cells, BitsStored=bits, HighBit=high_bit, PixelData=pixels, TransferSyntaxUID=syntax)
    np.testing.assert_array_equal(read_ct_slice(path).stored, values)
    check_ct_slice(path)


def test_bits_above_left_aligned_values_are_not_theirs(write_ct: Callable[..., Path]) -> None:
    values = (STORED + 1000).astype(np.uint16)
    path = write_ct((values << 2) | 0xC000, BitsStored=12, HighBit=13, RescaleIntercept=-1024)
    np.testing.assert_array_equal(read_ct_slice(path).hu, values - 1024.0)


def test_high_bit_that_contradicts_the_pixels(write_ct: Callable[..., Path]) -> None:
    stored = (STORED + 1000).astype(np.uint16) + 1
    path = write_ct(stored, BitsStored=12, HighBit=15)
    assert_rejected(path, RejectCode.BAD_HEADER, "HighBit is 15 and BitsStored 12, but the bits below these are set")
    assert describe_result(check_ct_slice, path) == describe_result(read_ct_slice, path)
    np.testing.assert_array_equal(read_ct_slice(write_ct(stored, BitsStored=12, HighBit=None)).stored, stored)


@pytest.mark.parametrize(("bits", "high_bit"), [(16, 11), (12, 16), (12, 10), (12, 0)])
def test_high_bit_that_no_value_can_have(write_ct: Callable[..., Path], bits: int, high_bit: int) -> None:
    path = write_ct(BitsStored=bits, HighBit=high_bit)
    assert_rejected(path, RejectCode.BAD_HEADER, f"HighBit is {high_bit}, where BitsStored of {bits} makes it")
    with pytest.raises(SliceError, match="HighBit"):
        check_ct_slice(path)


def test_left_aligned_jpeg_is_rejected(write_ct: Callable[..., Path]) -> None:
    stored = (STORED + 1000).astype(np.uint16)
    pixels = encapsulate([encode(stored, uid.JPEGLSLossless)])
    path = write_ct(stored, BitsStored=12, HighBit=15, PixelData=pixels, TransferSyntaxUID=uid.JPEGLSLossless)
    assert_rejected(path, RejectCode.BAD_HEADER, "HighBit is 15, where BitsStored of 12 makes it 11")


@pytest.mark.parametrize("between", [b"", b"\0", b"\0\0", b"\xff"])
@pytest.mark.parametrize("behind", [b"", b"\0", b"\xff", b"\0\0\0", b"\xff\xff"])
@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEGLosslessSV1])
def test_fill_bytes_around_the_end_marker(
    write_ct: Callable[..., Path], tmp_path: Path, between: bytes, behind: bytes, syntax: str
) -> None:
    """As in the JPEG-LS files of NEMA's WG-04, which pad with FF, and of encoders that write a 00 before EOI."""
    stored = np.random.default_rng(5).integers(0, 4096, (16, 16)).astype(np.uint16)
    plain = write_ct(stored, BitsStored=12, HighBit=11)
    if syntax == uid.JPEGLSLossless:
        stream = encode(stored, syntax)
    else:
        stream = compress(plain, tmp_path / "scratch.dcm", syntax)
    coded = stream.rstrip(b"\0").removesuffix(b"\xff\xd9")
    pixels = encapsulate([coded + between + b"\xff\xd9" + behind])
    path = write_ct(stored, BitsStored=12, HighBit=11, TransferSyntaxUID=syntax, PixelData=pixels)
    np.testing.assert_array_equal(read_ct_slice(path).stored, stored)


def test_jpeg_ls_with_many_zeros_before_its_end_is_rejected(write_ct: Callable[..., Path]) -> None:
    coded = encode(STORED, uid.JPEGLSLossless).rstrip(b"\0").removesuffix(b"\xff\xd9")
    pixels = encapsulate([coded + bytes(64) + b"\xff\xd9"])
    path = write_ct(TransferSyntaxUID=uid.JPEGLSLossless, PixelData=pixels)
    assert_rejected(path, RejectCode.DECODE_FAILED, "cannot be decoded")


def test_assume_hu_takes_stored_values(write_ct: Callable[..., Path]) -> None:
    path = write_ct(RescaleSlope=None, RescaleIntercept=None)
    np.testing.assert_array_equal(read_ct_slice(path, assume_hu=True).hu, STORED)


def test_no_warning_reaches_the_user(write_ct: Callable[..., Path]) -> None:
    # pydicom warns of an invalid UID and of too many pixel bytes; warnings are errors here.
    path = write_ct(SOPInstanceUID="not a uid", PixelData=STORED.tobytes() + bytes(64))
    assert read_ct_slice(path).sop_uid == "not a uid"


# --- What is rejected


@pytest.mark.parametrize(
    ("changes", "code", "match"),
    [
        ({"Modality": "MR"}, RejectCode.NOT_CT, "Modality is 'MR', not CT"),
        ({"Modality": "D\nX"}, RejectCode.NOT_CT, r"Modality is 'D\\nX', not CT"),
        ({"Modality": None}, RejectCode.BAD_HEADER, "no Modality; leave"),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, RejectCode.NOT_CT, "secondary capture"),
        (
            {"SOPClassUID": uid.MultiFrameTrueColorSecondaryCaptureImageStorage},
            RejectCode.NOT_CT,
            "secondary capture",
        ),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, RejectCode.LOCALIZER, "localizer"),
        ({"NumberOfFrames": 3}, RejectCode.MULTI_FRAME, "3 frames.*column frame"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, RejectCode.COLOUR, "3 samples.*'RGB'"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, RejectCode.COLOUR, "PALETTE COLOR"),
        ({"PhotometricInterpretation": None}, RejectCode.BAD_HEADER, "no PhotometricInterpretation; leave"),
        ({"Rows": 65535, "Columns": 65535}, RejectCode.TOO_LARGE, "65535 x 65535.*leave"),
        ({"Rows": 0}, RejectCode.BAD_HEADER, "0 x 10"),
        ({"Rows": None}, RejectCode.BAD_HEADER, "no Rows; leave"),
        ({"BitsStored": 17}, RejectCode.BAD_HEADER, "17 in 16 bits"),
        ({"BitsAllocated": 64}, RejectCode.BAD_HEADER, "in 64 bits"),
        ({"RescaleSlope": None}, RejectCode.NO_RESCALE, "no RescaleSlope.*--assume-hu"),
        ({"RescaleIntercept": None}, RejectCode.NO_RESCALE, "no RescaleIntercept.*--assume-hu"),
        ({"RescaleSlope": 0}, RejectCode.BAD_RESCALE, "RescaleSlope is 0"),
        ({"RescaleSlope": -1}, RejectCode.BAD_RESCALE, "RescaleSlope is -1"),
        ({"RescaleSlope": ""}, RejectCode.BAD_RESCALE, "RescaleSlope is empty"),
        ({"RescaleSlope": "1\\2"}, RejectCode.BAD_RESCALE, r"RescaleSlope is 1\\2"),
        ({"RescaleType": "US"}, RejectCode.NOT_HU, "RescaleType is 'US', not HU"),
        ({"PixelSpacing": [0, 0.5]}, RejectCode.BAD_SPACING, r"PixelSpacing is 0\\0.5"),
        ({"PixelSpacing": [0.5, -0.5]}, RejectCode.BAD_SPACING, r"PixelSpacing is 0.5\\-0.5"),
        ({"PixelSpacing": [0.5, 0.5, 0.5]}, RejectCode.BAD_SPACING, r"0.5\\0.5\\0.5, where two"),
        ({"PixelSpacing": "0.5"}, RejectCode.BAD_SPACING, "PixelSpacing is 0.5, where two"),
        ({"PixelSpacing": [0.0007, 0.0007]}, RejectCode.BAD_SPACING, r"\[0.01, 10\] mm"),
        ({"PixelData": STORED.tobytes()[:100]}, RejectCode.TRUNCATED_PIXELS, "100 of 160 bytes"),
        ({"PixelData": b""}, RejectCode.NO_PIXEL_DATA, "ends before its pixel data"),
    ],
)
def test_header_that_is_no_ct_slice(
    write_ct: Callable[..., Path], changes: dict[str, object], code: RejectCode, match: str
) -> None:
    assert_rejected(write_ct(**changes), code, match)


@pytest.mark.parametrize(
    ("keyword", "old", "new", "code", "match"),
    [
        ("RescaleSlope", "12345", "NaN  ", RejectCode.BAD_RESCALE, "RescaleSlope is not finite"),
        ("RescaleSlope", "12345", "1,5  ", RejectCode.BAD_RESCALE, "RescaleSlope is no number"),
        ("RescaleIntercept", "12345", "inf  ", RejectCode.BAD_RESCALE, "RescaleIntercept is not finite"),
        ("PixelSpacing", "1.234\\5.678", "1.234\\nan  ", RejectCode.BAD_SPACING, "PixelSpacing is not finite"),
        ("PixelSpacing", "1.234\\5.678", "1.234\\half ", RejectCode.BAD_SPACING, "PixelSpacing is no number"),
    ],
)
def test_value_that_is_no_number(
    write_ct: Callable[..., Path], keyword: str, old: str, new: str, code: RejectCode, match: str
) -> None:
    path = write_ct(**{keyword: old})
    data = path.read_bytes()
    assert data.count(old.encode()) == 1
    path.write_bytes(data.replace(old.encode(), new.encode()))
    assert_rejected(path, code, match)


@pytest.mark.parametrize(
    "unit",
    [
        *("HU", "hu ", "H.U.", "Hounsfield", "hounsfield", "Houndsfield Unit", "Hounsfield Units", "HOUNSFIELD_UNIT"),
        *("Houndsfield", "Hounsefield unit", "Hounsfeld", "Hounsfield Unit (HU)", "HU (Hounsfield)", "", None),
    ],
)
def test_unit_that_means_hounsfield(write_ct: Callable[..., Path], unit: str | None) -> None:
    path = write_ct(RescaleType=unit)
    np.testing.assert_array_equal(read_ct_slice(path).hu, STORED - 100.0)
    check_ct_slice(path)


@pytest.mark.parametrize("unit", ["US", "OD", "HU_MOD", "ED", "Z_EFF", "MGML", "PCT", "SUV", "HU\\US", "Houston"])
def test_unit_that_does_not(write_ct: Callable[..., Path], unit: str) -> None:
    assert_rejected(write_ct(RescaleType=unit), RejectCode.NOT_HU, "RescaleType is .* not HU; leave")


@pytest.mark.parametrize("vr", ["DS", "LO", "LT", "ST", "UT", "UC", "SH", "FD", "UN"])
def test_spacing_in_another_vr(write_ct: Callable[..., Path], vr: str) -> None:
    assert read_ct_slice(write_with_vr(write_ct(), "PixelSpacing", vr)).spacing_yx_mm == (0.5, 0.9)


@pytest.mark.parametrize("vr", ["OB", "SQ"])
def test_spacing_that_is_not_text(write_ct: Callable[..., Path], vr: str) -> None:
    path = write_with_vr(write_ct(), "PixelSpacing", vr)
    assert_rejected(path, RejectCode.BAD_SPACING, f"PixelSpacing is stored as {vr}, not as a number or text; leave")


def write_with_vr(path: Path, keyword: str, vr: str) -> Path:
    """Write two numbers of a slice in another VR."""
    dataset = pydicom.dcmread(path)
    values: object = "0.5\\0.9"
    match vr:
        case "OB" | "UN":
            values = b"0.5\\0.9 "
        case "SQ":
            values = [Dataset()]
        case "FD":
            values = [0.5, 0.9]
    with pydicom.config.disable_value_validation():
        dataset[keyword] = DataElement(keyword, vr, values)
        dataset.save_as(path)
    return path


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_floating_point_pixels(write_ct: Callable[..., Path], keyword: str, syntax: str) -> None:
    path = write_ct(BitsAllocated=32, BitsStored=None, HighBit=None, PixelRepresentation=None, TransferSyntaxUID=syntax)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    setattr(dataset, keyword, bytes(640))
    dataset.save_as(path)
    fact = f"its pixels are {keyword}, floating-point numbers, not the integers of CT; convert"
    assert_rejected(path, RejectCode.BAD_HEADER, fact)
    with pytest.raises(SliceError, match=fact):
        check_ct_slice(path)


def test_no_transfer_syntax(write_ct: Callable[..., Path]) -> None:
    dataset = pydicom.dcmread(write_ct())
    path = Path(str(dataset.filename))
    del dataset.file_meta.TransferSyntaxUID
    dataset.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=False)
    assert_rejected(path, RejectCode.BAD_HEADER, "no TransferSyntaxUID.*; export it again as Explicit VR")


@pytest.mark.parametrize(
    ("sop_class", "match"),
    [
        (uid.MediaStorageDirectoryStorage, "a DICOMDIR, which lists files and is no image; leave"),
        (uid.HangingProtocolStorage, "SOP class is Hanging Protocol Storage, not CT; leave"),
        (uid.ColorPaletteStorage, "SOP class is Color Palette Storage, not CT; leave"),
    ],
)
def test_whole_file_without_modality(tmp_path: Path, sop_class: uid.UID, match: str) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3.4")
    if sop_class == uid.MediaStorageDirectoryStorage:
        dataset.FileSetID, dataset.DirectoryRecordSequence = "DISC", []
    else:
        dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.ContentLabel = sop_class, "1.2.3.4", "X"
    dataset.save_as(tmp_path / "odd", enforce_file_format=True)
    assert_rejected(tmp_path / "odd", RejectCode.NOT_CT, match)


def test_path_with_a_nul(tmp_path: Path) -> None:
    for read in (read_ct_slice, check_ct_slice, read_patient_id):
        with pytest.raises(SliceError, match=r"a\\0b\.dcm: no file can have this path, it holds a NUL") as caught:
            read(tmp_path / "a\0b.dcm")
        assert caught.value.code == RejectCode.MISSING_FILE
        assert "\0" not in str(caught.value)


def test_modality_lut_is_rejected(write_ct: Callable[..., Path]) -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [2, 0, 16], "HU", bytes(4)
    assert_rejected(write_ct(ModalityLUTSequence=[table]), RejectCode.MODALITY_LUT, "Modality LUT")


@pytest.mark.parametrize(
    ("content", "code", "match"),
    [
        (b"", RejectCode.EMPTY_FILE, "empty"),
        (b"dicom_path,diameter_mm\n" * 20, RejectCode.NOT_DICOM, "no DICM prefix"),
        (bytes(128) + b"DICM", RejectCode.TRUNCATED_HEADER, "no Modality"),
        (bytes(128) + b"DICM" + b"\xff" * 64, RejectCode.TRUNCATED_HEADER, "header"),
    ],
)
def test_file_that_is_no_dicom(tmp_path: Path, content: bytes, code: RejectCode, match: str) -> None:
    path = tmp_path / "odd.dcm"
    path.write_bytes(content)
    assert_rejected(path, code, match)


def test_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_rejected(tmp_path / "none.dcm", RejectCode.MISSING_FILE, "no such file.*DICOM root")
    assert_rejected(tmp_path, RejectCode.UNREADABLE_FILE, "not a regular file")
    locked = tmp_path / "locked.dcm"
    locked.write_bytes(b"x")

    def refuse(_path: Path, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)  # root may read everything, so a mode would not do
    assert_rejected(locked, RejectCode.UNREADABLE_FILE, r"cannot be read \(Permission denied\)")


@pytest.mark.parametrize("share", [0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99])
def test_file_cut_anywhere(write_ct: Callable[..., Path], share: float) -> None:
    path = write_ct()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SliceError, match=r"slice\.dcm: ") as caught:
        read_ct_slice(path)
    assert caught.value.code in (
        *(RejectCode.NOT_DICOM, RejectCode.TRUNCATED_HEADER, RejectCode.NO_RESCALE, RejectCode.BAD_RESCALE),
        *(RejectCode.NO_PIXEL_DATA, RejectCode.TRUNCATED_PIXELS),
    )


def test_unknown_transfer_syntax(write_ct: Callable[..., Path]) -> None:
    path = write_ct()
    data = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
    path.write_bytes(data)
    assert_rejected(path, RejectCode.NO_DECODER, r"1\.2\.840\.10008\.1\.2\.9")


@pytest.mark.parametrize(
    ("syntax", "match"),
    [
        ("1.2.276.0.7230010.3.1", r"1\.2\.276\.0\.7230010\.3\.1, which is private; export it again as Explicit VR"),
        ("1.2.840.10008.1.2.4.100", "MPEG2.*4.100.; export"),
        ("1.2.840.10008.1.2.4.55", r"JPEG Full Progression.*4\.55.; decompress it first, for example with dcmdjpeg"),
    ],
)
def test_remedy_fits_the_transfer_syntax(write_ct: Callable[..., Path], syntax: str, match: str) -> None:
    path = write_ct()
    old = b"UI\x14\x001.2.840.10008.1.2.1\0"
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    content = path.read_bytes()
    assert content.count(old) == 1
    content = content.replace(old, b"UI" + len(new).to_bytes(2, "little") + new)
    length = int.from_bytes(content[140:144], "little") + len(new) - 20
    path.write_bytes(content[:140] + length.to_bytes(4, "little") + content[144:])
    assert_rejected(path, RejectCode.NO_DECODER, match)


def test_missing_decoder_names_its_package(write_ct: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    class _Bare:
        available_plugins = ()

    monkeypatch.setattr("noduleclip.io.dicom.pixels.get_decoder", lambda _syntax: _Bare())
    path = write_ct(TransferSyntaxUID=uid.JPEGLosslessSV1, PixelData=encapsulate([b"\xff\xd8"]))
    assert_rejected(path, RejectCode.NO_DECODER, "JPEG Lossless.*1.2.4.70.*pip install python-gdcm")
    with pytest.raises(SliceError, match="pip install python-gdcm"):
        check_ct_slice(path)


@pytest.mark.parametrize(
    ("pixels", "code"),
    [
        (None, RejectCode.NO_PIXEL_DATA),
        (STORED.tobytes()[:100], RejectCode.TRUNCATED_PIXELS),
    ],
)
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_check_finds_missing_and_short_pixels(
    write_ct: Callable[..., Path], pixels: bytes | None, code: RejectCode, syntax: str
) -> None:
    path = write_ct(TransferSyntaxUID=syntax)
    dataset = pydicom.dcmread(path)
    if pixels is None:
        del dataset.PixelData
    else:
        dataset.PixelData = pixels
    dataset.save_as(path)
    assert describe_result(check_ct_slice, path) == describe_result(read_ct_slice, path)
    assert_rejected(path, code, "pixel data")


def test_check_finds_a_cut_file(write_ct: Callable[..., Path]) -> None:
    path = write_ct()
    content = path.read_bytes()
    for kept in range(140, len(content), 7):
        path.write_bytes(content[:kept])
        assert describe_result(check_ct_slice, path) == describe_result(read_ct_slice, path)


def test_check_leaves_the_stream_to_the_decoder(write_ct: Callable[..., Path]) -> None:
    check_ct_slice(write_ct(TransferSyntaxUID=uid.RLELossless, PixelData=encapsulate([b"xx"])))


def test_message_quotes_little_of_the_header(write_ct: Callable[..., Path]) -> None:
    long_text = "A" * 500
    with pytest.raises(SliceError, match="Modality is") as caught:
        read_ct_slice(write_ct(Modality=long_text))
    assert "A" * 17 not in str(caught.value)


# --- What would exhaust the machine


def test_deflate_bomb_is_not_inflated(write_ct: Callable[..., Path]) -> None:
    path = write_ct(TransferSyntaxUID=uid.DeflatedExplicitVRLittleEndian)
    np.testing.assert_array_equal(read_ct_slice(path).hu, STORED - 100.0)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = b"".join(bomb.compress(bytes(2**20)) for _ in range(40)) + bomb.flush()
    meta = pydicom.filereader.read_file_meta_info(path)
    path.write_bytes(path.read_bytes()[: 128 + 4 + 12 + meta.FileMetaInformationGroupLength] + body)
    for read in (read_ct_slice, check_ct_slice):
        with pytest.raises(SliceError, match=r"inflates beyond any slice") as caught:
            read(path, max_pixels=512 * 512)
        assert caught.value.code == RejectCode.TOO_LARGE


def test_size_is_checked_before_pixels_are_touched(write_ct: Callable[..., Path]) -> None:
    path = write_ct()
    assert read_ct_slice(path, max_pixels=80).hu.shape == (8, 10)
    with pytest.raises(SliceError, match="8 x 10 pixels, more than the limit of 79"):
        read_ct_slice(path, max_pixels=79)


def reencapsulate(source: Path, target: Path, change: Callable[[bytes], bytes]) -> Path:
    """Copy a compressed file with its stream changed."""
    dataset = pydicom.dcmread(source)
    stream = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([change(stream)])
    dataset.save_as(target)
    return target


# --- Real files


@pytest.mark.parametrize("name", sorted(LOSSLESS))
def test_lossless_encodings_are_exact(encodings: Path, name: str) -> None:
    expected, found = read_ct_slice(encodings / CT_IMAGE), read_ct_slice(encodings / f"{ENCODED}{name}.dcm")
    np.testing.assert_array_equal(found.hu, expected.hu)
    assert found.spacing_yx_mm == expected.spacing_yx_mm == (0.675781, 0.675781)
    np.testing.assert_array_equal(expected.hu, oracle_hu(encodings / CT_IMAGE))


@pytest.mark.parametrize("name", sorted(LOSSY_MEAN_ERROR_HU))
def test_lossy_encodings_are_near(encodings: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    expected, found = read_ct_slice(encodings / CT_IMAGE), read_ct_slice(encodings / f"{ENCODED}{name}.dcm")
    assert np.abs(found.hu - expected.hu).mean() < LOSSY_MEAN_ERROR_HU[name]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", sorted(UNDECODABLE))
def test_undecodable_encodings_name_their_syntax(encodings: Path, name: str) -> None:
    syntax = uid.UID(name.split("_")[-1])
    path = encodings / f"{ENCODED}{name}.dcm"
    for read in (read_ct_slice, check_ct_slice):
        with pytest.raises(SliceError, match=str(syntax)) as caught:
            read(path)
        assert caught.value.code == RejectCode.NO_DECODER
        assert syntax.name in str(caught.value)


def test_every_encoding_is_covered(encodings: Path) -> None:
    names = {path.stem.removeprefix(ENCODED) for path in encodings.glob(f"{ENCODED}*.dcm")}
    assert names == LOSSLESS | set(LOSSY_MEAN_ERROR_HU) | UNDECODABLE


def test_fragmented_enhanced_ct_is_multi_frame(encodings: Path) -> None:
    path = encodings / "CT0012.fragmented_no_bot_jpeg_baseline.51.dcm"
    assert_rejected(path, RejectCode.MULTI_FRAME, "2 frames")


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("kept", [0.001, 0.5, 0.98])
def test_cut_stream_is_rejected(encodings: Path, tmp_path: Path, name: str, kept: float) -> None:
    source, cut = encodings / f"{ENCODED}{name}.dcm", tmp_path / "cut.dcm"
    reencapsulate(source, cut, lambda stream: stream[: max(int(len(stream) * kept) // 2 * 2, 2)])
    assert_rejected(cut, RejectCode.DECODE_FAILED, "cannot be decoded")
    cut.write_bytes(source.read_bytes()[: -int(source.stat().st_size * 0.5)])
    assert_rejected(cut, RejectCode.TRUNCATED_PIXELS, "cut short")


@pytest.mark.parametrize("name", [name for name in COMPRESSED if "JPEGLS" in name or "14" in name])
@pytest.mark.parametrize("padding", [b"\0", b"\xff"])
def test_padding_behind_a_stream_is_no_part_of_it(encodings: Path, tmp_path: Path, name: str, padding: bytes) -> None:
    source = encodings / f"{ENCODED}{name}.dcm"

    def pad(stream: bytes) -> bytes:
        stream = stream.rstrip(b"\0")
        return stream + padding * (2 - len(stream) % 2)

    padded = reencapsulate(source, tmp_path / "padded.dcm", pad)
    np.testing.assert_array_equal(read_ct_slice(padded).stored, read_ct_slice(source).stored)


@pytest.mark.parametrize("name", [name for name in COMPRESSED if "RLE" not in name])
def test_stream_of_another_size_is_not_decoded(encodings: Path, tmp_path: Path, name: str) -> None:
    size = (512).to_bytes(4) * 2 if "JPEG2000" in name else (512).to_bytes(2) * 2
    huge = (60000).to_bytes(len(size) // 2) * 2

    def swell(stream: bytes) -> bytes:
        assert size in stream[:700]
        return stream.replace(size, huge, 1)

    path = reencapsulate(encodings / f"{ENCODED}{name}.dcm", tmp_path / "huge.dcm", swell)
    assert_rejected(path, RejectCode.DECODE_FAILED, "60000, 60000, 1")


def test_check_and_reading_agree_on_every_file(shared_data: Path) -> None:
    """A file of these is rejected for the same reason before the long work as in it, or not at all."""
    paths = [*shared_data.glob("odd_inputs/*.dcm"), *shared_data.glob("ct_encodings/*.dcm")]
    assert len(paths) > 20
    for path in paths:
        assert describe_result(check_ct_slice, path) == describe_result(read_ct_slice, path), path


def describe_result(read: Callable[[Path], object], path: Path) -> str:
    try:
        read(path)
    except SliceError as error:
        return f"{error.code}: {error}"
    return "accepted"


def test_odd_inputs_have_their_values(shared_data: Path) -> None:
    folder = shared_data / "odd_inputs"
    expected = read_ct_slice(folder / "jpegls_pad00_ok.dcm")
    paths = sorted(folder.glob("*.dcm"))
    for path in paths:
        np.testing.assert_array_equal(read_ct_slice(path).hu, expected.hu, str(path))
    assert {read_ct_slice(path).patient_id for path in paths} == {expected.patient_id, "AB\\12"}


@pytest.mark.parametrize("pattern", ["lidc_slices/dicom/*/*.dcm", "lidc_crops/dicom/*/*.dcm"])
def test_lidc_matches_pydicom(shared_data: Path, pattern: str) -> None:
    paths = sorted(shared_data.glob(pattern))
    for path in paths[:: max(len(paths) // 25, 1)]:
        ct = read_ct_slice(path)
        np.testing.assert_array_equal(ct.hu, oracle_hu(path))
        assert ct.patient_id == read_patient_id(path) == path.parent.name
        assert ct.spacing_yx_mm is not None
