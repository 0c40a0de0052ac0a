"""Draws scenes without a screen: OpenGL 3.3 on EGL, a graphics card or Mesa's software renderer."""

from __future__ import annotations

import contextlib
import importlib.util
from dataclasses import dataclass

import cv2
import numpy as np

from dope_model.rendering import shaders
from dope_model.rendering.assets import MissingAssetError
from dope_model.rendering.camera import Camera
from dope_model.rendering.meshes import Mesh

MODERNGL_COMMAND = "pip install moderngl"
EGL_COMMAND = "apt install libegl1 libgl1-mesa-dri"

NEAR, FAR = 0.08, 60.0
_SHADOW_SIZE = 1536
_OCCLUSION_RADIUS = 0.10


@dataclass(frozen=True)
class Light:
    """A key light with shadows, light from above and below, and a fill light.

    Directions (3,) point to the light; colours (3,) are linear RGB. `softness` is the half-shadow's
    width in pixels of the shadow map.
    """

    key: np.ndarray
    key_way: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    fill: np.ndarray
    fill_way: np.ndarray
    softness: float = 2.0


@dataclass
class Frame:
    """The rendered images, arrays of (H, W).

    Attributes:
        rgb: (H, W, 3) float32, 0 to 255.
        person: uint8, 0 where there is no person.
        segment: uint8, number in body.SEGMENTS where there is a person.
        depth: float32 m along the optical axis; large where there is nothing.
    """

    rgb: np.ndarray
    person: np.ndarray
    segment: np.ndarray
    depth: np.ndarray


class Renderer:
    """An OpenGL context with its programs and buffers."""

    def __init__(self, supersampling: int = 2) -> None:
        """
        Args:
            supersampling: each pixel is the mean of N x N samples.

        Raises:
            MissingAssetError: moderngl or EGL is missing; the text says what to install.
        """
        if importlib.util.find_spec("moderngl") is None:
            raise MissingAssetError(f"rendering needs moderngl: {MODERNGL_COMMAND}")
        with contextlib.suppress(ImportError):
            # PyTorch loads it lazily; loaded after Mesa, which has another LLVM, it crashes.
            import triton  # noqa: F401
        import moderngl

        self._gl = moderngl
        try:
            self.context = moderngl.create_context(standalone=True, backend="egl")
        except Exception as error:
            raise MissingAssetError(
                f"no OpenGL without a screen here ({error}): {EGL_COMMAND}"
            ) from error
        self.description = self.context.info["GL_RENDERER"]
        self.supersampling = supersampling
        context = self.context
        self._scene = context.program(shaders.SCENE_VERTEX, shaders.SCENE_FRAGMENT)
        self._shadow = context.program(shaders.SHADOW_VERTEX, shaders.SHADOW_FRAGMENT)
        self._occlusion = context.program(shaders.FULL_SCREEN_VERTEX, shaders.OCCLUSION_FRAGMENT)
        self._full_screen = context.vertex_array(self._occlusion, [])
        self._shadow_depth = context.depth_texture((_SHADOW_SIZE, _SHADOW_SIZE))
        self._shadow_depth.compare_func = "<="
        self._shadow_target = context.framebuffer(depth_attachment=self._shadow_depth)
        self._targets: dict[tuple[int, int], _Targets] = {}

    def render(self, meshes: list[Mesh], camera: Camera, light: Light, behind: np.ndarray) -> Frame:
        """Draw surfaces before a picture.

        Args:
            behind: (H, W, 3) uint8 RGB, seen where there is no surface.
        """
        context, targets = self.context, self._targets_for(camera.width, camera.height)
        draws = [self._upload(mesh) for mesh in meshes]
        to_light = self._light_matrix(meshes, light)
        context.enable(self._gl.DEPTH_TEST)
        context.disable(self._gl.CULL_FACE)

        self._shadow_target.use()
        self._shadow_target.clear()
        context.polygon_offset = 2.0, 2.0
        self._shadow["to_clip"].write(_matrix(to_light))
        for mesh, draw in zip(meshes, draws, strict=True):
            if mesh.finish.casts_shadow and not mesh.finish.backdrop:
                draw.picture.use(0)
                draw.shadow.render()
        context.polygon_offset = 0.0, 0.0

        backdrop = self._texture(behind)
        scene = self._scene
        targets.scene.use()
        targets.scene.clear(0, 0, 0, 0)
        scene["to_clip"].write(_matrix(camera.clip_matrix(NEAR, FAR)))
        scene["to_light"].write(_matrix(to_light))
        scene["picture"], scene["shadow_map"], scene["behind"] = 0, 1, 2
        self._shadow_depth.use(1)
        backdrop.use(2)
        for name in ("key", "key_way", "sky", "ground", "fill", "fill_way"):
            scene[name] = tuple(np.asarray(getattr(light, name), float))
        scene["eye"] = tuple(camera.eye)
        scene["size"] = targets.scene.size
        scene["shadow_texel"], scene["softness"] = 1 / _SHADOW_SIZE, light.softness
        for mesh, draw in zip(meshes, draws, strict=True):
            finish = mesh.finish
            for name in ("shine", "sharpness", "wrap"):
                scene[name] = getattr(finish, name)
            scene["see_through"], scene["backdrop"] = finish.see_through, finish.backdrop
            scene["emits"], scene["person"] = finish.emits, float(mesh.person)
            scene["tiling"] = mesh.tiling
            draw.picture.use(0)
            draw.scene.render()
        frame = self._read(targets, camera, behind)
        for draw in draws:
            draw.release()
        backdrop.release()
        return frame

    def _targets_for(self, width: int, height: int) -> _Targets:
        if (width, height) not in self._targets:
            self._targets[width, height] = _Targets(self.context, width, height, self.supersampling)
        return self._targets[width, height]

    def _light_matrix(self, meshes: list[Mesh], light: Light) -> np.ndarray:
        """(4, 4) from the scene to the shadow map, which covers everybody and things near them."""
        people = [mesh.vertices for mesh in meshes if mesh.person]
        points = np.concatenate(people or [mesh.vertices for mesh in meshes])
        centre = (points.max(axis=0) + points.min(axis=0)) / 2
        radius = min(float(np.linalg.norm(points - centre, axis=1).max()) * 1.15, 7.0)
        away = -light.key_way / np.linalg.norm(light.key_way)
        right = np.cross(away, [0, 1.0, 0.013])
        right /= np.linalg.norm(right)
        up = np.cross(right, away)
        # Far enough back to catch tables and walls that stand in the light.
        back = 3 * radius
        view = np.eye(4)
        view[:3, :3] = np.stack([right, up, -away])
        view[:3, 3] = -view[:3, :3] @ (centre - away * back)
        scale = np.diag([1 / radius, 1 / radius, -2 / (back + 3 * radius), 1.0])
        scale[2, 3] = -1.0
        return scale @ view

    def _upload(self, mesh: Mesh) -> _Draw:
        context, topology = self.context, mesh.topology
        vertex, uv, indices = topology.corners
        normals = topology.normals(mesh.vertices)
        segment = np.zeros(len(mesh.vertices), np.float32)
        if mesh.segments is not None:
            segment[:] = mesh.segments
        data = np.concatenate(
            [mesh.vertices[vertex], normals[vertex], uv, segment[vertex][:, None]], axis=1
        )
        if mesh.visible is not None:
            indices = indices[mesh.visible]
        buffer = context.buffer(data.astype("f4").tobytes())
        index = context.buffer(np.ascontiguousarray(indices, np.int32).tobytes())
        scene = context.vertex_array(
            self._scene,
            [(buffer, "3f 3f 2f 1f", "position", "normal", "uv", "segment")],
            index,
        )
        shadow = context.vertex_array(
            self._shadow, [(buffer, "3f 12x 2f 4x", "position", "uv")], index
        )
        return _Draw(scene, shadow, self._texture(mesh.texture), (buffer, index))

    def _texture(self, picture: np.ndarray):
        """An RGB(A) picture as a texture whose first row is at the top (v = 1)."""
        flipped = np.ascontiguousarray(picture[::-1])
        height, width, channels = flipped.shape
        texture = self.context.texture((width, height), channels, flipped.tobytes(), alignment=1)
        if max(width, height) > 8:
            texture.build_mipmaps()
            texture.filter = (self._gl.LINEAR_MIPMAP_LINEAR, self._gl.LINEAR)
        return texture

    def _read(self, targets: _Targets, camera: Camera, behind: np.ndarray) -> Frame:
        width, height, times = camera.width, camera.height, self.supersampling
        large = (height * times, width * times)
        read = targets.scene.read
        color = np.frombuffer(read(components=4), np.uint8).reshape(*large, 4)[::-1]
        ids = np.frombuffer(read(components=2, attachment=1, alignment=1), np.uint8)
        # One sample per pixel: means of person numbers have no meaning.
        ids = ids.reshape(*large, 2)[::-1][times // 2 :: times, times // 2 :: times]
        raw = np.frombuffer(targets.depth.read(), np.float32).reshape(large)[::-1]
        raw = raw[times // 2 :: times, times // 2 :: times]
        depth = 2 * NEAR * FAR / (FAR + NEAR - (raw * 2 - 1) * (FAR - NEAR))

        targets.shade.use()
        self.context.disable(self._gl.DEPTH_TEST)
        targets.depth.use(0)
        program = self._occlusion
        program["depth"], program["texel"] = 0, (1 / width, 1 / height)
        program["focal"] = camera.intrinsics.fx
        program["near"], program["far"], program["radius"] = NEAR, FAR, _OCCLUSION_RADIUS
        self._full_screen.render(vertices=3)
        shade = np.frombuffer(targets.shade.read(components=1, alignment=1), np.uint8)
        shade = cv2.blur(shade.reshape(height, width)[::-1].astype(np.float32) / 255, (3, 3))

        mean = cv2.resize(color, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        cover = mean[..., 3:] / 255
        rgb = mean[..., :3] * shade[..., None] + behind.astype(np.float32) * (1 - cover)
        return Frame(rgb, ids[..., 0].copy(), ids[..., 1].copy(), depth.astype(np.float32))


class _Targets:
    """Buffers of one picture size."""

    def __init__(self, context, width: int, height: int, times: int) -> None:
        large = (width * times, height * times)
        self.depth = context.depth_texture(large)
        self.depth.compare_func = ""
        self.depth.repeat_x = self.depth.repeat_y = False
        attachments = [context.texture(large, 4), context.texture(large, 2)]
        self.scene = context.framebuffer(attachments, self.depth)
        self.shade = context.framebuffer([context.texture((width, height), 1)])


@dataclass
class _Draw:
    """A surface on the graphics card."""

    scene: object
    shadow: object
    picture: object
    buffers: tuple

    def release(self) -> None:
        for thing in (self.scene, self.shadow, self.picture, *self.buffers):
            thing.release()


def _matrix(matrix: np.ndarray) -> bytes:
    """OpenGL reads columns first."""
    return matrix.T.astype("f4").tobytes()
