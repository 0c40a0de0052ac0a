"""The default model runs on NumPy and an engine alone: its graphs come with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from dope_model.checkpoint import CheckpointError, read_checkpoint
from dope_model.network.config import MODES
from dope_model.runtime.canvas import Canvas, canvases
from dope_model.runtime.graphs import beside_weights, graph_file, index_file
from dope_model.runtime.variant import FOR_CPU
from dope_model.weights import DEFAULT_MODEL, weights_file

REALTIME = MODES["realtime"]
VGA = Canvas(400, 533)
RUN = """
import sys
for name in ("torch", "torchvision", "safetensors", "onnx", "onnxscript"):
    sys.modules[name] = None
from skimage.data import astronaut
from dope_model import WholeBodyDetector
detector = WholeBodyDetector.load(engine=sys.argv[1], device="cpu")
(person,) = detector(astronaut())
print(detector.engine.description, *person.face.keypoints_2d.mean(axis=0))
"""


@pytest.mark.parametrize(
    ("engine", "package"),
    [("auto", "openvino"), ("openvino", "openvino"), ("onnxruntime", "onnxruntime")],
)
def test_the_default_model_runs(engine, package):
    pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, "-c", RUN, engine], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    x, y = map(float, done.stdout.split()[-2:])
    assert np.hypot(x - 222, y - 115) < 30  # the astronaut's face


def test_every_canvas_has_its_graph():
    """If this fails after new weights: python -m dope_model export dope_lite"""
    checkpoint = read_checkpoint(DEFAULT_MODEL)
    for canvas in canvases(REALTIME):
        graph = graph_file(checkpoint, REALTIME, canvas, FOR_CPU)
        assert graph == beside_weights(checkpoint.file, canvas)
        assert graph.stat().st_size < 2e6


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """The shipped weights and one graph in a folder; what would be made anew is only told."""
    weights = weights_file(DEFAULT_MODEL)
    for file in (weights, index_file(weights), beside_weights(weights, VGA)):
        shutil.copy(file, tmp_path)
    monkeypatch.setitem(sys.modules, "dope_model.runtime.export", None)
    return tmp_path / weights.name


def test_graphs_that_do_not_belong_to_the_weights_are_told(copies, caplog):
    checkpoint = read_checkpoint(copies)
    graph = beside_weights(copies, VGA)
    assert graph_file(checkpoint, REALTIME, VGA, FOR_CPU) == graph

    def refused() -> str:
        caplog.clear()
        with pytest.raises(ImportError, match="are made by PyTorch"):
            graph_file(read_checkpoint(copies), REALTIME, VGA, FOR_CPU)
        (record,) = [r for r in caplog.records if "export" in r.message]
        return record.message

    whole = graph.read_bytes()
    graph.write_bytes(whole[:-100])
    assert f"{graph} is missing or damaged; make them again" in refused()
    graph.write_bytes(whole)
    told = index_file(copies).read_text()
    index_file(copies).write_text(told[:50])
    assert "graphs.json is damaged" in refused()
    index_file(copies).write_text(told)
    content = bytearray(copies.read_bytes())
    content[-1] ^= 1
    copies.write_bytes(content)
    assert "are of other weights" in refused()


def test_links_lead_to_the_graphs(copies, tmp_path):
    """As in a workspace that was built with --symlink-install."""
    openvino = pytest.importorskip("openvino")
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / copies.name
    for file in (copies, beside_weights(copies, VGA)):
        (tmp_path / "links" / file.name).symlink_to(file)
    graph = graph_file(read_checkpoint(link), REALTIME, VGA, FOR_CPU)
    assert graph == beside_weights(copies, VGA)
    openvino.Core().read_model(graph)


def test_weights_that_were_cut_off_are_refused(copies):
    copies.write_bytes(copies.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="is a damaged safetensors file"):
        read_checkpoint(copies)


def test_settings_may_change_without_the_graphs(copies):
    """They are in the header, whose room stays the same."""
    content = copies.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    description = json.loads(header["__metadata__"]["description"])
    description["integration"]["body"]["th_persondetect"] = 0.6
    header["__metadata__"]["description"] = json.dumps(description)
    changed = json.dumps(header).encode().ljust(length)
    copies.write_bytes(content[:8] + changed + content[8 + length :])
    checkpoint = read_checkpoint(copies)
    assert checkpoint.integration["body"].th_persondetect == 0.6
    assert graph_file(checkpoint, REALTIME, VGA, FOR_CPU) == beside_weights(copies, VGA)
