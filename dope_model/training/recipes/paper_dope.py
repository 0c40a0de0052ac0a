"""paper_dope: the network of section 3, distilled from the three experts.

Give the experts (recipes paper_body, paper_hand, paper_face) as --body-expert FILE and so on, and
the sets that they were trained on. Anchor poses are the experts'.
"""

from dope_model.skeleton import PARTS
from dope_model.training.recipe import Input, Recipe
from dope_model.training.recipes._paper import (
    BODIES,
    BODY_SETS,
    FACE_SETS,
    HAND_SETS,
    RESNET,
    SETTINGS,
    start,
)
from dope_model.training.stages import Complete, Train

_SETS = {**BODY_SETS, **HAND_SETS, **FACE_SETS}
_PICTURES = {"pictures": Input("pictures without labels", unlabelled=True, augmentation=BODIES)}

RECIPE = Recipe(
    "paper_dope",
    {**_SETS, **_PICTURES, **RESNET},
    (
        start(*PARTS),
        Complete(name="pseudo_labels", data=(*_SETS, "pictures")),
        # RenderedHand is doubled: it has fewer pictures than the others.
        Train(
            name="train", distil=True, settings=SETTINGS,
            data={**dict.fromkeys(_SETS, 1), "pictures": 1, "rhd": 2},
        ),
    ),
    experts=True,
)  # fmt: skip
