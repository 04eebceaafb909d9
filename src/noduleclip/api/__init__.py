"""The Python API: `import noduleclip as nc`. The commands and the explorer call the same workflows."""

from noduleclip.api.crops import read_crop
from noduleclip.api.description import describe
from noduleclip.api.embedding import embed
from noduleclip.api.evaluation import Evaluation, PublishedEvaluation, evaluate
from noduleclip.api.hits import Hits
from noduleclip.api.phantoms import make_phantoms
from noduleclip.api.search import Index, open_index
from noduleclip.api.training import train
from noduleclip.language.query import parse_query

__all__ = [
    "Evaluation",
    "Hits",
    "Index",
    "PublishedEvaluation",
    "describe",
    "embed",
    "evaluate",
    "make_phantoms",
    "open_index",
    "parse_query",
    "read_crop",
    "train",
]
