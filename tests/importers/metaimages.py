"""MetaImages as SimpleITK writes them, from a known array: headers without ITK."""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TURNED = ((-0.6, -0.8, 0.0), (0.8, -0.6, 0.0), (0.0, 0.0, 1.0))
"""Directions of the axes, one a row: neither the identity nor its own transpose."""


def write_mhd(
    path: Path,
    values: NDArray[np.generic],
    *,
    spacing_xyz_mm: tuple[float, float, float] = (0.7, 0.9, 2.5),
    origin_mm: tuple[float, float, float] = (-100.5, 20.25, -300.125),
    axes: tuple[tuple[float, float, float], ...] = TURNED,
    compressed: bool = False,
    changed: Mapping[str, str] | None = None,
) -> Path:
    """Write (Z, Y, X) values; `changed` replaces fields of the header, - leaves one out."""
    big = values.dtype.byteorder == ">"
    kinds = {"int16": "MET_SHORT", "uint16": "MET_USHORT", "float32": "MET_FLOAT", "uint8": "MET_UCHAR"}
    content = zlib.compress(values.tobytes()) if compressed else values.tobytes()
    local = path.suffix == ".mha"
    data = path.with_suffix(".zraw" if compressed else ".raw")
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(big),
        "CompressedData": str(compressed),
        "TransformMatrix": " ".join(f"{part:g}" for axis in axes for part in axis),
        "Offset": " ".join(f"{part:.17g}" for part in origin_mm),
        "CenterOfRotation": "0 0 0",
        "AnatomicalOrientation": "RAI",
        "ElementSpacing": " ".join(f"{part:.17g}" for part in spacing_xyz_mm),
        "DimSize": " ".join(map(str, values.shape[::-1])),
        "ElementType": kinds[values.dtype.name],
        "ElementDataFile": "LOCAL" if local else data.name,
    }
    header = "".join(f"{name} = {value}\n" for name, value in (fields | dict(changed or {})).items() if value != "-")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.encode() + (content if local else b""))
    if not local:
        data.write_bytes(content)
    return path
