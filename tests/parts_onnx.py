"""A tiny real network: each column's logits are a linear map of its centre frame."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ssondo_stream.bundle import Label, StudentSpec, save_bundle

LABELS = (Label("Low sound"), Label("High sound"))


def tiny_network(labels: int = 2, seed: int = 0) -> bytes:
    weights = np.random.default_rng(seed).normal(size=(labels, 128, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["frames"], ["bands"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["bands", "weights"], ["conv"], strides=[32]),
        helper.make_node("Transpose", ["conv"], ["column_logits"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["frames"], ["embedding"], axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, [1, "time", 128])],
        [
            helper.make_tensor_value_info("column_logits", TensorProto.FLOAT, [1, "columns", labels]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 128]),
        ],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def tiny_bundle(folder: Path, network: bytes | None = None) -> Path:
    spec = StudentSpec(name="tiny", labels=LABELS, embedding_dim=128)
    save_bundle(folder, spec, network or tiny_network(), {"MODEL_CARD.md": b"# Tiny\n"})
    return folder
