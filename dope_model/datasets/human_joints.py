"""Bodies with human 2D annotations, completed by the experts' 3D of the same person.

Human annotations are more accurate in 2D; only the experts give 3D. A joint on which the two
disagree is not used for training.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dope_model.boxes import box_iou
from dope_model.datasets.labels import PartLabels, Sample, Visibility
from dope_model.skeleton import BODY

# Two positions of a joint agree within this share of the body's size, the root of its box's area.
AGREEMENT = 0.12
# Fewest annotated joints of a body that is used for training.
MIN_JOINTS = 6
# Share of the joints known to both that must agree for two bodies to be the same person.
SAME_PERSON = 0.6
# If different bodies overlap by this IoU, neither is used for training.
CONTRADICTION_IOU = 0.4


def with_human_joints(sample: Sample, keypoints_2d: np.ndarray, labelled: np.ndarray) -> Sample:
    """The experts' labels of an image, merged with one body that a person annotated.

    Args:
        sample: the experts' labels.
        keypoints_2d: (13, 2) px, the annotated joints.
        labelled: (13,) bool, which joints are annotated.

    Returns:
        The sample with its body labels changed. If the experts found the same person, joints on
        which both agree have the annotated 2D and the experts' 3D, and the other joints are not
        valid. If they found no person there, the annotated body is added without 3D. If they found
        a different person there, the region is ignored.
    """
    body = sample.parts["body"]
    if labelled.sum() < MIN_JOINTS:
        return sample
    size = np.sqrt(np.prod(np.ptp(keypoints_2d[labelled], axis=0)))
    if size < 1:
        return sample
    common = body.valid_2d & labelled
    near = np.linalg.norm(body.keypoints_2d - keypoints_2d, axis=2) <= AGREEMENT * size
    share = (near & common).sum(axis=1) / np.maximum(common.sum(axis=1), 1)
    share[common.sum(axis=1) < 3] = 0
    if len(share) and share.max() >= SAME_PERSON:
        changed = _joined(body, int(share.argmax()), keypoints_2d, labelled, near)
    else:
        changed = _added(body, keypoints_2d, labelled)
    return replace(sample, parts={**sample.parts, "body": changed})


def _joined(
    body: PartLabels, i: int, keypoints_2d: np.ndarray, labelled: np.ndarray, near: np.ndarray
) -> PartLabels:
    """`body` with its instance `i` corrected."""
    # The experts' head is a defined point; from the annotations it is only derived.
    use = labelled.copy()
    use[BODY.index["head"]] &= not body.valid_2d[i, BODY.index["head"]]
    disputed = labelled & body.valid_2d[i] & ~near[i]
    new = body.select(np.arange(len(body)))
    new.keypoints_2d[i, use] = keypoints_2d[use]
    new.valid_2d[i] = (body.valid_2d[i] | labelled) & ~disputed
    new.valid_3d[i] = body.valid_3d[i] & ~disputed
    new.visibility[i] = np.where(new.valid_2d[i], Visibility.VISIBLE, Visibility.UNKNOWN)
    return new


def _added(body: PartLabels, keypoints_2d: np.ndarray, labelled: np.ndarray) -> PartLabels:
    """`body` with one more instance; if another body is there, the region is ignored instead."""
    box = _box(keypoints_2d, labelled)
    seen = [v | ~v.any() for v in body.valid_2d]
    others = [_box(p, v) for p, v in zip(body.keypoints_2d, seen, strict=True)]
    others = np.array(others).reshape(-1, 4)
    contradicted = box_iou(box, others) > CONTRADICTION_IOU
    new = body.select(~contradicted)
    if contradicted.any():
        new.ignored = np.concatenate([body.ignored, others[contradicted], box[None]])
        return new
    points = np.where(labelled[:, None], keypoints_2d, box.reshape(2, 2).mean(axis=0))
    visibility = np.where(labelled, Visibility.VISIBLE, Visibility.UNKNOWN)
    one = PartLabels(
        "body", points[None], np.zeros((1, len(BODY), 3)), labelled[None],
        np.zeros((1, len(BODY)), bool), visibility[None], [-1], np.full((1, 3), np.nan), [1.0],
    )  # fmt: skip
    return new.joined(one)


def _box(points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.concatenate([points[valid].min(axis=0), points[valid].max(axis=0)])
