"""Draw the row of LIDC-IDRI's nodules in the README: `python docs/make_lidc_picture.py DATA INDEX`.

INDEX holds the test patients of DATA's lidc_crops, embedded by the bundled model as docs/models/lidc.md says.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import noduleclip as nc
from noduleclip import schema
from noduleclip.config import LUNG_WINDOW_HU
from noduleclip.io.windows import window_grey

PICTURE = Path(__file__).parent / "images" / "lidc-hits.png"
SENTENCE = "a ground-glass nodule larger than 10 mm"
HITS, SIDE_PX, GAP_PX, LINE_PX, FOV_MM = 6, 144, 6, 16, 40.0


def draw(data: Path, index: str) -> None:
    """Ask for the best nodule of each patient, and write their slices side by side with what was measured."""
    hits = nc.open_index(index).query(SENTENCE, k=HITS, unique="patient").table
    font = ImageFont.load_default(11)
    picture = Image.new("L", (HITS * (SIDE_PX + GAP_PX) - GAP_PX, SIDE_PX + 2 * LINE_PX), 255)
    pen = ImageDraw.Draw(picture)
    for at, hit in enumerate(hits.iter_rows(named=True)):
        path = data / "lidc_crops" / hit[schema.DICOM_PATH]
        crop = nc.read_crop(path, (hit[schema.CENTER_X], hit[schema.CENTER_Y]), fov_mm=FOV_MM, size_px=96)
        grey = Image.fromarray(window_grey(crop.astype(np.float32), LUNG_WINDOW_HU))
        left = at * (SIDE_PX + GAP_PX)
        picture.paste(grey.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC), (left, 0))
        measured = f"{hit[schema.DIAMETER_MM]:.1f} mm, texture {hit[schema.TEXTURE]:g}"
        for line, text in enumerate((measured, f"probability {hit[schema.PROBABILITY]:.2f}")):
            pen.text((left, SIDE_PX + line * LINE_PX), text, fill=0, font=font)
    picture.save(PICTURE, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), sys.argv[2])
