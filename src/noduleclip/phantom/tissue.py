"""Synthetic CT of one lung: chest wall, mediastinum, vessels, nodules and scanner noise, in HU.

Pure functions of a random generator, in the coordinates of `phantom.geometry`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from noduleclip.phantom.geometry import LAYERS_PER_SLICE, OUTLINE_ANGLES, Floats, Grid, Nodule, ScanAppearance, Thorax

_Vessel = tuple[NDArray[np.float64], NDArray[np.float64], float]  # start and end (x, y, z) in mm, radius in mm

ROOM_AIR_HU, SOFT_TISSUE_HU = -1000.0, 45.0


def draw_phantom_slice(
    diameter_mm: float,
    *,
    spacing_yx_mm: tuple[float, float],
    matrix_px: int = 128,
    center_xy_px: tuple[float, float] | None = None,
) -> Floats:
    """Draw one slice through plain lung of -850 HU with one round nodule of 40 HU and known diameter, without noise.

    Args:
        diameter_mm: True diameter; the half-way level between lung and nodule lies on this circle.
        spacing_yx_mm: Distance between rows and between columns.
        matrix_px: Rows and columns.
        center_xy_px: Column and row of the nodule's centre, 0-based; None = the middle of the image.

    Returns:
        HU (Y, X).
    """
    grid = Grid(matrix_px, spacing_yx_mm, 1, 1.0)
    middle = (matrix_px - 1) / 2
    x_px, y_px = center_xy_px or (middle, middle)
    center_mm = ((x_px - middle) * spacing_yx_mm[1], (y_px - middle) * spacing_yx_mm[0], 0.0)
    radii_mm = np.full(OUTLINE_ANGLES, diameter_mm / 2, np.float32)
    volume = np.full((LAYERS_PER_SLICE, matrix_px, matrix_px), -850, np.float32)
    _paint_nodule(volume, grid, Nodule(center_mm, radii_mm, 1e6, 40.0, grid.pixel_mm))
    return np.asarray(_blur(_merge_layers(volume), sigma_px=0.7)[0])


def draw_series(
    rng: np.random.Generator, grid: Grid, thorax: Thorax, nodules: Sequence[Nodule], appearance: ScanAppearance
) -> Floats:
    """Draw the slices of one patient.

    Returns:
        HU (Z, Y, X), not clipped.
    """
    volume = np.repeat(_draw_thorax(grid, thorax, appearance), LAYERS_PER_SLICE, axis=0)
    for vessel in _grow_vessels(rng, grid, thorax, nodules):
        _paint_vessel(volume, grid, vessel, appearance.vessel_hu)
    for nodule in nodules:
        _paint_nodule(volume, grid, nodule)
    hu = _merge_layers(volume)
    airiness = np.clip((-100 - hu) / 700, 0, 1)
    hu += appearance.texture_hu * airiness * _make_texture(rng, hu.shape, grid)
    hu = _blur(hu, appearance.psf_px)
    hu += appearance.noise_hu * make_noise(rng, hu.shape, appearance.noise_px)
    return hu


def make_noise(rng: np.random.Generator, shape: tuple[int, ...], grain_px: float) -> Floats:
    """Make noise with a CT-like spectrum: a ramp times a Gaussian roll-off, finer in one direction.

    Args:
        rng: Where the white noise and the direction come from.
        shape: (Z, Y, X); slices are independent of each other.
        grain_px: Standard deviation of the roll-off in pixels.

    Returns:
        Noise of that shape, mean 0 and standard deviation 1.
    """
    fy, fx = np.fft.fftfreq(shape[1])[:, None], np.fft.rfftfreq(shape[2])[None, :]
    angle, stretch = rng.uniform(0, math.pi), rng.uniform(1.0, 1.5)
    along, across = fx * math.cos(angle) + fy * math.sin(angle), fy * math.cos(angle) - fx * math.sin(angle)
    frequency = np.hypot(along * stretch, across)
    return _filter_white(rng, shape, (0.02 + frequency) * np.exp(-2 * (math.pi * grain_px * frequency) ** 2))


def _make_texture(rng: np.random.Generator, shape: tuple[int, ...], grid: Grid) -> Floats:
    """Make the texture of the parenchyma: fine grain on slow clouds; standard deviation 1."""
    fy = np.fft.fftfreq(shape[1], grid.spacing_yx_mm[0])[:, None]
    fx = np.fft.rfftfreq(shape[2], grid.spacing_yx_mm[1])[None, :]
    squared = (2 * math.pi * math.pi) * (fy**2 + fx**2)
    return _filter_white(rng, shape, np.exp(-squared * 0.6**2) + 5 * np.exp(-squared * 5.0**2))


def _filter_white(rng: np.random.Generator, shape: tuple[int, ...], transfer: NDArray[np.float64]) -> Floats:
    """Shape the spectrum of white noise slice by slice; the result has mean 0 and standard deviation 1."""
    transfer = transfer.copy()
    transfer[0, 0] = 0.0
    weights = np.full(transfer.shape[1], 2.0)
    weights[0] = 1.0
    if shape[2] % 2 == 0:
        weights[-1] = 1.0
    power = float((weights * transfer**2).sum()) / (shape[1] * shape[2])
    gain = (transfer / math.sqrt(power)).astype(np.float32)
    white = rng.standard_normal(shape, np.float32)
    return np.asarray(np.fft.irfft2(np.fft.rfft2(white) * gain, s=shape[1:]), np.float32)


def _blur(hu: Floats, sigma_px: float) -> Floats:
    """Blur the slices of (Z, Y, X) with a Gaussian, the border pixels repeated outwards."""
    reach = max(1, math.ceil(3 * sigma_px))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    kernel /= kernel.sum()
    for axis in (1, 2):
        size = hu.shape[axis]
        padded = np.pad(hu, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="edge")
        hu = np.zeros_like(hu)
        for offset, weight in enumerate(kernel.tolist()):
            window = [slice(None)] * 3
            window[axis] = slice(offset, offset + size)
            hu += weight * padded[tuple(window)]
    return hu


def _merge_layers(volume: Floats) -> Floats:
    """Average the layers (L, Y, X) of each slice: the partial volume through the plane, (Z, Y, X)."""
    layers, rows, columns = volume.shape
    by_slice = volume.reshape(layers // LAYERS_PER_SLICE, LAYERS_PER_SLICE, rows, columns)
    return np.asarray(by_slice.mean(axis=1), np.float32)


def _draw_thorax(grid: Grid, thorax: Thorax, appearance: ScanAppearance) -> Floats:
    """Draw lung, chest wall, mediastinum and the air outside the body, HU (Z, Y, X)."""
    _, y_mm, x_mm = grid.axes_mm
    x, y = x_mm[None, :], y_mm[:, None]
    theta, rho = np.arctan2(y, x), np.hypot(x, y)
    pleura = thorax.pleura_radius_mm(theta)
    hilum, *_ = bulge_depths = [np.hypot(x - x0, y - y0) - radius for x0, y0, radius in thorax.bulges_mm]
    bulge_depth = np.minimum.reduce(bulge_depths)
    wall = np.where(hilum < -3, appearance.vessel_hu - 10, SOFT_TISSUE_HU)
    lung = appearance.lung_hu + 45 * y / grid.half_yx_mm[0]
    slices = []
    for z_mm in np.arange(grid.slices) * grid.thickness_mm:
        outside = rho - pleura * np.float32(1 + thorax.drift * z_mm)
        tissue = np.where((outside > thorax.wall_mm) & (bulge_depth > 25), ROOM_AIR_HU, wall)
        lung_share = np.clip(0.5 + np.minimum(-outside, bulge_depth) / grid.pixel_mm, 0, 1)
        slices.append(tissue + lung_share * (lung - tissue))
    return np.asarray(slices, np.float32)


def _grow_vessels(rng: np.random.Generator, grid: Grid, thorax: Thorax, nodules: Sequence[Nodule]) -> list[_Vessel]:
    """Grow branching vessels away from the hilum.

    Returns:
        Straight pieces.
    """
    depth_mm = grid.slices * grid.thickness_mm
    hilum_x, hilum_y, hilum_radius = thorax.bulges_mm[0]
    hilum = np.array([hilum_x, hilum_y, depth_mm / 2])
    half_x, half_y = thorax.semi_axes_mm
    tips: list[_Vessel] = []
    for _ in range(4):
        heading = np.array([-hilum_x, rng.normal(0, half_y), rng.normal(0, 10)])
        heading /= np.linalg.norm(heading)
        tips.append((hilum + heading * hilum_radius * 0.9, heading, rng.uniform(1.6, 3.8)))
    for _ in range(int(half_x * half_y * (depth_mm + 12) / 550)):
        start = np.array([rng.uniform(-half_x, half_x), rng.uniform(-half_y, half_y), rng.uniform(-6, depth_mm + 6)])
        heading = (start - hilum) / np.linalg.norm(start - hilum) + rng.normal(0, 0.45, 3) * (1, 1, 1.6)
        nearness = math.exp(-float(np.linalg.norm(start - hilum)) / (1.2 * half_x))
        tips.append((start, heading / np.linalg.norm(heading), (0.3 + 1.0 * nearness) * rng.lognormal(0, 0.4)))
    pieces = []
    while tips:
        start, heading, radius = tips.pop()
        length = rng.uniform(2.0, 5.0) + 2.0 * radius
        end = start + heading * length
        out_of_slab = not -8 - length < start[2] < depth_mm + 8 + length
        if radius < 0.3 or out_of_slab or thorax.depth_mm(*end.tolist()) < radius + 1.5:
            continue
        if not _crosses_nodule(nodules, (start + end) / 2, radius):
            pieces.append((start, end, radius))
        for share in (0.86, 0.62) if rng.random() < 0.35 else (0.88,):
            turned = heading + rng.normal(0, 0.2 if share > 0.8 else 0.55, 3)
            tips.append((end, turned / math.hypot(*turned), radius * share))
    return pieces


def _crosses_nodule(nodules: Sequence[Nodule], point_mm: NDArray[np.float64], radius_mm: float) -> bool:
    """Return whether a vessel would hide or pass for part of a nodule."""
    return any(
        radius_mm > 0.2 * nodule.reach_mm
        and math.dist(point_mm, nodule.center_mm) < 1.3 * nodule.reach_mm + radius_mm + 1.0
        for nodule in nodules
    )


def _paint_vessel(
    volume: Floats,
    grid: Grid,
    vessel: _Vessel,
    vessel_hu: float,
) -> None:
    """Brighten the voxels of a straight vessel with round ends; `volume` (L, Y, X) is changed in place."""
    start, end, radius = vessel
    margin = radius + grid.pixel_mm
    patch = grid.patch((np.minimum(start, end) - margin).tolist(), (np.maximum(start, end) + margin).tolist())
    if patch is None:
        return
    index, z, y, x = patch
    (x0, y0, z0), (dx, dy, dz) = start.tolist(), (end - start).tolist()
    x, y, z = x - x0, y - y0, z - z0
    along = np.clip((x * dx + y * dy + z * dz) / (dx * dx + dy * dy + dz * dz), 0, 1)
    distance = np.sqrt((x - along * dx) ** 2 + (y - along * dy) ** 2 + (z - along * dz) ** 2)
    share = np.clip(0.5 + (radius - distance) / grid.pixel_mm, 0, 1)
    view = volume[index]
    np.maximum(view, view + share * (vessel_hu - view), out=view)


def _paint_nodule(volume: Floats, grid: Grid, nodule: Nodule) -> None:
    """Brighten the voxels of a nodule; `volume` (L, Y, X) is changed in place."""
    margin = nodule.reach_mm + nodule.edge_mm
    half = np.array([margin, margin, nodule.depth_mm])
    center = np.array(nodule.center_mm)
    patch = grid.patch((center - half).tolist(), (center + half).tolist())
    if patch is None:
        return
    index, z, y, x = patch
    x0, y0, z0 = nodule.center_mm
    turns = np.mod(np.arctan2(y - y0, x - x0) / (2 * math.pi), 1) * OUTLINE_ANGLES
    radius = np.interp(turns, np.arange(OUTLINE_ANGLES + 1), np.append(nodule.radii_mm, nodule.radii_mm[0]))
    scale = np.sqrt(np.clip(1 - ((z - z0) / nodule.depth_mm) ** 2, 0, 1))
    inside_mm = (radius * scale - np.hypot(x - x0, y - y0)).astype(np.float32)
    share = np.clip(0.5 + inside_mm / nodule.edge_mm, 0, 1) * (scale > 0)
    view = volume[index]
    np.maximum(view, view + share * (nodule.hu - view), out=view)
    if nodule.core_share > 0:
        core = replace(
            nodule,
            radii_mm=nodule.radii_mm * np.float32(nodule.core_share),
            depth_mm=nodule.depth_mm * nodule.core_share,
            hu=nodule.core_hu,
            edge_mm=grid.pixel_mm,
            core_share=0.0,
        )
        _paint_nodule(volume, grid, core)
