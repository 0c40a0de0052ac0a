"""paper_body: the body expert of section 3.3.

On MPII, COCO, LSP, LSPE, Human3.6M and SURREAL; give those that you have. Sets without 3D teach 2D.
"""

from dataclasses import replace

from dope_model.training.recipe import Recipe
from dope_model.training.recipes._paper import BODY_SETS, RESNET, SETTINGS, start
from dope_model.training.stages import Scores, Train

RECIPE = Recipe(
    "paper_body",
    {**BODY_SETS, **RESNET},
    (
        start("body"),
        Train(
            name="train",
            data=dict.fromkeys(BODY_SETS, 1),
            settings=replace(
                SETTINGS,
                epochs=50,
                partial_is_background=True,  # the sets do not say where further people are
            ),
        ),
        Scores(name="scores", data=tuple(BODY_SETS)),
    ),
)
