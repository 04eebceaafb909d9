"""What a sentence says of the attributes that LIDC's readers rate: words -> `RatingRange`, and phrases to train with.

Reads the words that `size` leaves over. Knows nothing of images or models.
"""

from noduleclip.ratings.phrases import describe_ratings, read_ratings
from noduleclip.ratings.prompts import RATING_QUERIES, sample_rating_words
from noduleclip.ratings.scale import ATTRIBUTES, LARGEST_RATING, NOMINAL, RatingRange, last_rating

__all__ = [
    "ATTRIBUTES",
    "LARGEST_RATING",
    "NOMINAL",
    "RATING_QUERIES",
    "RatingRange",
    "describe_ratings",
    "last_rating",
    "read_ratings",
    "sample_rating_words",
]
