"""What plainer ways of ranking are worth on the same nodules: `python benchmarks/baselines.py DATA OUT --only NAME`.

Evaluates, by `noduleclip evaluate --scores` on the test patients of `split --seed 0`,

- `random`: a random order;
- `regressor`: the same backbone on the same crops, augmented alike, taught the mean of the readers' diameters; for a
  sentence it ranks as a reader would by a diameter;
- `infonce`: the design that was published as a course project: ResNet-18 on the box with a margin of 16 px, percentiles
  stretched to [0, 1], resized to 256 px; curated sentences through a word vocabulary; the diagonal InfoNCE of CLIP,
  5 epochs of batch 256;
- `open_clip`: the library as it comes, on the same boxes: its preprocessing to 224 px, its tokenizer, its loss, and a
  model of the size of ours (the same timm backbone, a text encoder of two layers), as many epochs.

OUT/index has to be an index of those patients (every reader's row), embedded with any model: it says which rows there
are. Nothing here is part of the tool.
"""

import argparse
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from noduleclip.config import CropConfig, TrainConfig
from noduleclip.engine.batches import augment, center_crop, margin_px, shuffled_batches
from noduleclip.evaluation.metrics import rank_by_diameter
from noduleclip.io.dicom.slice import read_ct_slice
from noduleclip.io.index.open import open_index
from noduleclip.io.nodules import Nodules, group_nodules
from noduleclip.io.outlines import draw_nodules
from noduleclip.io.slice_crops import CutSettings
from noduleclip.language import BIN_PROMPTS, EVALUATION_QUERIES, parse_intervals
from noduleclip.models.image_encoder import HuWindows
from noduleclip.workflows.roi_crops import TableRequest, cut_crops, load_table

Floats = NDArray[np.float64]
CROP, CONFIG = CropConfig(), TrainConfig()
INTERVALS = parse_intervals(EVALUATION_QUERIES)


def load(data: Path, cache: Path) -> tuple[pl.DataFrame, Nodules, Tensor]:
    """Read every reader's rows, the nodules, and their crops with a margin."""
    options = TableRequest(data / "lidc_crops" / "rois_all_readers.csv", cache_dir=cache)
    frame = load_table(options).frame
    cut = cut_crops(frame, CutSettings.for_crop(CROP, margin_px(CROP.size_px)), options)
    nodules = group_nodules(frame)
    return frame, nodules, torch.from_numpy(cut.read([int(row) for row in nodules.rows]))


def rank_at_random(_frame: pl.DataFrame, nodules: Nodules, _crops: Tensor, _train: NDArray[np.bool_]) -> Floats:
    """Return (10, N) random numbers."""
    return np.random.default_rng(0).random((len(INTERVALS), len(nodules)))


def rank_by_regression(frame: pl.DataFrame, nodules: Nodules, crops: Tensor, train: NDArray[np.bool_]) -> Floats:
    """Teach the backbone the logarithm of the diameter, then rank as a reader would."""
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", in_chans=2, num_classes=1)
    model = nn.Sequential(HuWindows(CROP.windows_hu), network).to(memory_format=torch.channels_last)
    ema = ModelEmaV3(model, decay=CONFIG.ema_decay)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=CONFIG.weight_decay)
    rows = torch.from_numpy(np.flatnonzero(train))
    margin = margin_px(CROP.size_px)
    side = CROP.size_px + 2 * margin
    outlines = draw_nodules(frame, nodules, fov_mm=CROP.fov_mm * side / CROP.size_px, size_px=side)
    inside, rims = torch.from_numpy(outlines.shares), torch.from_numpy(outlines.hull_points_mm)
    diameters = torch.from_numpy(nodules.diameters_mm).float()
    steps = CONFIG.epochs * sum(1 for _ in shuffled_batches(len(rows), CONFIG.bs, torch.Generator()))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.05)
    for epoch in range(CONFIG.epochs):
        generator = torch.Generator().manual_seed(epoch)
        model.train()
        for batch in shuffled_batches(len(rows), CONFIG.bs, generator):
            some = rows[batch]
            seen, _, sizes = augment(
                crops[some], inside[some].float(), diameters[some], rims[some], CROP, CONFIG, generator
            )
            loss = F.l1_loss(model(seen).squeeze(1), torch.log(torch.nanmean(sizes, dim=1)) - math.log(8))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            ema.update(model)
        print(f"epoch {epoch + 1}/{CONFIG.epochs} loss {loss.item():.3f}", file=sys.stderr, flush=True)
    learnt = ema.module.eval()
    with torch.inference_mode():
        views = [
            torch.rot90(turned, times, (1, 2))
            for turned in (center_crop(crops, CROP.size_px), center_crop(crops, CROP.size_px).transpose(1, 2))
            for times in range(4)
        ]
        logs = torch.stack(
            [torch.cat([learnt(part.float()) for part in torch.split(view, 128)]).squeeze(1) for view in views]
        ).mean(dim=0)
    predicted = np.exp(logs.double().numpy()) * 8
    return np.stack([rank_by_diameter(interval, predicted) for interval in INTERVALS])


class WordTower(nn.Module):
    """Words to vectors: numbers are words like others, and unknown ones are all the same."""

    def __init__(self, sentences: tuple[str, ...], width: int = 128) -> None:
        super().__init__()
        self.words = {word: at for at, word in enumerate(sorted({w for s in sentences for w in s.split()}), start=2)}
        self.entries = nn.Embedding(len(self.words) + 2, width, padding_idx=0)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, sentences: list[str]) -> Tensor:
        """Return (P, D) unit vectors."""
        rows = [[self.words.get(word, 1) for word in sentence.split()] for sentence in sentences]
        longest = max(map(len, rows))
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        hidden = self.layers(self.entries(tokens), src_key_padding_mask=tokens == 0)
        counted = (tokens != 0).unsqueeze(2)
        return F.normalize((hidden * counted).sum(dim=1) / counted.sum(dim=1), dim=1)


def name_bins(nodules: Nodules) -> list[str]:
    """Return the curated sentence that is true of each nodule's first diameter."""
    bins = parse_intervals(BIN_PROMPTS)
    first = nodules.diameters_mm[:, 0]
    return [BIN_PROMPTS[[interval.contains(float(size)) for interval in bins].index(True)] for size in first]


def rank_as_published(frame: pl.DataFrame, nodules: Nodules, _crops: Tensor, train: NDArray[np.bool_]) -> Floats:
    """Train and rank by the published recipe."""
    torch.manual_seed(0)
    said = name_bins(nodules)
    images = torch.stack([cut_box(frame, int(row)) for row in nodules.rows])
    image, text = timm.create_model("resnet18", in_chans=1, num_classes=128), WordTower(BIN_PROMPTS)
    image.to(memory_format=torch.channels_last)
    scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    optimizer = torch.optim.AdamW([*image.parameters(), *text.parameters(), scale], lr=1e-4)
    rows = np.flatnonzero(train)
    for epoch in range(5):
        image.train()
        for batch in shuffled_batches(len(rows), 256, torch.Generator().manual_seed(epoch)):
            some = rows[batch.numpy()]
            logits = F.normalize(image(images[some]), dim=1) @ text([said[row] for row in some]).T * scale.exp()
            diagonal = torch.arange(len(some))
            loss = (F.cross_entropy(logits, diagonal) + F.cross_entropy(logits.T, diagonal)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print(f"epoch {epoch + 1}/5 loss {loss.item():.3f}", file=sys.stderr, flush=True)
    with torch.inference_mode():
        image.eval()
        text.eval()
        vectors = torch.cat([F.normalize(image(part), dim=1) for part in torch.split(images, 32)])
        return (text(list(EVALUATION_QUERIES)) @ vectors.T).double().numpy()


def rank_by_open_clip(frame: pl.DataFrame, nodules: Nodules, _crops: Tensor, train: NDArray[np.bool_]) -> Floats:
    """Train and rank by open_clip, from scratch."""
    import open_clip

    torch.manual_seed(0)
    said = name_bins(nodules)
    vision = {"timm_model_name": "resnet10t", "timm_pool": "avg", "timm_proj": "linear", "image_size": 224}
    words = {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2}
    model = open_clip.CLIP(128, vision, words).to(memory_format=torch.channels_last)
    prepare = open_clip.image_transform(224, is_train=False)
    tokenizer = open_clip.SimpleTokenizer(context_length=32)
    boxes = [cut_box(frame, int(row)).squeeze(0).numpy() for row in nodules.rows]
    images = torch.stack([prepare(Image.fromarray((box * 255).astype(np.uint8))) for box in boxes])
    tokens, loss_of = tokenizer(said), open_clip.ClipLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.1)
    rows = np.flatnonzero(train)
    for epoch in range(5):
        model.train()
        for batch in shuffled_batches(len(rows), 256, torch.Generator().manual_seed(epoch)):
            some = rows[batch.numpy()]
            loss = loss_of(*model(images[some], tokens[some]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print(f"epoch {epoch + 1}/5 loss {loss.item():.3f}", file=sys.stderr, flush=True)
    model.eval()
    with torch.inference_mode():
        vectors = torch.cat([model.encode_image(part, normalize=True) for part in torch.split(images, 32)])
        sentences = model.encode_text(tokenizer(list(EVALUATION_QUERIES)), normalize=True)
        return (sentences @ vectors.T).double().numpy()


def cut_box(frame: pl.DataFrame, row: int) -> Tensor:
    """Cut the box of a row with 16 px around it, stretch its percentiles, resize it: (1, 256, 256)."""
    place = frame.row(row, named=True)
    hu = read_ct_slice(Path(place["absolute_path"]), assume_hu=False).hu
    x0, y0 = (max(0, int(place[name]) - 16) for name in ("bbox_xmin", "bbox_ymin"))
    x1, y1 = (int(place[name]) + 17 for name in ("bbox_xmax", "bbox_ymax"))
    box = hu[y0:y1, x0:x1]
    low, high = np.percentile(box, [1, 99])
    scaled = np.clip((box - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    resized = Image.fromarray(scaled).resize((256, 256), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(resized).copy()).unsqueeze(0)


WAYS: dict[str, Callable[[pl.DataFrame, Nodules, Tensor, NDArray[np.bool_]], Floats]] = {
    "random": rank_at_random,
    "regressor": rank_by_regression,
    "infonce": rank_as_published,
    "open_clip": rank_by_open_clip,
}


def main() -> None:
    """Score the rows of the index in each way, and evaluate them with the tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", choices=tuple(WAYS))
    options = parser.parse_args()
    meta = open_index(options.out / "index").scan().collect()
    held = meta["patient_id"].unique().to_list()
    frame, nodules, crops = load(options.data, options.out / "cache")
    train = ~frame[nodules.rows.tolist(), "patient_id"].is_in(held).to_numpy()
    keys = ("patient_id", "nodule_id", "dicom_path")
    for name in [options.only] if options.only else WAYS:
        started = time.perf_counter()
        scores = WAYS[name](frame, nodules, crops, train)
        table = frame[nodules.rows.tolist()].select(keys).with_columns(
            *(pl.Series(query, row) for query, row in zip(EVALUATION_QUERIES, scores, strict=True))
        )  # fmt: skip
        path = options.out / f"{name}.csv"
        meta.select("row", *keys).join(table, on=keys, how="left").drop(keys).write_csv(path)
        used = resource.getrusage(resource.RUSAGE_SELF)
        took = f"{time.perf_counter() - started:.0f} s, {used.ru_utime:.0f} s of them of this process's own code"
        print(f"{name}: {took}, {used.ru_maxrss / 1024:.0f} MB at most", flush=True)
        command = [sys.executable, "-m", "noduleclip", "evaluate", "--emb-dir", options.out / "index", "--scores", path]
        subprocess.run([*map(str, command), "--format", "table"], check=True)


if __name__ == "__main__":
    main()
