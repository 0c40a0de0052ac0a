"""The settings of a training run."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from dope_model.network.config import PAD_TO
from dope_model.training.augmentation import Augmentation
from dope_model.training.step import LossSettings

_CHANGE_NOTHING = ("workers", "memory_gb", "save_minutes")  # of the settings


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained; recipes say why each value is what it is.

    Attributes:
        epochs, batch_size: with `accumulate` batches to one step of the optimiser. With several
            processes, each takes `batch_size` pictures.
        minutes: stop after this time instead of `epochs`; the schedule follows the clock, too. For
            machines that are available for a limited time. Not exactly repeatable.
        optimizer: "sgd" (section 3.3) or "adamw", which moves the regressors away from the anchor
            poses in far fewer steps, for short trainings.
        learning_rate: divided by 10 after each share of the run in `drops` (section 3.3: 0.02,
            after 30 and 45 of 50 epochs); without drops it falls to zero along half a cosine
            (Loshchilov and Hutter, "SGDR", ICLR 2017).
        warm_up_steps: steps in which the rate rises from a hundredth to its value.
        width, height: input size, px; multiples of 32.
        short_side: as in section 3.3: each picture keeps its proportions, with a short side of this
            length, px; 0: `width` and `height` instead.
        frozen_stages: leading stages of the backbone that keep their weights; see
            `network.backbone.stages_of`.
        train_batch_norms: unfreeze the batch norms of the other stages, which then take each
            batch's statistics; for batches of 16 and more.
        averaging: decay of the exponential moving average (EMA) of the weights, which is what is
            written; 0 writes the weights themselves.
        heatmaps_of: train only the heat maps of these parts, on pictures that show one, at twice
            the speed. Empty: everything.
        open_gates: set the fusion gates to the heat maps first.
        mixed_precision: bfloat16 on CUDA, or FP16 if the GPU lacks it; bfloat16 in the backbone on
            CPUs with AMX.
        partial_is_background: unannotated parts are background (section 3.2, without distillation).
        memory_gb: space for decoded pictures, in a temporary file in the run's folder that all
            workers share. Decoding is more than half of the cost of a sample.
        save_minutes: interval between writes of the state.
    """

    epochs: int = 50
    minutes: float = 0.0
    batch_size: int = 8
    accumulate: int = 1
    optimizer: str = "sgd"
    learning_rate: float = 0.02
    drops: tuple[float, ...] = (0.6, 0.9)
    weight_decay: float = 1e-4
    warm_up_steps: int = 500
    width: int = 512
    height: int = 384
    short_side: int = 0
    frozen_stages: int = 0
    train_batch_norms: bool = False
    averaging: float = 0.0
    heatmaps_of: tuple[str, ...] = ()
    open_gates: bool = False
    mixed_precision: bool = True
    partial_is_background: bool = False
    seed: int = 0
    workers: int = 2
    memory_gb: float = 0.0
    save_minutes: float = 5.0
    losses: LossSettings = field(default_factory=LossSettings)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.width % PAD_TO or self.height % PAD_TO:
            raise ValueError(
                f"an input of {self.width} x {self.height} px: take multiples of {PAD_TO} for "
                "width and height"
            )
        if self.batch_size < 1 or self.accumulate < 1:
            raise ValueError("batch_size and accumulate: take 1 or more")

    def deciding(self) -> dict[str, Any]:
        """The settings that change the result, as JSON has them."""
        values = json.loads(json.dumps(asdict(self)))
        return {k: v for k, v in values.items() if k not in _CHANGE_NOTHING}

    def learning_rate_at(self, step: int, done: float) -> float:
        """The learning rate of a step of the optimiser, when that share of the run is done."""
        rate = self.learning_rate
        if self.drops:
            rate /= 10 ** sum(done >= drop for drop in self.drops)
        else:
            rate *= 0.5 + 0.5 * math.cos(math.pi * min(1.0, done))
        warm_up = min(1.0, 0.01 + 0.99 * step / max(1, self.warm_up_steps))
        return rate * warm_up
