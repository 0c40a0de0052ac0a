"""From the candidates of all parts to their detections: what one part says about another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dope_model.poses import PartDetections
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
    owned = owners(found)
    for part, slots in (("hand", ("right_hand", "left_hand")), ("face", ("face",))):
        if part in found and settings[part].th_alone:
            has_body = np.isin(np.arange(len(found[part])), [i for s in slots for i in owned[s]])
            sure = found[part].scores >= settings[part].th_alone
            found[part] = found[part].select(has_body | sure)
    return found
