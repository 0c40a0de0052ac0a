"""finetune: the shipped network trained on with your own labelled pictures.

About 1.5 hours on two CPU cores. Give your pictures as --data LABELS:IMAGES, and pictures of your
own places without people as nobody.
"""

from dataclasses import replace

from dope_model.training.recipe import Input, Recipe
from dope_model.training.recipes.dope_lite import HEADS
from dope_model.training.stages import Mean, Shipped, Train

RECIPE = Recipe(
    "finetune",
    {"nobody": Input("pictures of your places without people", nobody=True)},
    (
        Shipped(name="start", weights="dope_lite"),
        # Half the rate of dope_lite's own: most of it is right already.
        Train(name="heads", data={"nobody": 0.2}, settings=replace(HEADS, learning_rate=2e-4)),
        Mean(name="mean", of="start"),  # keeps what the shipped weights know of other pictures
    ),
)
