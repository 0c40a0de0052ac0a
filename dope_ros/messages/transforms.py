"""Where people are, as TF frames (body_p1).

A frame is in the middle of the hips, as in REP-155 and REP-103: x forward out of the chest, y to
the person's left, z up the spine. Only people who are tracked and whose place is known have one;
for those who left, the transforms end and TF forgets them in its own time.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from geometry_msgs.msg import TransformStamped
from std_msgs.msg import Header

from dope_model.poses import WholeBody
from dope_ros.messages.errors import BadMessageError


def body_id(id_prefix: str, track_id: int) -> str:
    """The person's name in REP-155's topics and frames; the parameter `id_prefix` tells the people
    of several nodes apart.
    """
    return f"{id_prefix}{track_id}"


class MissingFrameIdError(BadMessageError):
    """An image that does not say in which frame its camera is."""


class MissingTfError(ImportError):
    """There is no tf2_msgs; the text says how to get it."""


def tf_message_class() -> type:
    """tf2_msgs/TFMessage, for a publisher on /tf (reliable, depth 100).

    Raises:
        MissingTfError: tf2_msgs is not installed.
    """
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError as error:
        raise MissingTfError(
            f"TF frames need tf2_msgs ({error}): apt install ros-$ROS_DISTRO-tf2-msgs; it is not "
            "among the ROS packages on PyPI"
        ) from error
    return TFMessage


def person_transforms(
    people: Iterable[WholeBody], header: Header, id_prefix: str
) -> list[TransformStamped]:
    """A transform from the camera's frame to each tracked person's.

    Raises:
        MissingFrameIdError: the camera's frame has no name.
    """
    if not header.frame_id:
        raise MissingFrameIdError(
            "missing",
            "the images have no frame_id, which TF frames need: the camera's driver sets it",
        )
    transforms: list[TransformStamped] = []
    for person in people:
        if person.track_id < 0 or person.body is None or person.body.root is None:
            continue
        axes = body_axes(person.body.keypoints_3d, person.skeleton("body").index)
        if axes is None:
            continue
        transform = TransformStamped(
            header=header, child_frame_id=f"body_{body_id(id_prefix, person.track_id)}"
        )
        place = transform.transform.translation
        place.x, place.y, place.z = map(float, person.body.root)
        turn = transform.transform.rotation
        turn.x, turn.y, turn.z, turn.w = map(float, quaternion(axes))
        transforms.append(transform)
    return transforms


def body_axes(joints: np.ndarray, index: dict[str, int]) -> np.ndarray | None:
    """(3, 3) whose columns are forward, left and up of a body, in the axes of its joints (J, 3).

    None where hips and shoulders do not span a trunk.
    """
    right, left = joints[index["right_hip"]], joints[index["left_hip"]]
    shoulders = (joints[index["right_shoulder"]] + joints[index["left_shoulder"]]) / 2
    up = shoulders - (right + left) / 2
    # The shoulders' line as well, because hips are close together and often hidden.
    across = left - right + joints[index["left_shoulder"]] - joints[index["right_shoulder"]]
    forward = np.cross(across, up)
    lengths = np.linalg.norm(up), np.linalg.norm(forward)
    if not min(lengths) > 1e-6:
        return None
    up, forward = up / lengths[0], forward / lengths[1]
    return np.stack([forward, np.cross(up, forward), up], axis=1)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """x y z w of a rotation matrix (3, 3); w is not negative."""
    # The eigenvector of Bar-Itzhack's symmetric matrix, which has no special cases (2000,
    # "New method for extracting the quaternion from a rotation matrix").
    m = rotation
    symmetric = (
        np.array(
            [
                [m[0, 0] - m[1, 1] - m[2, 2], 0, 0, 0],
                [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], 0, 0],
                [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], 0],
                [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], np.trace(m)],
            ]
        )
        / 3
    )
    found = np.linalg.eigh(symmetric, UPLO="L")[1][:, -1]
    return found if found[3] >= 0 else -found
