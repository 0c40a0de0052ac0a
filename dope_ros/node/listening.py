"""What nodes share that work on the poses of others: people out of messages, and transforms."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node

from dope_model.poses import WholeBody
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.messages.camera_info import nanoseconds
from dope_ros.messages.conversions import message_to_people
from dope_ros.messages.errors import BadMessageError
from dope_ros.messages.transform_buffer import TransformBuffer
from dope_ros.messages.transforms import MissingTfError, tf_message_class
from dope_ros.node.qos import TRANSFORMS, TRANSFORMS_STATIC
from dope_ros.settings import ParameterError


class BadPosesError(BadMessageError):
    """A message with poses that cannot be used."""


def people_of(message: WholeBodyPoseArray) -> tuple[float, list[WholeBody]]:
    """The stamp of a message, s, and its people.

    Raises:
        BadPosesError: it has no stamp or no frame, or a part's arrays do not belong together.
    """
    if not nanoseconds(message.header.stamp):
        raise BadPosesError("no stamp", "the poses have no stamp: the camera's driver sets it")
    if not message.header.frame_id:
        raise BadPosesError("no frame", "the poses have no frame_id: the camera's driver sets it")
    try:
        people = message_to_people(message)
        for person in people:
            for slot, pose in person.parts():
                joints = len(person.skeleton(slot))
                if (pose.keypoints_3d.shape, len(pose.confidence)) != ((joints, 3), joints):
                    raise ValueError(f"{slot} has arrays of different lengths")
    except ValueError as error:
        raise BadPosesError("malformed", f"a message with poses is malformed ({error})") from error
    return seconds_of(message), people


def seconds_of(message: WholeBodyPoseArray) -> float:
    """The stamp of a message, s, as `people_of` gives it."""
    return nanoseconds(message.header.stamp) / 1e9


def is_placed(person: WholeBody) -> bool:
    """Whether it is known where any part of a person is."""
    return any(
        pose.root is not None and np.isfinite(pose.placed_3d).all() for _, pose in person.parts()
    )


def listen_to_transforms(node: Node) -> TransformBuffer:
    """A buffer that takes in what comes on /tf and /tf_static.

    Raises:
        ParameterError: tf2_msgs is not installed.
    """
    try:
        kind = tf_message_class()
    except MissingTfError as error:
        raise ParameterError(str(error)) from error
    buffer = TransformBuffer()
    for topic, profile in (("/tf", TRANSFORMS), ("/tf_static", TRANSFORMS_STATIC)):
        static = profile is TRANSFORMS_STATIC

        def take(message, static=static) -> None:
            buffer.add(message.transforms, static)

        node.create_subscription(kind, topic, take, profile)
    return buffer
