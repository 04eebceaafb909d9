"""Hounsfield units as grey values, and grey values as files for a page."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Window = tuple[float, float]


def spread_window(hu: NDArray[np.float32], window_hu: Window) -> NDArray[np.float64]:
    """Spread a window of Hounsfield units over [0, 1]: 0 at its low end and below, 1 at its high end and above."""
    low, high = window_hu
    return np.clip((hu.astype(np.float64) - low) / (high - low), 0, 1)


def window_grey(hu: NDArray[np.float32], window_hu: Window) -> NDArray[np.uint8]:
    """Spread a window of Hounsfield units over the grey values from 0 to 255."""
    return np.asarray(np.rint(spread_window(hu, window_hu) * 255), np.uint8)


def encode_for_page(grey: NDArray[np.uint8], quality: int = 90) -> str:
    """Return (Y, X) grey values as a data URL, of a quality in [0, 100]."""
    file = io.BytesIO()
    Image.fromarray(grey).save(file, format="WEBP", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
