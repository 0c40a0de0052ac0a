"""What is read of a bag, and what the new one gets: settings of the tool, topics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from dope_model.recording import checked_format
from dope_ros.settings import DOPE_NODE, Value

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
POSES, MARKERS = "dope_msgs/msg/WholeBodyPoseArray", "visualization_msgs/msg/MarkerArray"

OF_MODEL = ("model", "device", "mode", "engine")
SETTINGS = {s.name: s for s in DOPE_NODE if s.in_pipeline or s.name in OF_MODEL}
"""The parameters of dope_node that this tool has as options."""


class BagError(ValueError):
    """A bag or a topic that cannot be used; the text says what to do."""


@dataclass(frozen=True)
class BagSettings:
    """What is read and written.

    Attributes:
        image_topic: of raw or compressed images.
        namespace: of the new topics.
        camera_info_topic: where the camera describes itself; None: camera_info beside the image
            topic, if it is there.
        depth_topic: depth images that are registered to the images, or None.
        annotate: write the images with the poses drawn over them.
        storage: "sqlite3" or "mcap"; None: as the bag that is read.
        parameters: of `SETTINGS`, those that are not as their defaults.
        exports: files for the poses, see `dope_model.recording`.
    """

    image_topic: str
    namespace: str = "/dope"
    camera_info_topic: str | None = None
    depth_topic: str | None = None
    annotate: bool = True
    storage: str | None = None
    parameters: Mapping[str, Value] = field(default_factory=dict)
    exports: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """
        Raises:
            BagError: an export has another suffix, or is a .bvh without tracking.
        """
        for path in self.exports:
            try:
                checked_format(path)
            except ValueError as error:
                raise BagError(str(error)) from error
            if path.suffix.lower() == ".bvh" and not self.values().tracking:
                raise BagError(f"{path} needs tracking: it is the motion of one person")

    def values(self) -> SimpleNamespace:
        """All of `SETTINGS`, and what else a pipeline asks for."""
        values = {name: setting.default for name, setting in SETTINGS.items()}
        depth = self.depth_topic is not None
        given = {**self.parameters, "use_depth": depth, "needs_camera_info": depth}
        return SimpleNamespace(**(values | given))


class BagTopics:
    """The connections of the bag that are read, and the names of the new ones.

    Raises:
        BagError: one is missing, has another type, or a new name is taken.
    """

    def __init__(self, reader: Reader, settings: BagSettings) -> None:
        self._connections = reader.connections
        self.images = self._of(settings.image_topic, (IMAGE, COMPRESSED), "image topic")
        self.compressed = self.images[0].msgtype == COMPRESSED
        beside = settings.image_topic.removesuffix("/compressed").rpartition("/")[0]
        info = settings.camera_info_topic or f"{beside}/camera_info"
        self.camera_info_topic = info
        present = any(connection.topic == info for connection in self._connections)
        self.camera_info: list[Connection] = []
        if present or settings.camera_info_topic:
            self.camera_info = self._of(info, (CAMERA_INFO,), "topic of camera_info")
        self.depth: list[Connection] = []
        if settings.depth_topic:
            self.depth = self._of(settings.depth_topic, (IMAGE,), "topic of depth images")

        base = "/" + settings.namespace.strip("/")
        base = base if base.endswith("/") else base + "/"
        self.added = {"poses": (base + "poses", POSES), "markers": (base + "markers", MARKERS)}
        if settings.annotate:
            name = base + "image_annotated" + ("/compressed" if self.compressed else "")
            self.added["annotated"] = (name, COMPRESSED if self.compressed else IMAGE)
        taken = {connection.topic for connection in self._connections}
        clash = sorted(name for name, _ in self.added.values() if name in taken)
        if clash:
            raise BagError(f"the bag has {', '.join(clash)} already; give --namespace another name")

    def _of(self, topic: str, kinds: tuple[str, ...], what: str) -> list[Connection]:
        found = [connection for connection in self._connections if connection.topic == topic]
        fitting = [connection for connection in found if connection.msgtype in kinds]
        if fitting:
            return fitting
        there = sorted({c.topic for c in self._connections if c.msgtype in kinds})
        listed = f"there are: {', '.join(there)}" if there else "there is none in it"
        if found:
            raise BagError(
                f"{topic} holds {found[0].msgtype}, which is no {what} "
                f"({' or '.join(kinds)}); {listed}"
            )
        raise BagError(f"no {what} {topic} in the bag; {listed}")
