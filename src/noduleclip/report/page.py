"""Shared parts of the pages: templates that escape all text, and inline figures."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from noduleclip import __version__

if TYPE_CHECKING:  # a page without figures does without it
    from matplotlib.figure import Figure

# Told apart by the colour-blind (Okabe and Ito).
MODEL_COLOUR, READER_COLOUR, PLAIN_COLOUR = "#0072b2", "#d55e00", "#777777"


def render_page(template: str, filters: Mapping[str, Any] | None = None, **values: Any) -> str:
    """Fill a template of this package; a missing name is an error, a missing part of a value is not."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("noduleclip", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.ChainableUndefined,
    )
    environment.filters |= dict(filters or {})
    return environment.get_template(template).render(version=__version__, **values)


def format_polygon(points_px: Sequence[tuple[float, float]]) -> str:
    """Return the attribute of a polygon in SVG, whose pixels have their centres at halves."""
    return " ".join(f"{round(x + 0.5, 1):g},{round(y + 0.5, 1):g}" for x, y in points_px)


def inline_figure(figure: "Figure") -> Markup:
    """Return a figure as inline SVG, which scales and prints; equal numbers give equal bytes."""
    text = draw_svg(figure)
    return Markup(text[text.index("<svg") :])  # noqa: S704  # drawn by matplotlib, which escapes its texts


def draw_svg(figure: "Figure") -> str:
    """Return a figure as an SVG file."""
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": ""}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
