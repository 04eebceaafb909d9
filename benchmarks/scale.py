"""The tables of docs/scale.md, from unit costs: `python benchmarks/scale.py`.

Nothing is measured here. `MEASURED` is what other benchmarks saw, each with its command; `ASSUMED` is what none did.
"""

from dataclasses import dataclass

SIZES = (10**6, 10**8, 10**10)
HEADS = ("10^6 ROIs", "10^8 ROIs", "10^10 ROIs")


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
    "vector": Unit(512, "bytes a ROI: a vector of 128 float32", "size of `img_embeds.npy`"),
    "meta": Unit(65, "bytes a ROI: metadata", "size of `meta.parquet`, 2,154 nodules of LIDC-IDRI"),
    "outline": Unit(57, "bytes a ROI: outline", "size of `outlines.parquet`, the same"),
    "store": Unit(732, "bytes a ROI: Lance store with vector index", "`benchmarks/stores.py`, 1,000,000 rows"),
    "row": Unit(607, "bytes a ROI: ROI table with outlines", "size of `rois_all_readers.csv`, 5,646 rows"),
    "crop": Unit(18_564, "bytes a ROI: crop of 96 px in the cache", "size of a cache file with one ROI"),
    "memory": Unit(900, "bytes a ROI: memory of one `embed` process", "[growth](performance.md#growth)"),
    "header": Unit(0.00093, "s a slice and core: `check`, header by header", "`benchmarks/load.py`"),
    "cut": Unit(0.00123, "s a ROI and core: decode, cut, keep", "`benchmarks/crops.py`"),
    "embed": Unit(0.0018, "s a ROI and core: image encoder, int8, 2 views of 96 px", "`benchmarks/embedding.py`"),
    "exact": Unit(36.3e-9, "s a ROI: exact search, file in memory, 2 cores", "`benchmarks/search.py`"),
}
ASSUMED = {
    "core": Unit(0.04, "$ a core and hour", "list prices of large clouds, rounded"),
    "disk": Unit(0.023, "$ a GB and month in an object store", "the same"),
    "memory": Unit(0.004, "$ a GB of memory and hour", "the same"),
    "slice": Unit(525_000, "bytes of a slice, 512 x 512 uncompressed, one ROI each", "the format"),
    "node": Unit(256e9, "bytes of memory of a search node", "a common size"),
    "fan": Unit(0.25, "s that a query may take", "half of what a person does not notice"),
}


def show_bytes(value: float) -> str:
    """Print bytes in three digits."""
    for limit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= limit:
            return f"{value / limit:.3g} {name}"
    return f"{value:.0f} B"


def show_seconds(value: float) -> str:
    """Print a time as people would say it."""
    for limit, name in ((3600, "h"), (60, "min"), (1, "s")):
        if value >= 2 * limit:
            return f"{value / limit:,.0f} {name}"
    return f"{value * 1000:.0f} ms"


def show_money(value: float) -> str:
    """Print dollars in two digits."""
    digits = 10 ** max(0, len(str(int(value))) - 2)
    return f"${round(value / digits) * digits:,.0f}" if value >= 1 else f"${value:.2f}"


def make_rows() -> list[tuple[str, ...]]:
    """Return the rows of the table: what, and how much at each size."""
    unit = {name: one.value for name, one in MEASURED.items()}
    price = {name: one.value for name, one in ASSUMED.items()}
    index = unit["vector"] + unit["meta"] + unit["outline"]
    cores = unit["cut"] + unit["embed"]
    nodes = [max(1.0, -(-n * unit["vector"] // price["node"])) for n in SIZES]
    fast = [max(m, -(-n * unit["exact"] // price["fan"])) for n, m in zip(SIZES, nodes, strict=True)]
    rows: list[tuple[str, list[str]]] = [
        ("slices, one ROI each", [show_bytes(n * price["slice"]) for n in SIZES]),
        ("ROI table, CSV", [show_bytes(n * unit["row"]) for n in SIZES]),
        ("crop cache, while embedding", [show_bytes(n * unit["crop"]) for n in SIZES]),
        ("index, folder", [show_bytes(n * index) for n in SIZES]),
        ("index, Lance store", [show_bytes(n * unit["store"]) for n in SIZES]),
        ("memory of one `embed` process over the whole table", [show_bytes(n * unit["memory"]) for n in SIZES]),
        ("headers, on one core", [show_seconds(n * unit["header"]) for n in SIZES]),
        ("cutting and embedding, core hours", [f"{n * cores / 3600:,.0f}" for n in SIZES]),
        ("the same on 1,000 cores", [show_seconds(n * cores / 1000) for n in SIZES]),
        ("the same, cost", [show_money(n * cores / 3600 * price["core"]) for n in SIZES]),
        ("keeping the index, a month", [show_money(n * index / 1e9 * price["disk"]) for n in SIZES]),
        ("exact search on one machine of 2 cores, all in memory", [show_seconds(n * unit["exact"]) for n in SIZES]),
        ("nodes that hold all vectors in memory", [f"{m:,.0f}" for m in nodes]),
        ("nodes for an exact answer in 0.25 s", [f"{m:,.0f}" for m in fast]),
        ("memory for that, a month", [show_money(n * unit["vector"] / 1e9 * price["memory"] * 730) for n in SIZES]),
    ]
    return [(what, *values) for what, values in rows]


def describe() -> str:
    """Return the tables as they stand in docs/scale.md."""
    tables = [
        [("measured", "how much", "by"), *((u.what, f"{u.value:.3g}", u.source) for u in MEASURED.values())],
        [("assumed", "how much", "why"), *((u.what, f"{u.value:.3g}", u.source) for u in ASSUMED.values())],
        [("", *HEADS), *make_rows()],
    ]
    return "\n".join(
        "\n".join("| " + " | ".join(line) + " |" for line in (table[0], ["---"] * len(table[0]), *table[1:])) + "\n"
        for table in tables
    )


if __name__ == "__main__":
    print(describe(), end="")
