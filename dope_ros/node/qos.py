"""Quality of service of the node's topics. That of images, depth and results can be overridden by
parameters qos_overrides.TOPIC.publisher.reliability and so on.
"""

from __future__ import annotations

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

# Best effort receives from both best effort and reliable cameras. Only the newest message matters:
# with a depth of 1 a new message replaces a waiting one.
NEWEST_MESSAGE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
# For messages that were published once, before the subscription.
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
RESULTS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=5,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
# The QoS that tf2 subscribes with.
TRANSFORMS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)


def overridable(profile: QoSProfile) -> dict:
    """`profile` with its overriding options, as arguments for `create_publisher` and
    `create_subscription`.
    """
    # A copy: rclpy writes the overrides into the profile.
    copy = QoSProfile(
        history=profile.history,
        depth=profile.depth,
        reliability=profile.reliability,
        durability=profile.durability,
    )
    kinds = (
        QoSPolicyKind.HISTORY,
        QoSPolicyKind.DEPTH,
        QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY,
    )
    return {
        "qos_profile": copy,
        "qos_overriding_options": QoSOverridingOptions(policy_kinds=kinds),
    }
