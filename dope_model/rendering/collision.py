"""Rough solids around the parts of a body, to reject poses in which they run through each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dope_model.rendering.body import BODY_VERTICES, SEGMENTS, SIDES, BodyModel

PENETRATION = 0.012
"""m that two solids may overlap: skin yields, and the solids are rough."""

# Segments that are solid: the bones they start and end at.
_LIMBS = {
    "upper_arm": ("upperarm01", "lowerarm01"),
    "forearm": ("lowerarm01", "wrist"),
    "palm": ("wrist", "finger3-2"),
    "thigh": ("upperleg01", "lowerleg01"),
    "shin": ("lowerleg01", "foot"),
    "foot": ("foot", "toe2-2"),
}
_TRUNK = {"pelvis": "root", "belly": "spine04", "waist": "spine03", "chest": "spine02"}


@dataclass
class Capsules:
    """Capsules of one posed body: `starts`, `ends` (C, 3), `radii` (C,), `names`."""

    starts: np.ndarray
    ends: np.ndarray
    radii: np.ndarray
    names: tuple[str, ...]


class Solids:
    """The capsules of one body shape; its pose moves them."""

    def __init__(self, model: BodyModel, rest_vertices: np.ndarray, heads: np.ndarray) -> None:
        self._model = model
        names, bones, starts, ends, radii = [], [], [], [], []

        def add(name: str, bone: str, start: np.ndarray, end: np.ndarray, radius: float) -> None:
            names.append(name)
            bones.append(model.index[bone])
            starts.append(start)
            ends.append(end)
            radii.append(radius)

        skin = rest_vertices[:BODY_VERTICES]
        of_segment = model.segments[:BODY_VERTICES]

        def at(bone: str) -> np.ndarray:
            return heads[model.index[bone]]

        for side in SIDES:
            for segment, (first, last) in _LIMBS.items():
                start, end = at(f"{first}.{side}"), at(f"{last}.{side}")
                near = skin[of_segment == SEGMENTS.index(f"{segment}.{side}")]
                radius = float(np.median(_distance_to_line(near, start, end))) * 0.9
                add(f"{segment}.{side}", f"{first}.{side}", start, end, radius)
        head = skin[of_segment == SEGMENTS.index("head")]
        low, high = np.percentile(head, 2, axis=0), np.percentile(head, 98, axis=0)
        size = high - low
        centre = (low + high) / 2
        lift = np.array([0, size[1] * 0.16, 0])
        add("head", "head", centre - lift, centre + lift, float(size[0]) / 2 * 0.95)
        torso = skin[of_segment == SEGMENTS.index("torso")]
        for name, bone in _TRUNK.items():
            level = at(bone)
            height = level[1] + 0.04 if name == "pelvis" else level[1]
            reach = abs(at("upperarm01.L")[0] - at("upperarm01.R")[0]) / 2
            band = torso[(abs(torso[:, 1] - height) < 0.04) & (abs(torso[:, 0]) < reach)]
            if name == "pelvis":
                band = skin[abs(skin[:, 1] - height) < 0.03]
                band = band[abs(band[:, 0]) < reach * 1.3]
            wide = float(abs(band[:, 0]).max())
            back, front = band[:, 2].min(), band[:, 2].max()
            radius = float(front - back) / 2 * 0.9
            middle = np.array([0, height, (front + back) / 2])
            offset = np.array([max(wide - radius, 0.01), 0, 0])
            add(name, bone, middle - offset, middle + offset, radius)
        self.names = tuple(names)
        self._bones = np.array(bones)
        self._heads = heads[self._bones]
        self._starts, self._ends, self._radii = np.array(starts), np.array(ends), np.array(radii)
        self._pairs = np.array(
            [
                (a, b)
                for a in range(len(names))
                for b in range(a)
                if not _may_touch(names[a], names[b])
            ]
        )

    def posed(self, rotations: np.ndarray, posed_heads: np.ndarray) -> Capsules:
        """The capsules moved with their bones."""
        turn, origin = rotations[self._bones], posed_heads[self._bones]

        def move(points: np.ndarray) -> np.ndarray:
            return np.einsum("cij,cj->ci", turn, points - self._heads) + origin

        return Capsules(move(self._starts), move(self._ends), self._radii, self.names)

    def overlaps(self, capsules: Capsules) -> list[tuple[str, str]]:
        """The pairs of parts that run through each other."""
        a, b = self._pairs.T
        gap = segment_distance(
            capsules.starts[a], capsules.ends[a], capsules.starts[b], capsules.ends[b]
        )
        deep = capsules.radii[a] + capsules.radii[b] - gap > PENETRATION
        return [(self.names[i], self.names[j]) for i, j in self._pairs[deep]]


def bodies_overlap(one: Capsules, other: Capsules, margin: float = 0.02) -> bool:
    """Whether two people run through each other, or come closer than `margin`, m."""
    a, b = (g.ravel() for g in np.meshgrid(range(len(one.radii)), range(len(other.radii))))
    gap = segment_distance(one.starts[a], one.ends[a], other.starts[b], other.ends[b])
    return bool((gap < one.radii[a] + other.radii[b] + margin).any())


def _may_touch(one: str, other: str) -> bool:
    """Neighbours on the body, and pairs whose rough solids always meet."""
    (a, _, side_a), (b, _, side_b) = one.partition("."), other.partition(".")
    trunk = {"head", *_TRUNK}
    if a in trunk and b in trunk:
        return True
    chains = (("upper_arm", "forearm", "palm"), ("thigh", "shin", "foot"))
    if side_a == side_b:
        for chain in chains:
            if a in chain and b in chain:
                return abs(chain.index(a) - chain.index(b)) == 1
    touching = (
        {"upper_arm", "chest"}, {"upper_arm", "waist"}, {"thigh", "pelvis"}, {"thigh", "belly"},
        {"upper_arm", "head"},
    )  # fmt: skip
    return {a, b} in touching or a == b == "thigh"


def _distance_to_line(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    direction = (end - start) / np.linalg.norm(end - start)
    offset = points - start
    return np.linalg.norm(offset - np.outer(offset @ direction, direction), axis=1)


def segment_distance(
    start1: np.ndarray, end1: np.ndarray, start2: np.ndarray, end2: np.ndarray
) -> np.ndarray:
    """Shortest distances (N,) between N pairs of line segments in space, points (N, 3)."""
    u, v, w = end1 - start1, end2 - start2, start1 - start2
    a, b, c = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    d, e = (u * w).sum(1), (v * w).sum(1)
    tiny = 1e-12
    denominator = a * c - b * b
    parallel = denominator < tiny
    s = np.where(parallel, 0, (b * e - c * d) / np.where(parallel, 1, denominator))
    s = np.clip(s, 0, 1)
    t = np.clip((b * s + e) / np.maximum(c, tiny), 0, 1)
    s = np.clip((b * t - d) / np.maximum(a, tiny), 0, 1)
    return np.linalg.norm(w + s[:, None] * u - t[:, None] * v, axis=1)
