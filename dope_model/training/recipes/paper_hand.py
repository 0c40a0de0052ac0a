"""paper_hand: the hand expert of section 3.3, on RenderedHand."""

from dataclasses import replace

from dope_model.training.recipe import Recipe
from dope_model.training.recipes._paper import HAND_SETS, RESNET, SETTINGS, start
from dope_model.training.stages import Scores, Train

RECIPE = Recipe(
    "paper_hand",
    {**HAND_SETS, **RESNET},
    (
        start("hand"),
        Train(
            name="train",
            data={"rhd": 1},
            settings=replace(
                SETTINGS,
                epochs=100,
                partial_is_background=True,  # the sets do not say where further people are
            ),
        ),
        Scores(name="scores", data=tuple(HAND_SETS)),
    ),
)
