"""Augmentations whose effect on the diameter is exact, measured on discs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from noduleclip.config import CropConfig, TrainConfig
from noduleclip.engine.batches import augment, center_crop, margin_px, shuffled_batches

CROP = CropConfig(fov_mm=48, size_px=64)
STILL = TrainConfig(max_rotation_deg=0, max_zoom=1, max_shift_mm=0, noise_hu=0, max_stretch=1)


def discs(diameters_mm: list[float]) -> torch.Tensor:
    """Soft-edged discs of 40 HU in -900 HU at the crop's pixel size, margin included."""
    side = CROP.size_px + 2 * margin_px(CROP.size_px)
    places = (torch.arange(side) - (side - 1) / 2) * CROP.pixel_mm
    radius = torch.hypot(places[:, None], places[None, :])
    edges = [((size / 2 - radius) / CROP.pixel_mm + 0.5).clamp(0, 1) for size in diameters_mm]
    return torch.stack([edge * 940 - 900 for edge in edges]).round().short()


def outlines(crops_hu: torch.Tensor) -> torch.Tensor:
    """The discs themselves, as outlines that the readers agree on."""
    return (crops_hu.float() + 900) / 940


def rims(diameters_mm: torch.Tensor, points: int = 64) -> torch.Tensor:
    """Points around circles of some diameters (B, R), as outlines have them."""
    angles = torch.arange(points) * (2 * math.pi / points)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    return diameters_mm[:, :, None, None] / 2 * circle


def measure_mm(crops_hu: torch.Tensor) -> torch.Tensor:
    """Diameter of the disc with the area that is brighter than lung."""
    area = ((crops_hu + 900) / 940).clamp(0, 1).sum(dim=(1, 2)) * CROP.pixel_mm**2
    return 2 * (area / math.pi).sqrt()


def test_without_augmentation_the_middle_is_given() -> None:
    crops, sizes = discs([8.0, 20.0]), torch.tensor([[8.0, 9.0], [20.0, math.nan]])
    flipped = replace(STILL)
    seen, mask_probability, diameters = augment(
        crops, outlines(crops), sizes, rims(sizes), CROP, flipped, torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(seen, center_crop(crops, 64).float(), rtol=0, atol=0.5)
    torch.testing.assert_close(mask_probability, center_crop(outlines(crops), 64), rtol=0, atol=1e-3)
    torch.testing.assert_close(diameters, sizes, equal_nan=True)


def test_zoom_scales_the_disc_as_it_scales_the_label() -> None:
    sizes = torch.linspace(6, 24, 40)
    config = replace(STILL, max_zoom=1.25, max_rotation_deg=180, max_shift_mm=2)
    crops = discs(sizes.tolist())
    generator = torch.Generator().manual_seed(1)
    seen, mask_probability, labels = augment(
        crops, outlines(crops), sizes[:, None], rims(sizes[:, None]), CROP, config, generator
    )
    torch.testing.assert_close(
        outlines(seen).clamp(min=0), mask_probability, rtol=0, atol=1e-3
    )  # air beyond the kept square
    assert (labels[:, 0] / sizes).min() < 0.85
    assert (labels[:, 0] / sizes).max() > 1.18
    np.testing.assert_allclose(measure_mm(seen), labels[:, 0], atol=0.25)


def test_a_stretch_changes_the_label_as_it_changes_the_disc() -> None:
    """A disc becomes an ellipse of the same area whose long axis is the new diameter."""
    sizes = torch.linspace(8, 20, 40)[:, None]
    config = replace(STILL, max_stretch=1.3, max_rotation_deg=180)
    crops = discs(sizes[:, 0].tolist())
    generator = torch.Generator().manual_seed(1)
    seen, _, labels = augment(crops, outlines(crops), sizes, rims(sizes), CROP, config, generator)
    np.testing.assert_allclose(measure_mm(seen), sizes[:, 0], atol=0.3)
    share = outlines(seen).clamp(0, 1)
    places = (torch.arange(64) - 31.5) * CROP.pixel_mm
    mass = share.sum(dim=(1, 2))
    yy, xx = (share * places[:, None] ** 2).sum(dim=(1, 2)) / mass, (share * places**2).sum(dim=(1, 2)) / mass
    xy = (share * places[:, None] * places).sum(dim=(1, 2)) / mass
    long_axis = 4 * ((yy + xx) / 2 + (((yy - xx) / 2) ** 2 + xy**2).sqrt()).sqrt()  # of a filled ellipse
    np.testing.assert_allclose(labels[:, 0], long_axis, rtol=0.03)
    assert (labels / sizes).max() > 1.2
    assert (labels / sizes).min() >= 0.99


def test_without_every_outline_a_nodule_is_not_stretched() -> None:
    sizes = torch.tensor([[8.0, 9.0], [8.0, 9.0], [8.0, math.nan]])
    lines = rims(sizes)
    lines[1, 1] = math.nan
    crops = discs([8.0, 8.0, 8.0])
    config = replace(STILL, max_stretch=1.4)
    _, _, labels = augment(crops, outlines(crops), sizes, lines, CROP, config, torch.Generator().manual_seed(3))
    assert labels[1].tolist() == [8, 9]
    assert labels[0, 0] > 8.05 and labels[2, 0] > 8.05
    assert torch.isnan(labels[2, 1])


def test_a_shift_moves_the_centre_by_at_most_what_was_asked() -> None:
    config = replace(STILL, max_shift_mm=3)
    crops, sizes = discs([8.0] * 200), torch.full((200, 1), 8.0)
    seen, _, _ = augment(crops, outlines(crops), sizes, rims(sizes), CROP, config, torch.Generator().manual_seed(2))
    weight = (seen + 900).clamp(min=0)
    places = (torch.arange(64) - 31.5) * CROP.pixel_mm
    x = (weight.sum(dim=1) * places).sum(dim=1) / weight.sum(dim=(1, 2))
    assert x.abs().max() == pytest.approx(3, abs=0.2)
    assert x.mean().abs() < 0.4


def test_beyond_the_kept_square_there_is_air() -> None:
    config = replace(STILL, max_zoom=1.5, max_rotation_deg=45)
    tissue = torch.full((64, 96, 96), 40, dtype=torch.int16)
    sizes = torch.full((64, 1), 8.0)
    seen, mask_probability, _ = augment(
        tissue, torch.ones(64, 96, 96), sizes, rims(sizes), CROP, config, torch.Generator().manual_seed(3)
    )
    assert mask_probability.min() == 0
    assert seen.min() >= -1024.5
    assert seen.min() < -1000
    assert seen.max() < 41


def test_noise_has_at_most_the_asked_deviation() -> None:
    config = replace(STILL, noise_hu=30)
    flat = torch.zeros(100, 96, 96, dtype=torch.int16)
    sizes = torch.full((100, 1), 8.0)
    seen, mask_probability, _ = augment(
        flat, torch.ones(flat.shape), sizes, rims(sizes), CROP, config, torch.Generator().manual_seed(4)
    )
    assert mask_probability.min() == 1
    deviations = seen.std(dim=(1, 2))
    assert deviations.max() < 31.5
    assert deviations.mean() == pytest.approx(15, abs=3)


def test_the_same_generator_gives_the_same_crops() -> None:
    config = TrainConfig()
    crops, sizes = discs([8.0, 9.0]), torch.ones(2, 1)
    one, two = (
        augment(crops, outlines(crops), sizes, rims(sizes), CROP, config, torch.Generator().manual_seed(5))
        for _ in range(2)
    )
    assert torch.equal(one[0], two[0])


def test_batches_hold_every_sample_once_and_never_a_single_one() -> None:
    batches = list(shuffled_batches(65, 16, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == [16, 16, 16, 16]
    assert len(set(torch.cat(batches).tolist())) == 64
    assert sorted(torch.cat(list(shuffled_batches(60, 16, torch.Generator()))).tolist()) == list(range(60))
