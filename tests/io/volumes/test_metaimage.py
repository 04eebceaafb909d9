"""MetaImages: the values of the right voxel at the right place, and headers that may not be believed."""

import os
import re
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from importers.metaimages import write_mhd
from noduleclip.errors import InputError
from noduleclip.io.volumes.formats import open_volume
from noduleclip.io.volumes.metaimage import read_meta_header
from noduleclip.io.volumes.volume import to_int16

VALUES = np.random.default_rng(0).integers(-1024, 3000, (7, 12, 9)).astype("<i2")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["a.mhd", "a.mha"])
@pytest.mark.parametrize("values", [VALUES, VALUES.astype(">i2"), VALUES.astype("<f4")], ids=["LSB", "MSB", "float"])
def test_slices_are_read(tmp_path: Path, name: str, values: NDArray[np.generic], compressed: bool) -> None:
    image = read_meta_header(write_mhd(tmp_path / name, values, compressed=compressed))
    found = list(image.read_planes([6, 0, 5, 5]))
    assert [index for index, _ in found] == [0, 5, 6]
    for index, hu in found:
        np.testing.assert_array_equal(hu, VALUES[index])


def test_a_turned_image_has_its_slices_in_place(tmp_path: Path) -> None:
    """The last numbers are those that SimpleITK gives for voxel (3, 5, 2) of this file."""
    image = read_meta_header(write_mhd(tmp_path / "a.mhd", VALUES))
    assert image.shape_ijk == (9, 12, 7)
    np.testing.assert_allclose(np.linalg.norm(image.affine_lps[:3, :3], axis=0), (0.7, 0.9, 2.5))
    np.testing.assert_allclose((image.affine_lps @ (3, 5, 2, 1))[:3], (-98.16, 15.87, -295.125))
    np.testing.assert_allclose(open_volume(image.path).stored_to_lps((3, 5, 2)), (-98.16, 15.87, -295.125))


def test_values_are_rounded_and_clipped(tmp_path: Path) -> None:
    values = np.array([[[1e9, -1e9, 0.6, np.nan]]], "<f4")
    ((_, hu),) = read_meta_header(write_mhd(tmp_path / "a.mhd", values)).read_planes([0])
    assert to_int16(hu).tolist() == [[32767, -32768, 1, -1024]]


def test_the_end_of_a_file_serves_where_the_header_says_so(tmp_path: Path) -> None:
    path = write_mhd(tmp_path / "a.mhd", VALUES, changed={"ElementDataFile": "b.raw"})
    (tmp_path / "b.raw").write_bytes(b"0123456" + VALUES.tobytes())
    path.write_text(path.read_text().replace("ElementDataFile", "HeaderSize = -1\nElementDataFile"))
    ((_, hu),) = read_meta_header(path).read_planes([3])
    np.testing.assert_array_equal(hu, VALUES[3])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"NDims": "2"}, "NDims is '2', only 3"),
        ({"DimSize": "-"}, "the header has no DimSize"),
        ({"DimSize": "9 12"}, "DimSize is '9 12', where 3 numbers are needed"),
        ({"DimSize": "65535 65535 1"}, "DimSize is '65535 65535 1'; slices have up to"),
        ({"DimSize": "9 12 0"}, "DimSize is '9 12 0'"),
        ({"DimSize": "9 12 99999999"}, "a series up to 10000 of them"),
        ({"ElementSpacing": "0.7 0 2.5"}, "ElementSpacing is '0.7 0 2.5'"),
        ({"ElementSpacing": "0.7 nan 2.5"}, "ElementSpacing is '0.7 nan 2.5', where 3 numbers"),
        ({"Offset": "1 2 1e9"}, "Offset is '1 2 1e9', no place in mm"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 0 0"}, "not three directions at right angles"),
        ({"TransformMatrix": "1 0 0 0 1"}, "TransformMatrix is '1 0 0 0 1', where 9 numbers"),
        ({"ElementType": "MET_OTHER"}, "ElementType is 'MET_OTHER'; known are MET_CHAR"),
        ({"CompressedData": "maybe"}, "CompressedData is 'maybe', neither True nor False"),
        ({"ElementDataFile": "../../etc/passwd"}, "ElementDataFile is '../../etc/passwd'; only a file in the same"),
        ({"ElementDataFile": "C:\\a.raw"}, "only a file in the same folder"),
        ({"ElementDataFile": ".."}, "only a file in the same folder"),
        ({"ElementDataFile": "LIST"}, "its data lie in many files"),
        ({"ElementDataFile": "%03d.raw 1 9 1"}, "its data lie in many files"),
        ({"ElementDataFile": "-"}, "is no MetaImage"),
    ],
)
def test_a_header_is_not_believed(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    path = write_mhd(tmp_path / "a.mhd", VALUES, changed=changed)
    with pytest.raises(InputError, match=re.escape(f"{path}: ") + ".*" + re.escape(message)):
        read_meta_header(path)


def test_values_of_8_bits_are_a_mask(tmp_path: Path) -> None:
    assert read_meta_header(write_mhd(tmp_path / "a.mhd", VALUES.astype(np.uint8))).is_mask
    assert not read_meta_header(write_mhd(tmp_path / "b.mhd", VALUES)).is_mask


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", b"NDims = 3\n" * 10_000], ids=["empty", "PNG", "endless"]
)
def test_what_is_no_metaimage_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mhd").write_bytes(content)
    with pytest.raises(InputError, match="is no MetaImage"):
        read_meta_header(tmp_path / "a.mhd")


@pytest.mark.parametrize("compressed", [False, True])
def test_data_cut_short_are_told(tmp_path: Path, compressed: bool) -> None:
    image = read_meta_header(write_mhd(tmp_path / "a.mhd", VALUES, compressed=compressed))
    image.data_path.write_bytes(image.data_path.read_bytes()[:-20])
    with pytest.raises(InputError, match="ends before slice 6"):
        list(image.read_planes([6]))


def test_missing_and_broken_data_are_told(tmp_path: Path) -> None:
    image = read_meta_header(write_mhd(tmp_path / "a.mhd", VALUES, compressed=True))
    image.data_path.write_bytes(b"no zlib at all")
    with pytest.raises(InputError, match="the compressed data are broken"):
        list(image.read_planes([0]))
    image.data_path.unlink()
    with pytest.raises(InputError, match=r"its data, a\.zraw, are not beside it"):
        list(image.read_planes([0]))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "b.mhd")
    with pytest.raises(InputError, match=r"b\.mhd: is no regular file"):
        read_meta_header(tmp_path / "b.mhd")
    image = read_meta_header(write_mhd(tmp_path / "a.mhd", VALUES))
    image.data_path.unlink()
    os.mkfifo(image.data_path)
    with pytest.raises(InputError, match=r"a\.raw: is no regular file"):
        list(image.read_planes([0]))


def test_a_bomb_is_inflated_no_further_than_a_slice(tmp_path: Path) -> None:
    image = read_meta_header(write_mhd(tmp_path / "a.mhd", VALUES, compressed=True))
    image.data_path.write_bytes(zlib.compress(bytes(200 * 2**20), 9))
    tracemalloc.start()
    assert len(list(image.read_planes([6]))) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_an_image_of_vectors_is_refused(tmp_path: Path) -> None:
    path = write_mhd(tmp_path / "a.mhd", VALUES)
    path.write_text(path.read_text().replace("ElementType", "ElementNumberOfChannels = 3\nElementType"))
    with pytest.raises(InputError, match="ElementNumberOfChannels is '3', only 1 can be read"):
        read_meta_header(path)


def test_a_link_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    path = write_mhd(tmp_path / "in" / "a.mhd", VALUES)
    data = path.with_suffix(".raw")
    secret = data.rename(tmp_path / "secret.raw")
    for target in (secret, Path("../secret.raw")):
        data.symlink_to(target)
        with pytest.raises(InputError, match=r"its data, 'a\.raw', are a link out of its folder") as caught:
            read_meta_header(path)
        assert str(secret) not in str(caught.value)
        data.unlink()
    data.symlink_to(data)
    with pytest.raises(InputError, match=r"a\.raw.*(a loop of links|cannot be read)"):
        list(read_meta_header(path).read_planes([0]))


def test_links_within_a_folder_and_to_it_are_read(tmp_path: Path) -> None:
    path = write_mhd(tmp_path / "in" / "a.mhd", VALUES)
    data = path.with_suffix(".raw")
    data.symlink_to(data.rename(path.with_name("b.raw")).name)
    (tmp_path / "link").symlink_to("in")
    ((_, hu),) = read_meta_header(tmp_path / "link" / "a.mhd").read_planes([3])
    np.testing.assert_array_equal(hu, VALUES[3])
