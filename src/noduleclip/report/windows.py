"""Hounsfield units as grey values, and grey values as files for a page."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Window = tuple[float, float]
_QUALITY = 90


def window_grey(hu: NDArray[np.float32], window_hu: Window) -> NDArray[np.uint8]:
    """Spread a window of Hounsfield units over the grey values: 0 at its low end and below, 255 at its high end."""
    low, high = window_hu
    return np.asarray(np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255), np.uint8)


def encode_for_page(grey: NDArray[np.uint8]) -> str:
    """Give (Y, X) grey values as the address of a picture that stands in a page."""
    file = io.BytesIO()
    Image.fromarray(grey).save(file, format="WEBP", quality=_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
