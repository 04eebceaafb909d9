"""Search lung-nodule CT by words.

The names below are the public API. They are imported when they are first used: importing the package loads nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noduleclip.api import *

__version__ = "0.3.0"
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


def __getattr__(name: str) -> object:
    """Import a public name (PEP 562)."""
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("noduleclip.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
