"""How many of the patients of an evaluation the model has seen in training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.workflows.evaluated_nodules import EvaluatedNodules
from noduleclip.workflows.reporter import Reporter


@dataclass(frozen=True)
class TrainingPatients:
    """The patients of an evaluation by their part in training, compared by id.

    Attributes:
        patients: Number of patients.
        trained: Those that trained the model.
        validated: Those that chose its epoch.
        unseen: All others.
    """

    patients: int
    trained: int
    validated: int
    unseen: int

    def describe(self) -> str:
        """Return the numbers in words."""
        of = f"of {self.patients:,} patient{'' if self.patients == 1 else 's'}"
        if self.unseen == self.patients:
            return f"none {of} trained the model or chose its epoch"
        return (
            f"{of} {self.trained:,} trained the model, {self.validated:,} chose its epoch, "
            f"{self.unseen:,} {'is' if self.unseen == 1 else 'are'} unseen"
        )


def count_patients(nodules: EvaluatedNodules) -> TrainingPatients | None:
    """Count the patients of nodules by their part in training; None where it is not known."""
    if nodules.trained is None or nodules.validated is None:
        return None
    everyone, trained = (len(np.unique(one)) for one in (nodules.patients, nodules.patients[nodules.trained]))
    validated = len(np.unique(nodules.patients[nodules.validated & ~nodules.trained]))
    return TrainingPatients(everyone, trained, validated, everyone - trained - validated)


def find_unseen(nodules: EvaluatedNodules) -> NDArray[np.int64]:
    """Return the nodules of unseen patients that stand beside seen ones.

    Returns:
        (n,) indices; empty where all are unseen, where none is, and where it is not known.
    """
    if nodules.trained is None or nodules.validated is None:
        return np.empty(0, np.int64)
    seen = nodules.trained | nodules.validated
    return np.flatnonzero(~seen) if seen.any() else np.empty(0, np.int64)


def report_patients(known: TrainingPatients | None, location: str, reporter: Reporter) -> None:
    """Report once how many patients the model has seen; warn where it has seen all of them."""
    if known is None:
        reporter.note(
            f"{location}: which patients trained the model is not known, as its checkpoint holds no list of them; "
            "figures on such patients are too good"
        )
    elif known.unseen == 0:
        reporter.warning(
            f"{location}: the model has seen all {known.patients:,} patient(s) in training, so the figures are too "
            "good; embed others (--patients-file)"
        )
    elif known.unseen < known.patients:
        reporter.note(f"{known.describe()}; the figures of the unseen ones are given apart")
    else:
        reporter.info(known.describe())
