"""The widened body layer: same outputs as before, and nothing else that learns."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from random_networks import SMALL, small_checkpoint  # noqa: E402

from dope_model import __main__ as program  # noqa: E402
from dope_model.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from dope_model.datasets.labels import LabelSet, PartLabels, Sample  # noqa: E402
from dope_model.network.roi_features import RoiFeatures  # noqa: E402
from dope_model.skeleton import BODY, BODY14  # noqa: E402
from dope_model.training.fourteen_joints import widened  # noqa: E402


def test_widening_changes_no_other_output_and_puts_the_neck_between_the_shoulders():
    checkpoint = small_checkpoint()
    before, after = checkpoint.build(SMALL), widened(checkpoint).build(SMALL)
    pooled = RoiFeatures(torch.randn(5, before.branches["body"].cls_score.in_features))
    with torch.inference_mode():
        for part in before.branches:
            old, new = before.branches[part](pooled), after.branches[part](pooled)
            assert torch.equal(old.logits, new.logits)
            if part != "body":
                assert torch.equal(old.deltas, new.deltas)
        old, new = before.branches["body"](pooled), after.branches["body"](pooled)
    assert new.deltas.shape == (5, 10, 14, 5)
    assert torch.allclose(new.deltas[:, :, :13], old.deltas, atol=1e-5)
    shoulders = [BODY.index["right_shoulder"], BODY.index["left_shoulder"]]
    neck = BODY14.index["neck"]
    assert torch.allclose(
        new.deltas[:, :, neck], old.deltas[:, :, shoulders].mean(dim=2), atol=1e-5
    )
    anchors = after.branches["body"].anchor_poses
    assert torch.allclose(anchors[:, neck], anchors[:, shoulders].mean(dim=1))
    assert checkpoint.config.parts["body"].joints == 13, "the original is untouched"


def test_only_bodies_of_13_joints_are_widened():
    with pytest.raises(ValueError, match="no body"):
        widened(small_checkpoint(("hand",)))
    with pytest.raises(ValueError, match="14 joints"):
        widened(widened(small_checkpoint()))


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2_keypoints"])
def test_the_command_trains_the_last_body_layer_alone(tmp_path, backbone):
    import cv2

    random = np.random.default_rng(0)
    samples = []
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), random.integers(0, 255, (96, 96, 3), np.uint8))
        flat = random.uniform(15, 80, (1, 14, 2))
        deep = BODY14.centred(random.normal(0, 0.3, (1, 14, 3)))
        everything = np.ones((1, 14), bool)
        body = PartLabels(
            "body", flat, deep, everything, everything, everything.astype(int), [-1],
            np.full((1, 3), np.nan), [1.0],
        )  # fmt: skip
        samples.append(Sample(f"{i}.png", 96, 96, {"body": body}))
    LabelSet(samples).save(tmp_path / "labels.npz")
    start, out = tmp_path / "start.safetensors", tmp_path / "run"
    save_checkpoint(small_checkpoint(("body", "hand"), backbone), start)
    arguments = [
        "finetune-14-joints", "--start", str(start), "--out", str(out), "--device", "cpu",
        "--data", f"{tmp_path / 'labels.npz'}:{tmp_path}", "--max-batches", "2",
    ]  # fmt: skip
    for setting in ("batch_size=1", "workers=0", "width=128", "height=96", "warm_up_steps=1"):
        arguments += ["--set", setting]
    assert program.main(arguments) == 0
    before = widened(load_checkpoint(start))
    after = load_checkpoint(out / "weights.safetensors")
    assert after.config == before.config and after.config.parts["body"].joints == 14
    changed = {
        key for key, value in after.state.items() if not torch.equal(value, before.state[key])
    }
    assert changed == {"branches.body.pose_pred.weight", "branches.body.pose_pred.bias"}
    assert program.main(arguments) == 0  # goes on
    later = load_checkpoint(out / "weights.safetensors").state["branches.body.pose_pred.bias"]
    assert not torch.equal(later, after.state["branches.body.pose_pred.bias"])
