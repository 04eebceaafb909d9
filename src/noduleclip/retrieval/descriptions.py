"""Nodules in words: "about 7.2 mm (5.9-8.6), solid, smooth margin, not spiculated, probably benign".

A word is used where at least half of the readers are expected to agree with it: with "possibly" up to `PROBABLE`, with
"probably" up to `SURE`. What is usual is left out ("not calcified"), or used only from `SURE` on ("not spiculated").
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.retrieval.estimates import SWEPT_MM, Estimated, Estimates

POSSIBLE, PROBABLE, SURE = 0.5, 0.65, 0.85
"""Probabilities from which on a word is used with "possibly", with "probably", and as it is."""


@dataclass(frozen=True)
class _Part:
    """A part of the descriptions of N nodules.

    Attributes:
        codes: (N,) which of the texts each nodule has.
        texts: The texts; an empty one is left out.
    """

    codes: NDArray[np.int64]
    texts: Sequence[str]


def describe_nodules(estimates: Estimates) -> list[str]:
    """Describe each nodule in one line; what the model was not trained on is left out."""
    parts = _list_parts(estimates)
    codes = np.stack([np.zeros(len(estimates), np.int64), *(part.codes for part in parts)], axis=1)
    kinds, kind_of = np.unique(codes, axis=0, return_inverse=True)
    words = [_join(part.texts[code] for part, code in zip(parts, kind[1:], strict=True)) for kind in kinds]
    sizes = zip(
        estimates.diameter_mm.tolist(), estimates.diameter_low_mm.tolist(), estimates.diameter_high_mm.tolist(),
        strict=True,
    )  # fmt: skip
    return [describe_size(*size) + words[kind] for size, kind in zip(sizes, kind_of.reshape(-1).tolist(), strict=True)]


def describe_size(diameter_mm: float, low_mm: float, high_mm: float) -> str:
    """Describe a diameter with its interval; at an end of the range of sizes: "over 45 mm (38.2-45.0)"."""
    if diameter_mm >= SWEPT_MM[-1]:
        size = f"over {SWEPT_MM[-1]:g} mm"
    elif diameter_mm <= SWEPT_MM[0]:
        size = f"under {SWEPT_MM[0]:g} mm"
    else:
        size = f"about {diameter_mm:.1f} mm"
    return f"{size} ({low_mm:.1f}-{high_mm:.1f})"


def _list_parts(estimates: Estimates) -> list[_Part]:
    phrases, textures = estimates.phrases, estimates.distributions.get(schema.TEXTURE)
    parts = []
    if textures is not None:
        shares = [textures[:, :2].sum(axis=1), textures[:, 2], textures[:, 3:].sum(axis=1)]
        parts.append(_choose(shares, ("ground-glass", "part-solid", "solid")))
    if "calcified" in phrases:
        parts.append(_choose([phrases["calcified"]], ("calcified",)))
    if "smooth" in phrases:
        parts.append(_choose([phrases["smooth"]], ("smooth margin",)))
    if "poorly_defined" in phrases:
        parts.append(_choose([phrases["poorly_defined"]], ("poorly defined margin",)))
    if "lobulated" in phrases:
        parts.append(_choose([phrases["lobulated"]], ("lobulated",)))
    if "spiculated" in phrases:
        spiculated = phrases["spiculated"]
        parts.append(_choose([spiculated], ("spiculated",)))
        parts.append(_Part((1 - spiculated >= SURE).astype(np.int64), ("", "not spiculated")))
    if "subtle" in phrases:
        parts.append(_choose([phrases["subtle"]], ("subtle",)))
    if "benign" in phrases:
        is_high = phrases["highly_suspicious"] >= PROBABLE  # the stronger word alone, where it is at least probable
        high = np.where(is_high, phrases["highly_suspicious"], 0)
        suspicious = np.where(is_high, 0, phrases["suspicious"])
        shares = [phrases["benign"], suspicious, high]
        words = ("benign", "suspicious", "highly suspicious")
        parts.append(_choose(shares, words, otherwise="indeterminate", is_sure=False))
    return parts


def _choose(shares: Sequence[Estimated], words: Sequence[str], *, otherwise: str = "", is_sure: bool = True) -> _Part:
    """Choose for each nodule the most probable word, with its reservation.

    Args:
        shares: (N,) probability of each word.
        words: The words.
        otherwise: Text where no word is possible.
        is_sure: Whether a word may stand without a reservation.
    """
    stacked = np.stack(shares)
    certainty = np.searchsorted([POSSIBLE, PROBABLE, SURE], stacked.max(axis=0), side="right")
    codes = np.where(certainty == 0, 0, 3 * stacked.argmax(axis=0) + certainty)
    graded = [(f"possibly {word}", f"probably {word}", word if is_sure else f"probably {word}") for word in words]
    return _Part(codes, (otherwise, *(text for texts in graded for text in texts)))


def _join(texts: Iterable[str]) -> str:
    return "".join(f", {text}" for text in texts if text)
