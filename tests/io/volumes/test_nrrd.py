"""NRRD: spaces, encodings, detached data and labels, and headers that may not be believed."""

import bz2
import re
import tracemalloc
from pathlib import Path

import nrrd
import numpy as np
import pytest

from noduleclip.errors import InputError
from noduleclip.io.volumes.formats import open_volume
from noduleclip.io.volumes.nrrd import read_nrrd_header
from volume_files import write_layers, write_nrrd

VALUES = np.random.default_rng(0).integers(-1024, 3000, (7, 12, 9)).astype("<i2")
AFFINE = np.array([[0.7, 0, 0, -100.5], [0, 0.9, 0, 20.25], [0, 0, 2.5, -300.125], [0, 0, 0, 1]])


def edit(path: Path, old: str, new: str) -> Path:
    """Change a NRRD file's header."""
    head, blank, data = path.read_bytes().partition(b"\n\n")
    text = head.decode()
    assert re.search(old, text), text
    path.write_bytes(re.sub(old, new, text).encode() + blank + data)
    return path


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("kind", ["<i2", ">i2", "<u2", "<f4", ">f8", "|u1", "<i8"])
def test_planes_are_those_of_pynrrd(tmp_path: Path, kind: str, name: str, encoding: str) -> None:
    path = write_nrrd(tmp_path / name, VALUES.astype(kind), AFFINE, encoding=encoding)
    expected = nrrd.read(str(path))[0].T
    stored = read_nrrd_header(path)
    found = list(stored.read_planes([6, 0, 5, 5]))
    assert [index for index, _ in found] == [0, 5, 6]
    for index, plane in found:
        np.testing.assert_array_equal(plane, expected[index])
    np.testing.assert_allclose(stored.affine_lps, AFFINE, atol=1e-9)
    assert stored.is_mask == (kind == "|u1")


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (1, 1, 1)),
        ("LPS", (1, 1, 1)),
        ("right-anterior-superior", (-1, -1, 1)),
        ("RAS", (-1, -1, 1)),
        ("Right-Anterior-Superior", (-1, -1, 1)),
        ("left-anterior-superior", (1, -1, 1)),
        ("LAS", (1, -1, 1)),
    ],
)
def test_each_space_gives_the_same_place(tmp_path: Path, space: str, signs: tuple[int, int, int]) -> None:
    stored = read_nrrd_header(write_nrrd(tmp_path / "a.nrrd", VALUES, AFFINE, space=space, signs=signs))
    np.testing.assert_allclose(stored.affine_lps, AFFINE, atol=1e-9)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("cm", 0.1), ("m", 0.001), ("um", 1000.0)])
def test_units_of_space_are_honoured(tmp_path: Path, unit: str, factor: float) -> None:
    affine = np.diag([factor, factor, factor, 1.0]) @ AFFINE
    path = write_nrrd(tmp_path / "a.nrrd", VALUES, affine, fields={"space units": [unit] * 3})
    np.testing.assert_allclose(read_nrrd_header(path).affine_lps, AFFINE, atol=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("space: .*", "space: scanner-xyz", "space is 'scanner-xyz'; known are lps"),
        ("space: .*", "space: left-posterior-superior-time", "space is 'left-posterior-superior-time'"),
        ("space: .*", "space dimension: 3", "space is ''; known are lps"),
        ("space directions: .*", "spacings: 1 1 2", "has no space directions, so where it lies is not known"),
        ("space directions: .*", "space directions: (1,0,0) (0,1,0)", "space directions are no three vectors"),
        ("space directions: .*", "space directions: (1,0,0) (0,1,0) none", "space directions are no three vectors"),
        ("space directions: .*", "space directions: (1,0) (0,1) (1,1)", "space directions are no three vectors"),
        ("space directions: .*", "space directions: (1,0,0) (0,1,0) (0,0,0)", "its voxels are 1 x 1 x 0 mm"),
        ("space directions: .*", "space directions: (1,0,0) (0,1,0) (0,0,nan)", "values that are no numbers"),
        ("space origin: .*", "content: x", "has no space origin"),
        ("space origin: .*", "space origin: (1,2)", "has no space origin"),
        ("space origin: .*", "space origin: (1,2,inf)", "its affine has values that are no numbers"),
        ("space origin: .*", "space origin: (1,2,zz)", "its NRRD header is broken"),
        ("encoding: .*", "encoding: ascii", "encoding is 'ascii'; known are raw, gzip"),
        ("encoding: .*", "content: x", "encoding is 'None'"),
        ("type: .*", "type: block", "type is 'block'; known are integers"),
        ("endian: .*", "endian: middle", "endian is 'middle', neither little nor big"),
        ("endian: .*", "content: x", "endian is '', neither little nor big"),
        ("sizes: .*", "sizes: 9 12", "has 2 axes (9 x 12) where dimension is 3"),
        ("sizes: .*", "sizes: 32767 32767 32767", "has 32767 slices of 32767 x 32767 pixels"),
        ("sizes: .*", "sizes: 9 -12 7", "has 9 x -12 x 7 voxels"),
        ("sizes: .*", "content: x", "has 0 axes () where dimension is 3"),
        ("sizes: .*", "sizes: 9 12 99999999999999999999999", "its NRRD header is broken"),
        ("kinds: .*", "line skip: 3", "has a line skip"),
        ("kinds: .*", "byte skip: -7", "byte skip is -7"),
        ("kinds: .*", "byte skip: 99999999999", "byte skip is 99999999999"),
        ("kinds: .*", "byte skip: -1", "byte skip is -1"),
        ("kinds: .*", "space units: \"mm\" \"inch\" \"mm\"", "space units are mm, inch, mm; lengths are in mm"),
        ("kinds: .*", "data file: ../secret.raw", "data file is '../secret.raw'; only a file in the same folder"),
        ("kinds: .*", "data file: /etc/passwd", "data file is '/etc/passwd'; only a file in the same folder"),
        ("kinds: .*", "data file: LIST", "its data lie in many files"),
        ("kinds: .*", "data file: a%03d.raw 1 9 1", "its data lie in many files"),
        ("NRRD000.", "NRRD0009", "its NRRD header is broken"),
        ("NRRD000.", "PNG", "is no NRRD file"),
        ("kinds: .*", "no colon here", "its NRRD header is broken"),
    ],
)  # fmt: skip
def test_a_header_is_not_believed(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = edit(write_nrrd(tmp_path / "a.nrrd", VALUES, AFFINE), old, new)
    with pytest.raises(InputError, match=re.escape(f"{path}: ") + ".*" + re.escape(message)):
        open_volume(path)


@pytest.mark.parametrize("content", [b"", b"NRRD0004\n", b"NRRD0004\n" + b"# x\n" * 400_000, b"text\n"])
def test_what_is_no_nrrd_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.nrrd").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.nrrd: (is no NRRD|has 0 axes|its NRRD header does not end)"):
        open_volume(tmp_path / "a.nrrd")


def test_vectors_and_several_volumes_are_refused(tmp_path: Path) -> None:
    directions = np.vstack([np.full(3, np.nan), AFFINE[:3, :3]])
    header = {"space": "LPS", "space directions": directions, "space origin": [0, 0, 0]}
    for layers, name in ((3, "a.nrrd"), (2, "b.seg.nrrd"), (1, "c.seg.nrrd")):
        nrrd.write(str(tmp_path / name), np.zeros((layers, 4, 3, 2), np.uint8), header)
    for name in ("a.nrrd", "b.seg.nrrd"):
        with pytest.raises(InputError, match=r"has 4 axes \(. x 4 x 3 x 2\), as of several volumes, or of vectors"):
            open_volume(tmp_path / name)
    assert open_volume(tmp_path / "c.seg.nrrd").stored.shape_ijk == (4, 3, 2)


def test_segments_have_their_names(tmp_path: Path) -> None:
    fields = {
        "Segment0_LabelValue": "1", "Segment0_Name": "nodule A", "Segment1_LabelValue": "7", "Segment1_Name": "lung",
        "Segment2_LabelValue": "x", "Segment3_Name": "no label",
    }  # fmt: skip
    path = write_nrrd(tmp_path / "a.seg.nrrd", VALUES.astype(np.uint8), AFFINE, fields=fields)
    stored = open_volume(path).stored
    assert stored.segment_names == {(0, 1): "nodule A", (0, 7): "lung"}
    assert stored.is_mask


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_layers_of_segments_are_values_of_a_voxel(tmp_path: Path, encoding: str) -> None:
    maps = np.random.default_rng(0).integers(0, 9, (3, *VALUES.shape)).astype(np.uint8)
    segments = [(0, 1, "nodule A"), (2, 1, "nodule B"), (2, 300, "lung")]
    path = write_layers(tmp_path / "a.seg.nrrd", list(maps), AFFINE, segments, encoding=encoding)
    volume = open_volume(path)
    assert (volume.stored.layers, volume.stored.shape_ijk) == (3, VALUES.shape[::-1])
    np.testing.assert_allclose(volume.stored.affine_lps, AFFINE)
    assert volume.stored.segment_names == {(layer, label): name for layer, label, name in segments}
    for index, plane in volume.stored.read_planes([1, 4]):
        np.testing.assert_array_equal(plane, maps[:, index].transpose(1, 2, 0))
    with pytest.raises(InputError, match=r"a\.seg\.nrrd: has 3 layers of segments: a mask, no CT"):
        list(volume.read_slices([0]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Segment1_Layer:=2", "Segment1_Layer:=3", "Segment1_Layer is '3'; it has 3 layers, from 0"),
        ("Segment1_Layer:=2", "Segment1_Layer:=-1", "Segment1_Layer is '-1'"),
        ("sizes: 3", "sizes: -3", "has 4 axes (-3 x"),
        ("sizes: 3", "sizes: 0", "has 4 axes (0 x"),
        ("sizes: 3", "sizes: 2000000000", "pixels in 2000000000 layers; slices have up to"),
        ("kinds: list", "kinds: vector", "has 4 axes (3 x"),
        ("kinds: .*\n", "", "has 4 axes (3 x"),
        (r"Segment(.)_LabelValue", r"SegmentX\1_LabelValue", "has 4 axes (3 x"),
    ],
)
def test_a_header_of_layers_is_not_believed(tmp_path: Path, old: str, new: str, message: str) -> None:
    maps = [np.zeros(VALUES.shape, np.uint8)] * 3
    path = edit(write_layers(tmp_path / "a.seg.nrrd", maps, AFFINE, [(0, 1, "A"), (2, 1, "B")]), old, new)
    with pytest.raises(InputError, match=re.escape(f"{path}: ") + ".*" + re.escape(message)):
        open_volume(path)


def test_layers_along_the_last_axis_are_refused(tmp_path: Path) -> None:
    header = {
        "space": "LPS", "space directions": np.vstack([AFFINE[:3, :3], np.full(3, np.nan)]), "space origin": [0, 0, 0],
        "kinds": ["domain", "domain", "domain", "list"], "Segment0_LabelValue": "1",
    }  # fmt: skip
    nrrd.write(str(tmp_path / "a.seg.nrrd"), np.zeros((4, 3, 2, 2), np.uint8), header)
    with pytest.raises(InputError, match="as of several volumes, or of vectors"):
        open_volume(tmp_path / "a.seg.nrrd")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_data_cut_short_or_missing_are_told(tmp_path: Path, encoding: str) -> None:
    path = write_nrrd(tmp_path / "a.nhdr", VALUES, AFFINE, encoding=encoding)
    data = read_nrrd_header(path).data_path
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(InputError, match="ends before slice 6; copy or download it again"):
        list(read_nrrd_header(path).read_planes([6]))
    data.write_bytes(b"nothing of the kind" if encoding != "raw" else b"")
    with pytest.raises(InputError, match=r"the compressed data are broken|ends before slice 0"):
        list(read_nrrd_header(path).read_planes([0]))
    data.unlink()
    with pytest.raises(InputError, match=rf"a\.nhdr: its data, {data.name}, are not beside it"):
        list(read_nrrd_header(path).read_planes([0]))


def test_a_link_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "in.nhdr", VALUES, AFFINE, encoding="raw")
    (tmp_path / "in").mkdir()
    header = path.rename(tmp_path / "in" / "a.nhdr")
    (tmp_path / "in" / "in.raw").symlink_to("../in.raw")
    with pytest.raises(InputError, match=r"its data, 'in\.raw', are a link out of its folder"):
        read_nrrd_header(header)


def test_data_are_found_beside_and_before_their_end(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "a.nhdr", VALUES, AFFINE, encoding="raw")
    edit(path, "data file: ", "byte skip: -1\ndata file: ./")
    data = tmp_path / "a.raw"
    data.write_bytes(b"header of another format" + data.read_bytes())
    ((_, plane),) = read_nrrd_header(path).read_planes([3])
    np.testing.assert_array_equal(plane, VALUES[3])
    edit(path, "byte skip: -1", "byte skip: 24")
    ((_, plane),) = read_nrrd_header(path).read_planes([3])
    np.testing.assert_array_equal(plane, VALUES[3])


def test_bombs_are_inflated_no_further_than_their_planes(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "a.nhdr", VALUES, AFFINE, encoding="bzip2")
    read_nrrd_header(path).data_path.write_bytes(bz2.compress(bytes(100 * 2**20)))
    tracemalloc.start()
    assert len(list(read_nrrd_header(path).read_planes([6]))) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20
