"""Graphs without weights: what is large in them points into the weights file beside them.

An ONNX file's tensors may lie in another file, at an offset: here in a .safetensors file, whose
tensors lie there as they are. So one file of weights serves PyTorch and all graphs.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from dope_model.checkpoint import read_header

_TYPES = {"F16": np.float16, "F32": np.float32}
_LEAST_BYTES = 1024
"""Of a tensor that is worth a reference."""


def share_weights(graph: Path, weights: Path) -> None:
    """Take out of an ONNX file, which lies beside a weights file, what that holds.

    A convolution's weights with a batch norm in them are the file's times a number for each output
    channel, which stays in the graph.

    Raises:
        ImportError: onnx is missing.
        CheckpointError: the weights file is damaged.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    header, begin = read_header(weights)
    data = np.memmap(weights, np.uint8, "r", offset=begin)
    model = onnx.load(graph)
    kept, references, nodes = [], [], []
    renamed: dict[str, str] = {}
    for tensor in model.graph.initializer:
        found = header.get(tensor.name.rpartition("network.")[2])
        if found is None or found["dtype"] not in _TYPES or len(tensor.raw_data) < _LEAST_BYTES:
            kept.append(tensor)
            continue
        start, end = found["data_offsets"]
        kind = _TYPES[found["dtype"]]
        stored = data[start:end].view(kind).reshape(found["shape"]).astype(np.float32)
        scale = _scale(stored, numpy_helper.to_array(tensor))
        if scale is None:
            kept.append(tensor)
            continue
        reference = TensorProto(
            name=tensor.name, dims=found["shape"],
            data_type=helper.np_dtype_to_tensor_dtype(np.dtype(kind)),
            data_location=TensorProto.EXTERNAL,
        )  # fmt: skip
        place = {"location": weights.name, "offset": begin + start, "length": end - start}
        for key, value in place.items():
            reference.external_data.add(key=key, value=str(value))
        references.append(reference)
        name = renamed[tensor.name] = f"{tensor.name} float"
        nodes.append(helper.make_node("Cast", [tensor.name], [name], name, to=TensorProto.FLOAT))
        if scale.size:
            factor = numpy_helper.from_array(scale, f"{tensor.name} scale")
            kept.append(factor)
            scaled = renamed[tensor.name] = f"{tensor.name} scaled"
            nodes.append(helper.make_node("Mul", [name, factor.name], [scaled], scaled))
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    nodes += model.graph.node
    for field, values in (("initializer", kept + references), ("node", nodes)):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(values)
    # What the exporter says of shapes inside and of where nodes came from is not needed.
    model.graph.ClearField("value_info")
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    new = graph.with_suffix(f".new{os.getpid()}")
    try:
        new.write_bytes(model.SerializeToString())
        new.replace(graph)
    finally:
        new.unlink(missing_ok=True)


def _scale(stored: np.ndarray, wanted: np.ndarray) -> np.ndarray | None:
    """What the stored tensor is multiplied with along its first axis to give the wanted one: empty
    if that is 1, None if there is nothing."""
    if stored.shape != wanted.shape:
        return None
    if np.array_equal(stored, wanted):
        return np.empty(0, np.float32)
    rows, wanted_rows = (x.reshape(len(x), -1) for x in (stored, wanted))
    largest = np.abs(rows).argmax(axis=1)[:, None]
    least = np.float32(1e-30)
    divisor = np.take_along_axis(rows, largest, axis=1)
    scale = np.take_along_axis(wanted_rows, largest, axis=1) / np.where(divisor == 0, 1, divisor)
    bound = 1e-6 * np.maximum(np.abs(wanted_rows).max(axis=1, keepdims=True), least)
    if (np.abs(rows * scale - wanted_rows) > bound).any():
        return None
    return scale.reshape(-1, *[1] * (stored.ndim - 1)).astype(np.float32)
