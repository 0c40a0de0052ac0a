"""paper_face: the face expert of section 3.3, on 3D Menpo."""

from dataclasses import replace

from dope_model.training.recipe import Recipe
from dope_model.training.recipes._paper import FACE_SETS, RESNET, SETTINGS, start
from dope_model.training.stages import Scores, Train

RECIPE = Recipe(
    "paper_face",
    {**FACE_SETS, **RESNET},
    (
        start("face"),
        Train(
            name="train",
            data={"menpo": 1},
            settings=replace(
                SETTINGS,
                epochs=50,
                partial_is_background=True,  # the sets do not say where further people are
            ),
        ),
        Scores(name="scores", data=tuple(FACE_SETS)),
    ),
)
