"""The addresses of the explorer. Rows are asked for by number; no path stands in an address."""

import shlex
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import jinja2
import polars as pl
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from noduleclip import __version__, schema
from noduleclip.errors import InputError, NoduleclipError, RejectCode, SliceError, UsageError
from noduleclip.io.pictures import Picture
from noduleclip.report.gallery import GALLERY_FOV_MM, GALLERY_SIZE_PX, Section, Shown, render_gallery
from noduleclip.sentence import describe_reading
from noduleclip.web.explorer import Explorer, describe_answer
from noduleclip.web.questions import MAX_SOFTNESS_MM, MOST_HITS, UNIQUE, Question, read_question
from noduleclip.web.slices import SliceReader

NEIGHBOURS = 12
MOST_PICTURES = 50  # of a page
_RANKED_AT_ONCE = 2
Endpoint = Callable[[Request], Awaitable[Response]]
Made = TypeVar("Made")


class _Site:
    """The endpoints; work is done in threads, a few at a time, so that one request cannot keep others from theirs."""

    def __init__(self, explorer: Explorer, slices: SliceReader) -> None:
        self._explorer, self._slices = explorer, slices
        self._ranking = CapacityLimiter(_RANKED_AT_ONCE)
        self._drawing, self._decoding = CapacityLimiter(1), CapacityLimiter(1)  # a slice waits for one picture, not all
        environment = jinja2.Environment(loader=jinja2.PackageLoader("noduleclip", "web"), autoescape=True)
        self._page = environment.get_template("page.html.jinja").render(
            version=__version__,
            rows=explorer.rows,
            name=explorer.index.name,
            most_hits=MOST_HITS,
            most_softness=f"{MAX_SOFTNESS_MM:g}",
            uniques=UNIQUE[1:],
        )

    def list_routes(self) -> list[Route | Mount]:
        """Give all that can be asked."""
        endpoints: dict[str, Endpoint] = {
            "/": self.show_page,
            "/api/collection": self.describe_collection,
            "/api/search": self.search,
            "/api/nodule/{row:int}": self.describe_nodule,
            "/api/slice/{row:int}": self.send_slice,
            "/api/map": self.send_map,
            "/picture/{row:int}.png": self.send_picture,
            "/topk.csv": self.send_csv,
            "/hits.html": self.send_gallery,
        }
        static = StaticFiles(directory=Path(__file__).parent / "static")
        return [*(Route(path, endpoint) for path, endpoint in endpoints.items()), Mount("/static", static)]

    async def show_page(self, _: Request) -> Response:
        """Give the page."""
        return HTMLResponse(self._page)

    async def describe_collection(self, _: Request) -> Response:
        """Give the histogram of diameters and the columns that a condition may name."""
        columns = self._explorer.index.scan().collect_schema().names()
        return JSONResponse({"bins": self._explorer.count_diameters(), "columns": columns})

    async def search(self, request: Request) -> Response:
        """Give the hits of a sentence."""
        started = perf_counter()
        question = read_question(request.query_params)

        def work() -> dict[str, Any]:
            answer = self._explorer.answer(question)
            return {**describe_answer(answer), "hits": self._explorer.describe(answer)}

        found = await self._rank(work)
        return JSONResponse({**found, "milliseconds": round(1e3 * (perf_counter() - started), 1)})

    async def send_csv(self, request: Request) -> Response:
        """Give the hits of a sentence as a table."""
        text = await self._rank(partial(self._explorer.write_csv, read_question(request.query_params)))
        return Response(
            text, media_type="text/csv", headers={"Content-Disposition": f'attachment; filename="{schema.TOP_K_CSV}"'}
        )

    async def send_gallery(self, request: Request) -> Response:
        """Give the first hits of a sentence as a page of pictures to keep."""
        question = read_question(request.query_params)
        question = replace(question, topk=min(question.topk, MOST_PICTURES))
        answer, hits = await self._rank(partial(self._explorer.list_hits, question))

        def draw() -> str:
            shown = [Shown(hit, self._try_cut(hit[schema.ROW])) for hit in hits.iter_rows(named=True)]
            section = Section(question.sentence, describe_reading(answer.reading), shown)
            return render_gallery([section], self._type_command(question), None)

        page = await to_thread.run_sync(draw, limiter=self._drawing)
        return HTMLResponse(page, headers={"Content-Disposition": 'attachment; filename="hits.html"'})

    def _type_command(self, question: Question) -> str:
        """Give the search as one would type it."""
        typed: list[object] = [
            "--emb-dir", self._explorer.index.name, "--query", question.sentence, "--alpha", question.alpha,
            "--softness-mm", question.softness_mm, "--topk", question.topk,
        ]  # fmt: skip
        for option, value in (("--unique", question.unique), ("--where", question.filters.where)):
            typed += [option, value] if value else []
        return shlex.join(["noduleclip", "fuse", *map(str, typed)])

    def _try_cut(self, row: int) -> Picture | SliceError:
        try:
            return self._slices.cut(row, fov_mm=GALLERY_FOV_MM, size_px=GALLERY_SIZE_PX)
        except SliceError as error:
            return error
        except InputError as error:  # the slice lies elsewhere
            return SliceError(RejectCode.MISSING_FILE, str(error))

    async def describe_nodule(self, request: Request) -> Response:
        """Give a row's metadata, box, outline and neighbours."""
        row, unique = self._row_of(request), read_question(request.query_params).unique

        def work() -> dict[str, Any]:
            found = self._explorer.describe_row(row)
            return {
                "row": row,
                "metadata": {name: value for name, value in found.items() if value is not None},
                "box": [found[name] for name in schema.BOX_COLUMNS],
                "outline": self._slices.read_outline(row),
                "neighbours": self._explorer.find_neighbours(row, NEIGHBOURS, unique),
            }

        return JSONResponse(await self._rank(work))

    async def send_slice(self, request: Request) -> Response:
        """Give the Hounsfield units of a row's slice, for the browser to window."""
        row = self._row_of(request)
        found = await to_thread.run_sync(self._slices.read, row, limiter=self._decoding)
        spacing = [] if found.spacing_yx_mm is None else found.spacing_yx_mm
        headers = {"X-Shape": ",".join(map(str, found.shape)), "X-Spacing-Mm": ",".join(f"{mm:g}" for mm in spacing)}
        return Response(found.hu, media_type="application/octet-stream", headers=headers)

    async def send_picture(self, request: Request) -> Response:
        """Give the tissue around a row as PNG."""
        row = self._row_of(request)
        return Response(await to_thread.run_sync(self._slices.draw, row, limiter=self._drawing), media_type="image/png")

    async def send_map(self, _: Request) -> Response:
        """Give the map: a row number and three float32 for each point, little-endian, all rows before all points."""
        rows, points = await self._rank(lambda: self._explorer.plane)
        return Response(
            rows.astype("<u4").tobytes() + points.astype("<f4").tobytes(), media_type="application/octet-stream"
        )

    async def _rank(self, work: Callable[[], Made]) -> Made:
        return await to_thread.run_sync(_without_panic, work, limiter=self._ranking)

    def _row_of(self, request: Request) -> int:
        row = int(request.path_params["row"])
        if row >= self._explorer.rows:
            raise HTTPException(404, f"there is no row {row}; rows are 0 to {self._explorer.rows - 1}")
        return row


def _without_panic(work: Callable[[], Made]) -> Made:
    """Do some work on a table; a panic of polars, which is no Exception, would end the server's thread."""
    try:
        return work()
    except pl.exceptions.PanicException as error:
        raise UsageError(f"the condition cannot be read ({str(error).splitlines()[0][:200]})") from error


async def _explain(_: Request, error: Exception) -> Response:
    status = 422 if isinstance(error, UsageError) else 404 if isinstance(error, InputError) else 500
    return JSONResponse({"error": str(error)}, status)


async def _say_status(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


def make_app(explorer: Explorer, slices: SliceReader) -> Starlette:
    """Make the application, without its guard."""
    handlers = {NoduleclipError: _explain, HTTPException: _say_status}
    return Starlette(routes=_Site(explorer, slices).list_routes(), exception_handlers=handlers)
