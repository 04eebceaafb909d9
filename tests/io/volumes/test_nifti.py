"""NIfTI: the affines, units, types and slopes that files have, and headers that may not be believed."""

import gzip
import re
import struct
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from noduleclip.errors import InputError
from noduleclip.io.volumes.formats import open_volume
from noduleclip.io.volumes.nifti import RAS_TO_LPS, read_nifti_header
from volume_files import write_nifti

VALUES = np.random.default_rng(0).integers(-1024, 3000, (7, 12, 9)).astype("<i2")
AFFINE = np.array([[0.7, 0, 0, -100.5], [0, 0.9, 0, 20.25], [0, 0, 2.5, -300.125], [0, 0, 0, 1]])
SHAPE_AT, DATATYPE_AT, PIXDIM_AT, OFFSET_AT, SLOPE_AT, UNITS_AT, QFORM_AT, SFORM_AT = (
    40,
    70,
    76,
    108,
    112,
    123,
    252,
    254,
)


def patch(path: Path, at: int, form: str, *values: float) -> Path:
    """Change bytes of a NIfTI-1 header, compressed or not."""
    content = path.read_bytes()
    packed = content[:2] == b"\x1f\x8b"
    changed = bytearray(gzip.decompress(content) if packed else content)
    struct.pack_into("<" + form, changed, at, *values)
    path.write_bytes(gzip.compress(changed, mtime=0) if packed else changed)
    return path


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", ["<i2", ">i2", "<u2", "<i4", "<f4", ">f8", "<i8"])
def test_planes_are_those_of_nibabel(tmp_path: Path, kind: str, name: str, version: int) -> None:
    path = write_nifti(tmp_path / name, np.abs(VALUES).astype(kind), AFFINE, version=version)
    stored = read_nifti_header(path)
    expected = np.asarray(nibabel.load(path).dataobj).T
    found = list(stored.read_planes([6, 0, 5, 5]))
    assert [index for index, _ in found] == [0, 5, 6]
    for index, plane in found:
        np.testing.assert_array_equal(plane, expected[index])
    np.testing.assert_allclose(stored.affine_lps, RAS_TO_LPS @ nibabel.load(path).affine)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(("slope", "intercept"), [(2.0, -1024.0), (1.0, -1024.0), (0.5, 0.25), (0.0, 7.0)])
def test_the_slope_of_the_file_is_applied(tmp_path: Path, slope: float, intercept: float, name: str) -> None:
    path = patch(write_nifti(tmp_path / name, VALUES, AFFINE), SLOPE_AT, "ff", slope, intercept)
    expected = nibabel.load(path).get_fdata().T
    for index, plane in read_nifti_header(path).read_planes(range(7)):
        np.testing.assert_allclose(plane.astype(np.float64), expected[index])
    if not slope:
        np.testing.assert_array_equal(expected, VALUES)


def test_the_sform_comes_before_the_qform(tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 3
    image = nibabel.Nifti1Image(VALUES.T, RAS_TO_LPS @ AFFINE)
    image.set_sform(RAS_TO_LPS @ AFFINE, code=2)
    image.set_qform(RAS_TO_LPS @ moved, code=1)
    nibabel.save(image, tmp_path / "a.nii")
    stored = read_nifti_header(tmp_path / "a.nii")
    np.testing.assert_allclose(stored.affine_lps, AFFINE, atol=1e-4)
    assert stored.remarks == (f"{tmp_path}/a.nii: its sform and qform differ by 3.0 mm; the sform is used",)


@pytest.mark.parametrize("version", [1, 2])
def test_a_qform_alone_serves(tmp_path: Path, version: int) -> None:
    stored = read_nifti_header(write_nifti(tmp_path / "a.nii", VALUES, AFFINE, version=version, sform=False))
    np.testing.assert_allclose(stored.affine_lps, AFFINE, atol=1e-4)
    assert stored.remarks == ()


def test_a_qform_without_its_factor_is_right_handed(tmp_path: Path) -> None:
    """pixdim[0] is 0 in many files; nifti1.h takes it for 1, as do the tools that write it."""
    mirrored = AFFINE @ np.diag([-1.0, 1, 1, 1])
    path = write_nifti(tmp_path / "a.nii", VALUES, mirrored, sform=False)
    assert struct.unpack_from("<f", path.read_bytes(), PIXDIM_AT) == (-1.0,)
    right_handed = read_nifti_header(patch(path, PIXDIM_AT, "f", 1.0)).affine_lps
    np.testing.assert_array_equal(read_nifti_header(patch(path, PIXDIM_AT, "f", 0.0)).affine_lps, right_handed)


@pytest.mark.parametrize(("at", "value"), [(PIXDIM_AT + 4, -0.7), (256, 3.0)], ids=["voxel sizes", "quaternion"])
def test_a_broken_qform_counts_only_alone(tmp_path: Path, at: int, value: float) -> None:
    path = patch(write_nifti(tmp_path / "a.nii", VALUES, AFFINE), at, "f", value)
    stored = read_nifti_header(path)
    np.testing.assert_allclose(stored.affine_lps, AFFINE, atol=1e-4)
    assert stored.remarks == (f"{path}: its qform is broken; the sform is used",)
    path = patch(write_nifti(tmp_path / "b.nii", VALUES, AFFINE, sform=False), at, "f", value)
    with pytest.raises(InputError, match=r"b\.nii: its NIfTI header is broken"):
        read_nifti_header(path)


def test_equal_affines_give_no_remark(tmp_path: Path) -> None:
    assert read_nifti_header(write_nifti(tmp_path / "a.nii", VALUES, AFFINE)).remarks == ()


def test_without_an_affine_a_file_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", VALUES, AFFINE, sform=False, qform=False)
    with pytest.raises(InputError, match=r"a\.nii: has no affine \(sform_code and qform_code are 0\)"):
        read_nifti_header(path)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1.0), ("unknown", 1.0)])
@pytest.mark.parametrize("forms", [(True, False), (False, True)], ids=["sform", "qform"])
def test_units_of_space_are_honoured(tmp_path: Path, forms: tuple[bool, bool], unit: str, factor: float) -> None:
    affine = np.diag([factor, factor, factor, 1.0]) @ AFFINE
    path = write_nifti(tmp_path / "a.nii", VALUES, affine, sform=forms[0], qform=forms[1])
    patch(path, UNITS_AT, "B", {"unknown": 0, "meter": 1, "mm": 2, "micron": 3}[unit] | 8)  # with seconds
    np.testing.assert_allclose(read_nifti_header(path).affine_lps, AFFINE, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(4, 3, 2, 1), (4, 3, 2, 1, 1), (4, 3, 1)])
def test_axes_of_one_element_are_left_out(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.int16), RAS_TO_LPS @ AFFINE), tmp_path / "a.nii.gz")
    assert read_nifti_header(tmp_path / "a.nii.gz").shape_ijk == shape[:3]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 3, 2, 5), "<i2"), "has 4 axes (4 x 3 x 2 x 5), as of several volumes"),
        (np.zeros((4, 3, 2, 1, 3), "<f4"), "has 5 axes (4 x 3 x 2 x 1 x 3), as of several volumes or of vectors"),
        (np.zeros((4, 3), "<i2"), "has 2 axes (4 x 3); a volume has three"),
        (np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "holds colours (datatype 128)"),
        (np.zeros((4, 3, 2), "<c8"), "holds complex numbers (datatype 32)"),
    ],
    ids=["4-D", "vectors", "2-D", "RGB", "complex"],
)
def test_what_is_no_volume_of_numbers_is_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    nibabel.save(nibabel.Nifti1Image(values, RAS_TO_LPS @ AFFINE), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=re.escape(f"a.nii.gz: {message}")):
        open_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("at", "form", "values", "message"),
    [
        (280, "f", [np.nan], "its affine has values that are no numbers"),
        (280, "f", [np.inf], "its affine has values that are no numbers"),
        (280, "4f", [0, 0, 0, 0], "its voxels are 0 x 0.9 x 2.5 mm"),
        (292, "f", [1e9], "its origin is no place in mm"),
        (280, "12f", [0.7, 0, 0.7, 0, 0, 0.9, 0, 0, 0, 0, 0.001, 0], "its axes lie nearly in one plane"),
        (SHAPE_AT, "4h", [3, 32767, 32767, 32767], "has 32767 slices of 32767 x 32767 pixels"),
        (SHAPE_AT, "4h", [3, -9, 12, 7], "has -9 x 12 x 7 voxels"),
        (SHAPE_AT, "h", [12], "has 12 axes (9 x 12 x 7 x 1 x 1 x 1 x 1); a volume has three"),
        (DATATYPE_AT, "h", [999], "datatype 999 is none of NIfTI's"),
        (DATATYPE_AT, "h", [1], "datatype 1 cannot be read"),
        (DATATYPE_AT, "h", [1536], "datatype 1536 cannot be read"),
        (OFFSET_AT, "f", [-1], "vox_offset is -1, where the voxels begin in [352, 67108864]"),
        (OFFSET_AT, "f", [0], "vox_offset is 0,"),
        (OFFSET_AT, "f", [np.nan], "vox_offset is nan,"),
        (OFFSET_AT, "f", [2**31], "vox_offset is 2.14748e+09,"),
        (SLOPE_AT, "ff", [1, np.nan], "its NIfTI header is broken (Valid slope but invalid intercept nan)"),
        (UNITS_AT, "B", [5], "xyzt_units is 5, whose unit of length is not known"),
        (344, "4s", [b"ni1\0"], "its voxels lie in another file (.hdr and .img)"),
        (344, "4s", [b"abcd"], "is no NIfTI file"),
        (0, "i", [540], "is no NIfTI file"),
    ],
)  # fmt: skip
def test_a_header_is_not_believed(
    tmp_path: Path, at: int, form: str, values: list[float], message: str, name: str
) -> None:
    path = patch(write_nifti(tmp_path / name, VALUES, AFFINE), at, form, *values)
    with pytest.raises(InputError, match=re.escape(f"{path}: ") + ".*" + re.escape(message)):
        open_volume(path)


@pytest.mark.parametrize(
    "content", [b"", b"not an image\n", b"\x5c\x01\0\0", gzip.compress(b"not an image", mtime=0), b"\x1f\x8b"]
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_is_no_nifti_is_refused(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"is no NIfTI file|is cut short"):
        open_volume(tmp_path / name)


def test_a_folder_is_no_volume(tmp_path: Path) -> None:
    (tmp_path / "a.nii").mkdir()
    with pytest.raises(InputError, match="is no regular file"):
        open_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_data_cut_short_are_told(tmp_path: Path, name: str) -> None:
    path = write_nifti(tmp_path / name, VALUES, AFFINE)
    path.write_bytes(path.read_bytes()[:-100])
    assert len(list(read_nifti_header(path).read_planes([0, 1]))) == 2
    with pytest.raises(InputError, match=r"ends before slice 6; copy or download it again"):
        list(read_nifti_header(path).read_planes([0, 6]))


def test_broken_data_are_told(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", VALUES, AFFINE)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # the checksum
    path.write_bytes(content)
    with pytest.raises(InputError, match="the compressed data are broken"):
        list(read_nifti_header(path).read_planes([6]))
    content[800:900] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"the compressed data are broken|ends before slice"):
        list(read_nifti_header(path).read_planes([6]))


def test_a_name_does_not_say_whether_a_file_is_compressed(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", VALUES, AFFINE).rename(tmp_path / "b.nii")
    write_nifti(tmp_path / "c.nii", VALUES, AFFINE).rename(tmp_path / "d.nii.gz")
    for name in ("b.nii", "d.nii.gz"):
        ((_, plane),) = read_nifti_header(tmp_path / name).read_planes([4])
        np.testing.assert_array_equal(plane, VALUES[4])


def test_several_streams_in_a_row_are_one_file(tmp_path: Path) -> None:
    """As bgzip and some parallel compressors write; zeros may follow."""
    content = write_nifti(tmp_path / "a.nii", VALUES, AFFINE).read_bytes()
    parts = [gzip.compress(content[start : start + 500], mtime=0) for start in range(0, len(content), 500)]
    (tmp_path / "a.nii.gz").write_bytes(b"".join(parts) + bytes(512))
    for index, plane in read_nifti_header(tmp_path / "a.nii.gz").read_planes([0, 3, 6]):
        np.testing.assert_array_equal(plane, VALUES[index])


def test_extensions_are_skipped(tmp_path: Path) -> None:
    for name in ("a.nii", "a.nii.gz"):
        image = nibabel.Nifti1Image(VALUES.T, RAS_TO_LPS @ AFFINE)
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 3_000_000))
        nibabel.save(image, tmp_path / name)
        ((_, plane),) = read_nifti_header(tmp_path / name).read_planes([6])
        np.testing.assert_array_equal(plane, VALUES[6])


def test_little_is_held_in_memory_whatever_a_header_claims(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", np.zeros((400, 256, 256), "<i2"), AFFINE)
    assert path.stat().st_size < 300_000
    tracemalloc.start()
    assert len(list(read_nifti_header(path).read_planes([399]))) == 1
    short = patch(write_nifti(tmp_path / "b.nii.gz", VALUES, AFFINE), SHAPE_AT, "4h", 3, 4000, 4000, 200)
    with pytest.raises(InputError, match="ends before slice 199"):
        list(open_volume(short).stored.read_planes([199]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_8_bits_with_a_slope_are_no_mask(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), np.uint8), AFFINE)
    assert read_nifti_header(path).is_mask
    assert not read_nifti_header(patch(path, SLOPE_AT, "ff", 8, -1024)).is_mask
