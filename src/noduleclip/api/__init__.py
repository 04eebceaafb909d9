"""The Python API: `import noduleclip as nc`. The commands and the explorer call the same workflows."""

from noduleclip.api.crops import read_crop as read_crop
from noduleclip.api.description import describe as describe
from noduleclip.api.embedding import embed as embed
from noduleclip.api.evaluation import Evaluation as Evaluation
from noduleclip.api.evaluation import PublishedEvaluation as PublishedEvaluation
from noduleclip.api.evaluation import evaluate as evaluate
from noduleclip.api.hits import Hits as Hits
from noduleclip.api.phantoms import make_phantoms as make_phantoms
from noduleclip.api.search import Index as Index
from noduleclip.api.search import open_index as open_index
from noduleclip.api.training import train as train
from noduleclip.language.query import parse_query as parse_query
