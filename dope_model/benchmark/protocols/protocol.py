"""What a protocol is: pictures with their truth, an evaluation of each, and a summary of all."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from dope_model.poses import PartDetections

Found = dict[str, PartDetections]


@dataclass(frozen=True)
class Picture:
    """One picture, or one frame of a video, with its truth.

    Attributes:
        name: unique in the data set, for reports.
        path: of the picture or the video.
        truth: whatever the protocol needs.
        frame: number of the video's frame from 0; None for a picture file.
        marks: (K, 2) true points to draw, px; NaN is not drawn.
        condition: what is done to it first, see `benchmark.conditions`; empty: nothing.
    """

    name: str
    path: Path
    truth: Any
    frame: int | None = None
    marks: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    condition: str = ""


@dataclass(frozen=True)
class Curve:
    """A line of a plot: `y` over `x`."""

    x: np.ndarray
    y: np.ndarray
    x_label: str
    y_label: str


@dataclass
class Outcome:
    """What a protocol says of a model.

    Attributes:
        summary: the protocol's numbers by name, the ones that papers report first.
        rows: finer tables, by title; each row is a dictionary from column to value, and its first
            column is its name.
        curves: by title.
        picture_errors: (pictures,) how wrong each picture is; NaN where that is not known.
    """

    summary: dict[str, float]
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    picture_errors: np.ndarray = field(default_factory=lambda: np.zeros(0))


class Protocol:
    """A benchmark. Its docstring is the help of its command.

    Attributes:
        name: of the command.
        title: one line.
        notes: for the report: what the numbers mean.
        everything: whether it wants detections of any score; otherwise those that reach the model's
            own thresholds.
        min_scores: these thresholds by part, set before `evaluate`.
    """

    name = ""
    title = ""
    notes = ""
    everything = False
    min_scores: Mapping[str, float] = MappingProxyType({})

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what only this protocol needs."""

    def load(self, options: argparse.Namespace) -> list[Picture]:
        """The pictures in `options.data`.

        Raises:
            FileNotFoundError: files are missing; the text names them.
            ValueError: a file is not what it should be.
        """
        raise NotImplementedError

    def limited(self, pictures: list[Picture], count: int | None) -> list[Picture]:
        """The first `count` pictures; all of them if it is None."""
        return pictures[:count]

    def evaluate(self, picture: Picture, found: Found) -> Any:
        """Compare what was found in a picture with its truth."""
        raise NotImplementedError

    def summarise(self, pictures: Sequence[Picture], evaluations: Sequence[Any]) -> Outcome:
        """All evaluations, in the pictures' order, as the protocol's numbers."""
        raise NotImplementedError


def bodies_of(found: Found) -> PartDetections:
    """The bodies, best scored first; none if the model does not look for them."""
    bodies = found.get("body")
    if bodies is None:
        return PartDetections.empty("body", 13)
    return bodies.select(np.argsort(-bodies.scores, kind="stable"))
