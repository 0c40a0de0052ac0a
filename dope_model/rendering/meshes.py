"""Surfaces that can be drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.sparse import csr_matrix


@dataclass(eq=False)
class Topology:
    """The part of a surface that does not change when it moves.

    `triangles` (T, 3) vertices; `uv_triangles` (T, 3) texture coordinates; `uv` (C, 2), v upwards.
    """

    triangles: np.ndarray
    uv_triangles: np.ndarray
    uv: np.ndarray

    @cached_property
    def corners(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each pair of vertex and texture coordinate once: vertices (K,), uv (K, 2), and the
        triangles' corners (T, 3) as numbers of pairs."""
        span = len(self.uv) + 1
        keys = self.triangles.astype(np.int64) * span + self.uv_triangles
        unique, inverse = np.unique(keys, return_inverse=True)
        uv = self.uv[unique % span].astype(np.float32)
        return unique // span, uv, inverse.reshape(self.triangles.shape).astype(np.int32)

    @cached_property
    def _faces_of_vertex(self) -> csr_matrix:
        count = int(self.triangles.max()) + 1
        rows = self.triangles.ravel()
        columns = np.repeat(np.arange(len(self.triangles)), 3)
        ones = np.ones(len(rows), np.float32)
        return csr_matrix((ones, (rows, columns)), (count, len(self.triangles)))

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Unit normals (V, 3), smooth over the surface."""
        a, b, c = (vertices[self.triangles[:, k]] for k in range(3))
        summed = self._faces_of_vertex @ np.cross(b - a, c - a).astype(np.float32)
        normals = np.zeros((len(vertices), 3), np.float32)
        normals[: len(summed)] = summed
        return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)


@dataclass(frozen=True)
class Finish:
    """How a surface takes light.

    Attributes:
        shine: strength of highlights; sharpness: how small they are.
        wrap: how far light creeps round edges, as in skin.
        see_through: the texture's alpha thins it out, as in hair.
        casts_shadow: it keeps light from what lies behind it.
        backdrop: it shows the picture behind the scene, only darkened by shadows.
        emits: it is lit by itself.
    """

    shine: float = 0.03
    sharpness: float = 20.0
    wrap: float = 0.1
    see_through: bool = False
    casts_shadow: bool = True
    backdrop: bool = False
    emits: bool = False


@dataclass(eq=False)
class Mesh:
    """One surface at its place in the scene.

    Attributes:
        vertices: (V, 3) m.
        texture: (H, W, 3 or 4) uint8 RGB(A), first row at the top.
        person: number of the person from 1, 0 for things.
        segments: (V,) which of body.SEGMENTS each vertex belongs to; None for things.
        visible: (T,) bool, triangles to draw; None: all.
        tiling: texture coordinates are multiplied by this, and the texture repeats.
    """

    topology: Topology
    vertices: np.ndarray
    texture: np.ndarray
    finish: Finish = field(default_factory=Finish)
    person: int = 0
    segments: np.ndarray | None = None
    visible: np.ndarray | None = None
    tiling: float = 1.0

    def moved(self, turn: np.ndarray, shift: np.ndarray) -> Mesh:
        """Turned about the origin, then shifted."""
        vertices = (self.vertices @ turn.T + shift).astype(np.float32)
        return Mesh(self.topology, vertices, self.texture, self.finish, self.person,
                    self.segments, self.visible, self.tiling)  # fmt: skip


_BOX_FACES = np.array(
    [[1, 0, 2, 3], [4, 5, 7, 6], [0, 4, 6, 2], [5, 1, 3, 7], [3, 2, 6, 7], [5, 4, 0, 1]]
)


def box(low: np.ndarray, high: np.ndarray, texture: np.ndarray, finish: Finish | None = None,
        tile: float = 1.0) -> Mesh:  # fmt: skip
    """An upright box between two corners; one repeat of the texture covers `tile` m."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    corners = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], float)
    points = low + corners * (high - low)
    vertices, uv = [], []
    for face in _BOX_FACES:
        quad = points[face]
        vertices.append(quad)
        edges = quad[[1, 3]] - quad[0]
        wide, tall = np.linalg.norm(edges, axis=1) / tile
        uv.append([[0, 0], [wide, 0], [wide, tall], [0, tall]])
    return _quads(np.concatenate(vertices), np.concatenate(uv), texture, finish)


def plane(corners: np.ndarray, texture: np.ndarray, finish: Finish | None = None,
          tile: float | None = 1.0, cells: int = 1) -> Mesh:  # fmt: skip
    """A rectangle by its corners (4, 3), counter-clockwise from the lower left.

    One repeat of the texture covers `tile` m, or the whole rectangle when None. `cells` splits it
    into a grid, which large floors need for lighting.
    """
    a, b, _, d = np.asarray(corners, float)
    steps = np.linspace(0, 1, cells + 1)
    s, t = (g.ravel() for g in np.meshgrid(steps, steps))
    vertices = a + np.outer(s, b - a) + np.outer(t, d - a)
    size = np.array([np.linalg.norm(b - a), np.linalg.norm(d - a)])
    uv = np.stack([s, t], 1) * (1 if tile is None else size / tile)
    row = cells + 1
    first = (np.arange(cells)[:, None] * row + np.arange(cells)).ravel()
    quads = np.stack([first, first + 1, first + row + 1, first + row], 1)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    topology = Topology(triangles, triangles, uv.astype(np.float32))
    return Mesh(topology, vertices.astype(np.float32), texture, finish or Finish())


def revolved(profile: np.ndarray, texture: np.ndarray, finish: Finish | None = None,
             sides: int = 16) -> Mesh:  # fmt: skip
    """A body of revolution about y from its outline (N, 2): radius and height, m."""
    angles = np.linspace(0, 2 * np.pi, sides + 1)
    radius, height = np.asarray(profile, float).T
    x = radius[:, None] * np.cos(angles)
    z = radius[:, None] * np.sin(angles)
    y = np.repeat(height[:, None], sides + 1, axis=1)
    vertices = np.stack([x, y, z], -1).reshape(-1, 3)
    u, v = np.meshgrid(np.linspace(0, 1, sides + 1), np.linspace(0, 1, len(radius)))
    row = sides + 1
    first = (np.arange(len(radius) - 1)[:, None] * row + np.arange(sides)).ravel()
    quads = np.stack([first, first + row, first + row + 1, first + 1], 1)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    topology = Topology(triangles, triangles, np.stack([u.ravel(), v.ravel()], 1))
    return Mesh(topology, vertices.astype(np.float32), texture, finish or Finish())


def _quads(vertices, uv, texture, finish) -> Mesh:
    quads = np.arange(len(vertices)).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    topology = Topology(triangles, triangles, uv.astype(np.float32))
    return Mesh(topology, vertices.astype(np.float32), texture, finish or Finish())
