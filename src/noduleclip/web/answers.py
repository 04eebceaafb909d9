"""Answers of the explorer as JSON, errors included."""

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from noduleclip.errors import IndexReplacedError, InputError, NoduleclipError, UsageError
from noduleclip.web.guard import FAILED
from noduleclip.web.wording import use_page_words

REPLACED_HEADER = "X-Index-Replaced"
REPLACED = "the index was replaced by a newer one, whose rows are others; load the page anew"


def send_json(found: Mapping[str, Any]) -> Response:
    """Return values of an index as JSON, which has no NaN, no dates and no bytes."""
    return JSONResponse({name: _to_json(value) for name, value in found.items()})


def pack_files(files: Sequence[tuple[str, bytes]], name: str) -> tuple[str, bytes, str]:
    """Return name, content and media type of what is sent: the only file as it is, several as an archive.

    Args:
        files: Their names and contents.
        name: Name of the archive, without its ending.
    """
    if len(files) == 1:
        ((own, content),) = files
        return own, content, "application/json" if own.endswith(".json") else "application/octet-stream"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for own, content in files:
            archive.writestr(own, content)
    return f"{name}.zip", packed.getvalue(), "application/zip"


def _to_json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _to_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple | pl.Series):
        return [_to_json(one) for one in value]
    return value if value is None or isinstance(value, str | int) else str(value)


async def _answer_error(_: Request, error: Exception) -> Response:
    if isinstance(error, IndexReplacedError):  # of a store whose old rows are gone
        return JSONResponse({"error": REPLACED}, 409, {REPLACED_HEADER: "true"})
    status = 422 if isinstance(error, UsageError) else 404 if isinstance(error, InputError) else 500
    return JSONResponse({"error": use_page_words(str(error))}, status)


async def _answer_status(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _answer_failure(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": FAILED}, 500)


ERROR_HANDLERS = {NoduleclipError: _answer_error, HTTPException: _answer_status, Exception: _answer_failure}
