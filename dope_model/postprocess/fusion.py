"""From the candidates of all parts to their detections: what one part says about another."""

from __future__ import annotations

from collections.abc import Mapping

from dope_model.poses import PART_SLOTS, PartDetections
from dope_model.postprocess.assembly import owners
from dope_model.postprocess.candidates import Candidates
from dope_model.postprocess.integration import integrate
from dope_model.postprocess.settings import IntegrationSettings


def detect_parts(
    candidates: Mapping[str, Candidates], settings: Mapping[str, IntegrationSettings]
) -> dict[str, PartDetections]:
    """Detections of all parts, best first each, from their candidates by part.

    The proposals integration goes through the parts one by one (section 3.1). Then a hand at the
    wrist of a body, or a face at its head, is believed sooner than one without: see
    `IntegrationSettings.th_alone`.
    """
    found = {part: integrate(own, settings[part]) for part, own in candidates.items()}
    others = [part for part in found if part != "body"]
    believed = {part: found[part].scores >= settings[part].th_alone for part in others}
    for slot, body_of in owners(found).items():
        believed[PART_SLOTS[slot]][list(body_of)] = True
    return {**found, **{part: found[part].select(believed[part]) for part in others}}
