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


def _newest(depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )


# Best effort receives from both best effort and reliable cameras. Only the newest message matters:
# with a depth of 1 a new message replaces a waiting one.
NEWEST_MESSAGE = _newest(1, ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
# For messages that were published once, before the subscription.
LATCHED = _newest(1, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
RESULTS = _newest(5, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
# Those that tf2 subscribes with.
TRANSFORMS = _newest(100, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
TRANSFORMS_STATIC = _newest(100, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def overridable(profile: QoSProfile) -> dict:
    """`profile` with its overriding options, as arguments for `create_publisher` and
    `create_subscription`.
    """
    # A copy: rclpy writes the overrides into the profile.
    copy = _newest(profile.depth, profile.reliability, profile.durability)
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
