"""The paper's situation out of pictures that are labelled completely: each data set knows one part.

Section 3.2: bodies, hands and faces are annotated in different pictures. From one set of labels
with all parts come three with no picture in common, each with the labels of one part, and pictures
held out with all their labels to judge on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dope_model.datasets.labels import LabelSet, PartLabels, Sample

# Rarest first, so that hands are not used up by the others' sets.
RAREST_FIRST = ("hand", "face", "body")


def split_by_part(
    labels: LabelSet, per_part: int, held_out: int, seed: int = 0
) -> dict[str, LabelSet]:
    """Sets "body", "hand" and "face" of `per_part` pictures, and "held_out", without overlap.

    Every picture of a part's set shows that part; the held-out pictures are drawn from all.

    Raises:
        ValueError: there are not enough pictures with a part; the text says how many there are.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    rest = [labels.samples[i] for i in order]
    if len(rest) < held_out + 3 * per_part:
        raise ValueError(
            f"{len(rest)} labelled pictures do not make three sets of {per_part} and {held_out} "
            "held out"
        )
    sets = {"held_out": LabelSet(rest[:held_out], labels.about)}
    rest = rest[held_out:]
    for part in RAREST_FIRST:
        showing = [s for s in rest if part in s.parts and len(s.parts[part])]
        if len(showing) < per_part:
            raise ValueError(
                f"only {len(showing)} of the pictures left show a {part}; {per_part} are asked for"
            )
        chosen = showing[:per_part]
        names = {s.file for s in chosen}
        rest = [s for s in rest if s.file not in names]
        sets[part] = LabelSet([only(part, s) for s in chosen], labels.about)
    return sets


def only(part: str, sample: Sample) -> Sample:
    """A sample of which nothing but `part` is annotated."""
    parts = {
        name: given if name == part else PartLabels.empty(name, given.keypoints_2d.shape[1], False)
        for name, given in sample.parts.items()
    }
    return replace(sample, parts=parts)
