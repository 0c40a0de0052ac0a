"""dope_r50: the paper's network, on the pictures that dope_lite is trained on.

Made for a GPU: some hours of one. On two CPU cores it does about one picture a second.
"""

from dataclasses import replace

from dope_model.network.config import Mode
from dope_model.training.anchor_poses import PAPER_CLASSES
from dope_model.training.augmentation import Augmentation
from dope_model.training.recipe import Recipe
from dope_model.training.recipes._paper import RESNET, SETTINGS
from dope_model.training.recipes.dope_lite import INPUTS
from dope_model.training.stages import Deploy, Fresh, Train
from dope_model.training.step import LossSettings

_MODE = Mode(400, 1333, 50, half=True)  # section 3.3, "Runtime"

RECIPE = Recipe(
    "dope_r50",
    {**{name: i for name, i in INPUTS.items() if name != "movenet"}, **RESNET},
    (
        Fresh(
            name="start", backbone="resnet50_original", package="resnet50", mode=_MODE,
            classes=PAPER_CLASSES,
        ),
        Train(
            name="train",
            data={
                "stanford40": 1, "lspet": 3, "ccp": 3, "rendered": 1, "acrobats": 1, "nobody": 0.2,
            },
            settings=replace(
                SETTINGS,
                short_side=0, width=512, height=384,  # a batch of one size, with room for a crop
                batch_size=16, accumulate=1,
                optimizer="adamw", learning_rate=3e-4, weight_decay=0.01,  # far fewer steps
                drops=(), epochs=40, averaging=0.998,
                frozen_stages=5,  # up to the first block: edges and colours
                memory_gb=30,  # decoding is what limits a GPU
                losses=LossSettings(boxes_per_image=64, regression=5),
                augmentation=Augmentation(
                    turn_deg=40, turned=0.15, scale=(0.5, 1.8),
                    centred=0.5, centred_size=(0.1, 0.9),  # people and hands of all sizes
                ),
            ),
        ),
        Deploy(name="deploy", mode=_MODE, integration={}),
    ),
    about={"backbone": "ResNet-50, started from ImageNet's weights"},
)  # fmt: skip
