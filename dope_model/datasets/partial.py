"""Partial label sets as in section 3.2, where bodies, hands and faces are annotated in different
pictures, made from pictures with labels of all parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dope_model.datasets.labels import LabelSet, PartLabels, Sample

# Rarest part first, so the other sets do not take the pictures with hands.
RAREST_FIRST = ("hand", "face", "body")


def split_by_part(
    labels: LabelSet, per_part: int, held_out: int, seed: int = 0
) -> dict[str, LabelSet]:
    """Sets "body", "hand" and "face" of `per_part` pictures, and "held_out", without overlap.

    Every picture of a part's set shows that part; the held-out pictures are sampled from all.

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
                f"only {len(showing)} of the pictures left show a {part}; per_part is {per_part}"
            )
        chosen = showing[:per_part]
        names = {s.file for s in chosen}
        rest = [s for s in rest if s.file not in names]
        sets[part] = LabelSet([only(part, s) for s in chosen], labels.about)
    return sets


def only(part: str, sample: Sample) -> Sample:
    """A sample in which only `part` is annotated."""
    parts = {
        name: given if name == part else PartLabels.empty(name, given.keypoints_2d.shape[1], False)
        for name, given in sample.parts.items()
    }
    return replace(sample, parts=parts)
