"""The words of a sentence that neither its size nor its ratings used: which of them were not understood.

A filler restricts nothing: "show me all lung nodules". All other words that are left over are named, so that a sentence
is never answered as if they had been read.
"""

from collections.abc import Sequence

from noduleclip.language.context_words import PAST
from noduleclip.language.rating_scale import ATTRIBUTES as RATED
from noduleclip.language.rating_words import EDGES
from noduleclip.language.size_words import APPROXIMATELY, AXIS_LABELS
from noduleclip.language.words import NOT, split_words

_NOUNS = split_words(
    "nodule nodules nodule's lesion lesions tumor tumors tumour tumours opacity opacities nodularity density densities"
    " finding findings spn spns focus foci abnormality abnormalities neoplasm neoplasms mass masses one ones those them"
    " ct cts lung lungs pulmonary chest x patient patients case cases series image images picture pictures slice slices"
    " scan scans example examples"
)
_SIZES = split_words(
    "diam dia d size sized sizes dimension dimensions diameter diameters extent volume volumes range ranges ranging"
    " within between from to clearly definitely measuring measures measure measured measurement measurements"
)
_OF_SIZES = (
    AXIS_LABELS
    | (APPROXIMATELY - {"."})
    | split_words(
        "overall total mean average maximum maximal greatest max long longest axis axes major length cross sectional"
        " inclusive reach reaches reaching spanning spans across slightly much far strictly considerably significantly"
        " estimated"
    )
)
"""Words that restrict nothing beside a size, "8 mm long"; without one they may: "a long nodule"."""
_GRAMMAR = split_words(
    "a an the of at in on by as with has have having had is are was were be been being and or but plus also either any"
    " some all each every both several many few this that these its it which whose who what such where when there for"
    " about if so only just no not s am do did does will would can could should shall must may might i we they he she"
    " us me my our you your how i'd i'm i'll let let's there's it's that's what's who's his her their here"
    " now currently today remains remaining remained become becomes became anything"
    " everything something probably likely certainly known visible additional another other others further"
)
_ASKING = split_words(
    "find search please want wants wanted looking look looks like query show shows showing showed shown give list get"
    " display return retrieve retrieving pull pick select fetch bring got count thanks thank hi hey ok okay kindly"
    " need needs needed see sees seen interested noted detected described demonstrates reveals revealed contains"
    " containing harboring present evidence sign signs found identified saw included located"
)
FILLERS = _NOUNS | _SIZES | _GRAMMAR | _ASKING
"""Words that restrict nothing."""
_OF_RATINGS = (
    frozenset(EDGES)
    | frozenset(RATED)
    | split_words(
        "rating ratings rated score suspicion risk probability shape shaped appearance appearing outline surface degree"
    )
)
"""Words that go with a rating beside them, "a margin that is smooth", but not with an unknown word: "low risk"."""
_VERB_ENDINGS = frozenset(("up",))
"""Words that end a verb, "pull up", but not an unknown one: "follow up"."""
_OF_PREVIOUS_SIZES = PAST | split_words("compared")
_LONGEST_NEGATED = 3  # fillers between a negation and what it denies: "no evidence of cancer"


def find_leftovers(words: Sequence[str], *, has_size: bool, has_ratings: bool, has_previous: bool) -> tuple[str, ...]:
    """Return the runs of words that were not understood, each once, in order.

    Args:
        words: The words that the size and the ratings left.
        has_size: Whether the sentence has a size, of the nodule or of something else.
        has_ratings: Whether the sentence asks for ratings, which words such as "margin" then belong to.
        has_previous: Whether it states a previous size, which words such as "previously" then belong to.
    """
    runs: list[list[str]] = [[]]
    denied: list[str] = []
    fillers_alone = _VERB_ENDINGS | _OF_RATINGS if has_ratings else _VERB_ENDINGS
    fillers = FILLERS | (_OF_SIZES if has_size else frozenset()) | (_OF_PREVIOUS_SIZES if has_previous else frozenset())
    for word in words:
        if word in NOT:
            runs += [denied, []]
            denied = [word]
        elif word in fillers or (word in fillers_alone and not runs[-1]):
            runs.append([])
            denied = [*denied, word] if denied and len(denied) <= _LONGEST_NEGATED else []
        else:
            runs[-1] += [*denied, word]
            denied = []
    runs.append(denied)  # "no nodules" restricts, although its words are fillers
    return tuple(dict.fromkeys(" ".join(run) for run in runs if run))
