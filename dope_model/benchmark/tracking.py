"""How often people change their numbers, on the shipped clip of two people who cross:

    python -m dope_model.benchmark.tracking [--model dope_lite experts]

Without a model the detector is the clip's truth, of which some is left out and moved at random.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from dope_model.benchmark.metrics import instance_size, keypoint_similarity, match_instances
from dope_model.datasets.labels import LabelSet, Sample, Visibility
from dope_model.detector import WholeBodyDetector
from dope_model.poses import PartPose, WholeBody
from dope_model.sample import CLIP, LABELS
from dope_model.tracking.tracker import PersonTracker


@dataclass(frozen=True)
class Spoiling:
    """What is done to the truth.

    Attributes:
        missed: share of people left out, one image at a time.
        gap: s for which each person is left out every three seconds on top of that.
        noise: standard deviation of the joints, px.
        false: share of images with one person more, anywhere.
        hidden: people with a smaller share of visible joints are left out.
    """

    missed: float = 0.0
    gap: float = 0.0
    noise: float = 0.0
    false: float = 0.0
    hidden: float = 0.3


def spoiled_people(
    sample: Sample, stamp: float, spoiling: Spoiling, random: np.random.Generator
) -> tuple[list[WholeBody], list[int]]:
    """Bodies of a labelled picture as a detector might give them, in random order.

    Returns:
        The people, and which person of the labels each is; -1 for false ones.
    """
    bodies, rows = sample.parts["body"], []
    for i, person in enumerate(bodies.person):
        visible = bodies.visibility[i] == Visibility.VISIBLE
        away = (stamp + 1.5 * person) % 3.0 < spoiling.gap
        if visible.mean() < spoiling.hidden or away or random.random() < spoiling.missed:
            continue
        noise = random.normal(0, spoiling.noise, bodies.keypoints_2d[i].shape)
        rows.append((bodies.keypoints_2d[i] + noise, bodies.keypoints_3d[i], visible, person))
    if len(bodies) and random.random() < spoiling.false:
        joints = bodies.keypoints_2d[0] - bodies.keypoints_2d[0].mean(axis=0)
        place = random.uniform((0, 0), (sample.width, sample.height))
        visible = np.ones(len(joints), bool)
        rows.append((joints * random.uniform(0.3, 1) + place, bodies.keypoints_3d[0], visible, -1))
    random.shuffle(rows)
    people = [
        WholeBody(body=PartPose(0.9, flat.astype(np.float32), solid, visible))
        for flat, solid, visible, _ in rows
    ]
    return people, [int(row[3]) for row in rows]


def whose(people: list[WholeBody], sample: Sample) -> list[int]:
    """Which labelled person each detected one is, by the similarity of bodies; -1 for nobody."""
    bodies = sample.parts["body"]
    similarities = np.zeros((len(people), len(bodies)))
    for i, person in enumerate(people):
        if person.body is not None:
            for j in range(len(bodies)):
                size = instance_size(bodies.keypoints_2d[j], bodies.valid_2d[j])
                similarities[i, j] = keypoint_similarity(
                    person.body.keypoints_2d[:13],
                    bodies.keypoints_2d[j, :13],
                    bodies.valid_2d[j, :13],
                    size,
                )
    owners = [-1] * len(people)
    scores = np.array([person.score for person in people])
    for i, j in match_instances(similarities, scores):
        owners[i] = int(bodies.person[j])
    return owners


class SwitchCounter:
    """Counts how often a person gets another number than the last time."""

    def __init__(self) -> None:
        self.switches = 0
        self.seen = 0
        self.numbers: set[int] = set()
        self._last: dict[int, int] = {}

    def add(self, owners: Iterable[int], numbers: Iterable[int]) -> None:
        """One image: who the people are (-1: nobody), and the numbers they were given."""
        for owner, number in zip(owners, numbers, strict=True):
            if owner < 0:
                continue
            self.seen += 1
            self.numbers.add(number)
            self.switches += self._last.get(owner, number) != number
            self._last[owner] = number


def count_switches(
    frames: Iterable[tuple[float, list[WholeBody], list[int]]],
) -> tuple[SwitchCounter, SwitchCounter]:
    """Switches of the tracker, and of the places in the list.

    Args:
        frames: stamp in s, people, and who each is.
    """
    tracker, tracked, untracked = PersonTracker(), SwitchCounter(), SwitchCounter()
    for stamp, people, owners in frames:
        untracked.add(owners, range(len(people)))
        tracked.add(owners, [person.track_id for person in tracker.update(people, stamp)])
    return tracked, untracked


def spoiled_clip(spoiling: Spoiling, seed: int, rate: float = 25.0):
    """The clip's truth as `count_switches` takes it, at `rate` images per second."""
    labels = LabelSet.load(LABELS)
    own_rate = float(labels.about["frames_per_second"])
    random = np.random.default_rng(seed)
    for number in range(int(len(labels) / own_rate * rate)):
        stamp = number / rate
        sample = labels.samples[round(stamp * own_rate)]
        yield stamp, *spoiled_people(sample, stamp, spoiling, random)


def detected_clip(model: str, every: int = 1):
    """What a model finds in each `every`-th image of the clip, as `count_switches` takes it."""
    labels = LabelSet.load(LABELS)
    own_rate = float(labels.about["frames_per_second"])
    detector = WholeBodyDetector.load(model)
    film = cv2.VideoCapture(str(CLIP))
    for number, sample in enumerate(tqdm(labels.samples, unit="image")):
        read, bgr = film.read()
        if not read:
            raise ValueError(f"{CLIP} ends after {number} images, but has {len(labels)} labels")
        if number % every == 0:
            people = detector(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            yield number / own_rate, people, whose(people, sample)
    film.release()


_ROWS = {
    "truth, people less than 30 % visible left out": (Spoiling(), 25.0),
    "10 % missed, 3 px noise": (Spoiling(missed=0.1, noise=3), 25.0),
    "30 % missed, 6 px noise, 10 % false": (Spoiling(missed=0.3, noise=6, false=0.1), 25.0),
    "the same at 8 images/s": (Spoiling(missed=0.3, noise=6, false=0.1), 8.0),
    "each away 0.5 s of every 3, 3 px": (Spoiling(gap=0.5, noise=3), 25.0),
    "each away 1 s of every 3, 3 px": (Spoiling(gap=1.0, noise=3), 25.0),
}


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dope_model.benchmark.tracking", description=__doc__
    )
    parser.add_argument(
        "--model", nargs="+", action="extend", default=[],
        help="also count with what these models find in the clip",
    )  # fmt: skip
    parser.add_argument("--every", type=int, default=1, help="the model sees each n-th image")
    parser.add_argument("--seeds", type=int, default=5, help="the spoiled truth is drawn so often")
    options = parser.parse_args(arguments)
    print("| detections | people seen | switches, tracker | switches, list order | ids |")
    print("|---|---|---|---|---|")
    for name, (spoiling, rate) in _ROWS.items():
        runs = [count_switches(spoiled_clip(spoiling, seed, rate)) for seed in range(options.seeds)]
        seen, switches, without = (
            sum(values) / len(runs)
            for values in zip(*((t.seen, t.switches, u.switches) for t, u in runs), strict=True)
        )
        ids = sum(len(tracked.numbers) for tracked, _ in runs) / len(runs)
        print(f"| {name} | {seen:.0f} | {switches:.1f} | {without:.1f} | {ids:.1f} |")
    for model in options.model:
        tracked, untracked = count_switches(detected_clip(model, options.every))
        print(
            f"| {model} | {tracked.seen} | {tracked.switches} | {untracked.switches} "
            f"| {len(tracked.numbers)} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
