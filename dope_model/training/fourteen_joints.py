"""MuPoTS' 14 body joints: the last regression layer widened and fine-tuned, all else frozen.

Section 4.1 of the paper: "we modified the regression layer of our networks to output 14 keypoints
instead of 13 while freezing the rest of the network. We finetuned this last layer only on the
MuCo-3DHP dataset".
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dope_model.checkpoint import Checkpoint
from dope_model.network.config import PartConfig
from dope_model.skeleton import BODY, BODY14
from dope_model.training.loop import Trainer

_SHOULDERS = [BODY.index["right_shoulder"], BODY.index["left_shoulder"]]


def widened(checkpoint: Checkpoint) -> Checkpoint:
    """The same network with 14 body joints; the new one, the neck, starts between the shoulders.

    All other outputs stay exactly as they are.

    Raises:
        ValueError: the network has no body, or not 13 joints.
    """
    part = checkpoint.config.parts.get("body")
    if part is None or part.joints != len(BODY):
        found = "no body" if part is None else f"a body of {part.joints} joints"
        raise ValueError(
            f"only a network with a body of 13 joints can be widened; this has {found}"
        )
    state = dict(checkpoint.state)
    anchors = state["branches.body.anchor_poses"]
    state["branches.body.anchor_poses"] = torch.cat(
        [anchors, anchors[:, _SHOULDERS].mean(dim=1, keepdim=True)], dim=1
    )
    for name in ("weight", "bias"):
        key = f"branches.body.pose_pred.{name}"
        state[key] = _with_neck(state[key], part.anchor_poses)
    parts = {**checkpoint.config.parts, "body": PartConfig(len(BODY14), part.anchor_poses)}
    about = {
        **checkpoint.about,
        "14 joints": "last body layer widened, to be fine-tuned on MuCo-3DHP",
    }
    return replace(
        checkpoint, config=replace(checkpoint.config, parts=parts), state=state, about=about
    )


def _with_neck(layer: Tensor, classes: int) -> Tensor:
    """Rows of a regression layer (C * 5 * 13, ...) as (C * 5 * 14, ...).

    A class has first the 2D rows of all joints, then their 3D rows.
    """
    rows = layer.reshape(classes, 5 * len(BODY), *layer.shape[1:])
    widened_rows = []
    for block, dimensions in (rows[:, : 2 * len(BODY)], 2), (rows[:, 2 * len(BODY) :], 3):
        joints = block.reshape(classes, len(BODY), dimensions, *layer.shape[1:])
        neck = joints[:, _SHOULDERS].mean(dim=1, keepdim=True)
        widened_rows.append(torch.cat([joints, neck], dim=1).flatten(1, 2))
    return torch.cat(widened_rows, dim=1).flatten(0, 1)


def freeze_all_but_body_poses(trainer: Trainer) -> None:
    """Let a trainer change the body's regression layer only."""
    trainer.network.requires_grad_(False)
    trainer.network.branches["body"].pose_pred.requires_grad_(True)
