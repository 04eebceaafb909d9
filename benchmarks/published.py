"""What a constant and a reader reach by published rules: `python benchmarks/published.py DATA`.

Its output is docs/models/lidc-readers.json. No model takes part, so that all patients of DATA/lidc_crops count. It also
has how many nodules of a test part drawn nodule by nodule have a neighbour of the same patient in the training part.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.evaluation.published import RatingEstimates, measure_published
from noduleclip.evaluation.published_rules import PROTOCOLS, PublishedRules, find_nodules
from noduleclip.evaluation.readers import Readers
from noduleclip.io.nodules import group_nodules, parse_ratings
from noduleclip.io.roi_table import read_roi_table
from noduleclip.language import last_rating

TRAINED_SHARE = 0.7  # of cRedAnno's nodules
NO_MODEL = ("model", "above_reader")


def main(data: Path) -> None:
    """Print the figures of each protocol as JSON."""
    frame = read_roi_table(data / "lidc_crops" / "rois_all_readers.csv").frame
    nodules = group_nodules(frame)
    readers = Readers(nodules.diameters_mm, *parse_ratings(frame, nodules))
    first_rows = frame[nodules.rows.tolist()]
    patients = first_rows[schema.PATIENT_ID].rank("dense").to_numpy().astype(np.int64)
    print(json.dumps({name: measure(rules, readers, patients) for name, rules in PROTOCOLS.items()}))


def measure(rules: PublishedRules, readers: Readers, patients: NDArray[np.int64]) -> dict[str, Any]:
    """Measure the constant and a reader, by no estimates at all."""
    rows = find_nodules(rules, readers, np.full(len(patients), np.nan))
    nothing = {name: np.ones(len(rows)) for name in readers.attributes}
    unsure = np.full((len(rows), last_rating(schema.MALIGNANCY)), 1 / last_rating(schema.MALIGNANCY))
    some = patients[rows]
    figures = measure_published(rules, RatingEstimates(nothing, unsure), readers.take(rows), some)
    return {
        "nodules": len(rows),
        "patients": len(set(some.tolist())),
        "share_with_trained_patient": share_with_trained_patient(some),
        "figures": [
            {name: value for name, value in asdict(figure).items() if name not in NO_MODEL} for figure in figures
        ],
    }


def share_with_trained_patient(patients: NDArray[np.int64]) -> float:
    """Return the expected share of tested nodules of which another one of the patient is in the training part."""
    others = np.bincount(patients)[patients] - 1
    return float((1 - (1 - TRAINED_SHARE) ** others).mean())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
