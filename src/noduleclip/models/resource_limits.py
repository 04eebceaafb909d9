"""What a checkpoint may cost before it is known to be one: no more memory than its file has bytes, a few times over.

`weights_only=True` keeps code from running. It does not keep a small file from claiming a large one.
"""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from noduleclip.errors import ArtefactError

_MOST_PICKLE_BYTES = 1 << 23  # names, numbers, history: a thousand epochs take a tenth
_MOST_VALUES = 1_000_000
_FACTORIES = {
    torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye, torch.arange, torch.linspace,
    torch.empty_strided, torch.tensor,
}  # fmt: skip


def check_archive_size(path: Path) -> None:
    """Refuse a file that unpacks to more than it holds.

    Raises:
        ArtefactError: It is no archive as `torch.save` writes it, or has compressed, overlapping or huge records.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ArtefactError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    if packed or sum(record.file_size for record in records) > path.stat().st_size:
        raise ArtefactError(f"{path}: refused, it unpacks to more than its own size; no noduleclip writes such a file")
    pickled = sum(record.file_size for record in records if record.filename.endswith(".pkl"))
    if pickled > _MOST_PICKLE_BYTES:
        raise ArtefactError(f"{path}: refused, {pickled:,} bytes are no tensors; allowed are {_MOST_PICKLE_BYTES:,}")


def refuse_claims(values: object, path: Path) -> None:
    """Refuse tensors that claim more than the file holds, and values that hold each other without end.

    Raises:
        ArtefactError: Says which.
    """
    claimed = count_bytes(values, path)
    if claimed > path.stat().st_size:
        raise ArtefactError(f"{path}: refused, its tensors claim {claimed:,} bytes, it has {path.stat().st_size:,}")


def count_bytes(values: object, path: Path) -> int:
    """Return the bytes of all tensors in nested values, as their shapes claim them; `path` names the file in messages.

    Raises:
        ArtefactError: There are more values than any checkpoint has, or a tensor is none of plain numbers.
    """
    total, seen, waiting = 0, 0, [values]
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise ArtefactError(f"{path}: refused, more values than a checkpoint has")
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
                raise ArtefactError(f"{path}: refused, a tensor of layout {value.layout} on {value.device.type}")
            total += value.numel() * value.element_size()
        elif isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value
    return total


class AllocationError(MemoryError):
    """More was to be allocated than an `AllocationLimit` allows; the machine may have enough of it."""


class AllocationLimit(TorchFunctionMode):
    """While it is entered, a module that is built may allocate so many bytes.

    A configuration is text: it names a backbone of gigabytes in ten letters. Counted are the tensors that modules
    make before they fill them, so what is too large is never touched.

    Args:
        most_bytes: Allowed in all.

    Raises:
        AllocationError: More were asked for.
    """

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self.left = self.most_bytes = most_bytes

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in _FACTORIES and isinstance(made, Tensor):
            self.left -= made.nbytes
            if self.left < 0:
                raise AllocationError(f"it takes more than the {self.most_bytes:,} bytes that the weights allow")
        return made
