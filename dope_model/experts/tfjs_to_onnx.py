"""Converts one TensorFlow.js graph model to ONNX and checks the result against TensorFlow.

`dope_model.experts.prepare` runs this file as a script, in an environment that has tensorflow,
tf2onnx and onnxruntime; of the project it imports nothing but its neighbour
`tfjs_weights.py`.

    python tfjs_to_onnx.py model.json model.onnx --input input --outputs Identity
"""

from __future__ import annotations

import argparse
import base64
import json
import os
from pathlib import Path

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf2onnx  # noqa: E402
from google.protobuf import json_format  # noqa: E402
from tfjs_weights import tfjs_weights  # noqa: E402

OPSET = 16
TOLERANCE = 1e-3  # of the largest output, or absolute below 1
DYNAMIC_SIDE = 256  # px, for inputs whose size the model leaves open
FUSED = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative"}


def constant_node(name: str, values: np.ndarray) -> tf.compat.v1.NodeDef:
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.as_dtype(values.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
    return node


def parsed_node(node: dict) -> tf.compat.v1.NodeDef:
    return json_format.ParseDict(node, tf.compat.v1.NodeDef(), ignore_unknown_fields=True)


def folded_sparse_to_dense(node: dict, weights: dict[str, np.ndarray]) -> np.ndarray:
    """The constant result of a SparseToDense whose inputs are all constants."""
    indices, shape, values, default = (weights[name.split(":")[0]] for name in node["input"])
    dense = np.full(shape, default, dtype=values.dtype)
    dense[tuple(np.atleast_2d(indices).T) if indices.ndim > 1 else (indices,)] = values
    return dense


def unfused(node: dict) -> list[dict]:
    """A fused convolution as separate convolution, bias and activation."""
    attributes = node["attr"]
    operations = [
        base64.b64decode(operation).decode() for operation in attributes["fused_ops"]["list"]["s"]
    ]
    kind = {"T": attributes.get("T") or {"type": "DT_FLOAT"}}
    kept = ("strides", "padding", "explicit_paddings", "data_format", "dilations")
    convolution = {
        "name": f"{node['name']}/convolution",
        "op": FUSED[node["op"]],
        "input": node["input"][:2],
        "attr": kind | {name: attributes[name] for name in kept if attributes.get(name)},
    }
    nodes, arguments = [convolution], list(node["input"][2:])
    for i, operation in enumerate(operations):
        last = i == len(operations) - 1
        step = {
            "name": node["name"] if last else f"{node['name']}/{operation}",
            "op": operation,
            "input": [nodes[-1]["name"]],
            "attr": dict(kind),
        }
        if operation == "BiasAdd":
            step["input"].append(arguments.pop(0))
            step["attr"]["data_format"] = {"s": base64.b64encode(b"NHWC").decode()}
        elif operation == "LeakyRelu":
            step["attr"]["alpha"] = attributes.get("leakyrelu_alpha", {"f": 0.2})
        elif operation not in ("Relu", "Relu6", "Elu"):
            raise SystemExit(f"{node['name']}: cannot unfuse the operation {operation}")
        nodes.append(step)
    return nodes


def graph_of(model: dict, weights: dict[str, np.ndarray]) -> tf.compat.v1.GraphDef:
    """The model as a frozen TensorFlow graph."""
    graph = tf.compat.v1.GraphDef()
    for node in model["modelTopology"]["node"]:
        node["attr"] = {k: v for k, v in node.get("attr", {}).items() if v is not None}
        if node["op"] == "Const":
            graph.node.append(constant_node(node["name"], weights[node["name"]]))
        elif node["op"] == "SparseToDense":
            graph.node.append(constant_node(node["name"], folded_sparse_to_dense(node, weights)))
        elif node["op"] in FUSED:
            graph.node.extend(parsed_node(step) for step in unfused(node))
        else:
            graph.node.append(parsed_node(node))
    graph.versions.producer = 27
    return graph


def largest_difference(graph_def: tf.compat.v1.GraphDef, path: Path, names: list[str]) -> float:
    """Between ONNX Runtime and TensorFlow on one random picture, relative to the outputs."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    shape = [side if isinstance(side, int) and side > 0 else DYNAMIC_SIDE for side in entry.shape]
    shape[0] = 1
    picture = np.random.default_rng(0).uniform(0, 255, shape)
    picture = picture.astype(np.int32 if "int32" in entry.type else np.float32)
    ours = session.run(names, {entry.name: picture})
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as reference:
        theirs = reference.run(names, {entry.name: picture})
    return max(
        float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))
        for a, b in zip(ours, theirs, strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="model.json of the graph model")
    parser.add_argument("onnx", type=Path, help="the file to write")
    parser.add_argument("--input", required=True, help="name of the input node")
    parser.add_argument("--outputs", required=True, nargs="+", help="names of the output nodes")
    arguments = parser.parse_args()

    # ONNX Runtime has no 64-bit versions of some operations; 32 bits hold all these indices.
    model = json.loads(arguments.model.read_text().replace("DT_INT64", "DT_INT32"))
    folder = arguments.model.parent
    weights = tfjs_weights(model["weightsManifest"], lambda path: (folder / path).read_bytes())
    graph = graph_of(model, weights)
    outputs = [f"{name}:0" for name in arguments.outputs]
    converted, _ = tf2onnx.convert.from_graph_def(
        graph, input_names=[f"{arguments.input}:0"], output_names=outputs, opset=OPSET
    )
    onnx.save(converted, str(arguments.onnx))
    difference = largest_difference(graph, arguments.onnx, outputs)
    if not difference < TOLERANCE:
        arguments.onnx.unlink()
        raise SystemExit(
            f"{arguments.onnx.name}: differs from TensorFlow by {difference:.1e} of the largest "
            f"output, allowed are {TOLERANCE:.0e}"
        )
    print(f"{arguments.onnx.name}: equal to TensorFlow within {difference:.1e}")


if __name__ == "__main__":
    main()
