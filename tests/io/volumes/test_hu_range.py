"""Whether values are HU: CT of all kinds passes, other scales are refused with what was found and the remedy."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from noduleclip.errors import RejectCode, SliceError, UsageError
from noduleclip.io.volumes.formats import open_volume
from noduleclip.io.volumes.hu_range import HuRange
from noduleclip.io.volumes.hu_slices import HuSlices, parse_rescale
from noduleclip.io.volumes.volume import Rescale
from volume_files import permute, write_volume

REAL = Path(__file__).resolve().parents[4] / "shared/data/lidc_volumes/image"
AFFINE = np.diag([0.7, 0.7, 2.5, 1.0])
Values = NDArray[np.generic]


def make_chest(seed: int = 0) -> NDArray[np.int32]:
    """Make a chest of 8 x 64 x 64 voxels: air around, lung, soft tissue, fat and some bone, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((64, 64))
    hu = np.full((8, 64, 64), -1000.0)
    hu[:, (x - 32) ** 2 + (y - 32) ** 2 < 30**2] = -100
    hu[:, (x - 32) ** 2 + (y - 32) ** 2 < 27**2] = 40
    hu[:, ((x - 20) / 9) ** 2 + ((y - 32) / 16) ** 2 < 1] = -860
    hu[:, ((x - 44) / 9) ** 2 + ((y - 32) / 16) ** 2 < 1] = -860
    hu[:, 50:55, 29:35] = 600
    hu[:, 30:34, 18:22] = 30
    return (hu + rng.normal(0, 25, hu.shape)).round().astype(np.int32)


def pad(values: Values, padding: float) -> Values:
    """Fill the corners, as outside the field of view."""
    y, x = np.indices(values.shape[1:])
    changed = values.copy()
    changed[:, (x - 32) ** 2 + (y - 32) ** 2 > 31**2] = padding
    return changed


def clip(hu: Values, low: float = -1000, high: float = 400) -> NDArray[np.float64]:
    return np.clip(hu.astype(np.float64), low, high)


HU = make_chest()
AS_HU: dict[str, Values] = {
    "a chest": HU,
    "as floats": HU.astype("<f4") + 0.25,
    "clipped": clip(HU),
    "clipped to a narrow window": clip(HU, -160, 240),
    **{f"padded by {value}": pad(HU, value) for value in (-2000, -2048, -3024, -32768, -1024, 0)},
    "lung only": HU[:, 22:42, 14:26],
    "a nodule at the wall": HU[:, 26:38, 12:24],
    "lung around soft tissue": np.where(HU < -500, -850, 40),
    "soft tissue and fat": HU[:, 2:9, 26:38].clip(-150),
    "without noise": np.where(HU < -500, -1000, np.where(HU < -50, -100, 50)),
    "not a number around": np.where(HU < -950, np.nan, HU),
}
HAND_MADE_OFFSET = (HU + 1024).clip(0)
OTHER: dict[str, tuple[Values, str]] = {
    "HU + 1024": (HU + 1024, "as of HU + 1024: no HU; pass --rescale 1,-1024"),
    "HU + 1000": (HU + 1000, "as of HU + 1024: no HU; pass --rescale 1,-1024"),
    "HU + 1024, unsigned": (HAND_MADE_OFFSET.astype("<u2"), "its values are 0 to "),
    **{
        f"HU + 1024 padded by {value}": (pad(HU + 1024, value), "as of HU + 1024: no HU; pass --rescale 1,-1024")
        for value in (-2000, -2048, -3024, -32768, -1024, -1000)
    },
    "HU + 1024 of lung": (HU[:, 22:29, 16:24] + 1024, "no HU; pass --rescale SLOPE,INTERCEPT"),
    "HU - 1024": (HU - 1024, "as of HU - 1024: no HU; pass --rescale 1,1024"),
    "0 to 1": ((clip(HU) + 1000) / 1400, "its values are 0 to 1, as of CT scaled to [0, 1]: no HU; pass --rescale"),
    "0 to 1, padded": (
        pad((clip(HU) + 1000) / 1400, -2000),
        "0 to 1 beside padding of -2000, as of CT scaled",
    ),
    "-1 to 1": ((clip(HU) + 300) / 700, "its values are -1 to 1, as of CT scaled to [-1, 1]"),
    "0 to 255": (((clip(HU) + 1000) / 1400 * 255).round(), "its values are 0 to 255, as of CT in a window of 8 bits"),
    "-128 to 127": ((clip(HU) + 1000) / 1400 * 255 - 128, "as of CT in a window of 8 bits"),
    "z-scores": ((HU - HU.mean()) / HU.std(), "as of CT scaled by mean and deviation"),
    "thousandths": (HU / 1000, "as of CT scaled"),
    "windowed from 0": (clip(HU) + 1000, "as of HU + 1024"),
    "a window of soft tissue from 0": (clip(HU, -160, 240) + 160, "its values are 0 to 400, none is negative: no HU"),
    "without its sign": (
        HU.astype("<i2").view("<u2"),
        "as of negative values stored without their sign",
    ),
    "nothing": (np.zeros((2, 3, 4), "<i2"), "its values are 0 to 0,"),
    "no number": (np.full((2, 3, 4), np.nan), "no value is a number"),
    "padding alone": (np.full((2, 3, 4), -3024), "are all below -1200"),
}


def find_fault(values: Values) -> str | None:
    seen = HuRange()
    for plane in values:
        seen.add(plane)
    return seen.find_fault()


@pytest.mark.parametrize("kind", AS_HU)
def test_ct_of_all_kinds_is_taken(kind: str) -> None:
    assert find_fault(AS_HU[kind]) is None


@pytest.mark.parametrize("kind", OTHER)
def test_other_scales_are_told_with_the_remedy(kind: str) -> None:
    values, message = OTHER[kind]
    assert message in str(find_fault(values))


@pytest.mark.parametrize(
    ("kind", "rescale"),
    [
        ("HU + 1024", (1.0, -1024.0)),
        ("HU + 1024 padded by -3024", (1.0, -1024.0)),
        ("HU - 1024", (1.0, 1024.0)),
        ("0 to 1", (1400.0, -1000.0)),
        ("-1 to 1", (700.0, -300.0)),
        ("0 to 255", (1400 / 255, -1000.0)),
    ],
)
def test_the_remedy_helps(tmp_path: Path, kind: str, rescale: Rescale) -> None:
    path = write_volume(tmp_path / "a.nii", OTHER[kind][0].astype("<f4"), AFFINE)
    with pytest.raises(SliceError, match=r"a\.nii: its values are .*: no HU; pass --rescale") as caught:
        HuSlices(open_volume(path), [4])
    assert caught.value.code is RejectCode.NOT_HU
    slices = HuSlices(open_volume(path, rescale=rescale), [4])
    assert slices.doubt is None
    ((index, hu),) = slices
    assert index == 4
    inside = np.s_[24:40, 24:40]
    np.testing.assert_allclose(hu[inside], clip(HU)[4][inside], atol=3)


def test_the_word_of_a_user_is_taken_with_a_doubt(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii", HU + 1024, AFFINE)
    slices = HuSlices(open_volume(path, rescale=(1.0, 0.0)), [2])
    assert "as of HU + 1024" in str(slices.doubt)
    np.testing.assert_array_equal(next(iter(slices))[1], HU[2] + 1024)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_volume_is_judged_by_more_than_one_slice(tmp_path: Path, name: str) -> None:
    """A slice without soft tissue in HU + 1024 is not told from HU by itself."""
    values = np.full((24, 64, 64), 40)
    values[:16] = HU[4] + 1024
    values[16] = np.where(HU[4] < -500, -200, HU[4])
    path = write_volume(tmp_path / name, values.astype("<i2"), AFFINE)
    with pytest.raises(SliceError, match=r"as of HU \+ 1024"):
        HuSlices(open_volume(path), [16])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_slices_that_take_much_memory_are_read_twice(
    tmp_path: Path, order: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, affine = permute(HU.astype("<i2"), AFFINE, order, (True, True, True))
    path = write_volume(tmp_path / "a.nii.gz", stored, affine)
    held = sorted(HuSlices(open_volume(path), [6, 1, 3]), key=lambda it: it[0])
    monkeypatch.setattr("noduleclip.io.volumes.hu_slices._MOST_HELD_BYTES", 10)
    again = sorted(HuSlices(open_volume(path), [6, 1, 3]), key=lambda it: it[0])
    assert [index for index, _ in held] == [index for index, _ in again] == [1, 3, 6]
    for (index, hu), (_, other) in zip(held, again, strict=True):
        np.testing.assert_array_equal(hu, HU[index])
        np.testing.assert_array_equal(other, HU[index])


@pytest.mark.parametrize(("text", "rescale"), [("1,-1024", (1, -1024)), (" 5.5 , -1e3", (5.5, -1000)), ("", None)])
def test_a_rescaling_is_parsed(text: str, rescale: Rescale | None) -> None:
    assert parse_rescale(text) == rescale


@pytest.mark.parametrize("text", ["1", "1,2,3", "a,b", "0,0", "-1,0", "nan,0", "1,inf", ","])
def test_what_is_no_rescaling_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--rescale is .*; needed are a positive slope and an intercept"):
        parse_rescale(text)


def test_all_real_crops_pass_and_none_does_in_another_scale() -> None:
    paths = sorted(REAL.glob("*.nii.gz"))
    if not paths:
        pytest.skip(f"{REAL} is not there")
    taken, refused = 0, 0
    for path in paths:
        volume = open_volume(path)
        hu = np.array([values for _, values in volume.read_slices(range(volume.shape_zyx[0]))])
        taken += find_fault(hu) is None
        refused += find_fault(hu.astype(np.int32) + 1024) is not None
    assert (taken, refused) == (len(paths), len(paths))
