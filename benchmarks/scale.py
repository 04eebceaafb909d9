"""The tables of docs/scale.md, from unit costs: `python benchmarks/scale.py`.

Nothing is measured here. `MEASURED` is what other benchmarks saw, each with its command; `ASSUMED` is what none did.
"""

from dataclasses import dataclass

SIZES = (10**6, 10**8, 10**10)
HEADS = ("10^6", "10^8", "10^10")


@dataclass(frozen=True)
class Unit:
    """One cost of one thing.

    Attributes:
        value: How much.
        what: Of what, with its unit.
        source: The command that measured it, or why it is assumed.
    """

    value: float
    what: str
    source: str


MEASURED = {
    "vector": Unit(512, "bytes a ROI, vector of 128 float32", "size of `img_embeds.npy`"),
    "meta": Unit(65, "bytes a ROI, metadata", "size of `meta.parquet`, 2,154 LIDC nodules"),
    "outlines": Unit(57, "bytes a ROI, outlines", "size of `outlines.parquet`, the same"),
    "row": Unit(607, "bytes a ROI, table with outlines", "size of `rois_all_readers.csv`, 5,646 rows"),
    "crop": Unit(18_564, "bytes a ROI, cached crop of 96 px", "size of a file of the cache with one ROI"),
    "memory": Unit(900, "bytes a ROI, memory of `embed`", "`benchmarks/growth.py`"),
    "cut": Unit(0.00123, "s a ROI and core, cutting", "`benchmarks/crops.py`"),
    "embed": Unit(42.9 / 2, "ROIs a second and core, embedding in 8 views", "`benchmarks/embedding.py`"),
    "exact": Unit(36.3e-9, "s a ROI, exact search on two cores", "`benchmarks/search.py`"),
}
ASSUMED = {
    "core": Unit(0.04, "$ a core hour", "list prices of large clouds, rounded"),
    "disk": Unit(0.023, "$ a GB and month, object store", "the same"),
    "ram": Unit(0.004, "$ a GB of memory and hour", "the same, memory-heavy machines"),
    "slice": Unit(525_000, "bytes of a slice, 512 x 512 uncompressed, one ROI on it", "DICOM"),
}


def show(value: float, unit: str = "") -> str:
    """Print a number in three digits at most."""
    for limit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit and unit == "B":
            return f"{value / limit:.3g} {name}B"
    return f"{value:,.0f} {unit}".strip() if value >= 100 else f"{value:.2g} {unit}".strip()


def hours(seconds: float) -> str:
    """Print a time in the unit that people would use."""
    for limit, name in ((365.25 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= 2 * limit:
            return f"{seconds / limit:,.0f} {name}"
    return f"{seconds * 1000:.0f} ms"
