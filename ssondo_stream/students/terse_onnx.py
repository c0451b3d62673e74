"""ONNX without the names that the exporter gives to everything inside, half of a small file."""

import onnx


def terse(content: bytes) -> bytes:
    """The same network with short names inside; one that branches, whose branches use names too, is left as it is."""
    model = onnx.load_from_string(content)
    if any(part.HasField("g") for node in model.graph.node for part in node.attribute):
        return content
    outside = {value.name for value in (*model.graph.input, *model.graph.output)} | {""}
    names: dict[str, str] = {}

    def short(name: str) -> str:
        return name if name in outside else names.setdefault(name, f"{len(names):x}")

    for node in model.graph.node:
        node.name = ""
        node.input[:], node.output[:] = map(short, node.input), map(short, node.output)
    for tensor in model.graph.initializer:
        tensor.name = short(tensor.name)
    del model.graph.value_info[:]
    shorter: bytes = model.SerializeToString()
    return shorter
