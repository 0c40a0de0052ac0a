"""`export`: the network as graphs, uint8 image in, candidates out.

    python -m dope_model export WEIGHTS

writes, beside a weights file of this project, an ONNX file for each size that the network works
on; with them OpenVINO and ONNX Runtime run the network without PyTorch. Their weights stay in the
weights file. The layout of their output is `dope_model.runtime.packed.PackedLayout`.

    python -m dope_model export WEIGHTS --build-only

builds what the engine "tensorrt" needs on this machine's GPU, and keeps it in the cache folder.
"""

from __future__ import annotations

import argparse
import logging

from dope_model.network.config import MODE_NAMES, Mode, mode_named


def add_export(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "export", help=__doc__.splitlines()[0], description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("weights", help="dope_lite, or a weights file")
    parser.add_argument("--mode", default="realtime", choices=MODE_NAMES)
    parser.add_argument(
        "--build-only", action="store_true", help="TensorRT engines for this GPU instead"
    )
    parser.add_argument("--device", default="auto", help="for them: auto, cuda or cuda:N")
    parser.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Write the graphs or build the engines."""
    from dope_model.checkpoint import read_checkpoint

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("dope_model").setLevel(logging.INFO)
    checkpoint = read_checkpoint(options.weights)
    mode = mode_named(options.mode, checkpoint.mode)
    if options.build_only:
        return _build(checkpoint, mode, options.device)
    if checkpoint.file is None:
        raise ValueError(
            f"{options.weights} is not a weights file of this project; convert it first: "
            "python -m dope_model convert"
        )
    return _write_graphs(checkpoint, mode)


def _write_graphs(checkpoint, mode: Mode) -> int:
    from tqdm import tqdm

    from dope_model.runtime.canvas import canvases
    from dope_model.runtime.export import export_onnx
    from dope_model.runtime.graphs import beside_weights, index_file, write_index
    from dope_model.runtime.shared_weights import share_weights
    from dope_model.runtime.variant import FOR_CPU

    weights = checkpoint.file
    # Until all are made there are none: old and new ones must not be mixed.
    index_file(weights).unlink(missing_ok=True)
    graphs = []
    for canvas in tqdm(canvases(mode), unit="graph"):
        graph = beside_weights(weights, canvas)
        export_onnx(checkpoint, mode, canvas, graph, FOR_CPU)
        share_weights(graph, weights)
        graphs.append(graph)
    write_index(checkpoint, mode, weights, graphs)
    for graph in graphs:
        print(f"{graph}: {graph.stat().st_size / 1e6:.1f} MB")
    return 0


def _build(checkpoint, mode: Mode, device: str) -> int:
    from dope_model.runtime.canvas import canvases
    from dope_model.runtime.tensorrt_engine import TensorRtEngine

    engine = TensorRtEngine(checkpoint, mode, device)
    for canvas in canvases(mode):
        cache = engine.build(canvas)
        print(f"{cache.path}: {cache.path.stat().st_size / 1e6:.1f} MB, {engine.description}")
    return 0
