"""From the candidates of all parts to their detections: what one part says about another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dope_model.poses import PART_SLOTS, PartDetections, inside_image
from dope_model.postprocess.assembly import owners
from dope_model.postprocess.candidates import Candidates
from dope_model.postprocess.integration import integrate
from dope_model.postprocess.settings import IntegrationSettings


def detect_parts(
    candidates: Mapping[str, Candidates],
    settings: Mapping[str, IntegrationSettings],
    image_shape: tuple[int, ...],
) -> dict[str, PartDetections]:
    """Detections of all parts, best first each, from their candidates by part.

    Args:
        image_shape: height and width of the image, px, and what may follow. No joint outside it is
            vouched for.

    The proposals integration goes through the parts one by one (section 3.1). Then a hand at the
    wrist of a body, or a face at its head, is believed sooner than one without: see `th_alone` and
    `min_trusted` of `IntegrationSettings`.
    """
    found, believed = {}, {}
    for part, own in candidates.items():
        poses = integrate(own, settings[part])
        seen = poses.trusted & inside_image(poses.keypoints_2d, image_shape)
        enough = seen.sum(axis=1) >= settings[part].min_trusted
        found[part] = replace(poses, trusted=seen)
        if part == "body":
            found[part] = found[part].select(enough)
        else:
            believed[part] = enough & (poses.scores >= settings[part].th_alone)
    for slot, body_of in owners(found).items():
        believed[PART_SLOTS[slot]][list(body_of)] = True
    return {**found, **{part: found[part].select(kept) for part, kept in believed.items()}}
