"""Change an ONNX graph where bytes are too coarse: types of operations, wires, shapes, attributes, subgraphs."""

import random

import numpy as np
import onnx
from onnx import helper

from hostile_encoders import BOMBS

_TYPES = (
    *("Loop", "If", "Scan", "ConstantOfShape", "Expand", "Tile", "Range", "Concat", "MatMul", "Gemm", "Gather", "Pad"),
    *("Transpose", "Identity", "Softmax", "Gelu", "Erf", "LayerNormalization", "Add", "Mul", "Split", "", "Nonsense"),
)
_NUMBERS = (-(2**63), -1, 0, 1, 2, 3, 7, 8, 16, 17, 32, 64, 4096, 2**31 - 1, 2**31, 2**62, 2**63 - 1)
_HEAVY = ("a million operations", "a million texts", "a large text", "Gather")


def change_graph(content: bytes, draw: random.Random) -> bytes:
    """Return a model with a few changes.

    Raises:
        Exception: The content is no model.
    """
    model = onnx.ModelProto.FromString(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        draw.choice(_STEPS)(model, draw)
    packed: bytes = model.SerializeToString()
    return packed


def _change_type(model: onnx.ModelProto, draw: random.Random) -> None:
    draw.choice(model.graph.node).op_type = draw.choice(_TYPES)


def _rewire(model: onnx.ModelProto, draw: random.Random) -> None:
    node, other = draw.choice(model.graph.node), draw.choice(model.graph.node)
    constant = draw.choice(model.graph.initializer).name
    node.input[draw.randrange(len(node.input))] = draw.choice([*other.input, *other.output, constant, "", "left"])


def _swap_nodes(model: onnx.ModelProto, draw: random.Random) -> None:
    nodes = list(model.graph.node)
    at, to = draw.randrange(len(nodes)), draw.randrange(len(nodes))
    nodes[at], nodes[to] = nodes[to], nodes[at]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _drop_node(model: onnx.ModelProto, draw: random.Random) -> None:
    del model.graph.node[draw.randrange(len(model.graph.node))]


def _repeat_nodes(model: onnx.ModelProto, draw: random.Random) -> None:
    model.graph.node.extend([draw.choice(model.graph.node)] * draw.choice((1, 1, 30, 1000)))


def _change_shape(model: onnx.ModelProto, draw: random.Random) -> None:
    tensor = draw.choice(model.graph.initializer)
    shape = list(tensor.dims)
    step = draw.randrange(4)
    if step == 0 and shape:
        shape[draw.randrange(len(shape))] = draw.choice(_NUMBERS)
    elif step == 1:
        shape.reverse()
    elif step == 2:
        shape += [draw.choice((0, 1, 2**62))]
    else:
        shape = shape[1:]
    tensor.dims[:] = shape


def _change_weights(model: onnx.ModelProto, draw: random.Random) -> None:
    tensor = draw.choice(model.graph.initializer)
    value = draw.choice((0.0, 1.0, -1e30, 3e38, 1e-45, float("nan"), float("inf")))
    tensor.raw_data = np.full(len(tensor.raw_data) // 4, value, "<f4").tobytes()


def _resize_weights(model: onnx.ModelProto, draw: random.Random) -> None:
    """Return a weight another size, with as many bytes as it needs."""
    tensor = draw.choice(model.graph.initializer)
    shape = [max(0, side + draw.choice((-1, 0, 0, 1, 16))) for side in tensor.dims]
    tensor.dims[:] = shape
    tensor.raw_data = bytes(4 * int(np.prod(shape)))


def _change_kind(model: onnx.ModelProto, draw: random.Random) -> None:
    draw.choice(model.graph.initializer).data_type = draw.randrange(24)


def _change_attribute(model: onnx.ModelProto, draw: random.Random) -> None:
    attribute = draw.choice([one for node in model.graph.node for one in node.attribute])
    attribute.i = draw.choice(_NUMBERS)
    attribute.ints[:] = [draw.choice(_NUMBERS) for _ in range(draw.randrange(6))]


def _rename(model: onnx.ModelProto, draw: random.Random) -> None:
    holder = draw.choice([*model.graph.initializer, *model.graph.input, *model.graph.output])
    holder.name = draw.choice(("", "left", "sentences", draw.choice(model.graph.initializer).name))


def _add_domain(model: onnx.ModelProto, draw: random.Random) -> None:
    draw.choice(model.graph.node).domain = draw.choice(("ai.onnx", "ai.onnx.ml", "com.microsoft", "own"))


def _add_graph(model: onnx.ModelProto, draw: random.Random) -> None:
    draw.choice(model.graph.node).attribute.append(helper.make_attribute("body", model.graph))


def _change_text(model: onnx.ModelProto, draw: random.Random) -> None:
    entry = draw.choice(model.metadata_props)
    entry.value = draw.choice(("", "1e400", "nan", "{}", "[]", entry.value * 3, "9" * 5000, "\x1b[2J"))


def _add_bomb(model: onnx.ModelProto, draw: random.Random) -> None:
    BOMBS[draw.choice([name for name in BOMBS if name not in _HEAVY])][0](model)


_STEPS = (
    *(_change_type, _rewire, _rewire, _swap_nodes, _drop_node, _repeat_nodes, _change_shape, _change_weights),
    *(_resize_weights, _change_kind, _change_attribute, _rename, _add_domain, _add_graph, _change_text, _add_bomb),
)
