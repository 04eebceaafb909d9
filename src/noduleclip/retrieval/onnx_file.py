"""Parser of an ONNX file that runs nothing and allocates no more than the file holds.

Protobuf libraries make an object of some hundred bytes of a message of two, so a file of 60 MB takes gigabytes before
anything in it can be checked. This reader walks over the encoded bytes, counts what it meets, and decodes only what
the encoders need: the nodes' types and names, the tensors' shapes, and where their bytes lie.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import ArtefactError

MAX_BYTES = 1 << 30  # the largest text encoder that a configuration allows has 600 MB
MAX_FIELDS = 1_000_000
MAX_NODES = 20_000
MAX_TEXTS, MAX_TEXT_BYTES = 100, 1 << 23

_FLOAT = 1  # onnx.TensorProto.FLOAT
_DOMAINS = ("", "ai.onnx")


class _RefusedError(ValueError):
    """Content of an ONNX file that an encoder may not have."""


@dataclass(frozen=True)
class Node:
    """One operation of the graph.

    Attributes:
        op_type: Name of the operator in the standard domain.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
    """

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Tensor:
    """A constant of the graph; its bytes are not looked at.

    Attributes:
        shape: What it claims.
        is_float: Whether it claims to be float32.
        raw: Its bytes.
    """

    shape: tuple[int, ...]
    is_float: bool
    raw: memoryview

    def read(self) -> NDArray[np.float32]:
        """Return a copy as float32 of `shape`.

        Raises:
            ValueError: It is of another type, or its bytes are not as many as its shape needs.
        """
        if not self.is_float:
            raise _RefusedError("weights that are not float32")
        return np.frombuffer(self.raw, "<f4").reshape(self.shape).astype(np.float32)


@dataclass
class OnnxFile:
    """Parsed content of an ONNX file.

    Attributes:
        nodes: The operations, in the order of the file.
        tensors: The constants by name.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        texts: The metadata.
    """

    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


def read_onnx(path: Path, what: str, inputs: tuple[str, ...]) -> OnnxFile:
    """Read an encoder's ONNX file.

    Args:
        path: The file.
        what: What it should be, for messages.
        inputs: Names of its inputs.

    Raises:
        ArtefactError: The file is missing or too large, is no ONNX model, has other inputs, or holds what no encoder
            has: subgraphs (`Loop`, `If`, `Scan`), functions, other domains' operators, sparse tensors, or tensors in
            other files.
    """
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; noduleclip embed writes it")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ArtefactError(f"{path}: has {size:,} bytes, a {what} has at most {MAX_BYTES:,}; embed again")
    try:
        file = _Reader().read_model(memoryview(path.read_bytes()))
    except _RefusedError as error:
        raise ArtefactError(f"{path}: not a readable {what} of this tool (it holds {error}); embed again") from error
    except (LookupError, ValueError) as error:
        raise ArtefactError(f"{path}: not a readable {what} ({type(error).__name__})") from error
    if sorted(file.inputs) != sorted(inputs) or len(file.outputs) != 1:
        takes = ", ".join(sorted(file.inputs))[:80] or "nothing"
        raise ArtefactError(f"{path}: no {what} of this tool (it takes {takes})")
    return file


class _Reader:
    """Walk over encoded messages; field numbers are those of onnx.proto."""

    def __init__(self) -> None:
        self._fields_left = MAX_FIELDS

    def read_model(self, content: memoryview) -> OnnxFile:
        file = OnnxFile()
        graphs = 0
        text_bytes = 0
        for number, value in self._walk(content):
            if number == 7:
                graphs += 1
                self._read_graph(_bytes(value), file)
            elif number == 14:
                text_bytes += len(_bytes(value))
                if text_bytes > MAX_TEXT_BYTES or len(file.texts) == MAX_TEXTS:
                    raise _RefusedError(f"more than {MAX_TEXTS} texts or {MAX_TEXT_BYTES:,} bytes of metadata")
                entry = dict(self._walk(_bytes(value)))
                file.texts[_text(entry[1])] = _text(entry.get(2, memoryview(b"")))
            elif number in (20, 25):
                raise _RefusedError("functions of its own or training steps")
        if graphs != 1:
            raise _RefusedError(f"{graphs} graphs")
        return file

    def _read_graph(self, content: memoryview, file: OnnxFile) -> None:
        for number, value in self._walk(content):
            if number == 1:
                file.nodes.append(self._read_node(_bytes(value)))
                if len(file.nodes) > MAX_NODES:
                    raise _RefusedError(f"more than {MAX_NODES:,} operations")
            elif number == 5:
                name, tensor = self._read_tensor(_bytes(value))
                if name in file.tensors:
                    raise _RefusedError("two tensors of one name")
                file.tensors[name] = tensor
            elif number in (11, 12):
                name = _text(dict(self._walk(_bytes(value)))[1])
                (file.inputs if number == 11 else file.outputs).append(name)
            elif number == 15:
                raise _RefusedError("sparse tensors")

    def _read_node(self, content: memoryview) -> Node:
        op_type, names = "", {1: list[str](), 2: list[str]()}
        for number, value in self._walk(content):
            if number in names:
                names[number].append(_text(value))
            elif number == 4:
                op_type = _text(value)
            elif number == 5:
                for part, held in self._walk(_bytes(value)):
                    if part == 5:  # a tensor
                        self._read_tensor(_bytes(held))
                    elif part in (6, 11, 22, 23):  # graphs and sparse tensors
                        raise _RefusedError("operations within operations, such as Loop and If, or sparse tensors")
            elif number == 7 and _text(value) not in _DOMAINS:
                raise _RefusedError("operations of another domain")
        return Node(op_type, tuple(names[1]), tuple(names[2]))

    def _read_tensor(self, content: memoryview) -> tuple[str, Tensor]:
        shape: list[int] = []
        name, kind, raw = "", 0, memoryview(b"")
        for number, value in self._walk(content):
            if number == 1:
                shape += [value] if isinstance(value, int) else _read_numbers(value)
                if len(shape) > 8:
                    raise _RefusedError("a tensor of more than 8 axes")
            elif number == 2:
                kind = _number(value)
            elif number == 8:
                name = _text(value)
            elif number == 9:
                raw = _bytes(value)
            elif number == 13 or (number == 14 and value):
                raise _RefusedError("tensors that lie in other files")
        return name, Tensor(tuple(shape), kind == _FLOAT, raw)

    def _walk(self, content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Yield the fields of a message: numbers of 32 or 64 bits as they are encoded, all else as bytes."""
        at = 0
        while at < len(content):
            self._fields_left -= 1
            if self._fields_left < 0:
                raise _RefusedError(f"more than {MAX_FIELDS:,} fields")
            tag, at = _read_varint(content, at)
            kind = tag & 7
            if kind == 0:
                number, at = _read_varint(content, at)
                yield tag >> 3, number
                continue
            if kind == 2:
                length, at = _read_varint(content, at)
            else:
                length = {1: 8, 5: 4}[kind]  # groups are not in use
            if length > len(content) - at:
                raise ValueError("cut off")
            yield tag >> 3, content[at : at + length]
            at += length


def _read_varint(content: memoryview, at: int) -> tuple[int, int]:
    number = 0
    for step in range(10):
        byte = content[at + step]
        number |= (byte & 0x7F) << (7 * step)
        if byte < 0x80:
            return number, at + step + 1
    raise ValueError("a number of more than 10 bytes")


def _read_numbers(packed: memoryview) -> list[int]:
    numbers, at = [], 0
    while at < min(len(packed), 100):
        number, at = _read_varint(packed, at)
        numbers.append(number)
    return numbers


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number in a message's place")
    return value


def _text(value: int | memoryview) -> str:
    return str(_bytes(value), "utf-8")


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("a message in a number's place")
    return value
