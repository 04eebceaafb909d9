"""The words for ratings, as tables: a phrase without its hyphens -> the ranges that it asks for.

Source: the scales of the LIDC-IDRI reading protocol (Armato et al., Medical Physics 38:915-931, 2011) and, for what is
not on them, the Fleischner Society's glossary (Hansell et al., Radiology 246:697-722, 2008).
"""

from collections.abc import Sequence

from noduleclip import schema
from noduleclip.language.rating_scale import RatingRange
from noduleclip.language.words import COMPARATORS, map_phrases, split_words

Ranges = tuple[RatingRange, ...]


def _phrases(attribute: str, low: int, high: int, phrases: str) -> dict[tuple[str, ...], Ranges]:
    return {tuple(phrase.split()): (RatingRange(attribute, low, high),) for phrase in phrases.split("|")}


def _with_nouns(adjectives: str, nouns: str) -> str:
    """Return the adjectives alone and before each noun."""
    return "|".join(f"{adjective}{noun}" for adjective in adjectives.split("|") for noun in ("", *nouns.split("|")))


EDGES = ("margin", "margins", "border", "borders", "edge", "edges", "contour", "contours")
_EDGE = "|".join(f" {noun}" for noun in EDGES)
_SMOOTH = (
    RatingRange(schema.MARGIN, 4, 5),
    RatingRange(schema.LOBULATION, 1, 2),
    RatingRange(schema.SPICULATION, 1, 2),
)

PHRASES: dict[tuple[str, ...], Ranges] = {
    **_phrases(schema.TEXTURE, 1, 2, "ground glass|groundglass|ground glass opacity|ggo|ggn|non solid|nonsolid"),
    **_phrases(schema.TEXTURE, 3, 3, "part solid|partly solid|partially solid|semi solid|mixed texture"),
    **_phrases(schema.TEXTURE, 1, 3, "sub solid|subsolid"),
    **_phrases(schema.TEXTURE, 4, 5, "solid"),
    **_phrases(schema.SPICULATION, 3, 5, _with_nouns("spiculated|spiculate", _EDGE) + "|spiculation|spiculations"),
    **_phrases(schema.SPICULATION, 4, 5, _with_nouns("markedly spiculated", _EDGE) + "|marked spiculation"),
    **_phrases(schema.SPICULATION, 1, 2, "non spiculated|nonspiculated|unspiculated"),
    **_phrases(schema.LOBULATION, 3, 5, _with_nouns("lobulated|lobular", _EDGE) + "|lobulation|lobulations"),
    **_phrases(schema.LOBULATION, 4, 5, _with_nouns("markedly lobulated", _EDGE) + "|marked lobulation"),
    **_phrases(schema.LOBULATION, 1, 2, "non lobulated|nonlobulated|unlobulated"),
    **_phrases(
        schema.MARGIN,
        4,
        5,
        _with_nouns("sharp|sharply defined|well defined|well circumscribed|circumscribed|distinct", _EDGE),
    ),
    **_phrases(
        schema.MARGIN, 1, 2, _with_nouns("poorly defined|ill defined|indistinct|blurred|fuzzy|unsharp|vague", _EDGE)
    ),
    **_phrases(schema.SPHERICITY, 4, 5, "round|rounded|spherical"),
    **_phrases(schema.SPHERICITY, 3, 3, "ovoid|oval"),
    **_phrases(schema.SPHERICITY, 1, 2, "linear|elongated"),
    **_phrases(schema.CALCIFICATION, 1, 5, "calcified|calcification|calcifications"),
    **_phrases(schema.CALCIFICATION, 6, 6, "non calcified|noncalcified|uncalcified"),
    **_phrases(schema.CALCIFICATION, 1, 1, "popcorn calcification|popcorn calcified"),
    **_phrases(schema.CALCIFICATION, 2, 2, "laminated calcification"),
    **_phrases(schema.CALCIFICATION, 3, 3, "solid calcification|solidly calcified"),
    **_phrases(schema.CALCIFICATION, 4, 4, "non central calcification|eccentric calcification"),
    **_phrases(schema.CALCIFICATION, 5, 5, "central calcification|centrally calcified"),
    **_phrases(schema.MALIGNANCY, 5, 5, "highly suspicious|highly suspicious for malignancy"),
    **_phrases(schema.MALIGNANCY, 4, 4, "moderately suspicious|moderately suspicious for malignancy"),
    **_phrases(schema.MALIGNANCY, 4, 5, "suspicious|suspicious for malignancy|malignant|malignancy|cancerous"),
    **_phrases(schema.MALIGNANCY, 3, 3, "indeterminate"),
    **_phrases(schema.MALIGNANCY, 1, 2, "benign|unlikely malignant|unlikely to be malignant"),
    **_phrases(schema.MALIGNANCY, 2, 2, "moderately unlikely|moderately unlikely for cancer"),
    **_phrases(schema.MALIGNANCY, 1, 1, "highly unlikely|highly unlikely for cancer"),
    **_phrases(schema.SUBTLETY, 1, 3, "subtle"),
    **_phrases(schema.SUBTLETY, 3, 3, "fairly subtle"),
    **_phrases(schema.SUBTLETY, 2, 2, "moderately subtle"),
    **_phrases(schema.SUBTLETY, 1, 1, "extremely subtle"),
    **_phrases(schema.SUBTLETY, 4, 4, "moderately obvious"),
    **_phrases(schema.SUBTLETY, 4, 5, "obvious|conspicuous"),
    **{
        tuple(phrase.split()): _SMOOTH
        for phrase in ("smooth", *(f"smooth{noun}" for noun in _EDGE.split("|")), "smoothly marginated")
    },
}
LONGEST_PHRASE = max(map(len, PHRASES))

COMPARISONS = {phrase: operator for phrase, operator in COMPARATORS.items() if operator != "="} | map_phrases(
    **{"<=": "no more than", ">=": "no less than"}
)
LONGEST_COMPARISON = max(map(len, COMPARISONS))
BETWEEN_NUMBERS = frozenset(("to", "and", "or"))
BEFORE_NUMBER = split_words(
    "rating ratings rated score scored level grade of is at a between from the risk probability likelihood chance"
    " estimate estimated"
)
BETWEEN_PARTS = frozenset(("or", "a", "an"))
LESSENING = split_words(
    "low little less least minimal minimally slight slightly mild mildly faintly weakly barely hardly scarcely"
    " reduced decreased doubtful questionable unlikely absent negative almost nearly half quasi far loss disappearance"
    " resolved resolution missing regardless irrespective independent independently 0"
)
"""Words that lessen a rated word: "low suspicion of malignancy" is not malignancy 4-5."""
ABSENT = split_words("false 0 negative absent none")
LESSENED = LESSENING | ABSENT | split_words("improbable below")
"""The same behind a rated word: "malignancy unlikely"."""
MIDDLE = split_words("moderate medium intermediate average")
DEGREES = MIDDLE | split_words("high higher marked markedly severe strong pronounced")
"""Degrees that are no rating: "spiculation: moderate" is not spiculation 3-5."""
BETWEEN_LESSENING = frozenset(
    (
        "risk",
        "suspicion",
        "probability",
        "likelihood",
        "chance",
        "of",
        "for",
        "degree",
        "to",
        "be",
        "from",
        "any",
        "if",
        "likely",
        "than",
    )
)
PART_NOUNS = split_words(
    "component components portion portions part parts core halo rim center centre element elements area areas"
    " focus foci"
)
OTHER_NOUNS = split_words(
    "node nodes lymphadenopathy adenopathy atelectasis effusion effusions pneumothorax emphysema plaque plaques artery"
    " arteries aorta vessel vessels bronchus bronchi airway airways valve valves rib ribs organ muscle thickening scar"
    " scars scarring fibrosis consolidation hernia cyst cysts bulla bullae thyroid adrenal liver kidney hyperplasia"
)
"""Nouns of which a rated word or a named size says nothing of the nodule: "calcified lymph node"."""
_OF_OTHERS = split_words(
    "pleural lymph hilar mediastinal axillary subcarinal paratracheal coronary aortic pulmonary bronchial interlobular"
    " septal hiatal pericardial vascular arterial valvular mitral prostatic thyroid tracheal looking appearing"
)
"""Adjectives between such a word and its noun; before "calcification" the noun is left out."""
_OF_HISTORY = split_words(
    "history hx known prior previous past other underlying personal family primary extrathoracic extrapulmonary"
)
"""Words that make "malignancy" one of the patient."""
_CANCERS = split_words(
    "malignancy malignancies cancer carcinoma adenocarcinoma metastasis metastases neoplasm tumor tumour being lung a"
    " an primary malignant"
)


def names_other(before: Sequence[str], phrase: Sequence[str], after: Sequence[str]) -> bool:
    """Return whether a rated phrase is said of a part of the nodule or of something else.

    "Solid component", "calcified lymph node", "coronary calcification", "history of malignancy", "suspicious for
    infection".

    Args:
        before: Words before the phrase; the last two count.
        phrase: The rated phrase.
        after: Words behind it; the first three count.
    """
    if PART_NOUNS.intersection(after[:1]) and tuple(after[:2]) not in (("part", "solid"), ("part", "-")):
        return True
    if phrase[-1] == "suspicious" and after[:1] in (["for"], ("for",)) and after[1:2]:
        return after[1] not in _CANCERS
    if phrase[-1] in ("malignancy", "calcification", "calcifications"):
        nearest = before[-1] if before else ""
        others = _OF_HISTORY if phrase[-1] == "malignancy" else _OF_OTHERS - {"pulmonary"}
        if nearest in others or (nearest == "of" and before[-2:-1] and before[-2] in others):
            return True
    return names_other_noun(after)


def names_other_noun(after: Sequence[str]) -> bool:
    """Return whether the noun behind an adjective is something else than a nodule: "lymph node", "pleural effusion"."""
    noun = next((word for word in after[:3] if word not in _OF_OTHERS), "")
    return noun in OTHER_NOUNS
