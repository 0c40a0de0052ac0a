"""The configuration of a network: parts, backbone, sizes and the named modes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from dope_model.skeleton import PARTS, skeleton_for

STRIDE = 16
"""Of every backbone's coarse features: the anchors and the graphs count on it."""
PAD_TO = 32
"""The sides of the network's input are multiples of that, px."""
REGRESSION_WEIGHT = 5.0
"""Scale of the regression targets, which makes them about as large as the logits."""


@dataclass(frozen=True)
class PartConfig:
    """One part: its number of joints and of anchor poses.

    For hands `anchor_poses` counts both sides, 2 K_H: first the right hands, then the left ones.
    """

    joints: int
    anchor_poses: int


@dataclass(frozen=True)
class Mode:
    """The input size and the number of proposals.

    Attributes:
        min_size: the image's short side, px, unless `max_size` binds.
        max_size: upper bound of the long side, px.
        proposals: boxes kept after the RPN's non-maximum suppression.
        half: compute in FP16 where the device has it.
        min_box, max_box: range of the longer side of the boxes that are proposed, px of the
            network's input; None is no bound.
    """

    min_size: int
    max_size: int
    proposals: int
    half: bool
    min_box: float = 0.0
    max_box: float | None = None


def resized_shape(height: int, width: int, mode: Mode) -> tuple[int, int]:
    """Height and width after bringing the short side to `min_size`, the long one under `max_size`.

    In double precision and rounded down, as torchvision 0.6 did.
    """
    scale = mode.min_size / min(height, width)
    if max(height, width) * scale > mode.max_size:
        scale = mode.max_size / max(height, width)
    return max(1, int(height * scale)), max(1, int(width * scale))


def padded_shape(height: int, width: int, mode: Mode) -> tuple[int, int]:
    """Height and width of the network's input for images of that size."""
    shape = resized_shape(height, width, mode)
    return shape[0] + -shape[0] % PAD_TO, shape[1] + -shape[1] % PAD_TO


@dataclass(frozen=True)
class CoarseScale:
    """The second scale of multi-scale inference, see `dope_model.runtime.scales`.

    Attributes:
        scale: of the smaller copy, relative to the input of the first scale.
        largest: by part, px: candidates whose boxes have a longer side than that in the input of
            the first scale are taken from the second scale, and all others from the first.
        proposals: of the second scale, as a share of the first one's: fewer people are large than
            small, and boxes cost the same at both scales.

    Raises:
        ValueError: the scale is not between 0 and 1, a part is unknown, a size is not above 0, or
            the share is not above 0 and at most 1.
    """

    scale: float
    largest: Mapping[str, float]
    proposals: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.scale < 1:
            raise ValueError(f"the second scale is between 0 and 1, not {self.scale}")
        if unknown := set(self.largest) - set(PARTS):
            raise ValueError(
                f"second scale of {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}"
            )
        if not self.largest or not all(0 < size < math.inf for size in self.largest.values()):
            raise ValueError(
                f"the second scale needs a size above 0 for some part, not {dict(self.largest)}"
            )
        if not 0 < self.proposals <= 1:
            raise ValueError(
                f"the second scale's share of proposals is above 0 and at most 1, not "
                f"{self.proposals}"
            )

    def mode_after(self, first: Mode) -> Mode:
        """The mode of the second scale if `first` is that of the first."""
        return replace(
            first,
            min_size=max(1, round(first.min_size * self.scale)),
            max_size=max(1, round(first.max_size * self.scale)),
            proposals=max(1, round(first.proposals * self.proposals)),
        )

    def modes(self, first: Mode, parts: Collection[str]) -> list[Mode]:
        """The modes of both scales of a network of `parts`, if `first` is that of the first.

        A scale proposes no boxes of sizes at which its candidates do not count: they would take the
        place of hands among few proposals.
        """
        sizes = [self.largest[part] for part in parts if part in self.largest]
        if not sizes:
            return [first, self.mode_after(first)]
        largest = max(sizes) if len(sizes) == len(parts) else None
        second = replace(self.mode_after(first), min_box=self.scale * min(sizes))
        return [replace(first, max_box=largest), second]


MODES: dict[str, Mode] = {
    # Section 3.3, "Runtime": 28 ms per image on a T4.
    "realtime": Mode(min_size=400, max_size=1333, proposals=50, half=True),
    # Section 3.3, "Implementation".
    "paper": Mode(min_size=800, max_size=1333, proposals=1000, half=False),
}


TRAINED = "trained"
"""The name of the mode that a checkpoint was trained for, which is stored in it."""

AUTO = "auto"
"""The name of the mode that the weights were made for: that of their training, or "realtime" if
they were trained on smaller images."""

MODE_NAMES = (AUTO, *MODES, TRAINED)


def mode_named(name: str, trained: Mode = MODES["paper"]) -> Mode:
    """The mode called `name`; `trained` is that of the checkpoint.

    Raises:
        ValueError: there is no such mode.
    """
    if name not in MODE_NAMES:
        raise ValueError(f"unknown mode {name!r}; known: {', '.join(MODE_NAMES)}")
    if name == AUTO:
        realtime = MODES["realtime"]
        return trained if trained.min_size > realtime.min_size else realtime
    return trained if name == TRAINED else MODES[name]


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that determines the shapes and the computation of a network.

    A part expert is the same network with one entry in `parts`.

    Attributes:
        parts: by name, in any order; see `PartConfig`.
        backbone: a name known to `network.backbone`.
        batch_norm_eps: added to the variance by the frozen batch norms.
        anchor_sizes, anchor_ratios: the RPN's anchors, px and height over width.
        pre_nms_proposals: boxes that enter the RPN's non-maximum suppression.
        proposal_nms_iou: its threshold.
    """

    parts: Mapping[str, PartConfig]
    backbone: str = "resnet50"
    batch_norm_eps: float = 1e-5
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    pre_nms_proposals: int = 1000
    proposal_nms_iou: float = 0.7

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("a network needs at least one part")
        for name, part in self.parts.items():
            if name not in PARTS:
                raise ValueError(f"unknown part {name!r}; known: {', '.join(PARTS)}")
            skeleton_for(name, part.joints)
            if part.anchor_poses < 1:
                raise ValueError(f"{name}: at least one anchor pose is needed")
            if name == "hand" and part.anchor_poses % 2:
                raise ValueError(
                    f"hand: anchor poses come in right and left, so an even number is needed, "
                    f"not {part.anchor_poses}"
                )

    def only(self, *names: str) -> NetworkConfig:
        """The same network restricted to the named parts: a part expert."""
        return replace(self, parts={name: self.parts[name] for name in names})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetworkConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: an unknown key, or values that do not fit together.
        """
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown network settings: {', '.join(sorted(unknown))}")
        values = dict(values)
        values["parts"] = {name: PartConfig(**part) for name, part in values["parts"].items()}
        for name in ("anchor_sizes", "anchor_ratios"):
            if name in values:
                values[name] = tuple(values[name])
        return cls(**values)


PAPER_NETWORK = NetworkConfig(
    parts={"body": PartConfig(13, 10), "hand": PartConfig(21, 10), "face": PartConfig(84, 10)}
)
"""The network of the paper: K_B = 10, K_H = 5 per side, K_F = 10, on a ResNet-50."""
