"""Choice of the fusion weight on an index of validation patients (`fuse --alpha auto`)."""

import numpy as np

from noduleclip.errors import ArtefactError, InputError
from noduleclip.evaluation.alpha import choose_alpha
from noduleclip.io.index.base import Index
from noduleclip.language import EVALUATION_QUERIES, parse_intervals
from noduleclip.workflows.evaluated_nodules import load_nodules
from noduleclip.workflows.reporter import Reporter
from noduleclip.workflows.stored_index import open_stored_index
from noduleclip.workflows.text_encoder import open_text_encoder


def choose_alpha_on(val_emb_dir: str, searched: Index, softness_mm: float, reporter: Reporter) -> float:
    """Choose alpha on an index of validation patients, made by the same model.

    Args:
        val_emb_dir: The validation index.
        searched: The index that alpha is for.
        softness_mm: Width over which the rule falls off.
        reporter: Receives the chosen weight and its mean AP.

    Raises:
        ArtefactError: Another model made it.
        InputError: It has too few nodules with two or more readers.
    """
    index = open_stored_index(val_emb_dir, reporter=reporter)
    if index.manifest.model_id != searched.manifest.model_id:
        raise ArtefactError(f"{val_emb_dir} and {searched.location} were embedded with different models")
    nodules = load_nodules(index, None, reporter)
    diameters_mm = nodules.readers.diameters_mm
    several = np.isfinite(diameters_mm).sum(axis=1) >= 2
    if several.sum() < 10:
        raise InputError(
            f"{val_emb_dir}: {several.sum()} nodule(s) with rows of two readers or more, "
            "--alpha auto needs 10; embed a table with every reader's rows, or give --alpha a number"
        )
    encoder = open_text_encoder(index)
    cosines = encoder.encode(EVALUATION_QUERIES) @ nodules.embeddings[several].T
    probabilities = encoder.calibration.to_probability(cosines)
    intervals = parse_intervals(EVALUATION_QUERIES)
    alpha, means = choose_alpha(probabilities, diameters_mm[several], intervals, softness_mm)
    compared = f"the diameter alone {means[0]:.3f}, the image alone {means[-1]:.3f}"
    reporter.note(f"alpha {alpha:g} (mean AP {means.max():.3f} on {several.sum()} validation nodules; {compared})")
    return alpha
