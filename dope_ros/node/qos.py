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

# Best effort hears both best effort and reliable cameras. Only the newest message is of interest:
# with a depth of 1 one that comes replaces the one that waits.
NEWEST_MESSAGE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
# What was published once, before anyone listened.
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
# What tf2 listens with.
TRANSFORMS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)


def overridable(profile: QoSProfile) -> dict:
    """`profile` and what lets parameters override it, as arguments for `create_publisher` and
    `create_subscription`.
    """
    # A copy: rclpy writes what overrides it into the profile.
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
