"""People: a body of some phenotype with skin, eyes, hair and clothes, ready to be posed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from dope_model.rendering import materials
from dope_model.rendering.assets import Asset, Garment, Wardrobe, load_garment
from dope_model.rendering.body import (
    BODY_VERTICES,
    SEGMENTS,
    SIDES,
    BodyModel,
    Joints,
    skin,
)
from dope_model.rendering.meshes import Finish, Mesh, Topology
from dope_model.rendering.posing import Pose, Poser

SKIN = Finish(shine=0.10, sharpness=18, wrap=0.35)
CLOTH = Finish(shine=0.02, sharpness=12, wrap=0.12)
LEATHER = Finish(shine=0.14, sharpness=24)
HAIR = Finish(shine=0.06, sharpness=14, wrap=0.35, see_through=True)
FINE_HAIR = Finish(shine=0.0, wrap=0.3, see_through=True, casts_shadow=False)
EYE = Finish(shine=0.7, sharpness=60, wrap=0.2, casts_shadow=False)
TEETH = Finish(shine=0.3, sharpness=30, wrap=0.3, casts_shadow=False)

# Pieces of suits whose middle is below this height on the base mesh, m, are trousers and skirts.
_WAIST = 0.12
_JEANS = ("female_casualsuit", "male_casualsuit")
_SHORT_HAIR = ("short01", "short02", "short03", "short04", "afro01")


@dataclass(eq=False)
class Clothing:
    """A garment or half of a suit: which asset it comes from, and its fitted parts."""

    asset: Asset
    garment: Garment
    topology: Topology
    weights: np.ndarray
    segments: np.ndarray


class Closet:
    """The wardrobe cut into tops, bottoms and whole suits, with bone weights worked out once."""

    def __init__(self, model: BodyModel, wardrobe: Wardrobe) -> None:
        self.model = model
        self.wardrobe = wardrobe
        self.tops: list[Clothing] = []
        self.bottoms: list[Clothing] = []
        self.suits: list[Clothing] = []
        self._others: dict[str, Clothing] = {}
        for asset in wardrobe.kinds["clothes"]:
            self._cut(asset)
        self.skin = Topology(model.triangles, model.uv_triangles, model.uv)
        self.eyes = {}
        for side in SIDES:
            triangles, vertices = model.eyes[side]
            local = triangles - vertices[0]
            points = model.base_vertices[vertices]
            middle = (points.max(axis=0) + points.min(axis=0)) / 2
            size = (points.max(axis=0) - points.min(axis=0))[0]
            self.eyes[side] = Topology(local, local, (points - middle)[:, :2] / size + 0.5)

    def clothing(self, asset: Asset) -> Clothing:
        """A whole asset: shoes, hair, a hat, brows, lashes, teeth."""
        if asset.name not in self._others:
            self._others[asset.name] = self._prepare(asset, load_garment(asset.geometry))
        return self._others[asset.name]

    def _prepare(self, asset: Asset, garment: Garment) -> Clothing:
        nearest = garment.anchors[np.arange(len(garment.anchors)), garment.shares.argmax(axis=1)]
        return Clothing(
            asset,
            garment,
            Topology(garment.triangles, garment.uv_triangles, garment.uv),
            garment.follow(self.model.weights),
            self.model.segments[nearest],
        )  # fmt: skip

    def _cut(self, asset: Asset) -> None:
        suit = load_garment(asset.geometry)
        fitted = suit.fit(self.model.base_vertices)
        count = suit.pieces.max() + 1
        height = np.bincount(suit.pieces, fitted[:, 1], count) / np.bincount(suit.pieces)
        is_bottom = (height < _WAIST)[suit.pieces]
        if is_bottom.all() or not is_bottom.any():
            self.suits.append(self._prepare(asset, suit))
            return
        # What the suit hides of the body is shared out to the nearest half.
        _, nearest = cKDTree(fitted).query(self.model.base_vertices[suit.hides])
        hidden_by_bottom = is_bottom[nearest]
        top = suit.part(~is_bottom, suit.hides[~hidden_by_bottom])
        bottom = suit.part(is_bottom, suit.hides[hidden_by_bottom])
        self.tops.append(self._prepare(asset, top))
        self.bottoms.append(self._prepare(asset, bottom))


@dataclass(eq=False)
class _Layer:
    """A surface at rest with its bone weights."""

    topology: Topology
    rest: np.ndarray
    weights: np.ndarray
    texture: np.ndarray
    finish: Finish
    segments: np.ndarray
    visible: np.ndarray | None = None


class Person:
    """One dressed person at rest.

    Attributes:
        phenotype, expression: what the shape was made from.
        worn: names of the assets.
        poser: samples poses of this body.
        height: m, from the soles to the top of the head.
    """

    def __init__(
        self,
        closet: Closet,
        random: np.random.Generator,
        phenotype: dict[str, float] | None = None,
        expression: dict[str, float] | None = None,
    ) -> None:
        model = closet.model
        self.model = model
        self.phenotype = sample_phenotype(random) if phenotype is None else phenotype
        self.expression = sample_expression(random) if expression is None else expression
        self.rest, self.heads = model.rest_shape(self.phenotype, self.expression)
        self.poser = Poser(model, self.rest, self.heads)
        skin_heights = self.rest[:BODY_VERTICES, 1]
        self.height = float(skin_heights.max() - skin_heights.min())
        self.worn: list[str] = []
        self._layers: list[_Layer] = []
        self._dress(closet, random)

    def _dress(self, closet: Closet, random: np.random.Generator) -> None:
        male = self.phenotype["gender"] < 0.5
        age = self.phenotype["age"]
        hides: list[np.ndarray] = []

        def wear(clothing: Clothing, texture: np.ndarray, finish: Finish, fullness=1.0) -> None:
            hides.append(self._wear(clothing, texture, finish, fullness))

        def of_kind(pool: list[Clothing]) -> Clothing:
            """Mostly cut for this sex: a shape modelled for the other one fits less well."""
            own = [c for c in pool if c.asset.name.startswith("male") == male]
            if random.random() < 0.15 or not own:
                own = pool
            return own[random.integers(len(own))]

        if random.random() < 0.08:
            suit = of_kind(closet.suits)
            texture = materials.cloth_texture(random, suit.asset, random.random() < 0.3)
            wear(suit, texture, CLOTH)
        else:
            for pool in (closet.bottoms, closet.tops):
                piece = of_kind(pool)
                bottom = pool is closet.bottoms
                denim = bottom and piece.asset.name.startswith(_JEANS)
                plain = 0.7 if bottom else 0.15
                texture = materials.cloth_texture(random, piece.asset, denim, plain)
                # Tops go over trousers.
                wear(piece, texture, CLOTH, fullness=0.8 if bottom else 1.0)
        kinds = closet.wardrobe.kinds
        if random.random() < 0.9:
            shoes = kinds["shoes"][random.integers(len(kinds["shoes"]))]
            texture = _shoe_texture(random, shoes)
            wear(closet.clothing(shoes), texture, LEATHER)

        color = materials.hair_color(random, age)
        shorn = self._grow_hair(closet, random, color, male, wear)
        brow = kinds["eyebrows"][random.integers(len(kinds["eyebrows"]))]
        brow_color = color * 0.75 if color.max() < 200 else color * 0.6
        wear(closet.clothing(brow), materials.hair_texture(brow.texture(), brow_color), FINE_HAIR)
        lashes = kinds["eyelashes"][random.integers(len(kinds["eyelashes"]))]
        wear(closet.clothing(lashes), lashes.texture(), FINE_HAIR)
        teeth = closet.clothing(kinds["teeth"][0])
        wear(teeth, teeth.asset.texture(), TEETH)

        eye = materials.eye_texture(random)
        for side in SIDES:
            vertices = self.model.eyes[side][1]
            rest, weights = self.rest[vertices], self.model.weights[vertices]
            head = np.full(len(vertices), SEGMENTS.index("head"), np.uint8)
            self._layers.append(_Layer(closet.eyes[side], rest, weights, eye, EYE, head))

        skin_picture = materials.skin_texture(random, closet.wardrobe, self.phenotype, male, shorn)
        hidden = np.zeros(len(self.rest), bool)
        hidden[np.concatenate(hides)] = True
        visible = ~hidden[closet.skin.triangles].any(axis=1)
        self._layers.insert(
            0,
            _Layer(
                closet.skin, self.rest[:BODY_VERTICES], self.model.weights[:BODY_VERTICES],
                skin_picture, SKIN, self.model.segments[:BODY_VERTICES], visible,
            ),
        )  # fmt: skip

    def _grow_hair(self, closet, random, color, male: bool, wear) -> np.ndarray | None:
        """Hair, a hat, or a shorn head; returns the colour to paint on the scalp, if any."""
        kinds = closet.wardrobe.kinds
        if random.random() < (0.24 if male else 0.04):
            bald = male and self.phenotype["age"] > 0.6 and random.random() < 0.35
            if random.random() < 0.15:
                self._put_on_hat(closet, random, wear)
            return None if bald else color
        hat = random.random() < 0.06
        short = male != (random.random() < 0.10)
        styles = [a for a in kinds["hair"] if (a.name in _SHORT_HAIR) == short or not male and
                  a.name == "short01"]  # fmt: skip
        if hat:
            self._put_on_hat(closet, random, wear)
            return color
        style = styles[random.integers(len(styles))]
        texture = materials.hair_texture(style.texture(), color)
        wear(closet.clothing(style), texture, HAIR, fullness=random.uniform(0.72, 0.98))
        return color * 0.8

    def _put_on_hat(self, closet, random, wear) -> None:
        hats = closet.wardrobe.kinds["hats"]
        hat = hats[random.integers(len(hats))]
        pictures = hat.textures()
        picture = pictures[random.integers(len(pictures))]
        tint = materials.pick_color(random, 0.8) / 128
        texture = picture.copy()
        texture[..., :3] = np.clip(picture[..., :3] * tint, 0, 255).astype(np.uint8)
        wear(closet.clothing(hat), texture, CLOTH)

    def _wear(self, clothing: Clothing, texture, finish: Finish, fullness=1.0) -> np.ndarray:
        self.worn.append(clothing.asset.name)
        fitted = clothing.garment.fit(self.rest, fullness).astype(np.float32)
        self._layers.append(
            _Layer(
                clothing.topology, fitted, clothing.weights, texture, finish, clothing.segments
            )
        )  # fmt: skip
        return clothing.garment.hides

    def posed(self, pose: Pose) -> PosedPerson:
        """The person in a pose, where it stands at rest."""
        vertices = skin(self.rest, self.model.weights, pose.rotations, pose.heads, self.heads)
        meshes = []
        for layer in self._layers:
            moved = skin(layer.rest, layer.weights, pose.rotations, pose.heads, self.heads)
            meshes.append(
                Mesh(layer.topology, moved.astype(np.float32), layer.texture, layer.finish,
                     segments=layer.segments, visible=layer.visible)
            )  # fmt: skip
        joints = self.model.joints(pose.heads, vertices)
        return PosedPerson(self, pose, meshes, joints)


@dataclass
class PosedPerson:
    """A person in a pose: its surfaces and the joints they hang on, in one frame."""

    person: Person
    pose: Pose
    meshes: list[Mesh]
    joints: Joints

    def moved(self, turn: np.ndarray, shift: np.ndarray) -> PosedPerson:
        """Turned about the origin, then shifted; the pose keeps describing the body at rest."""

        def move(points: np.ndarray) -> np.ndarray:
            return points @ turn.T + shift

        joints = Joints(
            move(self.joints.body), move(self.joints.right_hand), move(self.joints.left_hand),
            move(self.joints.face),
        )  # fmt: skip
        meshes = [mesh.moved(turn, shift) for mesh in self.meshes]
        return PosedPerson(self.person, self.pose, meshes, joints)

    @property
    def lowest(self) -> float:
        """Height of the lowest point of skin or shoes."""
        return float(min(mesh.vertices[:, 1].min() for mesh in self.meshes))


def sample_phenotype(random: np.random.Generator) -> dict[str, float]:
    """Anny's parameters of a random person: every sex, age from child to old, every build."""
    origin = random.dirichlet([0.6, 0.6, 0.6])
    age = random.choice(
        [random.uniform(0.33, 0.5), random.uniform(0.55, 0.72), random.uniform(0.72, 0.97)],
        p=[0.15, 0.55, 0.30],
    )
    values = {
        "gender": random.beta(0.4, 0.4), "age": age, "muscle": random.uniform(0.2, 0.85),
        "weight": random.beta(2, 2.2), "height": random.beta(2.5, 3.0) * 0.55 + 0.05,
        "proportions": random.uniform(0.2, 0.9), "african": origin[0], "asian": origin[1],
        "caucasian": origin[2], "cupsize": random.uniform(0.2, 0.7),
        "firmness": random.uniform(0.3, 0.8),
    }  # fmt: skip
    return {name: float(value) for name, value in values.items()}


def sample_expression(random: np.random.Generator) -> dict[str, float]:
    """Strengths of facial actions: neutral, talking, smiling, frowning, squinting."""
    strength: dict[str, float] = {}

    def both(action: str, value: float, uneven: float = 0.1) -> None:
        for side in ("Left", "Right"):
            strength[action + side] = float(np.clip(value + random.normal(0, uneven), 0, 1))

    if random.random() < 0.45:
        strength["jawOpen"] = float(random.beta(1, 3))
    mouth = random.random()
    if mouth < 0.35:
        both("mouthSmile", random.uniform(0.2, 0.95))
        both("cheekSquint", random.uniform(0, 0.6))
    elif mouth < 0.47:
        both("mouthFrown", random.uniform(0.2, 0.8))
    elif mouth < 0.55:
        strength["mouthPucker"] = random.uniform(0.2, 0.9)
    elif mouth < 0.63:
        strength["mouthFunnel"] = random.uniform(0.2, 0.8)
    elif mouth < 0.68:
        both("mouthStretch", random.uniform(0.2, 0.8))
    brows = random.random()
    if brows < 0.25:
        strength["browInnerUp"] = random.uniform(0.2, 0.9)
        both("browOuterUp", random.uniform(0, 0.9))
    elif brows < 0.42:
        both("browDown", random.uniform(0.2, 0.9))
    eyes = random.random()
    if eyes < 0.15:
        both("eyeBlink", random.uniform(0.3, 1.0), 0.03)
    elif eyes < 0.30:
        both("eyeSquint", random.uniform(0.2, 0.8))
    elif eyes < 0.38:
        both("eyeWide", random.uniform(0.2, 0.8))
    if random.random() < 0.08:
        strength["jawLeft" if random.random() < 0.5 else "jawRight"] = random.uniform(0.2, 0.7)
    return {action: float(value) for action, value in strength.items()}


def _shoe_texture(random: np.random.Generator, asset: Asset) -> np.ndarray:
    picture = asset.texture()
    tint = materials.pick_color(random, 0.75) / 150 if random.random() < 0.6 else np.ones(3)
    texture = picture.copy()
    texture[..., :3] = np.clip(picture[..., :3] * np.clip(tint, 0.25, 1.7), 0, 255)
    return texture
