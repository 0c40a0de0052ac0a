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
    wrist of a body, or a face at its head, is believed sooner than one without: see
    `IntegrationSettings.th_alone`.
    """
    found = {}
    for part, own in candidates.items():
        poses = integrate(own, settings[part])
        seen = poses.trusted & inside_image(poses.keypoints_2d, image_shape)
        found[part] = replace(poses, trusted=seen)
    others = [part for part in found if part != "body"]
    believed = {part: found[part].scores >= settings[part].th_alone for part in others}
    for slot, body_of in owners(found).items():
        believed[PART_SLOTS[slot]][list(body_of)] = True
    return {**found, **{part: found[part].select(believed[part]) for part in others}}
