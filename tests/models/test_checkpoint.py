"""A checkpoint gives back the same model, and nothing else passes for one."""

import copy
import json
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from noduleclip.errors import ArtefactError
from noduleclip.models.checkpoint import hash_model, load_model, pack_model, read_checkpoint, save_checkpoint


class Attack:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_a_saved_model_is_the_same_model(checkpoint: Path, tmp_path: Path) -> None:
    model = load_model(checkpoint)
    save_checkpoint(tmp_path / "copy.pth", pack_model(model))
    again = load_model(tmp_path / "copy.pth")
    assert hash_model(again) == hash_model(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_it_holds_what_the_contract_names(checkpoint: Path) -> None:
    values = torch.load(checkpoint, weights_only=True)
    assert {"image_encoder", "text_encoder", "vocabulary", "config"} <= set(values)


def test_another_weight_is_another_model(checkpoint: Path) -> None:
    model = load_model(checkpoint)
    before = hash_model(model)
    with torch.no_grad():
        model.bias.add_(1e-6)
    assert hash_model(model) != before


def test_code_in_a_checkpoint_is_refused_unrun(tmp_path: Path) -> None:
    path, target = tmp_path / "evil.pth", tmp_path / "touched"
    torch.save({"schema_version": 1, "config": Attack(target)}, path)
    with pytest.raises(ArtefactError, match="refused, it is broken or holds code"):
        load_model(path)
    with (tmp_path / "plain.pth").open("wb") as file:
        pickle.dump(Attack(target), file)
    with pytest.raises(ArtefactError, match=r"plain\.pth"):
        load_model(tmp_path / "plain.pth")
    assert not target.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_off_checkpoint_is_refused(checkpoint: Path, tmp_path: Path, share: float) -> None:
    content = checkpoint.read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtefactError, match=r"cut\.pth: (not a readable checkpoint|refused)"):
        load_model(tmp_path / "cut.pth")


def test_what_does_not_fit_is_named(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed.pth"

    def refused(change: dict[str, Any], message: str) -> None:
        save_checkpoint(path, {**read_checkpoint(checkpoint), **change})
        with pytest.raises(ArtefactError, match=message):
            load_model(path)

    values = read_checkpoint(checkpoint)
    refused({"schema_version": 99}, r"not a noduleclip checkpoint of version 2 \(found 99\)")
    refused({"config": {**values["config"], "backbone": "resnet18"}}, r"image_encoder does not fit resnet18")
    refused({"config": {**values["config"], "colour": 1}}, "unknown setting 'colour'")
    broken = {name: tensor.clone() for name, tensor in values["text_encoder"].items()}
    broken["project.bias"][0] = float("nan")
    refused({"text_encoder": broken}, r"tensor project\.bias of text_encoder is not finite")
    del values["vocabulary"]
    save_checkpoint(path, values)
    with pytest.raises(ArtefactError, match="holds no vocabulary"):
        load_model(path)


Values = dict[str, Any]


def change(**changes: Any) -> Callable[[Values, Path], object]:
    return lambda values, path: torch.save(values | changes, path)


def set_up(**changes: Any) -> Callable[[Values, Path], object]:
    return lambda values, path: torch.save(values | {"config": values["config"] | changes}, path)


def pack_zeros(values: Values, path: Path) -> None:
    """Write 600 MB of zeros as a record of 600 kB."""
    torch.save(values, path)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(f"{path.stem}/data/999", "w", force_zip64=True) as record,
    ):
        for _ in range(600):
            record.write(bytes(1_000_000))


def overlap(values: Values, path: Path) -> None:
    """Let many names stand for the same bytes."""
    torch.save(values, path)
    with zipfile.ZipFile(path, "a") as archive:
        largest = max(archive.filelist, key=lambda record: record.file_size)
        for number in range(1000):
            again = copy.copy(largest)
            again.filename = f"{path.stem}/data/{9000 + number}"
            archive.filelist.append(again)
        archive._didModify = True  # type: ignore[attr-defined]


def claim_a_storage(values: Values, path: Path) -> None:
    """Say of a storage of four numbers that it has two thousand million."""
    torch.save({"schema_version": 2, "w": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {record.filename: archive.read(record) for record in archive.filelist}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content.replace(b"cpuq\x07K\x04t", b"cpuq\x07J\xff\xff\xff\x7ft"))


def laugh(values: Values, path: Path) -> None:
    """Lists of lists: ten bytes more for ten times as many values."""
    lists: list[Any] = []
    for _ in range(12):
        lists = [lists] * 10
    torch.save(values | {"config": lists}, path)


HOSTILE: dict[str, tuple[Callable[[Values, Path], object], str]] = {
    "bomb": (pack_zeros, "refused, it unpacks to more than its own size"),
    "overlapping records": (overlap, "refused, it unpacks to more than its own size|not a readable checkpoint"),
    "much that is no tensor": (change(notes=[[] for _ in range(3_000_000)]), r"refused, [\d,]+ bytes are no tensors"),
    "lists of lists": (laugh, "refused, more values than a checkpoint has"),
    "a storage that is not there": (claim_a_storage, r"not a readable checkpoint|refused|not a noduleclip"),
    "an expanded tensor": (change(image_encoder={"w": torch.zeros(1).expand(10**11)}), r"claim 400,0[\d,]+ bytes"),
    "a sparse tensor": (change(text_encoder={"w": torch.zeros(9).to_sparse()}), r"refused, a tensor of layout"),
    "a tensor without bytes": (change(text_encoder={"w": torch.zeros(10**12, device="meta")}), "refused, a tensor of"),
    "a giant backbone": (set_up(backbone="eva_giant_patch14_224"), r"takes more than the [\d,]+ bytes that"),
    "a giant transformer": (set_up(text_width=4096, text_layers=64), r"cannot be used|does not fit"),
    "no such backbone": (set_up(backbone="../../etc/passwd"), "has no such model"),
    "a backbone of the network": (set_up(backbone="hf_hub:someone/model"), "has no such model"),
    "wide": (set_up(emb=4096), "does not fit"),
    "tensors that are none": (change(image_encoder={"w": "x"}), "image_encoder does not fit"),
    "a list of tensors": (change(text_encoder=[torch.zeros(3)]), "text_encoder does not fit"),
    "a number of nothing": (change(log_scale=float("nan")), "log_scale is no finite number"),
    "a number in words": (change(bias="small"), "bias is no finite number"),
    "a vocabulary of numbers": (change(vocabulary=[1, 2]), "its vocabulary is not readable"),
    "a version of lists": (change(schema_version=[[2]]), r"not a noduleclip checkpoint of version 2 \(found list\)"),
}  # fmt: skip

REFUSE = """
import json, resource, sys, time
from pathlib import Path
from noduleclip.errors import ArtefactError
from noduleclip.models.checkpoint import load_model
load_model(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    started = time.perf_counter()
    try:
        load_model(Path(path))
        said = "opened"
    except ArtefactError as error:
        said = str(error)
    except Exception as error:
        said = f"a traceback: {error!r}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    print(json.dumps([said, grown, time.perf_counter() - started]))
"""


@pytest.mark.slow
def test_hostile_checkpoints_are_refused_in_bounded_memory(checkpoint: Path, tmp_path: Path) -> None:
    values = read_checkpoint(checkpoint)
    paths = [tmp_path / f"{number}.pth" for number in range(len(HOSTILE))]
    for path, (make, _) in zip(paths, HOSTILE.values(), strict=True):
        make(values, path)
    command = [sys.executable, "-c", REFUSE, str(checkpoint), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name, path, line in zip(HOSTILE, paths, done.stdout.splitlines(), strict=True):
        said, grown_mb, seconds = json.loads(line)
        assert re.search(HOSTILE[name][1], said), (name, said)
        assert said.startswith(str(path)), (name, said)
        assert grown_mb < 600, (name, grown_mb)
        assert seconds < 20, (name, seconds)


def test_a_missing_checkpoint_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="noduleclip train writes"):
        load_model(tmp_path / "none.pth")


def run_short_of_memory(*_arguments: object, **_options: object) -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("load", "expected"), [(run_short_of_memory, MemoryError), (lambda path, map_location: None, TypeError)]
)
def test_what_torch_lacks_is_no_broken_checkpoint(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[..., None], expected: type[Exception]
) -> None:
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(expected):
        load_model(checkpoint)


def test_a_lack_of_memory_is_no_bad_configuration(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.create_model", run_short_of_memory)
    with pytest.raises(MemoryError):
        load_model(checkpoint)
