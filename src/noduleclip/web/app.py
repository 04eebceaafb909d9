"""The endpoints of the explorer. Requests name rows by number; no address contains a path.

An answer is of one generation of the index and names it in a header. A page names its generation in its requests, and
no other generation answers them.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from noduleclip import __version__, schema
from noduleclip.errors import NoduleclipError, SliceError, UsageError
from noduleclip.io.index.rows import UNIQUE_COLUMNS, UNIQUE_NODULE
from noduleclip.report.gallery import GALLERY_FOV_MM, GALLERY_SIZE_PX, count_slices, make_section, render_gallery
from noduleclip.web.answers import ERROR_HANDLERS, REPLACED, REPLACED_HEADER, pack_files, send_json
from noduleclip.web.opened import Opened
from noduleclip.web.questions import (
    HITS_AT_ONCE,
    MAX_SOFTNESS_MM,
    MOST_HITS,
    parse_place,
    parse_request,
    parse_start,
    read_values,
)
from noduleclip.web.slices import SliceReader
from noduleclip.web.stacks import describe_slice
from noduleclip.web.wording import use_page_words
from noduleclip.web.work import Endpoint, WorkQueue, answer_while_connected, without_panic
from noduleclip.workflows.command_lines import format_search
from noduleclip.workflows.export import render_hits
from noduleclip.workflows.pictures import NodulePictures
from noduleclip.workflows.search_request import SearchRequest

NEIGHBOURS = 12
MOST_PICTURES = 50  # of a page
GENERATION = "generation"  # a value of the address
GENERATION_HEADER = "X-Index-Generation"
_MARKUPS = "hits.mrk.json"
REOPEN_HEADER = "X-Noduleclip-Reopen"  # a page of another site cannot send it without asking first, which is refused
_RANKED_AT_ONCE = 2
_LOOK_SECONDS = 1.0  # between two looks whether the index was replaced


OpenedEndpoint = Callable[[Opened, Request], Awaitable[Response]]


class _RowConvertor(Convertor[int]):
    """Row numbers in an address: at most 15 digits."""

    regex = "[0-9]{1,15}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("row", _RowConvertor())


class _Site:
    """The endpoints; work is done in threads, a few at a time, so that one request cannot keep others from theirs."""

    def __init__(self, opened: Opened, reopen: Callable[[], Opened]) -> None:
        self._opened, self._reopen = opened, reopen
        self._reopening = asyncio.Lock()
        self._replaced, self._looked = False, -math.inf
        self._looking = CapacityLimiter(1)
        self._ranking = WorkQueue(_RANKED_AT_ONCE)
        self._drawing, self._decoding = WorkQueue(1), WorkQueue(1)  # a slice waits for one picture, not all
        self._listing = WorkQueue(1)  # reads the headers of whole folders
        environment = jinja2.Environment(loader=jinja2.PackageLoader("noduleclip", "web"), autoescape=True)
        self._template = environment.get_template("page.html.jinja")

    def list_routes(self) -> list[Route | Mount]:
        """Return the routes."""
        endpoints: dict[str, OpenedEndpoint] = {
            "/": self.show_page,
            "/api/collection": self.describe_collection,
            "/api/search": self.search,
            "/api/nodule/{row:row}": self.describe_nodule,
            "/api/stack/{row:row}": self.describe_stack,
            "/api/slice/{row:row}": self.send_slice,
            "/api/map": self.send_map,
            "/picture/{row:row}.png": self.send_picture,
            "/topk.csv": self.send_csv,
            "/hits.html": self.send_gallery,
            "/hits.mrk.json": self.send_markups,
        }
        static = StaticFiles(directory=Path(__file__).parent / "static")
        routes = [Route(path, self._answer_of_one_generation(endpoint)) for path, endpoint in endpoints.items()]
        return [*routes, Route("/api/reopen", self.reopen), Mount("/static", static)]

    def _answer_of_one_generation(self, endpoint: OpenedEndpoint) -> Endpoint:
        """Bind an endpoint to the index that is open when its request begins, if the request is about that one."""

        async def answer(request: Request) -> Response:
            opened = self._opened
            wanted = read_values(request.scope["query_string"]).get(GENERATION, "")
            if wanted not in ("", opened.generation) and request.url.path != "/":
                raise HTTPException(409, REPLACED)
            replaced = await self._look_for_another(opened)
            opened.explorer.index.check_unchanged()
            response = await answer_while_connected(request, partial(endpoint, opened))
            opened.explorer.index.check_unchanged()
            response.headers[GENERATION_HEADER] = opened.generation
            response.headers[REPLACED_HEADER] = str(replaced).lower()
            return response

        return answer

    async def _look_for_another(self, opened: Opened) -> bool:
        """Return whether the index was replaced at its location; looks at most once a second."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            replaced = await to_thread.run_sync(opened.explorer.index.was_replaced, limiter=self._looking)
            if opened is self._opened:
                self._replaced = replaced
        return self._replaced or opened is not self._opened

    async def reopen(self, request: Request) -> Response:
        """Open the index that now lies at the location and answer from it; if that fails, nothing changes."""
        if REOPEN_HEADER not in request.headers:
            raise HTTPException(403, f"only the page itself may ask this, with the header {REOPEN_HEADER}")
        async with self._reopening:
            if await to_thread.run_sync(self._opened.explorer.index.was_replaced, limiter=self._looking):
                try:
                    self._opened = await to_thread.run_sync(without_panic, self._reopen, limiter=self._looking)
                except (NoduleclipError, OSError) as error:
                    raise HTTPException(503, f"the new index cannot be opened, the old one stays ({error})") from error
            self._replaced, self._looked = False, -math.inf
        return JSONResponse({GENERATION: self._opened.generation, "rows": self._opened.explorer.rows})

    async def show_page(self, opened: Opened, _: Request) -> Response:
        """Return the page."""
        page = self._template.render(
            version=__version__,
            generation=opened.generation,
            rows=opened.explorer.rows,
            name=opened.explorer.index.name,
            most_hits=MOST_HITS,
            hits_at_once=HITS_AT_ONCE,
            most_softness=f"{MAX_SOFTNESS_MM:g}",
            has_estimates=opened.explorer.has_estimates,
            uniques=tuple(UNIQUE_COLUMNS),
            is_of_nodules=opened.explorer.index.manifest.is_of_nodules,
        )
        return HTMLResponse(page)

    async def describe_collection(self, opened: Opened, _: Request) -> Response:
        """Return the histogram of diameters and the columns that a condition may name."""
        explorer = opened.explorer

        def work() -> dict[str, Any]:
            return {**explorer.count_sizes(), "columns": explorer.index.scan().collect_schema().names()}

        return JSONResponse(await self._ranking.run(work))

    async def search(self, opened: Opened, request: Request) -> Response:
        """Return the hits of a sentence."""
        started = time.perf_counter()
        values = read_values(request.scope["query_string"])
        search = _parse_search(opened, request)
        assert search.k is not None
        work = partial(opened.explorer.answer, search, parse_start(values, search.k))
        try:
            found = await self._ranking.run(work)
        except UsageError as error:
            refusal = opened.explorer.explain_refusal(search.sentences[0])
            return JSONResponse({"error": use_page_words(str(error)), **refusal}, 422)
        return send_json({**found, "milliseconds": round(1e3 * (time.perf_counter() - started), 1)})

    async def send_csv(self, opened: Opened, request: Request) -> Response:
        """Return the hits of a sentence as a table."""
        text = await self._ranking.run(partial(opened.explorer.write_csv, _parse_search(opened, request)))
        return Response(
            text, media_type="text/csv", headers={"Content-Disposition": f'attachment; filename="{schema.TOP_K_CSV}"'}
        )

    async def send_gallery(self, opened: Opened, request: Request) -> Response:
        """Return the first hits of a sentence as a page of pictures to keep."""
        search = _parse_search(opened, request)
        search = replace(search, k=min(search.k or MOST_PICTURES, MOST_PICTURES))
        answer = await self._ranking.run(partial(opened.explorer.find_hits, search))
        pictures = [  # one at a time: other requests have their turn between two pictures
            await self._drawing.run(partial(_try_cut, opened.slices, row, count_slices(answer.hits.height)))
            for row in answer.hits[schema.ROW]
        ]
        command = format_search(search, opened.explorer.index.name)
        page = await self._drawing.run(partial(render_gallery, [make_section(answer, pictures)], command, None))
        return HTMLResponse(page, headers={"Content-Disposition": 'attachment; filename="hits.html"'})

    async def send_markups(self, opened: Opened, request: Request) -> Response:
        """Return the hits of a sentence as markups of 3D Slicer: a file, or an archive of one for each series."""
        search = _parse_search(opened, request)
        answer = await self._ranking.run(partial(opened.explorer.find_hits, search))
        files = await self._listing.run(partial(render_hits, _MARKUPS, opened.explorer.index, answer, opened.folders))
        name, content, media_type = pack_files(files, Path(_MARKUPS).with_suffix("").stem)
        return Response(
            content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
        )

    async def describe_nodule(self, opened: Opened, request: Request) -> Response:
        """Return a row's metadata, what readers and model say of it, box, outlines on its own slice, and neighbours."""
        row, unique = _row_of(opened, request), _parse_search(opened, request).unique

        def work() -> dict[str, Any]:
            own = opened.slices.stacks.find_outlined(row)
            return {
                "row": row,
                **opened.explorer.describe_nodule(row),
                "slice": describe_slice(own.slices[own.key]),
                "neighbours": opened.explorer.find_neighbours(row, NEIGHBOURS, unique),
            }

        return send_json(await self._ranking.run(work))

    async def describe_stack(self, opened: Opened, request: Request) -> Response:
        """Return the slices that one can step to from a row's, with their outlines, and the place of its own."""
        row = _row_of(opened, request)

        def work() -> dict[str, Any]:
            stack = opened.slices.stacks.find(row)
            return {"at": stack.key, "slices": [describe_slice(one) for one in stack.slices]}

        return send_json(await self._listing.run(work))

    async def send_slice(self, opened: Opened, request: Request) -> Response:
        """Return the Hounsfield units of a row's slice, or of another of its stack, for the browser to window."""
        row, at = _row_of(opened, request), parse_place(read_values(request.scope["query_string"]))
        found = await self._decoding.run(partial(opened.slices.read, row, at))
        spacing = [] if found.spacing_yx_mm is None else found.spacing_yx_mm
        headers = {"X-Shape": ",".join(map(str, found.shape)), "X-Spacing-Mm": ",".join(f"{mm:g}" for mm in spacing)}
        return Response(found.hu, media_type="application/octet-stream", headers=headers)

    async def send_picture(self, opened: Opened, request: Request) -> Response:
        """Return the tissue around a row as PNG."""
        row = _row_of(opened, request)
        png = await self._drawing.run(partial(opened.slices.draw, row))
        return Response(png, media_type="image/png")

    async def send_map(self, opened: Opened, _: Request) -> Response:
        """Return the map: a row number and four float32 for each point, little-endian, all rows before all points."""
        rows, points = await self._ranking.run(lambda: opened.explorer.plane)
        return Response(
            rows.astype("<u4").tobytes() + points.astype("<f4").tobytes(), media_type="application/octet-stream"
        )


def _parse_search(opened: Opened, request: Request) -> SearchRequest:
    search = parse_request(read_values(request.scope["query_string"]))
    is_grouped = opened.explorer.index.manifest.is_of_nodules and search.unique == UNIQUE_NODULE
    return replace(search, unique=None) if is_grouped else search


def _row_of(opened: Opened, request: Request) -> int:
    row = int(request.path_params["row"])
    if row >= opened.explorer.rows:
        raise HTTPException(404, f"there is no row {row}; rows are 0 to {opened.explorer.rows - 1}")
    return row


def _try_cut(slices: SliceReader, row: int, most_slices: int) -> NodulePictures | SliceError:
    try:
        return slices.cut(row, fov_mm=GALLERY_FOV_MM, size_px=GALLERY_SIZE_PX, most_slices=most_slices)
    except SliceError as error:
        return error


def make_app(opened: Opened, reopen: Callable[[], Opened]) -> Starlette:
    """Make the application, without its guard.

    Args:
        opened: The index.
        reopen: Opens the index that now lies at the same place.
    """
    app = Starlette(routes=_Site(opened, reopen).list_routes(), exception_handlers=ERROR_HANDLERS)
    app.router.redirect_slashes = False
    return app
