"""Runs models over a protocol's pictures and writes the report.

Pictures are decoded in the background while the model works, and what was found in each is kept,
so that a run that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dope_model.benchmark import report
from dope_model.benchmark.predictions import CachedFinder, load_detections, save_detections
from dope_model.benchmark.protocols.protocol import Found, Outcome, Picture, Protocol
from dope_model.cache import file_digest
from dope_model.datasets.videos import VideoFrames
from dope_model.detector import DEFAULT_MODEL, experts_preset
from dope_model.drawing import draw_people
from dope_model.network.config import MODE_NAMES
from dope_model.pictures import picture_sheet, write_picture
from dope_model.poses import PartDetections
from dope_model.postprocess.assembly import assemble
from dope_model.runtime import ENGINES
from dope_model.weights import SHIPPED

PREFETCHED = 8
"""Pictures that are decoded ahead."""


def add_protocol(subparsers: argparse._SubParsersAction, protocol: Protocol) -> None:
    """Add the command of a protocol to a parser."""
    parser = subparsers.add_parser(
        protocol.name, help=protocol.title, description=protocol.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument(
        "--model", nargs="+", default=[DEFAULT_MODEL], metavar="MODEL",
        help="as for `detect`; several are compared",
    )  # fmt: skip
    add_run_arguments(parser)
    parser.add_argument(
        "--mode", default=protocol.mode, choices=MODE_NAMES,
        help=f"of networks; {protocol.mode} when left out",
    )  # fmt: skip
    protocol.add_arguments(parser)
    parser.set_defaults(run=lambda options: run_protocol(protocol, options))


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all protocols' commands share."""
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--limit", type=int, help="only the first so many pictures")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    # The other engines make a graph for every size of picture, and data sets have many.
    parser.add_argument("--engine", default="eager", choices=list(ENGINES))
    parser.add_argument("--batch", type=int, default=8, help="pictures at once, on a GPU")
    parser.add_argument("--worst", type=int, default=10, help="pictures on the sheet of the worst")


def run_protocol(protocol: Protocol, options: argparse.Namespace) -> int:
    """Judge all models, write the report, and print its table."""
    print(judge_models(protocol, options)[1])
    return 0


def judge_models(protocol: Protocol, options: argparse.Namespace) -> tuple[list[Result], str]:
    """Judge the models of the options and write the report; their results and the main table.

    Raises:
        FileNotFoundError: files of the data set, or weights, are missing.
        ImportError: a package is missing; says what brings it.
        ValueError: a file is not what it should be.
    """
    report.require_plots()
    pictures = protocol.load(options)[: options.limit]
    if not pictures:
        raise ValueError(f"{options.data}: no pictures to judge")
    options.out.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    for model in dict.fromkeys(options.model):
        finder = finder_for(model, options)
        same = sum(r.label.partition("~")[0] == finder.label for r in results)
        label = f"{finder.label}~{same + 1}" if same else finder.label
        progress = tqdm(finder.find_all(pictures), total=len(pictures), unit="picture", desc=label)
        found = list(progress)
        judgements = [protocol.judge(p, f) for p, f in zip(pictures, found, strict=True)]
        outcome = protocol.summarise(pictures, judgements)
        results.append(Result(label, finder.record, finder.description, outcome))
        if options.worst:
            sheet = worst_sheet(pictures, found, outcome.badness, options.worst)
            if sheet is not None:
                write_picture(options.out / f"worst_{label}.png", sheet)
    return results, write_report(protocol, pictures, results, options)


@dataclass
class Result:
    """The outcome of one model, with what decides it."""

    label: str
    record: dict
    description: str
    outcome: Outcome


class StreamFinder(CachedFinder):
    """A `CachedFinder` of many pictures: decodes ahead, and fills batches where it can.

    Attributes:
        label: the model in a word, fit for a file name.
    """

    def __init__(self, folder: Path, model: str, batch: int = 1, **settings: str) -> None:
        super().__init__(folder, model, **settings)
        self._batch = batch
        self._many: Callable[[Sequence[np.ndarray]], list[Found]] | None = None
        self._load_batched = lambda: _batched(model, batch, **settings)
        is_file = model not in SHIPPED and "weights" in self.record
        path = Path(model).resolve()
        name = f"{path.parent.name}-{path.stem}" if is_file else model
        self.label = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)

    def find_all(self, pictures: Sequence[Picture]) -> Iterator[Found]:
        """What is found in each picture, in their order."""
        waiting: list[tuple[Path, np.ndarray]] = []
        held: deque[Path | Found] = deque()
        for target, rgb in _prefetched(pictures, self._read, max(PREFETCHED, 2 * self._batch)):
            held.append(target)
            if rgb is not None:
                self._start()
                waiting.append((target, rgb))
            if len(waiting) >= self._batch:
                self._look_at(waiting)
            while held and not any(target == held[0] for target, _ in waiting):
                yield load_detections(held.popleft())
        self._look_at(waiting)
        for target in held:
            yield load_detections(target)

    def _read(self, picture: Picture) -> tuple[Path, np.ndarray | None]:
        """Where the detections of a picture are kept, and its pixels if they must be found."""
        if picture.frame is None:
            # The key of CachedFinder, so that both share what they find.
            content = picture.path.read_bytes()
            key = hashlib.sha256(content).hexdigest()[:24]
        else:
            key = f"{_video_hash(picture.path)[:24]}_{picture.frame:06d}"
        target = self._folder / f"{key}.npz"
        if target.is_file():
            return target, None
        if picture.frame is not None:
            return target, _video(picture.path, picture.frame)
        bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
        if bgr is None:
            raise ValueError(f"{picture.path} is not a picture, or is damaged")
        return target, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

    def _start(self) -> None:
        """Load the model, at the first picture that it must look at."""
        if self._many is None:
            detector = self._started()
            self._many = self._load_batched()
            if self._many is None:
                self._batch = 1
                self._many = lambda images: [detector.find_parts(image) for image in images]

    def _look_at(self, waiting: list[tuple[Path, np.ndarray]]) -> None:
        """Find parts in the waiting pictures, keep them, and empty the list."""
        if waiting:
            all_found = self._many([rgb for _, rgb in waiting])
            for (target, _), found in zip(waiting, all_found, strict=True):
                save_detections(target, found)
            waiting.clear()


def _batched(model: str, batch: int, device: str, mode: str, engine: str) -> Callable | None:
    if batch == 1 or experts_preset(model) is not None:
        return None
    from dope_model.benchmark.protocols.batched import batched_finder

    return batched_finder(model, mode, engine, device)


def finder_for(model: str, options: argparse.Namespace) -> StreamFinder:
    """The finder that the command's options ask for."""
    return StreamFinder(
        options.out / "predictions", model, options.batch,
        device=options.device, mode=options.mode, engine=options.engine,
    )  # fmt: skip


def _prefetched(items: Iterable, read: Callable, count: int) -> Iterator:
    """`read(item)` of all items in their order, a few of them ahead in another thread.

    One thread: it is enough to keep a model busy, and videos are read frame after frame.
    """
    with ThreadPoolExecutor(1) as pool:
        ahead: deque = deque()
        try:
            for item in items:
                ahead.append(pool.submit(read, item))
                if len(ahead) >= count:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


_video = VideoFrames()


@cache
def _video_hash(path: Path) -> str:
    return file_digest(path)


def worst_sheet(
    pictures: Sequence[Picture], found: Sequence[Found], badness: np.ndarray, count: int
) -> np.ndarray | None:
    """The pictures that went worst, with what was found, and the true points as green rings."""
    known = [int(i) for i in np.argsort(-np.nan_to_num(badness, nan=-1), kind="stable")
             if np.isfinite(badness[i])][:count]  # fmt: skip
    if not known:
        return None
    drawn, captions = [], []
    for i in known:
        rgb = _pixels(pictures[i])
        scale = max(1.0, 400 / max(rgb.shape[:2]))
        rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        scaled = {
            part: PartDetections(
                part, d.scores, d.keypoints_2d * scale, d.keypoints_3d, d.is_left, d.trusted
            )
            for part, d in found[i].items()
        }
        canvas = draw_people(rgb, assemble(scaled, snap_wrists=False))
        radius = max(2, round(max(canvas.shape[:2]) / 130))
        for u, v in pictures[i].marks[np.isfinite(pictures[i].marks).all(axis=1)] * scale - 0.5:
            cv2.circle(canvas, (round(u), round(v)), radius, (0, 255, 0), 1, cv2.LINE_AA)
        drawn.append(canvas)
        captions.append(f"{Path(pictures[i].name).name}  {badness[i]:.3g}")
    return picture_sheet(drawn, captions)


def _pixels(picture: Picture) -> np.ndarray:
    from dope_model.pictures import read_rgb

    if picture.frame is None:
        return read_rgb(picture.path)
    return _video(picture.path, picture.frame)


def write_report(
    protocol: Protocol,
    pictures: Sequence[Picture],
    results: Sequence[Result],
    options: argparse.Namespace,
) -> str:
    """Write report.md, report.json and the curves into `options.out`; returns the main table."""
    rows = [{"model": r.label, **r.outcome.summary} for r in results]
    table = report.markdown_table(rows)
    text = [f"# {protocol.title}", "", f"{len(pictures)} pictures.", "", table, ""]
    text += [protocol.notes.strip(), ""]
    for result in results:
        for title, finer in result.outcome.rows.items():
            text += [f"## {result.label}: {title}", "", report.markdown_table(finer), ""]
    text += ["## Models", ""]
    text += [f"- {r.label}: {r.description}; " + ", ".join(
        f"{key} {str(value)[:16]}" for key, value in r.record.items() if key != "model"
    ) for r in results]  # fmt: skip
    titles = dict.fromkeys(title for r in results for title in r.outcome.curves)
    for number, title in enumerate(titles, 1):
        curves = {r.label: r.outcome.curves[title] for r in results if title in r.outcome.curves}
        first = next(iter(curves.values()))
        name = f"curve_{number}.png"
        report.line_plot(
            options.out / name, {label: (c.x, c.y) for label, c in curves.items()},
            first.x_label, first.y_label, title,
        )  # fmt: skip
        text += ["", f"![{title}]({name})"]
    (options.out / "report.md").write_text("\n".join(text) + "\n")
    settings = {k: v for k, v in vars(options).items() if k not in ("run", "command")}
    content = {
        "protocol": protocol.name,
        "pictures": len(pictures),
        "rows": rows,
        "finer": {r.label: r.outcome.rows for r in results},
        "curves": {
            r.label: {title: {"x": c.x, "y": c.y, "x_label": c.x_label, "y_label": c.y_label}
                      for title, c in r.outcome.curves.items()}
            for r in results
        },
        "models": {r.label: {**r.record, "description": r.description} for r in results},
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()},
        "versions": report.versions(),
    }  # fmt: skip
    report.write_json(options.out / "report.json", content)
    return table
