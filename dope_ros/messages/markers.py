"""People as RViz markers: the 2D skeletons lifted to 3D, in the frame of the image.

Each part of a person becomes a LINE_LIST of its bones and a SPHERE_LIST of its joints, in the
namespaces "body/bones", "body/joints", "right_hand/bones" and so on; the id is the person.
`dope_model.camera.placement` says where each part is put.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from dope_model.poses import PartPose, WholeBody

# Diameters in m: lines of a body's bones and spheres at its joints, and so on.
_SIZES = {
    "body": (0.02, 0.04),
    "right_hand": (0.006, 0.012),
    "left_hand": (0.006, 0.012),
    "face": (0.003, 0.006),
}


def person_ids(people: Sequence[WholeBody]) -> list[int]:
    """An id for each person: the track id, and for those without one the lowest free numbers."""
    taken = {person.track_id for person in people if person.track_id >= 0}
    free = (number for number in range(len(people) + len(taken)) if number not in taken)
    return [person.track_id if person.track_id >= 0 else next(free) for person in people]


class PersonMarkers:
    """Builds one MarkerArray per image and remembers which markers RViz still shows.

    Attributes:
        lifetime: s after which RViz drops a marker that is not renewed; 0: never.
    """

    def __init__(self, lifetime: float):
        self.lifetime = lifetime
        self._shown: set[tuple[str, int]] = set()

    def build(self, people: Sequence[WholeBody], header: Header) -> MarkerArray:
        """Markers of the parts that have a root, and deletions of markers that were built before
        and are gone.
        """
        markers: list[Marker] = []
        for person, number in zip(people, person_ids(people), strict=True):
            for slot, pose in person.parts():
                if pose.root is not None:
                    markers += self._part(person, slot, pose, header, number)
        shown = {(marker.ns, marker.id) for marker in markers}
        for namespace, number in sorted(self._shown - shown):
            markers.append(Marker(header=header, ns=namespace, id=number, action=Marker.DELETE))
        self._shown = shown
        return MarkerArray(markers=markers)

    def clear(self, header: Header) -> MarkerArray:
        """The message that makes RViz drop every marker of the topic."""
        self.forget()
        return MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])

    def forget(self) -> None:
        """There was no subscriber for a while: earlier markers have expired."""
        self._shown = set()

    def _part(
        self, person: WholeBody, slot: str, pose: PartPose, header: Header, number: int
    ) -> list[Marker]:
        skeleton = person.skeleton(slot)
        line_width, diameter = _SIZES[slot]
        # Joints that are not trusted are not drawn.
        trusted = pose.trusted
        joints = np.flatnonzero(trusted).tolist()
        if not joints:
            return []
        # Each point and colour is one object, however often it is used: making them takes longest.
        points = {
            joint: Point(x=x, y=y, z=z)
            for joint, (x, y, z) in zip(joints, pose.placed_3d[joints].tolist(), strict=True)
        }
        bones = [
            (bone, _color(color))
            for bone, color in zip(skeleton.bones, skeleton.colors, strict=True)
            if bone[0] in points and bone[1] in points
        ]
        made = []
        if bones:
            lines = self._marker(header, f"{slot}/bones", number, Marker.LINE_LIST)
            lines.scale.x = line_width
            lines.points = [points[joint] for bone, _ in bones for joint in bone]
            lines.colors = [color for _, color in bones for _ in range(2)]
            made.append(lines)
        spheres = self._marker(header, f"{slot}/joints", number, Marker.SPHERE_LIST)
        spheres.scale = Vector3(x=diameter, y=diameter, z=diameter)
        spheres.points = list(points.values())
        spheres.color = _color((255, 255, 255))
        made.append(spheres)
        return made

    def _marker(self, header: Header, namespace: str, number: int, kind: int) -> Marker:
        marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD)
        seconds, nanoseconds = divmod(round(self.lifetime * 1e9), 1_000_000_000)
        marker.lifetime = Duration(sec=seconds, nanosec=nanoseconds)
        marker.pose.orientation.w = 1.0
        return marker


@cache
def _color(rgb: tuple[int, int, int]) -> ColorRGBA:
    return ColorRGBA(r=rgb[0] / 255, g=rgb[1] / 255, b=rgb[2] / 255, a=1.0)
