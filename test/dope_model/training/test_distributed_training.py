"""Several processes train as one does with the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from labelled_pictures import write_ring_pictures  # noqa: E402
from repository import ROOT  # noqa: E402

from dope_model.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from dope_model.datasets.labels import LabelSet  # noqa: E402
from dope_model.network.config import Mode  # noqa: E402
from dope_model.training.anchor_poses import fit_anchor_poses  # noqa: E402
from dope_model.training.fresh import fresh_checkpoint  # noqa: E402

ONE_BATCH = """
import sys
from pathlib import Path
import torch
from dope_model.checkpoint import load_checkpoint
from dope_model.training import loop
from dope_model.training.augmentation import NO_AUGMENTATION
from dope_model.training.data import Source
from dope_model.training.distributed import process_group, rank, world_size
from dope_model.training.settings import TrainingSettings
from dope_model.training.step import LossSettings

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
with process_group(torch.device("cpu")) as device:
    settings = TrainingSettings(
        batch_size=4 // world_size(), width=96, height=96, workers=0, warm_up_steps=0,
        learning_rate=0.004 / world_size(), mixed_precision=False, frozen_stages=int(sys.argv[3]),
        # All boxes and anchors: to draw some would draw others.
        losses=LossSettings(boxes_per_image=10**6, positive_share=1), augmentation=NO_AUGMENTATION,
    )
    run = loop.Trainer(
        load_checkpoint(folder / "start.safetensors"),
        [Source(folder / "labels.npz", folder / "pictures")], settings, out, device,
    )
    run.network.rpn.fg_bg_sampler.batch_size_per_image = 10**6
    gradients = {}

    def record(parameters, _):
        named = run.network.named_parameters()
        gradients.update({n: p.grad.clone() for n, p in named if p.grad is not None})

    loop.nn.utils.clip_grad_norm_ = record
    losses = {}
    run.run(1, lambda _, values: losses.update(values))
    torch.save({"gradients": gradients, "losses": losses}, out / f"{rank()}.pt")
"""


@pytest.fixture(
    params=[
        pytest.param(("mobilenet_v2", "0"), id="all layers"),
        # Heat maps have batch norms that learn: on CPUs each process has its own statistics.
        pytest.param(("mobilenet_v2_keypoints", "25"), id="RPN and heads, with heat maps"),
    ]
)
def run(request, tmp_path) -> tuple[Path, str]:
    backbone, frozen_stages = request.param
    folder = tmp_path / "data"
    labels = write_ring_pictures(folder, 20, side=96)
    anchors = {"face": fit_anchor_poses("face", LabelSet.load(labels), 2)}
    checkpoint = fresh_checkpoint(anchors, backbone, Mode(96, 200, 20, False))
    save_checkpoint(checkpoint, folder / "start.safetensors")
    (folder / "one_batch.py").write_text(ONE_BATCH)
    return folder, frozen_stages


def train(run: tuple[Path, str], out: Path, processes: int) -> None:
    folder, frozen_stages = run
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out.mkdir()
    started = [
        subprocess.Popen(
            [sys.executable, folder / "one_batch.py", folder, out, frozen_stages], cwd=ROOT,
            env=os.environ | {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank in range(processes)
    ]  # fmt: skip
    assert [process.wait(300) for process in started] == [0] * processes


def test_two_processes_have_the_losses_and_gradients_of_the_whole_batch(run, tmp_path):
    train(run, tmp_path / "one", 1)
    train(run, tmp_path / "two", 2)
    whole = torch.load(tmp_path / "one" / "0.pt")
    halves = [torch.load(tmp_path / "two" / f"{rank}.pt") for rank in range(2)]
    for name, value in whole["losses"].items():
        mean = sum(half["losses"][name] for half in halves) / 2
        assert mean == pytest.approx(value, rel=1e-4), name
    assert any(halves[0]["losses"][n] != halves[1]["losses"][n] for n in whole["losses"])
    for half in halves:
        assert half["gradients"].keys() == whole["gradients"].keys()
        for name, gradient in whole["gradients"].items():
            scale = gradient.abs().max().item() + 1e-6
            torch.testing.assert_close(
                half["gradients"][name], gradient, rtol=1e-3, atol=1e-3 * scale, msg=name
            )
    one, two = (load_checkpoint(tmp_path / n / "weights.safetensors").state for n in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5)
    assert len((tmp_path / "two" / "losses.jsonl").read_text().splitlines()) == 1
