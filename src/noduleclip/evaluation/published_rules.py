"""Rules by which published work evaluates ratings on LIDC-IDRI: which nodules count, and their labels.

Source: the papers' repositories, github.com/diku-dk/credanno (`extract_LIDC_IDRI_nodules.py`, `data_LIDC_IDRI.py`,
`eval_linear_joint.py`) and github.com/XRad-Ulm/Proto-Caps (`data_loader.py`, `test.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.evaluation.ratings import Summary, summarize_ratings
from noduleclip.evaluation.readers import Readers

Floats = NDArray[np.float64]

ACCURACY: Final = "malignancy below/above 3"
AUC: Final = "malignancy, AUC"
WITHIN_ONE: Final = "{attribute} within one"
MIDDLE: Final = 3
"""Rating of malignancy that is neither benign nor malignant."""


@dataclass(frozen=True)
class PublishedRules:
    """How a published work evaluates ratings on LIDC-IDRI.

    Nodules of at least three readers count whose malignancy, summarized over the readers, is not 3. The label of an
    attribute is the readers' summary, rounded to a rating.

    Attributes:
        name: Name of the protocol.
        source: The publication.
        summary: How readers are summarized: "median" or "mean".
        most_readers: Nodules of more readers do not count; None = there is no limit.
        thickest_mm: Scans of thicker slices do not count, where the thickness is known; None = there is no limit.
        published: Published figures, by name.
    """

    name: str
    source: str
    summary: Summary
    most_readers: int | None
    thickest_mm: float | None
    published: Mapping[str, float]

    def summarize(self, ratings: Floats) -> Floats:
        """Return (N,) the summary of (N, R) ratings, NaN-padded."""
        return summarize_ratings(ratings, self.summary)

    def round_labels(self, attribute: str, summaries: Floats) -> Floats:
        """Round summaries to ratings: half to even, but Proto-Caps rounds malignancy half down.

        Its label of malignancy is the first of the most probable ratings of a normal distribution around the mean.
        """
        if self.summary == "mean" and attribute == schema.MALIGNANCY:
            return np.asarray(np.ceil(summaries - 0.5))
        return np.asarray(np.rint(summaries))


PROTOCOLS: Final[Mapping[str, PublishedRules]] = MappingProxyType(
    {
        "credanno": PublishedRules(
            "credanno",
            "Lu et al., cRedAnno+: annotation exploitation in self-explanatory lung nodule diagnosis, ISBI 2023, "
            "arXiv 2210.16097",
            "median",
            most_readers=None,
            thickest_mm=2.5,
            published={
                ACCURACY: 0.8756,
                WITHIN_ONE.format(attribute=schema.SUBTLETY): 0.9632,
                WITHIN_ONE.format(attribute=schema.CALCIFICATION): 0.9588,
                WITHIN_ONE.format(attribute=schema.SPHERICITY): 0.9723,
                WITHIN_ONE.format(attribute=schema.MARGIN): 0.9623,
                WITHIN_ONE.format(attribute=schema.LOBULATION): 0.9393,
                WITHIN_ONE.format(attribute=schema.SPICULATION): 0.9406,
                WITHIN_ONE.format(attribute=schema.TEXTURE): 0.9701,
            },
        ),
        "proto-caps": PublishedRules(
            "proto-caps",
            "Gallée et al., Interpretable medical image classification using prototype learning and privileged "
            "information, MICCAI 2023, arXiv 2310.15741",
            "mean",
            most_readers=4,
            thickest_mm=None,
            published={WITHIN_ONE.format(attribute=schema.MALIGNANCY): 0.930},
        ),
    }
)


def find_nodules(rules: PublishedRules, readers: Readers, slice_thickness_mm: Floats) -> NDArray[np.int64]:
    """Return the rows of the nodules that count.

    Args:
        rules: The rules.
        readers: Readings of the N nodules, malignancy among them.
        slice_thickness_mm: (N,) NaN where it is unknown.
    """
    malignancy = readers.rating(schema.MALIGNANCY)
    count = np.isfinite(malignancy).sum(axis=1)
    rows = np.flatnonzero((count >= 3) & (count <= (rules.most_readers or np.inf)))
    if rules.thickest_mm is not None:
        rows = rows[~(slice_thickness_mm[rows] > rules.thickest_mm)]
    return np.asarray(rows[rules.summarize(malignancy[rows]) != MIDDLE])
