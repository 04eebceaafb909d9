"""How well any number of readers could rank: `python benchmarks/ceiling.py DATA LIST`.

On the nodules of the patients in LIST that four readers have read: the mean of one, two and three others ranks for the
ten queries against the fourth, and a straight line in 1 / number of readers says what the mean of endlessly many would
reach. LIST may be any patient list of DATA/lidc_crops.
"""

import sys
from pathlib import Path

import numpy as np

from noduleclip.evaluation.metrics import mean_average_precisions, rank_by_diameter
from noduleclip.io.nodules import group_nodules
from noduleclip.io.patients import read_patient_list
from noduleclip.io.roi_table import read_roi_table, select_patients
from noduleclip.language import EVALUATION_QUERIES, parse_intervals

DRAWS = 200


def main(data: Path, patients: Path) -> None:
    """Print the mean AP of panels of one, two and three, and where the line through the last two ends."""
    frame = read_roi_table(data / "lidc_crops" / "rois_all_readers.csv").frame
    frame, _ = select_patients(frame, read_patient_list(patients))
    sizes = group_nodules(frame).diameters_mm
    sizes = np.sort(sizes, axis=1)[np.isfinite(sizes).sum(axis=1) == 4, :4]
    intervals = parse_intervals(EVALUATION_QUERIES)
    order = np.random.default_rng(0).random((DRAWS, *sizes.shape)).argsort(axis=2)
    drawn = np.take_along_axis(np.broadcast_to(sizes, order.shape), order, axis=2)
    reached = []
    for others in (1, 2, 3):
        mean = drawn[:, :, 1 : 1 + others].mean(axis=2)
        rankings = [rank_by_diameter(interval, mean) for interval in intervals]
        reached.append(float(np.nanmean(mean_average_precisions(rankings, intervals, drawn[:, :, 0]))))
        print(f"mean of {others}: {reached[-1]:.3f}")
    print(f"endlessly many, by the line through two and three: {3 * reached[2] - 2 * reached[1]:.3f}")
    print(f"{len(sizes)} nodules with four readers")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
