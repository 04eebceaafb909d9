"""Synthetic CT of one lung: pleura, ribs, mediastinum, vessels, nodules and scanner noise, in HU.

Pure functions of a random generator; knows neither DICOM nor tables nor readers. Coordinates are millimetres
with x along the columns, y along the rows, z along the slices; the origin is the middle of the first slice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Patch = tuple[tuple[slice, slice, slice], Floats, Floats, Floats]

OUTLINE_ANGLES = 72
LAYERS_PER_SLICE = 3
ROOM_AIR_HU, SOFT_TISSUE_HU, FAT_HU, MARROW_HU, CORTEX_HU = -1000.0, 45.0, -95.0, 130.0, 700.0


@dataclass(frozen=True)
class Grid:
    """Where the voxels lie.

    Attributes:
        matrix_px: Rows and columns of a slice.
        spacing_yx_mm: Distance between rows and between columns.
        slices: Number of slices Z.
        thickness_mm: Thickness of a slice, also the distance between slices.
    """

    matrix_px: int
    spacing_yx_mm: tuple[float, float]
    slices: int
    thickness_mm: float

    @property
    def pixel_mm(self) -> float:
        """Mean side of a pixel in mm."""
        return math.sqrt(self.spacing_yx_mm[0] * self.spacing_yx_mm[1])

    @property
    def half_yx_mm(self) -> tuple[float, float]:
        """Half of the field of view, measured to the outermost pixel centres, in mm."""
        half_px = (self.matrix_px - 1) / 2
        return half_px * self.spacing_yx_mm[0], half_px * self.spacing_yx_mm[1]

    @cached_property
    def axes_mm(self) -> tuple[Floats, Floats, Floats]:
        """Axes z (L,), y (Y,) and x (X,) in mm; a slice has `LAYERS_PER_SLICE` of the L layers."""
        offsets = (np.arange(LAYERS_PER_SLICE) + 0.5) / LAYERS_PER_SLICE - 0.5
        z_mm = (np.arange(self.slices)[:, None] + offsets).ravel() * self.thickness_mm
        index = np.arange(self.matrix_px) - (self.matrix_px - 1) / 2
        y_mm, x_mm = index * self.spacing_yx_mm[0], index * self.spacing_yx_mm[1]
        return z_mm.astype(np.float32), y_mm.astype(np.float32), x_mm.astype(np.float32)

    def patch(self, low_mm: Sequence[float], high_mm: Sequence[float]) -> Patch | None:
        """Find the voxels of a box.

        Args:
            low_mm: Lower corner (x, y, z).
            high_mm: Upper corner (x, y, z).

        Returns:
            Index into an (L, Y, X) volume with z (l, 1, 1), y (1, h, 1) and x (1, 1, w) of its voxels;
            None where the box misses the volume.
        """
        z_mm, y_mm, x_mm = self.axes_mm
        cuts = []
        for axis_mm, low, high in zip((z_mm, y_mm, x_mm), low_mm[::-1], high_mm[::-1], strict=True):
            start, stop = np.searchsorted(axis_mm, (low, high))
            if start == stop:
                return None
            cuts.append(slice(int(start), int(stop)))
        cut_z, cut_y, cut_x = cuts
        coordinates = z_mm[cut_z, None, None], y_mm[None, cut_y, None], x_mm[None, None, cut_x]
        return (cut_z, cut_y, cut_x), *coordinates


@dataclass(frozen=True, eq=False)
class Nodule:
    """A star-shaped blob, largest in the plane through its centre.

    Attributes:
        center_mm: (x, y, z).
        radii_mm: (OUTLINE_ANGLES,) radius of that plane's outline at equal angles from the x axis towards y.
        depth_mm: Half of its extent along z.
        hu: Attenuation of its body.
        edge_mm: Width over which the body fades into the lung.
        core_share: Radius of a solid core relative to the outline, 0 for none.
        core_hu: Attenuation of that core.
    """

    center_mm: tuple[float, float, float]
    radii_mm: Floats
    depth_mm: float
    hu: float
    edge_mm: float
    core_share: float = 0.0
    core_hu: float = 40.0

    @property
    def reach_mm(self) -> float:
        """Largest radius of the outline in mm."""
        return float(self.radii_mm.max())

    def scale_at(self, z_mm: float) -> float:
        """Size of the cross section at `z_mm` relative to the largest, 0 beyond the nodule."""
        return math.sqrt(max(0.0, 1 - ((z_mm - self.center_mm[2]) / self.depth_mm) ** 2))


@dataclass(frozen=True)
class Thorax:
    """One lung with the chest wall on its outer side and a mediastinum on the other.

    Attributes:
        semi_axes_mm: Half width and half height of the lung.
        squareness: Exponent of the superellipse that the lung follows.
        waves: Amplitude (relative) and phase of the wobble of order 2, 3, … around the outline.
        bulges_mm: Circles (x, y, radius) of mediastinum that press into the lung.
        drift: Relative growth of the lung along z per mm.
        wall_mm: Thickness of the chest wall.
        ribs: Number of ribs around the outline.
        rib_phase: Angle of the first rib.
    """

    semi_axes_mm: tuple[float, float]
    squareness: float
    waves: tuple[tuple[float, float], ...]
    bulges_mm: tuple[tuple[float, float, float], ...]
    drift: float
    wall_mm: float
    ribs: int
    rib_phase: float

    def pleura_radius_mm(self, theta: Floats) -> Floats:
        """Distance of the pleura from the origin at angle `theta`, any shape, in mm, at z = 0."""
        half_x, half_y = self.semi_axes_mm
        power = self.squareness
        sum_of_powers = np.abs(np.cos(theta) / half_x) ** power + np.abs(np.sin(theta) / half_y) ** power
        wobble = sum(a * np.cos((order + 2) * theta + phase) for order, (a, phase) in enumerate(self.waves))
        return np.asarray(sum_of_powers ** (-1 / power) * (1 + wobble), np.float32)

    @cached_property
    def _pleura_by_degree_mm(self) -> list[float]:
        return [float(radius) for radius in self.pleura_radius_mm(np.radians(np.arange(360, dtype=np.float32)))]

    def depth_mm(self, x_mm: float, y_mm: float, z_mm: float) -> float:
        """Distance of a point from the nearest wall of the lung in mm, along the radius; negative outside."""
        degree = round(math.degrees(math.atan2(y_mm, x_mm))) % 360
        depth = self._pleura_by_degree_mm[degree] * (1 + self.drift * z_mm) - math.hypot(x_mm, y_mm)
        return min([depth, *(math.hypot(x_mm - x, y_mm - y) - radius for x, y, radius in self.bulges_mm)])


@dataclass(frozen=True)
class ScanAppearance:
    """What differs from scan to scan.

    Attributes:
        lung_hu: Mean attenuation of the parenchyma.
        vessel_hu: Attenuation of blood, higher with contrast medium.
        texture_hu: Standard deviation of the parenchyma's texture.
        noise_hu: Standard deviation of the scanner's noise.
        noise_px: Grain of that noise.
        psf_px: Standard deviation of the scanner's blur.
    """

    lung_hu: float
    vessel_hu: float
    texture_hu: float
    noise_hu: float
    noise_px: float
    psf_px: float


def draw_phantom_slice(
    diameter_mm: float,
    *,
    spacing_yx_mm: tuple[float, float],
    matrix_px: int = 128,
    center_xy_px: tuple[float, float] | None = None,
    nodule_hu: float = 40.0,
    lung_hu: float = -850.0,
    noise_hu: float = 0.0,
    psf_px: float = 0.7,
    seed: int = 0,
) -> Floats:
    """Draw one slice through plain lung with one round nodule of exactly known diameter.

    Args:
        diameter_mm: True diameter; the half-way level between lung and nodule lies on this circle.
        spacing_yx_mm: Distance between rows and between columns.
        matrix_px: Rows and columns.
        center_xy_px: Column and row of the nodule's centre, 0-based; the middle of the image if left out.
        nodule_hu: Attenuation of the nodule.
        lung_hu: Attenuation around it.
        noise_hu: Standard deviation of correlated noise.
        psf_px: Standard deviation of the blur.
        seed: Seed of the noise.

    Returns:
        HU (Y, X).
    """
    grid = Grid(matrix_px, spacing_yx_mm, 1, 1.0)
    middle = (matrix_px - 1) / 2
    x_px, y_px = center_xy_px or (middle, middle)
    center_mm = ((x_px - middle) * spacing_yx_mm[1], (y_px - middle) * spacing_yx_mm[0], 0.0)
    radii_mm = np.full(OUTLINE_ANGLES, diameter_mm / 2, np.float32)
    volume = np.full((LAYERS_PER_SLICE, matrix_px, matrix_px), lung_hu, np.float32)
    _paint_nodule(volume, grid, Nodule(center_mm, radii_mm, 1e6, nodule_hu, grid.pixel_mm))
    hu = _blur(_merge_layers(volume), psf_px)
    if noise_hu > 0:
        hu += noise_hu * make_noise(np.random.default_rng(seed), hu.shape, 0.6)
    return np.asarray(hu[0])


def draw_series(
    rng: np.random.Generator, grid: Grid, thorax: Thorax, nodules: Sequence[Nodule], appearance: ScanAppearance
) -> Floats:
    """Draw the slices of one patient.

    Returns:
        HU (Z, Y, X), not clipped.
    """
    volume = np.repeat(_draw_thorax(rng, grid, thorax, appearance), LAYERS_PER_SLICE, axis=0)
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
    """Make the parenchyma's texture: fine grain on slow clouds, kept over about 2 mm along z; sd near 1."""
    fy = np.fft.fftfreq(shape[1], grid.spacing_yx_mm[0])[:, None]
    fx = np.fft.rfftfreq(shape[2], grid.spacing_yx_mm[1])[None, :]
    squared = (2 * math.pi * math.pi) * (fy**2 + fx**2)
    texture = _filter_white(rng, shape, np.exp(-squared * 0.6**2) + 5 * np.exp(-squared * 5.0**2))
    keep = math.exp(-grid.thickness_mm / 2.0)
    for k in range(1, shape[0]):
        texture[k] = keep * texture[k - 1] + math.sqrt(1 - keep**2) * texture[k]
    return texture


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


def _draw_thorax(rng: np.random.Generator, grid: Grid, thorax: Thorax, appearance: ScanAppearance) -> Floats:
    """Draw lung, chest wall with ribs, mediastinum and the air outside the body, HU (Z, Y, X)."""
    _, y_mm, x_mm = grid.axes_mm
    x, y = x_mm[None, :], y_mm[:, None]
    theta, rho = np.arctan2(y, x), np.hypot(x, y)
    pleura = thorax.pleura_radius_mm(theta)
    clouds = _filter_white(rng, (2, *rho.shape), np.exp(-0.5 * _radial_frequency(rho.shape, 2.5 / grid.pixel_mm)))
    fat_share = np.clip(1.5 * clouds[0] - 1.2, 0, 1)
    wall = SOFT_TISSUE_HU + fat_share * (FAT_HU - SOFT_TISSUE_HU) + 12 * clouds[1]
    bulge_depth = np.full_like(rho, np.inf)
    for index, (x0, y0, radius) in enumerate(thorax.bulges_mm):
        depth = np.hypot(x - x0, y - y0) - radius
        if index == 0:
            wall = np.where(depth < -3, appearance.vessel_hu - 10, wall)
        bulge_depth = np.minimum(bulge_depth, depth)
    lung = appearance.lung_hu + 45 * y / grid.half_yx_mm[0]
    slices = []
    for z_mm in np.arange(grid.slices) * grid.thickness_mm:
        outside = rho - pleura * np.float32(1 + thorax.drift * z_mm)
        tissue = _add_ribs(wall, outside, theta, pleura, thorax, float(z_mm))
        tissue = np.where(bulge_depth > 6, tissue, wall)
        tissue = np.where((outside > thorax.wall_mm) & (bulge_depth > 25), ROOM_AIR_HU, tissue)
        lung_share = np.clip(0.5 + np.minimum(-outside, bulge_depth) / grid.pixel_mm, 0, 1)
        slices.append(tissue + lung_share * (lung - tissue))
    return np.asarray(slices, np.float32)


def _radial_frequency(shape: tuple[int, ...], scale_px: float) -> NDArray[np.float64]:
    """Squared angular frequency of a real FFT over `shape`, times `scale_px` squared."""
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    return np.asarray((2 * math.pi * scale_px) ** 2 * (fy**2 + fx**2))


def _add_ribs(
    wall: Floats, outside_mm: Floats, theta: Floats, pleura_mm: Floats, thorax: Thorax, z_mm: float
) -> Floats:
    """Lay ribs, bright shells around marrow, into the chest wall; all arrays (Y, X)."""
    phase = thorax.ribs * (theta + thorax.rib_phase + 0.012 * z_mm) + 0.9 * np.sin(2 * theta)
    along_mm = (np.mod(phase, 2 * math.pi) - math.pi) / thorax.ribs * pleura_mm
    inside = 1 - ((outside_mm - 6.5) / 4.0) ** 2 - (along_mm / 12.0) ** 2
    bone = np.where(inside > 0.55, MARROW_HU, CORTEX_HU)
    return np.asarray(wall + np.clip(4 * inside, 0, 1) * (bone - wall), np.float32)


def _grow_vessels(
    rng: np.random.Generator, grid: Grid, thorax: Thorax, nodules: Sequence[Nodule]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """Grow branching vessels away from the hilum.

    Returns:
        Straight pieces: start (3,) and end (3,) as (x, y, z) in mm, and radius in mm.
    """
    depth_mm = grid.slices * grid.thickness_mm
    hilum_x, hilum_y, hilum_radius = thorax.bulges_mm[0]
    hilum = np.array([hilum_x, hilum_y, depth_mm / 2])
    half_x, half_y = thorax.semi_axes_mm
    tips: list[tuple[NDArray[np.float64], NDArray[np.float64], float]] = []
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
    return pieces + [feeder for nodule in nodules for feeder in _attach_strands(rng, nodule)]


def _crosses_nodule(nodules: Sequence[Nodule], point_mm: NDArray[np.float64], radius_mm: float) -> bool:
    """Return whether a vessel would hide or pass for part of a nodule."""
    return any(
        radius_mm > 0.2 * nodule.reach_mm
        and math.dist(point_mm, nodule.center_mm) < 1.3 * nodule.reach_mm + radius_mm + 1.0
        for nodule in nodules
    )


def _attach_strands(
    rng: np.random.Generator, nodule: Nodule
) -> list[tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """Attach a feeding vessel to one nodule in three, and spicules to one large solid nodule in four."""
    center, reach = np.array(nodule.center_mm), nodule.reach_mm
    strands = []
    if rng.random() < 0.33:
        strands.append((rng.uniform(8, 18), min(0.35 * reach, rng.uniform(0.5, 1.2))))
    if nodule.hu > -200 and reach > 4 and rng.random() < 0.25:
        strands += [(reach * rng.uniform(0.3, 0.9), rng.uniform(0.35, 0.6)) for _ in range(rng.integers(5, 12))]
    pieces = []
    for length, radius in strands:
        theta = rng.uniform(0, 2 * math.pi)
        edge = float(nodule.radii_mm[int(theta / (2 * math.pi) * OUTLINE_ANGLES)])
        heading = np.array([math.cos(theta), math.sin(theta), rng.normal(0, 0.25)])
        pieces.append((center + 0.7 * edge * heading, center + (edge + length) * heading, radius))
    return pieces


def _paint_vessel(
    volume: Floats,
    grid: Grid,
    vessel: tuple[NDArray[np.float64], NDArray[np.float64], float],
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
