"""Text encoders made to harm: each is a sound encoder's ONNX file with something added, given as bytes."""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from noduleclip.language.vocabulary import MAX_GRID_POINTS, MAX_WORDS

Bomb = Callable[[onnx.ModelProto], None]


def constant(model: onnx.ModelProto, name: str, values: object, kind: type[np.generic] = np.int64) -> str:
    """Add a constant; return its name."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(values, kind), name))
    return name


def feed_output(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Make the encoder's output depend on what `nodes` give as "boom", without changing it."""
    last = next(node for node in model.graph.node if "sentences" in node.output)
    last.output[0] = "inner"
    constant(model, "nothing", 0, np.float32)
    model.graph.node.extend(
        [
            *nodes,
            helper.make_node("Reshape", ["boom", constant(model, "flat", [-1])], ["all"]),
            helper.make_node("Slice", ["all", constant(model, "from", [0]), constant(model, "to", [1])], ["first"]),
            helper.make_node("Mul", ["first", "nothing"], ["zero"]),
            helper.make_node("Add", ["inner", "zero"], ["sentences"]),
        ]
    )


def body(outputs: int) -> onnx.GraphProto:
    """A subgraph that gives a float, after `outputs - 1` conditions."""
    names = ["go_on", "kept"][2 - outputs :]
    kinds = [TensorProto.BOOL, TensorProto.FLOAT][2 - outputs :]
    constants = [
        helper.make_node("Constant", [], [name], value=helper.make_tensor(name, kind, [], [1]))
        for name, kind in zip(names, kinds, strict=True)
    ]
    infos = [helper.make_tensor_value_info(name, kind, []) for name, kind in zip(names, kinds, strict=True)]
    inputs = [
        helper.make_tensor_value_info("turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("before", TensorProto.BOOL, []),
        helper.make_tensor_value_info("carried", TensorProto.FLOAT, []),
    ]
    return helper.make_graph(constants, "body", inputs if outputs == 2 else [], infos)


def loop(model: onnx.ModelProto) -> None:
    constant(model, "turns", 2**62)
    constant(model, "true", True, np.bool_)
    constant(model, "start", 0, np.float32)
    feed_output(model, [helper.make_node("Loop", ["turns", "true", "start"], ["boom"], body=body(2))])


def condition(model: onnx.ModelProto) -> None:
    constant(model, "true", True, np.bool_)
    node = helper.make_node("If", ["true"], ["boom"], then_branch=body(1), else_branch=body(1))
    feed_output(model, [node])


def hidden_loop(model: onnx.ModelProto) -> None:
    """A subgraph as an attribute of an operation that an encoder has."""
    model.graph.node[0].attribute.append(helper.make_attribute("body", body(2)))


def large(*nodes: tuple[str, Sequence[str], Sequence[object]]) -> Bomb:
    """Operations on constants, the last of which gives "boom": type, inputs (names or numbers), attributes."""

    def change(model: onnx.ModelProto) -> None:
        made = []
        for at, (op_type, inputs, values) in enumerate(nodes):
            names = [*inputs, *(constant(model, f"of-{at}-{n}", value) for n, value in enumerate(values))]
            made.append(helper.make_node(op_type, names, ["boom" if at == len(nodes) - 1 else f"made-{at}"]))
        feed_output(model, made)

    return change


def double(op_type: str, times: int) -> Bomb:
    def change(model: onnx.ModelProto) -> None:
        names = ["share", *(f"twice-{at}" for at in range(1, times)), "boom"]
        options = {"axis": 0} if op_type == "Concat" else {}
        feed_output(
            model,
            [helper.make_node(op_type, [before] * 2, [after], **options) for before, after in pairwise(names)],
        )

    return change


def outer(op_type: str) -> Bomb:
    """A column and a row of 32,768 numbers: 4 GB."""

    def change(model: onnx.ModelProto) -> None:
        constant(model, "column", np.ones((1 << 15, 1)), np.float32)
        constant(model, "row", np.ones((1, 1 << 15)), np.float32)
        feed_output(model, [helper.make_node(op_type, ["column", "row"], ["boom"])])

    return change


def function(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("own", 1))
    inner = [helper.make_node("Identity", ["x"], ["y"])]
    model.functions.append(helper.make_function("own", "Gather", ["x"], ["y"], inner, [helper.make_opsetid("", 18)]))


def other_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node.append(helper.make_node("Gelu", ["share"], ["unused"], domain="com.microsoft"))


def other_file(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/dev/zero")


def sparse(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "few")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "where")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 40]))


def claim(*shape: int) -> Bomb:
    def change(model: onnx.ModelProto) -> None:
        next(one for one in model.graph.initializer if one.name == "entries.weight").dims[:] = shape

    return change


def more_nodes(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["share"], ["x"])
    model.graph.node.extend([node] * 1_000_000)


def more_texts(count: int, size: int) -> Bomb:
    def change(model: onnx.ModelProto) -> None:
        model.metadata_props.extend(onnx.StringStringEntryProto(key=f"k{at}", value="x" * size) for at in range(count))

    return change


def text(key: str, value: str) -> Bomb:
    def change(model: onnx.ModelProto) -> None:
        next(entry for entry in model.metadata_props if entry.key == key).value = value

    return change


def words(count: int, length: int = 1, grid: int = 27) -> Bomb:
    """A vocabulary of so many words."""
    table = {
        "words": [f"{at:x}".ljust(length, "x") for at in range(count)],
        "grid_mm": list(range(grid)),
        "attributes": [],
    }
    return text("vocabulary", json.dumps(table))


BOMBS: dict[str, tuple[Bomb, str]] = {
    "Loop of 2^62": (loop, "operations within operations"),
    "If": (condition, "operations within operations"),
    "a subgraph in a Gather": (hidden_loop, "operations within operations"),
    "ConstantOfShape": (large(("ConstantOfShape", [], [[1 << 30]])), "the operation 'ConstantOfShape'"),
    "Tile": (large(("Tile", ["share"], [[1 << 15, 1 << 10]])), "the operation 'Tile'"),
    "Range": (
        large(("Range", [], [0, 1 << 29, 1]), ("CastLike", ["made-0", "share"], [])),
        "the operation 'Range'",
    ),
    "Pad": (large(("Pad", ["share"], [[0, 0, 1 << 25, 0]])), "the operation 'Pad'"),
    "OneHot": (
        large(("OneHot", ["left"], [1 << 24, [0, 1]]), ("CastLike", ["made-0", "share"], [])),
        "the operation 'OneHot'",
    ),
    "Expand": (large(("Unsqueeze", ["share"], [[0]]), ("Expand", ["made-0"], [[1 << 25, 1, 32]])), "Expand 2 times"),
    "Gather": (large(("Gather", ["share"], [np.zeros((1 << 12, 1 << 12))])), "other operations than a text encoder"),
    "Concat doubled": (double("Concat", 25), r"the operation Concat \d+ times"),
    "Add doubled": (double("Add", 500), r"the operation Add \d+ times"),
    "Add of a column and a row": (outer("Add"), "other operations than a text encoder"),
    "MatMul of a column and a row": (outer("MatMul"), "other operations than a text encoder"),
    "a function": (function, "functions of its own"),
    "another domain": (other_domain, "operations of another domain"),
    "another file": (other_file, "tensors that lie in other files"),
    "sparse tensors": (sparse, "sparse tensors"),
    "a claim of 2^62": (claim(1 << 31, 1 << 31), "weights of .* are needed|impossible encoder"),
    "a million operations": (more_nodes, "more than 20,000 operations"),
    "a million texts": (more_texts(1_000_000, 1), "more than .* of metadata"),
    "a large text": (more_texts(1, 1 << 26), "more than .* of metadata"),
    "a long model id": (text("model_id", "x" * 1_000_000), "a model id of 1,000,000 characters"),
    "a long scale": (text("scale", "9" * 1_000_000), "scale inf|not a text encoder"),
    "many words": (words(MAX_WORDS + 1), "its vocabulary has 100,001 words"),
    "long words": (words(20, 1000), "words of at most 200 characters"),
    "a fine grid": (words(5, grid=MAX_GRID_POINTS + 1), "1,001 grid points"),
    "other words": (words(5), "weights of .* are needed"),
}  # fmt: skip


def make_bomb(sound: bytes, name: str) -> bytes:
    """Return the file of a sound encoder, made to harm."""
    model = onnx.ModelProto.FromString(sound)
    BOMBS[name][0](model)
    packed: bytes = model.SerializeToString()
    return packed


def nest(sound: bytes, depth: int) -> bytes:
    """Return a file with a graph within a graph, and so on; protobuf libraries write none so deep."""
    inner = b""
    for number in (6, 5, 1) * depth:  # attribute.g, node.attribute, graph.node
        inner = bytes([number << 3 | 2]) + _varint(len(inner)) + inner
    return sound + b"\x3a" + _varint(len(inner)) + inner


def empty_nodes(count: int) -> bytes:
    """Return a file of nodes of two bytes each, of which protobuf libraries make objects of a hundred."""
    nodes = b"\x0a\x00" * count
    return b"\x3a" + _varint(len(nodes)) + nodes


def _varint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])
