"""What mixing a reference nodule with a sentence is worth: `python benchmarks/similar.py INDEX TEST_PATIENTS`.

INDEX is of DATA/lidc_crops/rois.csv, TEST_PATIENTS the list that `split --seed 0` makes of rois_all_readers.csv. Each
test nodule is the reference once; the sentences are the three curated sizes. Relevant are nodules of other patients
in the size bin asked for with the texture of the reference: solid (4, 5) or not (1 to 3). Prints the mean average
precision by texture of the reference and by whether the sentence asks for the reference's own size.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.io.index.open import open_index
from noduleclip.io.patients import read_patient_list
from noduleclip.io.roi_table import select_patients
from noduleclip.language import BIN_PROMPTS
from noduleclip.retrieval.fusion import mix_likeness
from noduleclip.retrieval.text_query import SentenceEncoder

Floats = NDArray[np.float64]
MIXES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "likeness alone": lambda _, c: c,
    "sentence alone": lambda p, _: p,
    "mean, weight 0.25": lambda p, c: mix_likeness(p, c, 0.25),
    "mean, weight 0.5": lambda p, c: mix_likeness(p, c, 0.5),
    "mean, weight 0.75": lambda p, c: mix_likeness(p, c, 0.75),
    "product with (1 + likeness) / 2": lambda p, c: p * (1 + c) / 2,
    "product with likeness above 0": lambda p, c: p * np.maximum(c, 0),
    "mean of ranks": lambda p, c: np.argsort(np.argsort(p)) + np.argsort(np.argsort(c)) + 0.0,
}


def average_precision(scores: Floats, relevant: NDArray[np.bool_]) -> float:
    """The mean precision at the relevant items, best score first."""
    hits = relevant[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def main(folder: Path, patients_file: Path) -> None:
    """Compare the ways of mixing."""
    index = open_index(folder)
    frame, _ = select_patients(index.collect(index.scan()), read_patient_list(patients_file))
    vectors = index.embeddings[frame[schema.ROW].to_numpy()]
    bins = np.digitize(frame[schema.DIAMETER_MM].to_numpy(), [6, 10], right=True)
    solid = frame[schema.TEXTURE].to_numpy() > 3
    patients = frame[schema.PATIENT_ID].to_numpy()
    encoder = SentenceEncoder(folder / schema.TEXT_TOWER)
    probability = encoder.calibration.to_probability(vectors @ encoder.encode(list(BIN_PROMPTS)).T)
    likeness = (vectors @ vectors.T).astype(np.float64)
    print("| ranking | not solid, own size | not solid, another | solid, own size | solid, another |")
    print("|---|---|---|---|---|")
    for name, mix in MIXES.items():
        found: dict[tuple[bool, bool], list[float]] = {}
        for row in range(len(vectors)):
            others = patients != patients[row]
            for asked in range(3):
                relevant = ((bins == asked) & (solid == solid[row]))[others]
                if relevant.sum() >= 3:
                    scores = mix(probability[others, asked], likeness[row, others])
                    key = bool(solid[row]), bool(asked != bins[row])
                    found.setdefault(key, []).append(average_precision(scores, relevant))
        print(f"| {name} |", " | ".join(f"{np.mean(found[key]):.3f}" for key in sorted(found)), "|")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
