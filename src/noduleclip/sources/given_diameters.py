"""What a diameter is that a collection gives, instead of outlines to measure."""

from enum import StrEnum

from noduleclip.sources.diameters import DiameterKind


class GivenDiameter(StrEnum):
    """The kinds that are measured on outlines, and what only a collection's own description can tell.

    Attributes:
        VOLUME: Diameter of the sphere of the nodule's volume. LUNA16's are the mean of its readers': of eight nodules
            that were compared they are 0.95 of what the volumes of LIDC's outlines give, and 0.82 of the largest
            in-slice diameters, both in the mean over readers.
        UNKNOWN: The collection does not say.
    """

    IN_SLICE = DiameterKind.IN_SLICE.value
    AXES_MEAN = DiameterKind.AXES_MEAN.value
    EQUIVALENT = DiameterKind.EQUIVALENT.value
    LARGEST_IN_SLICE = DiameterKind.LARGEST_IN_SLICE.value
    VOLUME = "volume"
    UNKNOWN = "unknown"
