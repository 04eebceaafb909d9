"""Outlines of known millimetres, measured."""

import itertools
import math

import numpy as np
import pytest
import torch

from noduleclip.models.outline import SIZES, OutlineDecoder, measure_outline

SIDE, FOV_MM = 96, 48.0


def ellipse(
    long_mm: float, short_mm: float, angle: float = 0.0, center_mm: tuple[float, float] = (0, 0)
) -> torch.Tensor:
    """(1, SIDE, SIDE) with 1 inside an ellipse of two diameters."""
    places = (torch.arange(SIDE) - (SIDE - 1) / 2) * FOV_MM / SIDE
    x, y = places[None, :] - center_mm[0], places[:, None] - center_mm[1]
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return (((along / long_mm) ** 2 + (across / short_mm) ** 2) <= 0.25).float().unsqueeze(0)


@pytest.mark.parametrize(("long_mm", "short_mm"), [(6, 6), (10, 7), (30, 20)])
@pytest.mark.parametrize("angle", [0, 0.4, 1.5])
def test_an_ellipse_is_measured(long_mm: float, short_mm: float, angle: float) -> None:
    sizes = measure_outline(ellipse(long_mm, short_mm, angle, (2.0, -3.0)), FOV_MM)
    assert sizes.shape == (1, SIZES)
    area = math.pi * long_mm * short_mm / 4
    expected = [math.log(area + 1) / 2, math.log(long_mm / 4), math.log(short_mm / 4)]
    np.testing.assert_allclose(sizes[0, :3], expected, atol=0.06)
    assert float(sizes[0, 5]) == 0


def test_extents_follow_size_and_ignore_place_and_turn() -> None:
    measured = [measure_outline(ellipse(size, size), FOV_MM)[0, 3:5] for size in (6, 9, 13, 19)]
    assert all(bool((after - before > 0.1).all()) for before, after in itertools.pairwise(measured))
    moved = measure_outline(ellipse(13, 13, 0.3, (5.0, 4.0)), FOV_MM)[0, 3:5]
    torch.testing.assert_close(moved, measured[2], rtol=0, atol=0.02)


def test_nothing_drawn_gives_finite_sizes_and_gradients() -> None:
    for level in (0.0, 1e-6, 1.0):
        mask_probability = torch.full((2, SIDE, SIDE), level, requires_grad=True)
        sizes = measure_outline(mask_probability, FOV_MM)
        sizes.sum().backward()  # type: ignore[no-untyped-call]
        assert mask_probability.grad is not None
        assert bool(torch.isfinite(sizes).all())
        assert bool(torch.isfinite(mask_probability.grad).all())


def test_the_decoder_gives_one_map_whatever_the_levels_are() -> None:
    for sides in ((32, 16, 8), (4, 4, 4), (7, 4, 2), (16,)):
        channels = [8 * (at + 1) for at in range(len(sides))]
        decoder = OutlineDecoder(channels, width=6, side_px=32)
        drawn, logits = decoder([torch.randn(2, c, s, s) for c, s in zip(channels, sides, strict=True)])
        assert drawn.shape == (2, 6, 32, 32)
        assert logits.shape == (2, 32, 32)
