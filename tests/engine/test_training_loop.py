"""The real loop on discs: it learns, stops, resumes bit for bit, and survives being killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import average_precision_score

from conftest import Collection, Command, train_arguments
from discs import make_discs
from noduleclip import schema
from noduleclip.config import CropConfig, ModelConfig, TrainConfig
from noduleclip.engine.batches import center_crop
from noduleclip.engine.prompts import make_vocabulary
from noduleclip.engine.samples import Samples
from noduleclip.engine.schedule import LearningRateSchedule, augmentation_at
from noduleclip.engine.training_loop import TrainingCallback, TrainingLoop
from noduleclip.engine.training_state import TrainingState
from noduleclip.engine.validation import score_samples, validate
from noduleclip.errors import ArtefactError, InputError
from noduleclip.models.checkpoint import load_model, read_checkpoint
from noduleclip.models.clip import ClipModel

MODEL = ModelConfig(emb=16, text_width=32, text_layers=1, crop=CropConfig(size_px=32))
QUICK = TrainConfig(epochs=4, bs=16, prompts=16, lr=2e-3, seed=7)


CPU = torch.device("cpu")


class Recorder(TrainingCallback):
    """Keeps the records of a run, and may interrupt it."""

    def __init__(self, stop_at: tuple[int, int] | None = None) -> None:
        self.records: list[dict[str, Any]] = []
        self._stop_at = stop_at

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        if (epoch, step) == self._stop_at:
            raise KeyboardInterrupt

    def on_epoch(self, record: dict[str, Any]) -> None:
        self.records.append(record)


@pytest.fixture(scope="module")
def samples() -> tuple[Samples, Samples]:
    return make_discs(64, 0, MODEL.crop), make_discs(40, 1, MODEL.crop)


def make_loop(
    samples: tuple[Samples, Samples],
    out: Path,
    config: TrainConfig = QUICK,
    callback: TrainingCallback | None = None,
    model: ModelConfig = MODEL,
) -> TrainingLoop:
    out.mkdir(exist_ok=True)
    state = TrainingState(model, config, samples[0], device=CPU, fingerprint="discs")
    return TrainingLoop(state, *samples, out, device=CPU, callback=callback or Recorder())


def weights(path: Path) -> dict[str, torch.Tensor]:
    values = read_checkpoint(path)
    parts = ("image_encoder", "text_encoder") if "image_encoder" in values else ("model", "ema")
    return {f"{part}.{name}": tensor for part in parts for name, tensor in values[part].items()}


def test_it_learns_the_size_and_the_outline_of_discs(samples: tuple[Samples, Samples], tmp_path: Path) -> None:
    config = TrainConfig(epochs=16, bs=16, prompts=32, lr=3e-3, seed=1, ema_decay=0.9, max_shift_mm=0, noise_hu=0)
    recorder = Recorder()
    progress = make_loop(samples, tmp_path / "run", config, callback=recorder).run()
    assert progress.best > 0.85
    assert recorder.records[-1]["loss"] < 0.7 * recorder.records[0]["loss"]
    assert progress.best == pytest.approx(max(record["val_map"] for record in recorder.records), abs=1e-6)
    saved = load_model(tmp_path / "run" / schema.BEST_CHECKPOINT)
    unseen = make_discs(40, 1, MODEL.crop)
    found = validate(saved, unseen)
    assert found.size_map == pytest.approx(progress.best, abs=1e-6)
    assert (len(found.query_ap), found.ratings_map) == (10, None)
    crops, mask_probability = (
        center_crop(part, MODEL.crop.size_px).float() for part in (unseen.crops_hu, unseen.mask_probability)
    )
    with torch.inference_mode():
        drawn = saved.image.encode_and_segment(crops)[1].sigmoid()
    mask_probability = torch.nn.functional.avg_pool2d(mask_probability.unsqueeze(1) / 255, 2).squeeze(1)
    areas = torch.stack([drawn.sum(dim=(1, 2)), mask_probability.sum(dim=(1, 2))])
    assert float(torch.corrcoef(areas)[0, 1]) > 0.8


def test_validation_measures_ratings_against_the_readers() -> None:
    samples = make_discs(30, 2, MODEL.crop)
    ratings = torch.randint(1, 6, (30, 1, 1), generator=torch.Generator().manual_seed(0)).float()
    rated = replace(
        samples, diameters_mm=samples.diameters_mm[:, :1], ratings=ratings, attributes=(schema.SPICULATION,)
    )
    torch.manual_seed(0)
    model = ClipModel(MODEL, make_vocabulary((schema.SPICULATION,)))
    found = validate(model, rated)
    query = "a spiculated lung nodule"
    scores = score_samples(model, rated, [query])[0]
    expected = average_precision_score(ratings[:, 0, 0].numpy() >= 3, scores)
    assert found.query_ap[query] == pytest.approx(expected)
    assert found.ratings_map == pytest.approx(expected)
    assert validate(model, replace(rated, ratings=ratings[:, :, :0], attributes=())).ratings_map is None


def test_without_outlines_it_learns_from_diameters_alone(samples: tuple[Samples, Samples], tmp_path: Path) -> None:
    """Nodules without outlines, and outlines of no weight, are the same training."""
    ends = []
    for weight, known in ((1.2, False), (0.0, True)):
        train = replace(samples[0], outlined=torch.full((64,), known))
        config = replace(QUICK, epochs=1, outline_weight=weight)
        loop = make_loop((train, samples[1]), tmp_path, config)
        loop.run()
        ends.append(loop.state.model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_the_log_has_a_line_per_epoch(samples: tuple[Samples, Samples], tmp_path: Path) -> None:
    make_loop(samples, tmp_path / "run").run()
    lines = [json.loads(line) for line in (tmp_path / "run" / schema.METRICS_LOG).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert {"loss", "val_map", "val_ratings_map", "val_ap", "lr", "nodules_per_second"} <= set(lines[0])


def test_an_interrupted_run_ends_in_the_weights_of_a_whole_one(
    samples: tuple[Samples, Samples], tmp_path: Path
) -> None:
    make_loop(samples, tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        make_loop(samples, tmp_path / "broken", callback=Recorder(stop_at=(3, 2))).run()
    again = make_loop(samples, tmp_path / "broken")
    again.state.load(tmp_path / "broken" / schema.LAST_CHECKPOINT)
    assert again.state.progress.epoch == 2
    again.run()
    for name in (schema.LAST_CHECKPOINT, schema.BEST_CHECKPOINT):
        whole, resumed = weights(tmp_path / "whole" / name), weights(tmp_path / "broken" / name)
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_accumulated_parts_give_the_gradient_of_the_whole(
    samples: tuple[Samples, Samples], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without batch statistics, parts and whole are the same step."""
    for norm in (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d):
        monkeypatch.setattr(norm, "train", lambda self, mode=True: torch.nn.Module.train(self, False))
    model = ModelConfig(backbone="convnext_atto", emb=16, text_width=32, text_layers=1, crop=MODEL.crop)
    ends = []
    for accumulate in (1, 4):
        config = TrainConfig(epochs=1, bs=32, prompts=16, seed=3, accumulate=accumulate, ema_decay=0)
        loop = make_loop(samples, tmp_path, config, model=model)
        loop.run()
        ends.append(loop.state.model.state_dict())
    for name, tensor in ends[0].items():
        torch.testing.assert_close(ends[1][name], tensor, rtol=1e-3, atol=2e-4)


def test_patience_ends_a_run_that_no_longer_improves(samples: tuple[Samples, Samples], tmp_path: Path) -> None:
    config = TrainConfig(epochs=30, bs=16, prompts=16, lr=1e-9, ema_decay=0, patience=2)
    recorder = Recorder()
    progress = make_loop(samples, tmp_path / "run", config, callback=recorder).run()
    assert len(recorder.records) == progress.best_epoch + 3 < 30


def test_a_loss_that_is_not_finite_stops_and_keeps_the_best(samples: tuple[Samples, Samples], tmp_path: Path) -> None:
    class Breaker(TrainingCallback):
        def on_epoch(self, record: dict[str, Any]) -> None:
            with torch.no_grad():
                loop.state.model.bias.fill_(float("nan"))

    loop = make_loop(samples, tmp_path / "run", callback=Breaker())
    with pytest.raises(InputError, match=r"the loss is nan at epoch 2, step 1; try a smaller --lr"):
        loop.run()
    load_model(tmp_path / "run" / schema.BEST_CHECKPOINT)


def test_a_run_is_resumed_only_with_its_own_settings_and_data(samples: tuple[Samples, Samples], tmp_path: Path) -> None:
    make_loop(samples, tmp_path / "run").run()
    last = tmp_path / "run" / schema.LAST_CHECKPOINT
    other = make_loop(samples, tmp_path / "run", TrainConfig(epochs=4, bs=16, prompts=16, lr=1e-3, seed=7))
    with pytest.raises(ArtefactError, match=r"was made with lr = 0\.002, now it is 0\.001"):
        other.state.load(last)
    elsewhere = make_loop(samples, tmp_path / "run")
    elsewhere.state.fingerprint = "squares"
    with pytest.raises(ArtefactError, match="other training or validation nodules"):
        elsewhere.state.load(last)


def test_without_validation_patients_the_last_epoch_is_kept(
    collection: Collection, noduleclip: Command, tmp_path: Path
) -> None:
    arguments = train_arguments(collection, tmp_path / "run")
    at = arguments.index("--val-patients")
    done = noduleclip(*arguments[:at], *arguments[at + 2 :])
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "run" / schema.RUN_RECORD).read_text())
    assert record["best"] == {"epoch": 2, "val_map": None, "val_ratings_map": None}
    assert record["data"]["val_nodules"] == 0
    best, last = (read_checkpoint(tmp_path / "run" / name) for name in (schema.BEST_CHECKPOINT, schema.LAST_CHECKPOINT))
    assert all(torch.equal(tensor, last["ema"][f"image.{name}"]) for name, tensor in best["image_encoder"].items())


def test_the_vocabulary_is_the_same_for_every_run() -> None:
    assert make_vocabulary() == make_vocabulary.__wrapped__()  # made anew
    assert {"lung", "nodule", "diameter"} <= set(make_vocabulary().words)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_sigkill_and_resume_through_the_command(
    collection: Collection, checkpoint: Path, noduleclip: Command, tmp_path: Path
) -> None:
    """Killed in the middle of an epoch by the system, resumed: the same bytes of weights as a run left alone."""
    broken = [str(argument) for argument in train_arguments(collection, tmp_path / "broken")]
    process = subprocess.Popen(
        [sys.executable, "-m", "noduleclip", *broken], stderr=subprocess.DEVNULL, env={**os.environ, "TERM": "dumb"}
    )
    last = tmp_path / "broken" / schema.LAST_CHECKPOINT
    deadline = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert last.exists()
    resumed = noduleclip(*broken, "--resume")
    assert resumed.code == 0, resumed.err
    assert "resuming after epoch 1 of 2" in resumed.err
    for name in (schema.LAST_CHECKPOINT, schema.BEST_CHECKPOINT):
        one, two = weights(checkpoint.parent / name), weights(tmp_path / "broken" / name)
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert not list((tmp_path / "broken").glob(".*.part"))


def test_cooldown_epochs_have_a_lower_rate_and_no_stretching() -> None:
    """They are a tenth of the epochs at most, so that few epochs have none."""
    assert [TrainConfig(epochs=epochs).main_epochs for epochs in (1, 9, 10, 44, 64)] == [1, 9, 9, 40, 60]
    assert TrainConfig(cooldown_epochs=0).main_epochs == TrainConfig().epochs
    config, steps = replace(QUICK, epochs=10, max_stretch=1.3), 4
    optimizer = torch.optim.AdamW([torch.zeros(1)], lr=config.lr)
    schedule = LearningRateSchedule(optimizer, config, steps)
    rates, stretches = [], []
    for epoch in range(10):
        schedule.set(epoch * steps)
        rates.append(optimizer.param_groups[0]["lr"])
        stretches.append(augmentation_at(config, epoch).max_stretch)
    assert stretches == [1.3] * 9 + [1.0]
    assert rates[8] < rates[9] == pytest.approx(config.lr / 6)
    schedule.set(10 * steps - 1)
    assert optimizer.param_groups[0]["lr"] < rates[9] / 5
