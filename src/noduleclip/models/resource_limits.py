"""Resource limits for untrusted checkpoints: no more memory than a few times the size of the file.

`weights_only=True` prevents code from running, but not a small file from declaring huge tensors.
"""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from noduleclip.errors import ArtefactError

_MAX_PICKLE_BYTES = 1 << 23  # names, numbers, history: a thousand epochs take a tenth
_MAX_VALUES = 1_000_000
_FACTORIES = {
    torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye, torch.arange, torch.linspace,
    torch.empty_strided, torch.tensor,
}  # fmt: skip


def check_archive_size(path: Path) -> None:
    """Check that an archive does not unpack to more than its own size.

    Raises:
        ArtefactError: It is not an archive by `torch.save`, or has compressed, overlapping or huge records.
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
    if pickled > _MAX_PICKLE_BYTES:
        raise ArtefactError(f"{path}: refused, {pickled:,} bytes are no tensors; allowed are {_MAX_PICKLE_BYTES:,}")


def check_tensor_sizes(values: object, path: Path) -> None:
    """Check that the tensors of a file are not larger than the file.

    Raises:
        ArtefactError: They are, or values contain each other endlessly.
    """
    claimed = count_bytes(values, path)
    if claimed > path.stat().st_size:
        raise ArtefactError(f"{path}: refused, its tensors claim {claimed:,} bytes, it has {path.stat().st_size:,}")


def count_bytes(values: object, path: Path) -> int:
    """Return the bytes of all tensors in nested values, by their shapes; `path` names the file in messages.

    Raises:
        ArtefactError: There are more values than in any checkpoint, or a tensor that is not dense and on the CPU.
    """
    total, seen, waiting = 0, 0, [values]
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > _MAX_VALUES:
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
    """An `AllocationLimit` was exceeded; the machine may have enough memory."""


class AllocationLimit(TorchFunctionMode):
    """Context in which modules that are built may allocate a limited number of bytes.

    A configuration of ten letters can name a backbone of gigabytes. Tensors are counted when modules create them,
    before they are filled, so that memory above the limit is never touched. Building on the meta device would not do:
    timm creates a backbone whole before its first stages are kept, and some have buffers that no checkpoint holds.

    Args:
        most_bytes: Limit of all allocations.

    Raises:
        AllocationError: The limit is exceeded.
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
