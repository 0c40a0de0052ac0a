"""Poses for a recorded ROS 2 bag, without ROS:

    python -m dope_ros.bag IN --image-topic /camera/image_raw --out OUT

writes a bag with all messages of IN as they are, and at the time of each image its poses, markers
and the image with the poses drawn over it: /dope/poses, /dope/markers, /dope/image_annotated.
SQLite and MCAP are read and written. The definitions of dope_msgs are in the new bag, so that
Foxglove can show all of an MCAP bag; to play it for RViz, source the workspace.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, StoragePlugin, Writer, WriterError
from rosbags.serde import SerdeError
from tqdm import tqdm

from dope_model.detector import WholeBodyDetector
from dope_model.errors import Failure
from dope_model.recording import PoseRecording
from dope_model.tracking.tracker import PersonTracker
from dope_ros.messages.camera_info import Recent, stamp_of
from dope_ros.messages.message_types import install_stand_ins, serialize, types
from dope_ros.settings import ParameterError
from dope_ros.tools.bag_topics import (
    CAMERA_INFO,
    COMPRESSED,
    IMAGE,
    OF_MODEL,
    SETTINGS,
    BagError,
    BagSettings,
    BagTopics,
)

_IMAGE_FIELDS = ("height", "width", "encoding", "is_bigendian", "step")

# rosbag2 of ROS 2 Jazzy; newer ones read it too.
_BAG_VERSION = 8
_DEPTH_WAIT = 200_000_000
"""ns for which an image waits in the recording for its depth image."""
_DEPTHS_KEPT = 32
"""Depth images: what comes in these two times from a camera of up to 128 Hz."""
_JPEG_QUALITY = 90
_NO_HASH = "RIHS01_" + 64 * "0"
_SPACE_TO_CLOSE = 16 << 20
"""Bytes: on a full disk no bag can be closed."""
_HINTS = {
    "Expected metadata file": "`ros2 bag reindex` makes it; or give the one file in the folder",
    "File end magic is invalid": "the recording was cut off, `mcap recover` mends it",
}


class _EarlyEnd(Exception):
    """Damage, or a disk that is nearly full; the text says which."""


@dataclass
class BagSummary:
    """What came out.

    Attributes:
        messages: copied; images: worked on; people: in all images.
        problems: what was wrong, and with how many messages.
        complete: the whole bag was read.
        fault: why it was not, unless it was Ctrl-C.
        topics: that were added.
        exported: files with poses.
    """

    messages: int = 0
    images: int = 0
    people: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    complete: bool = True
    fault: str = ""
    topics: list[str] = field(default_factory=list)
    exported: list[Path] = field(default_factory=list)

    def count_problem(self, text: str) -> None:
        self.problems[text] = self.problems.get(text, 0) + 1


def process_bag(
    source: Path,
    out: Path,
    settings: BagSettings,
    load_detector: Callable[[], WholeBodyDetector],
    progress: bool = True,
) -> BagSummary:
    """Write the bag `out` with all of `source` and what a detector finds in its images.

    Damage in `source`, a disk that becomes full, or Ctrl-C end it early: what was done until then
    is a good bag. If none can be left, there is no `out`.

    Args:
        load_detector: called once, after everything else has been found to be right.

    Raises:
        BagError: a bag or a topic that cannot be used.
    """
    if out.exists():
        raise BagError(f"{out} exists already; give --out another name")
    try:
        reader = Reader(source)
        reader.open()
    except Exception as error:  # of many kinds: SQLite's, zstd's, struct's
        hints = [f"; {hint}" for text, hint in _HINTS.items() if text in str(error)]
        told = f"{source} is not a ROS 2 bag that can be read: {_reason(error)}"
        raise BagError(told + "".join(hints)) from error
    with closing(reader):
        topics = BagTopics(reader, settings)
        detector = load_detector()
        storage = settings.storage or _storage_of(source)
        plugin = {"sqlite3": StoragePlugin.SQLITE3, "mcap": StoragePlugin.MCAP}[storage]
        try:
            writer = Writer(out, version=_BAG_VERSION, storage_plugin=plugin)
        except WriterError as error:
            raise BagError(str(error)) from error
        try:
            writer.open()
            worker = _Worker(reader, writer, topics, settings, detector)
            summary = worker.run(progress)
            writer.close()
        except BaseException as error:
            # It would be of no use, and in the way of the next try.
            with suppress(Exception):
                writer.abort()
            shutil.rmtree(out, ignore_errors=True)
            if isinstance(error, (OSError, sqlite3.Error)):
                raise BagError(f"{out} cannot be written: {_reason(error)}") from error
            raise
    for path in settings.exports:
        try:
            summary.exported += worker.recording.save(path)
        except OSError as error:
            summary.count_problem(f"{path} cannot be written: {_reason(error)}")
    return summary


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")


def _storage_of(source: Path) -> str:
    files = source.iterdir() if source.is_dir() else [source]
    return "mcap" if any(".mcap" in path.suffixes for path in files) else "sqlite3"


class _Worker:
    """Copies the bag and adds what the detector finds."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        topics: BagTopics,
        settings: BagSettings,
        detector: WholeBodyDetector,
    ) -> None:
        # They need the messages' classes.
        install_stand_ins()
        from dope_ros import pipeline
        from dope_ros.messages import conversions

        self._conversions, self._stage_times = conversions, pipeline.StageTimes
        self._reader, self._writer, self._topics = reader, writer, topics
        self.summary = BagSummary(topics=[name for name, _ in topics.added.values()])
        values, tracker = settings.values(), None
        try:
            tracker = PersonTracker() if values.tracking else None
        except ImportError as error:
            self.summary.count_problem(f"people have no track ids: {error}")
        self.recording = PoseRecording()
        self._records = bool(settings.exports)
        self._infos: Recent = Recent()
        self._depths: Recent = Recent(_DEPTHS_KEPT)
        self._pipeline = pipeline.Pipeline(
            detector,
            tracker,
            values,
            self._infos,
            self._tell_fault,
            {"camera_info": topics.camera_info_topic, "depth": settings.depth_topic or ""},
            self._depths,
        )
        self._copied = self._copy_connections()
        self._added = {
            key: writer.add_connection(name, kind, typestore=types())
            for key, (name, kind) in topics.added.items()
        }

    def _copy_connections(self) -> dict[int, Connection]:
        """By the id of a connection that is read, the one in the new bag."""
        # Each publisher of a topic may have its own in an MCAP file, and ROS has one for all.
        same: dict[tuple[str, str], list[Connection]] = {}
        for connection in self._reader.connections:
            same.setdefault((connection.topic, connection.msgtype), []).append(connection)
        copied: dict[int, Connection] = {}
        for connections in same.values():
            copied |= dict.fromkeys((c.id for c in connections), self._copy_of(connections))
        return copied

    def _copy_of(self, connections: Sequence[Connection]) -> Connection:
        first = connections[0]
        definition, digest = first.msgdef.data, first.digest
        if not definition and first.msgtype in types().fielddefs:
            definition = types().generate_msgdef(first.msgtype, ros_version=2)[0]
        if not digest and first.msgtype in types().fielddefs:
            digest = types().hash_rihs01(first.msgtype)
        profiles = [qos for c in connections for qos in c.ext.offered_qos_profiles]
        return self._writer.add_connection(
            first.topic,
            first.msgtype,
            msgdef=definition,
            rihs01=digest or _NO_HASH,
            serialization_format=first.ext.serialization_format,
            offered_qos_profiles=list(dict.fromkeys(profiles)),
        )

    def run(self, progress: bool) -> BagSummary:
        # The first image may come before the first camera_info.
        if self._topics.camera_info:
            with suppress(_EarlyEnd):  # it is met again
                for _, _, raw in self._messages(self._topics.camera_info):
                    self._keep(self._infos, raw, CAMERA_INFO)
                    break
        try:
            self._copy_and_work(progress)
        except (KeyboardInterrupt, _EarlyEnd) as error:
            self.summary.complete = False
            self.summary.fault = str(error)
        return self.summary

    def _messages(
        self, connections: Sequence[Connection] = ()
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Those of the bag, as far as it is good."""
        try:
            yield from self._reader.messages(connections)
        except Exception as error:  # of many kinds: SQLite's, zstd's, struct's
            raise _EarlyEnd(f"the bag is damaged: {_reason(error)}") from error

    def _copy_and_work(self, progress: bool) -> None:
        images = {connection.id for connection in self._topics.images}
        infos = {connection.id for connection in self._topics.camera_info}
        depths = {connection.id for connection in self._topics.depth}
        wait = _DEPTH_WAIT if depths else 0
        waiting: deque[tuple[int, bytes]] = deque()
        try:
            for connection, time, raw in tqdm(
                self._messages(),
                total=self._reader.message_count,
                unit="message",
                disable=not progress,
            ):
                while waiting and time > waiting[0][0] + wait:
                    self._work_on(*waiting.popleft())
                self._write_raw(self._copied[connection.id], time, raw)
                self.summary.messages += 1
                if connection.id in images:
                    waiting.append((time, bytes(raw)))
                elif connection.id in infos:
                    self._keep(self._infos, raw, CAMERA_INFO)
                elif connection.id in depths:
                    self._keep(self._depths, raw, IMAGE)
            missing = self._reader.message_count - self.summary.messages
            if missing > 0:  # rosbags passes over channels that metadata.yaml describes otherwise
                text = "message that metadata.yaml counts was not found: give the file itself as IN"
                self.summary.problems[text] = missing
        finally:
            # Also after an early end: at most a few images wait.
            while waiting:
                self._work_on(*waiting.popleft())

    def _keep(self, recent: Recent, raw: bytes, kind: str) -> None:
        try:
            recent.add(types().deserialize_cdr(raw, kind))
        except SerdeError as error:
            self.summary.count_problem(f"{kind} that cannot be read: {error}")

    def _work_on(self, time: int, raw: bytes) -> None:
        kind = COMPRESSED if self._topics.compressed else IMAGE
        try:
            message = _as_from_ros(types().deserialize_cdr(raw, kind))
            rgb = self._pipeline.read(message)
        except (SerdeError, self._conversions.BadImageError) as error:
            self.summary.count_problem(f"image that cannot be read: {error}")
            return
        stamp = (stamp_of(message) or time) * 1e-9
        try:
            found = self._pipeline.find(rgb, message, stamp, self._stage_times())
        except Exception as error:  # one image on which the model fails must not end the bag
            text = f"{type(error).__name__}: {error}"
            self.summary.count_problem(f"image on which the model failed: {text}")
            return
        self.summary.images += 1
        self.summary.people += len(found.people)
        if self._records:
            fov = self._pipeline.settings.horizontal_fov
            size = (found.width, found.height)
            self.recording.add(found.people, size, stamp, horizontal_fov=fov)
        self._write("poses", time, self._pipeline.poses(found))
        self._write("markers", time, self._pipeline.markers(found))
        if "annotated" in self._added:
            annotated = self._pipeline.annotated(rgb, found)
            self._write("annotated", time, self._annotated(annotated, found.header))

    def _tell_fault(self, source: str, effect: str, error: ValueError) -> None:
        self.summary.count_problem(f"{effect}: {error}")

    def _annotated(self, rgb: np.ndarray, header: Any) -> Any:
        if not self._topics.compressed:
            return self._conversions.rgb_to_image(rgb, header)
        from sensor_msgs.msg import CompressedImage

        quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), quality)
        message = CompressedImage(header=header, format="rgb8; jpeg compressed bgr8")
        message.data = _bytes_array(jpeg)
        return message

    def _write(self, key: str, time: int, message: Any) -> None:
        raw = serialize(message, self._topics.added[key][1])
        self._write_raw(self._added[key], time, raw)

    def _write_raw(self, connection: Connection, time: int, raw: bytes) -> None:
        if shutil.disk_usage(self._writer.path).free < _SPACE_TO_CLOSE + 4 * len(raw):
            raise _EarlyEnd(f"the disk of {self._writer.path} is full")
        self._writer.write(connection, time, raw)


def _bytes_array(values: np.ndarray) -> array:
    # rclpy takes an array.array as it is, and checks anything else value by value.
    made = array("B")
    made.frombytes(memoryview(np.ascontiguousarray(values)).cast("B"))
    return made


def _as_from_ros(message: Any) -> SimpleNamespace:
    """An image as rosbags reads it, as the pipeline takes it from ROS."""
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    names = ("format",) if hasattr(message, "format") else _IMAGE_FIELDS
    stamp = message.header.stamp
    header = Header(
        stamp=Time(sec=int(stamp.sec), nanosec=int(stamp.nanosec)),
        frame_id=message.header.frame_id,
    )
    fields = {name: getattr(message, name) for name in names}
    return SimpleNamespace(**fields, header=header, data=_bytes_array(message.data))


def main(arguments: list[str] | None = None) -> int:
    """Work on a bag; returns the exit status: 1 for an error or damage, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m dope_ros.bag", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("source", type=Path, metavar="IN", help="folder of a bag, or its one file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the new bag")
    parser.add_argument("--image-topic", required=True, help="raw or compressed images")
    parser.add_argument("--namespace", default="/dope", help="of the new topics")
    parser.add_argument(
        "--camera-info", help="topic; default: camera_info beside the images, if it is there"
    )
    parser.add_argument("--depth", help="topic of depth images registered to the images")
    parser.add_argument("--no-images", action="store_true", help="add poses and markers only")
    parser.add_argument(
        "--export", type=Path, action="append", default=[], metavar="FILE",
        help="also the poses as FILE.npz, FILE.csv or, a file per person, FILE.bvh; repeatable",
    )  # fmt: skip
    parser.add_argument("--storage", choices=["sqlite3", "mcap"], help="default: as IN")
    group = parser.add_argument_group("as the parameters of dope_node")
    for setting in SETTINGS.values():
        # --rectified is short for --rectified true.
        short = {"nargs": "?", "const": "true"} if isinstance(setting.default, bool) else {}
        group.add_argument(
            "--" + setting.name.replace("_", "-"),
            dest=setting.name,
            metavar=setting.type_name.upper(),
            help=f"{setting.description} (default: {setting.default})".replace("%", "%%"),
            **short,
        )
    options = parser.parse_args(arguments)
    given = {name: getattr(options, name) for name in SETTINGS}
    try:
        values = {
            name: SETTINGS[name].parse(text) for name, text in given.items() if text is not None
        }
    except ParameterError as error:
        parser.error(str(error))
    try:
        settings = BagSettings(
            image_topic=options.image_topic,
            namespace=options.namespace,
            camera_info_topic=options.camera_info,
            depth_topic=options.depth,
            annotate=not options.no_images,
            storage=options.storage,
            parameters=values,
            exports=tuple(options.export),
        )
    except BagError as error:
        parser.error(str(error))

    def load_detector() -> WholeBodyDetector:
        chosen = vars(settings.values())
        return WholeBodyDetector.load(**{name: chosen[name] for name in OF_MODEL})

    try:
        summary = process_bag(options.source, options.out, settings, load_detector)
    except (ValueError, OSError, ImportError, Failure) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; no bag was written", file=sys.stderr)
        return 130
    print(
        f"{options.out}: {summary.messages} messages copied, {summary.people} people in "
        f"{summary.images} images; added {', '.join(summary.topics)}"
    )
    if summary.exported:
        print("also " + ", ".join(map(str, summary.exported)))
    for problem, count in summary.problems.items():
        print(f"{count} x {problem}", file=sys.stderr)
    if not summary.complete:
        reason = summary.fault or "stopped"
        print(f"{reason}; the rest of the bag is not in {options.out}", file=sys.stderr)
        return 1 if summary.fault else 130
    return 0
