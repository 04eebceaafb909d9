"""Nodules in the voxels of a mask: parts or labels, and values that are no labels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from importers.mask_phantoms import AFFINE, SHAPE, make_hu, make_mask, write_mask
from noduleclip.errors import RejectCode, SliceError, UsageError
from noduleclip.importers import mask_components, mask_voxels
from noduleclip.importers.mask_components import TooManyComponentsError, label_components
from noduleclip.importers.mask_voxels import Instances, MaskInstances, MaskRules, parse_labels, read_instances
from noduleclip.io.volumes.formats import open_volume
from noduleclip.io.volumes.volume import Volume
from volume_files import write_layers, write_nrrd


def read(
    folder: Path, mask: NDArray[np.generic], rules: MaskRules | None = None, *, is_one: bool = False
) -> MaskInstances:
    return read_instances(open_volume(write_mask(folder / "m.mha", mask)), rules or MaskRules(), is_one=is_one)


def sizes(found: MaskInstances) -> dict[str, int]:
    return {one.name: len(one.voxels_xyz) for one in found.nodules}


def same_groups(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    return (
        len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(set(one.tolist())) == len(set(other.tolist()))
    )


@given(seed=st.integers(0, 10_000), share=st.floats(0.001, 0.4), side=st.integers(1, 24))
def test_components_are_those_of_a_plain_array(seed: int, share: float, side: int) -> None:
    random = np.random.default_rng(seed)
    box = random.random((side, 1 + side // 2, side)) < share
    voxels = np.argwhere(box).astype(np.int32)
    if not len(voxels):
        return
    expected = ndimage.label(box, np.ones((3, 3, 3)))[0][box]
    assert same_groups(label_components(voxels + 1000), expected)
    small = np.bincount(expected)[expected] < 3
    numbers = label_components(voxels, min_voxels=3)
    np.testing.assert_array_equal(numbers == -1, small)
    assert small.all() or same_groups(numbers[~small], expected[~small])


def test_a_component_may_run_through_blocks_by_their_corners() -> None:
    diagonal = np.repeat(np.arange(200)[:, None], 3, axis=1).astype(np.int32)
    assert set(label_components(diagonal).tolist()) == {0}
    assert set(label_components(diagonal[np.arange(200) % 7 != 3]).tolist()) == set(range(29))


def test_noise_is_refused_before_it_is_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    far_apart = np.column_stack([np.arange(1001) * 9, np.zeros((1001, 2), int)]).astype(np.int32)
    with pytest.raises(TooManyComponentsError, match="over 1,000 parts"):
        label_components(far_apart)
    assert set(label_components(far_apart[:1000]).tolist()) == set(range(1000))
    assert set(label_components(far_apart, min_voxels=2).tolist()) == {-1}
    near = np.column_stack([np.arange(1001) * 3, np.zeros((1001, 2), int)]).astype(np.int32)
    with pytest.raises(TooManyComponentsError, match="over 1,000 parts"):
        label_components(near)
    monkeypatch.setattr(mask_components, "MOST_BOX_VOXELS", 700)
    with pytest.raises(TooManyComponentsError, match="parts all over a box of 751 x 1 x 1 voxels"):
        label_components(near)


@pytest.mark.parametrize("value", [1, 2, 255])
def test_parts_of_a_binary_mask_are_nodules_whatever_its_value(tmp_path: Path, value: int) -> None:
    found = read(tmp_path, make_mask(values=(value, value)))
    one, other = (np.count_nonzero(make_mask(values=values)) for values in ((1, 0), (0, 1)))
    assert sizes(found) == {"component 1": one, "component 2": other}


def test_parts_that_touch_by_a_corner_are_one(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[3, 4, 5] = mask[4, 5, 6] = mask[6, 6, 6] = 1
    assert sizes(read(tmp_path, mask)) == {"component 1": 2, "component 2": 1}


def test_several_values_are_instances(tmp_path: Path) -> None:
    mask = make_mask(values=(3, 7))
    mask[0, 0, 0] = 7
    found = sizes(read(tmp_path, mask))
    assert list(found) == ["label 7", "label 3"], "upwards"
    parts = sizes(read(tmp_path, mask, MaskRules(instances=Instances.COMPONENTS)))
    assert list(parts.values()) == [1, found["label 3"], found["label 7"] - 1]
    chosen = sizes(read(tmp_path, mask, MaskRules(labels=(7,))))
    assert list(chosen.values()) == [1, found["label 7"] - 1], "one value chosen: its parts"
    whole = sizes(read(tmp_path, mask, MaskRules(labels=(7,), instances=Instances.LABELS)))
    assert whole == {"label 7": found["label 7"]}
    assert sizes(read(tmp_path, mask, is_one=True)) == {"the mask": sum(found.values())}


def test_parts_of_two_values_that_touch_are_one_component(tmp_path: Path) -> None:
    mask = make_mask()
    mask[4:, :, :30] *= 2
    assert len(read(tmp_path, mask, MaskRules(instances=Instances.COMPONENTS)).nodules) == 2


def test_an_ignored_label_is_refused_until_labels_are_named(tmp_path: Path) -> None:
    mask = make_mask(values=(1, 255))
    with pytest.raises(SliceError, match="has label 255 beside 1, as of voxels to be ignored") as error:
        read(tmp_path, mask)
    assert error.value.code is RejectCode.BAD_MASK
    assert len(read(tmp_path, mask, MaskRules(labels=(1,))).nodules) == 1
    many = mask.astype(np.uint16)
    many[0, 0, 0] = 256
    assert list(sizes(read(tmp_path, many))) == ["label 256", "label 1", "label 255"], "an ordinary number among others"


def test_an_empty_mask_has_no_nodules(tmp_path: Path) -> None:
    assert read(tmp_path, np.zeros(SHAPE, np.uint8)) == MaskInstances()
    assert read(tmp_path, make_mask(), MaskRules(labels=(2,))) == MaskInstances()


def test_whole_numbers_may_be_stored_as_floating_point(tmp_path: Path) -> None:
    assert sizes(read(tmp_path, make_mask().astype(np.float32))) == sizes(read(tmp_path, make_mask()))


NAN = make_mask().astype(np.float32)
NAN[0, 0, 0] = np.nan
BAD: dict[str, tuple[NDArray[np.generic], str]] = {
    "negative": (np.where(make_mask(), -1, 0).astype(np.int16), "has values from -1 to -1: an image, or labels below"),
    "image": (make_hu(), r"has values from -\d+ to -?\d+: an image, or labels below 0"),
    "unsigned image": ((make_hu() + 1024).astype(np.uint16), r"100% of its voxels are not 0, of \d+ values: an image"),
    "fractional": ((make_mask() * 0.7).astype(np.float32), "has fractional values, such as 0.7: .* --threshold 0.5"),
    "fractional, just below 0": (
        np.where(make_mask(), 0.7, -1e-9).astype(np.float32), "has fractional values, such as .* --threshold 0.5"
    ),
    "NaN": (NAN, r"has values that are no numbers \(NaN\)"),
    "too large": ((make_mask() * 1e12).astype(np.float32), r"has values up to 1e\+12"),
    "noise": (
        np.random.default_rng(0).integers(0, 1 << 14, SHAPE).astype(np.uint16),
        r"has 14,\d+ values: an image, no mask; name the folder of the masks",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_values_that_are_no_labels_are_told(tmp_path: Path, name: str) -> None:
    mask, message = BAD[name]
    with pytest.raises(SliceError, match=message) as error:
        read(tmp_path, mask)
    assert error.value.code is RejectCode.BAD_MASK


def test_a_threshold_makes_a_mask_of_probabilities(tmp_path: Path) -> None:
    probabilities = np.where(fill := make_mask().astype(bool), 0.5, 0.49).astype(np.float32)
    found = read(tmp_path, probabilities, MaskRules(threshold=0.5))
    assert sum(sizes(found).values()) == np.count_nonzero(fill)


def test_a_lung_is_no_nodule(tmp_path: Path) -> None:
    mask = np.zeros((4, 200, 160), np.uint8)
    mask[:, 20:180, 10:150] = 1
    mask[1, 60:66, 60:66] = 2
    found = read_instances(open_volume(write_mask(tmp_path / "m.mha", mask, AFFINE)), MaskRules())
    assert list(sizes(found)) == ["label 2"]
    (reason,) = found.wide
    assert reason.split(": ", 1)[1] == (
        "label 1 is 98 x 144 mm wide, a nodule up to 100 mm; name the values that are nodules with --labels, and "
        "--instances components takes the parts of a label for nodules"
    )


def test_named_anatomy_is_left_out(tmp_path: Path) -> None:
    def write(first: str, second: str) -> Volume:
        fields = {f"Segment{at}_Name": name for at, name in enumerate((first, second))}
        fields |= {"Segment0_LabelValue": "1", "Segment1_LabelValue": "2"}
        return open_volume(write_nrrd(tmp_path / "m.seg.nrrd", make_mask(values=(1, 2)), AFFINE, fields=fields))

    found = read_instances(write("lung_upper_lobe_left", "lung_nodules"), MaskRules())
    assert (list(sizes(found)), found.anatomy) == (["component 1"], ["lung_upper_lobe_left"])
    assert list(sizes(read_instances(write("lung", ""), MaskRules(labels=(1,))))) == ["component 1"]
    assert list(sizes(read_instances(write("nodule A", "nodule B"), MaskRules()))) == ["nodule A", "nodule B"]


def write_overlap(folder: Path, *segments: tuple[int, int, str]) -> tuple[Volume, NDArray[np.uint8]]:
    """Write a ball in each of two layers and, in the second, also the half of the first ball; return the layers."""
    halves = make_mask(values=(0, 3))
    halves[:4][make_mask(values=(1, 0))[:4] > 0] = 1
    layers = np.stack([make_mask(values=(1, 0)), halves])
    return open_volume(write_layers(folder / "m.seg.nrrd", list(layers), AFFINE, segments)), layers


def test_segments_of_layers_are_whole_where_they_overlap(tmp_path: Path) -> None:
    volume, layers = write_overlap(tmp_path, (0, 1, "nodule A"), (1, 1, "core of A"))
    found = read_instances(volume, MaskRules())
    assert [one.name for one in found.nodules] == ["nodule A", "core of A", "label 3 of layer 1"], "upwards"
    for one, (layer, label) in zip(found.nodules, [(0, 1), (1, 1), (1, 3)], strict=True):
        expected = np.argwhere(layers[layer] == label)[:, ::-1]
        np.testing.assert_array_equal(sorted(one.voxels_xyz.tolist()), sorted(expected.tolist()))
    of_label = read_instances(volume, MaskRules(labels=(1,)))
    assert [one.name for one in of_label.nodules] == ["nodule A", "core of A"], "of each layer"


def test_parts_of_layers_are_those_of_all_segments_together(tmp_path: Path) -> None:
    volume, layers = write_overlap(tmp_path, (0, 1, "nodule A"), (1, 1, "core of A"))
    united = {tuple(place) for place in np.argwhere(layers.any(axis=0))[:, ::-1].tolist()}
    for rules, is_one, count in ((MaskRules(instances=Instances.COMPONENTS), False, 2), (MaskRules(), True, 1)):
        found = read_instances(volume, rules, is_one=is_one)
        assert len(found.nodules) == count
        voxels = [tuple(place) for one in found.nodules for place in one.voxels_xyz.tolist()]
        assert len(voxels) == len(united)
        assert set(voxels) == united


def test_anatomy_and_ignored_labels_are_found_in_every_layer(tmp_path: Path) -> None:
    volume, _ = write_overlap(tmp_path, (0, 1, "nodule"), (1, 1, "left lung"), (1, 3, "lung nodule"))
    found = read_instances(volume, MaskRules())
    assert ([one.name for one in found.nodules], found.anatomy) == (["nodule", "lung nodule"], ["left lung"])
    layers = np.stack([make_mask(values=(1, 0)), make_mask(values=(0, 255))])
    path = write_layers(tmp_path / "n.seg.nrrd", list(layers), AFFINE, [(0, 1, "nodule"), (1, 255, "")])
    with pytest.raises(SliceError, match="has label 255 beside 1, as of voxels to be ignored"):
        read_instances(open_volume(path), MaskRules())


def test_small_nodules_are_counted_or_left_out(tmp_path: Path) -> None:
    mask = make_mask()
    mask[0, 0, 0] = mask[0, 49, 59] = mask[0, 49, 58] = mask[11, 0, 0] = 1
    found = read(tmp_path, mask)
    assert (len(found.nodules), found.few, found.left_out) == (5, 3, 0)
    found = read(tmp_path, mask, MaskRules(min_voxels=2))
    assert (len(found.nodules), found.few, found.left_out) == (3, 1, 1)
    labels = mask.copy()
    labels[11, 0, 0] = 9
    found = read(tmp_path, labels, MaskRules(min_voxels=2))
    assert (list(sizes(found)), found.left_out) == (["label 1"], 1)


def test_a_mask_of_too_many_voxels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_voxels, "MOST_VOXELS", 10)
    with pytest.raises(SliceError, match="over 10 of its voxels are not 0: no mask of nodules; name the"):
        read(tmp_path, make_mask())


def test_noise_in_a_mask_is_refused(tmp_path: Path) -> None:
    noise = (np.random.default_rng(0).random((40, 100, 100)) < 0.01).astype(np.uint8)
    with pytest.raises(SliceError, match="its voxels that are not 0 are in over 1,000 parts: no mask of nodules"):
        read(tmp_path, noise)


def test_labels_are_numbers() -> None:
    assert parse_labels("") == ()
    assert parse_labels("3, 1,3") == (1, 3)
    for text in ("a", "1.5", "0", "-1", "1;2", "99999999999"):
        with pytest.raises(UsageError, match="are no values of a mask; write them as 1,2"):
            parse_labels(text)
