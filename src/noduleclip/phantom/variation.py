"""Random variation of phantoms: spacing, lung, scanner, and the size, shape, kind and place of nodules."""

import math
from dataclasses import replace

import numpy as np

from noduleclip.phantom.geometry import OUTLINE_ANGLES, Grid, Nodule, ScanAppearance, Thorax
from noduleclip.phantom.readers import measure_feret_mm


def draw_grid(rng: np.random.Generator, matrix_px: int, slices: int) -> Grid:
    """Draw spacing and slice thickness as in LIDC; one patient in six has unequal row and column spacing."""
    row_mm = round(float(np.clip(rng.normal(0.69, 0.09), 0.5, 0.95)), 4)
    ratio = rng.uniform(0.9, 1.1) if rng.random() < 1 / 6 else 1.0
    column_mm = round(float(np.clip(row_mm * ratio, 0.5, 0.95)), 4)
    thickness_mm = float(rng.choice((1.0, 1.25, 1.5, 2.0, 2.5, 3.0), p=(0.1, 0.35, 0.05, 0.15, 0.25, 0.1)))
    return Grid(matrix_px, (row_mm, column_mm), slices, thickness_mm)


def draw_thorax(rng: np.random.Generator, grid: Grid) -> Thorax:
    """Draw the shape of a lung that fits the field of view, left or right."""
    half_y, half_x = grid.half_yx_mm
    semi_x = min(rng.uniform(0.70, 0.86) * half_x, 75.0)
    semi_y = min(rng.uniform(0.76, 0.92) * half_y, 95.0)
    side = float(rng.choice((-1.0, 1.0)))
    bulges = (
        (side * semi_x * rng.uniform(0.92, 1.05), semi_y * rng.uniform(-0.3, 0.2), semi_x * rng.uniform(0.3, 0.45)),
        (side * semi_x * rng.uniform(0.95, 1.10), semi_y * rng.uniform(0.3, 0.6), semi_x * rng.uniform(0.2, 0.35)),
    )
    return Thorax(
        semi_axes_mm=(semi_x, semi_y),
        squareness=rng.uniform(2.1, 2.8),
        waves=tuple((rng.normal(0, 0.025 / k), rng.uniform(0, 2 * math.pi)) for k in range(1, 6)),
        bulges_mm=bulges,
        drift=rng.normal(0, 0.003),
        wall_mm=rng.uniform(22, 45),
    )


def draw_appearance(rng: np.random.Generator) -> ScanAppearance:
    """Draw the tissue and scanner of one scan."""
    contrast = rng.random() < 0.5
    return ScanAppearance(
        lung_hu=float(np.clip(rng.normal(-870, 35), -930, -780)),
        vessel_hu=rng.uniform(110, 260) if contrast else rng.uniform(25, 55),
        texture_hu=rng.uniform(25, 55),
        noise_hu=float(np.clip(15 * rng.lognormal(0.6, 0.5), 15, 50)),
        noise_px=rng.uniform(0.35, 0.85),
        psf_px=rng.uniform(0.55, 0.95),
    )


def place_nodules(
    rng: np.random.Generator, grid: Grid, thorax: Thorax, appearance: ScanAppearance, count: int
) -> list[tuple[Nodule, int]]:
    """Draw nodules that neither overlap nor leave the lung or the image.

    Returns:
        Each nodule with the index of the slice through its largest cross section; a nodule that finds no room
        even after shrinking is left out, never the first.
    """
    limit_mm = min(38.0, 0.45 * min(thorax.semi_axes_mm))
    sizes_mm = np.clip((3.3 + 3.9 * rng.lognormal(0, 1.1, count)) * rng.lognormal(0, 0.2, count), 2.6, limit_mm)
    placed: list[tuple[Nodule, int]] = []
    for size_mm in sorted(sizes_mm.tolist(), reverse=True):
        nodule = _draw_nodule(rng, grid, appearance, size_mm)
        at_pleura = rng.random() < 0.22 and nodule.reach_mm > 2
        slice_index = int(rng.integers(0, grid.slices))
        off_plane_mm = rng.uniform(-0.3, 0.3) * min(grid.thickness_mm, nodule.depth_mm)
        for attempt in range(400):
            if attempt % 100 == 99:
                nodule = replace(nodule, radii_mm=nodule.radii_mm * np.float32(0.75))
            x_mm, y_mm = (rng.uniform(-axis, axis) for axis in thorax.semi_axes_mm)
            z_mm = slice_index * grid.thickness_mm
            moved = replace(nodule, center_mm=(x_mm, y_mm, z_mm + off_plane_mm))
            others = [other for other, _ in placed]
            if _fits(grid, thorax.depth_mm(x_mm, y_mm, z_mm), moved, others, at_pleura and attempt < 300):
                placed.append((moved, slice_index))
                break
    return placed


def _fits(grid: Grid, depth_mm: float, nodule: Nodule, others: list[Nodule], at_pleura: bool) -> bool:
    """Return whether a nodule has room where it is, `depth_mm` away from the wall of the lung."""
    x_mm, y_mm, _ = nodule.center_mm
    reach_mm = nodule.reach_mm
    if at_pleura and not 0.75 < depth_mm / float(nodule.radii_mm.mean()) < 1.0:
        return False
    if not at_pleura and depth_mm < reach_mm + 1.5:
        return False
    half_y, half_x = grid.half_yx_mm
    room_mm = min(half_x - abs(x_mm), half_y - abs(y_mm))
    if room_mm < 1.45 * reach_mm + 4 * grid.pixel_mm:
        return False
    return all(math.dist((x_mm, y_mm), other.center_mm[:2]) > reach_mm + other.reach_mm + 4 for other in others)


def _draw_nodule(rng: np.random.Generator, grid: Grid, appearance: ScanAppearance, diameter_mm: float) -> Nodule:
    """Draw shape and attenuation of a nodule around the origin, `diameter_mm` long in its plane."""
    theta = np.arange(OUTLINE_ANGLES) * (2 * math.pi / OUTLINE_ANGLES)
    elongation, turn = 1 + 0.5 * rng.beta(1.3, 1.8), rng.uniform(0, math.pi)
    radii = 1 / np.hypot(np.cos(theta - turn), elongation * np.sin(theta - turn))
    roughness = rng.choice((0.05, 0.10, 0.16), p=(0.4, 0.4, 0.2)) * min(1.0, diameter_mm / 8)
    for order in range(2, 8):
        amplitude = 2 * roughness * rng.normal() / order
        radii *= 1 + amplitude * np.cos(order * theta + rng.uniform(0, 2 * math.pi))
    outline = radii[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=1)
    radii *= diameter_mm / measure_feret_mm(outline, (1.0, 1.0))
    kind = rng.choice(("solid", "calcified", "part-solid", "ground-glass"), p=(0.76, 0.06, 0.08, 0.10))
    solid_hu = rng.uniform(0, 60) + (0.4 * max(0.0, appearance.vessel_hu - 60))
    glass_hu = appearance.lung_hu + rng.uniform(200, 520)
    body_hu = {"solid": solid_hu, "calcified": rng.uniform(250, 800)}.get(str(kind), glass_hu)
    glassy = kind in ("part-solid", "ground-glass")
    return Nodule(
        center_mm=(0.0, 0.0, 0.0),
        radii_mm=radii.astype(np.float32),
        depth_mm=max(diameter_mm / 2 * rng.uniform(0.65, 1.0), 0.5 * grid.thickness_mm),
        hu=body_hu,
        edge_mm=min(diameter_mm / 3, rng.uniform(1.5, 4.0)) if glassy else grid.pixel_mm * (1 + 2 * rng.beta(1, 2)),
        core_share=rng.uniform(0.3, 0.6) if kind == "part-solid" else 0.0,
        core_hu=solid_hu,
    )
