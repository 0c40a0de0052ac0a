"""The training loop: one command, in pieces that resume.

python -m dope_model train --data labels.npz:pictures --out run
"""

from __future__ import annotations

import json
import math
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torchvision.ops.misc import FrozenBatchNorm2d
from tqdm import tqdm

from dope_model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dope_model.errors import Failure
from dope_model.network.backbone import pretrained_parameters, stages_of
from dope_model.network.config import PAD_TO, Mode, NetworkConfig, PartConfig
from dope_model.network.dope import DopeNetwork
from dope_model.network.keypoint_head import HEATMAPS
from dope_model.network.roi_features import Features
from dope_model.skeleton import PARTS
from dope_model.training.anchor_poses import AnchorPoses, anchor_poses_of
from dope_model.training.augmentation import Augmentation
from dope_model.training.data import (
    Batch,
    Batches,
    PickledOnce,
    Source,
    Views,
    batches_per_epoch,
    collate,
)
from dope_model.training.folding import fold_frozen_norms
from dope_model.training.movenet import open_gates
from dope_model.training.norms import let_norms_learn
from dope_model.training.shared_pictures import SharedPictures
from dope_model.training.step import LossSettings, heatmap_losses, training_losses

STATE_FILE = "state.pt"
WEIGHTS_FILE = "weights.safetensors"
LOG_FILE = "losses.jsonl"
PICTURES_FILE = "pictures.raw"
_LOOK = 128  # views
_CHANGE_NOTHING = ("workers", "memory_gb", "save_minutes")  # of the settings


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides a training run but the data.

    Attributes:
        epochs, batch_size: with `accumulate` batches to one step of the optimiser.
        minutes: end after so long instead, however many epochs that are; the schedule goes by the
            clock, too. For a machine that one has for a time. Not exactly repeatable.
        optimizer: "sgd" (section 3.3) or "adamw", which moves the regressors away from the anchor
            poses in far fewer steps and so suits a short training; its learning rate: 0.0004.
        learning_rate: divided by 10 after each share of the run in `drops` (section 3.3: 0.02,
            after 30 and 45 of 50 epochs).
        cosine: let it fall to nothing along half a cosine instead (Loshchilov and Hutter, "SGDR",
            ICLR 2017): for a training whose end is known and near.
        backbone_rate: share of the learning rate for the backbone's pretrained layers. AdamW, whose
            steps do not follow the size of the gradient, takes them in units of the root mean
            square of each tensor, since weights from elsewhere may be of any size.
        warm_up_steps: steps in which the rate rises from a hundredth.
        width, height: of the canvas, px; multiples of 32, as the network's inputs are.
        frozen_stages: leading stages of the backbone that keep their weights; see
            `network.backbone.stages_of`.
        norms_learn: the batch norms of the other stages learn and take each batch's statistics, as
            in the training of the weights to start from; for batches of 16 views and more.
        clip_gradient: largest norm of the gradient; early steps of an RPN can explode.
        averaging: share of the exponential moving average of the weights that a step keeps; the
            weights that are written are that average. 0 writes the weights themselves. A short
            training at a high rate gains most: 0.998 looks back over about 500 steps.
        only_maps: train nothing but a backbone's maps of joints, which gets through twice as many
            views a second: for a first stage, on small canvases. All maps are trusted after it,
            unless `keep_trust` says otherwise.
        maps_of: with `only_maps`, the parts whose maps learn, on those pictures that show one.
        mixed_precision: bfloat16 products on CUDA, FP16 ones where a GPU has no others; on a CPU
            that has them (AMX), bfloat16 ones in the backbone.
        partial_is_background: unannotated parts are background (the baseline of section 3.2).
        memory_gb: for decoded pictures, in a file of the run's folder that all workers share and
            that goes with the run. Decoding is more than half of what a view costs to make.
        save_minutes: how often the state is written.
    """

    epochs: int = 50
    minutes: float = 0.0
    batch_size: int = 8
    accumulate: int = 1
    optimizer: str = "sgd"
    learning_rate: float = 0.02
    backbone_rate: float = 1.0
    drops: tuple[float, ...] = (0.6, 0.9)
    cosine: bool = False
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warm_up_steps: int = 500
    width: int = 512
    height: int = 384
    frozen_stages: int = 0
    norms_learn: bool = False
    clip_gradient: float = 10.0
    averaging: float = 0.0
    only_maps: bool = False
    keep_trust: bool = False
    maps_of: tuple[str, ...] = PARTS
    mixed_precision: bool = True
    partial_is_background: bool = False
    seed: int = 0
    workers: int = 2
    memory_gb: float = 0.0
    save_minutes: float = 5.0
    losses: LossSettings = field(default_factory=LossSettings)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def deciding(self) -> dict[str, Any]:
        """The settings that change the result, as JSON has them."""
        values = json.loads(json.dumps(asdict(self)))
        return {k: v for k, v in values.items() if k not in _CHANGE_NOTHING}

    def learning_rate_at(self, step: int, done: float) -> float:
        """The learning rate of a step of the optimiser, when that share of the run is done."""
        rate = self.learning_rate
        if self.cosine:
            rate *= 0.5 + 0.5 * math.cos(math.pi * min(1.0, done))
        else:
            rate /= 10 ** sum(done >= drop for drop in self.drops)
        warm_up = min(1.0, 0.01 + 0.99 * step / max(1, self.warm_up_steps))
        return rate * warm_up


class TrainingDiverged(Failure):
    """A loss is no longer a number."""


@dataclass
class Trainer:
    """A run in a folder: weights, state to resume from, and the losses' log.

    Attributes:
        checkpoint: what to start from; its anchor poses are those of the data.
        experts: part experts for the distillation terms, by part.
    """

    checkpoint: Checkpoint
    sources: list[Source]
    settings: TrainingSettings
    folder: Path
    device: torch.device
    experts: dict[str, DopeNetwork] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        s = self.settings
        if s.width % PAD_TO or s.height % PAD_TO:
            raise ValueError(
                f"a canvas of {s.width} x {s.height} px: take multiples of {PAD_TO} for width and "
                "height"
            )
        if s.batch_size < 1 or s.accumulate < 1:
            raise ValueError("batch_size and accumulate: take 1 or more")
        self.network = self.checkpoint.build()
        self.checkpoint.input_ranges = {}
        if s.only_maps and not self.network.has_heatmaps:
            raise ValueError(
                f"only_maps: {self.checkpoint.config.backbone} has no maps of joints; leave it out"
            )
        self.maps_of = [part for part in self.network.branches if part in s.maps_of]
        if set(s.maps_of) != set(PARTS) and not s.only_maps:
            raise ValueError(f"maps_of={','.join(s.maps_of)} goes with only_maps=true")
        if not self.maps_of or set(s.maps_of) - set(PARTS):
            known = ", ".join(self.network.branches)
            raise ValueError(f"maps_of={','.join(s.maps_of)}: take some of {known}")
        # The regressors stand still, and trust learned beside them would lag.
        if s.only_maps and not s.keep_trust:
            open_gates(self.network, HEATMAPS)
        anchors = anchor_poses_of(self.network)
        if unknown := set(self.experts) - set(anchors):
            raise ValueError(
                f"there is an expert for {', '.join(sorted(unknown))}, and the network has no "
                "such part"
            )
        for part, expert in self.experts.items():
            theirs = expert.branches[part].anchor_poses.cpu().numpy()
            if not np.allclose(theirs, anchors[part].poses, atol=1e-3):
                raise ValueError(
                    f"the {part} expert has other anchor poses than the network; distillation "
                    "needs the same ones"
                )
            _made_fast(expert, self.device, s.mixed_precision).eval().requires_grad_(False)
        self.views = Views(
            self.sources, anchors, (s.width, s.height), s.augmentation, s.seed,
            s.partial_is_background, only=self.maps_of if s.only_maps else (),
        )  # fmt: skip
        self._check_backgrounds()
        begun = self._saved_state()
        trained_stages = _freeze(self.network, s.frozen_stages)
        if s.norms_learn:
            # A run that was begun brings their statistics.
            self.network.to(self.device)
            look = None if begun else self._look
            let_norms_learn(self.network.backbone, trained_stages, look)
        _made_fast(self.network, self.device, s.mixed_precision)
        self.sizes = begun.get("sizes") or _sizes(self.network)
        self.optimizer = _optimizer(self.network, s, self.sizes)
        self.average = (
            # Buffers too: the norms' statistics have to be those of the averaged weights.
            AveragedModel(
                self.network, multi_avg_fn=get_ema_multi_avg_fn(s.averaging), use_buffers=True
            )
            if s.averaging
            else None
        )
        self.half = s.mixed_precision and self.device.type == "cuda"
        # FP16's range is small: losses are scaled up for their gradients not to vanish.
        self.half_type = torch.float16
        if self.half and torch.cuda.is_bf16_supported(including_emulation=False):
            self.half_type = torch.bfloat16
        scaled = self.half and self.half_type == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        self.generator = torch.Generator().manual_seed(s.seed)
        self.batches_per_epoch = batches_per_epoch(len(self.views), s.batch_size)
        self.batch = 0  # batches done since the start of the run
        self.seconds = 0.0  # that they took
        self._stopping = False
        if begun:
            self._resume(begun)

    def _check_backgrounds(self) -> None:
        """Refuse to learn a part of which no picture says where it is not."""
        if self.settings.only_maps or self.settings.partial_is_background:
            return
        for part in self.network.branches:
            found = [s.parts[part].complete for _, s in self.views.items if part in s.parts]
            if found and not any(found):
                raise ValueError(
                    f"in none of the pictures every {part} is labelled, so nothing would be "
                    f"background, and everything a {part}: add pictures where all are, or "
                    "--set partial_is_background=true"
                )

    def _look(self) -> None:
        """Run the backbone on views from all over the data."""
        count, size = len(self.views), self.settings.batch_size
        some = range(0, count, -(-count // _LOOK))
        self.network.eval()
        for first in range(0, len(some), size):
            views = [self.views[0, index] for index in some[first : first + size]]
            self.network.features(collate(views).to(self.device).images)

    def run(self, max_batches: int | None = None, on_batch: Callable | None = None) -> None:
        """Train to the end, for `max_batches`, or until `stop` is called.

        The state is saved on the way and at the end.

        Raises:
            TrainingDiverged: a loss is no longer finite; nothing of that step was saved.
        """
        total = sys.maxsize if self.settings.minutes else self._batches_of_epochs
        stop = total if max_batches is None else min(total, self.batch + max_batches)
        saved = time.monotonic()
        pictures = self.folder / PICTURES_FILE
        if self.settings.memory_gb:
            room = int(1e9 * self.settings.memory_gb)
            self.views.read = SharedPictures(pictures, self.views.sizes(), room)
        progress = tqdm(
            total=None if self.settings.minutes else total, initial=self.batch, unit="batch",
            smoothing=0.02,
            mininterval=0.5 if sys.stderr.isatty() else 30,  # a log file needs few lines
        )  # fmt: skip
        log = _Log(self.folder)
        try:
            with progress, log:
                begun = None
                for batch in self._batches(stop):
                    # Time passes from the first batch on, not while workers start.
                    begun = begun or time.monotonic() - self.seconds
                    losses = self._step(batch)
                    self.batch += 1
                    self.seconds = time.monotonic() - begun
                    progress.update()
                    progress.set_postfix(loss=f"{sum(losses.values()):.3f}", refresh=False)
                    log.write(self.batch, self._rate(), losses)
                    if on_batch is not None:
                        on_batch(self, losses)
                    if self._stopping or self.done >= 1:
                        break
                    if time.monotonic() - saved > 60 * self.settings.save_minutes:
                        self.save()
                        saved = time.monotonic()
        finally:
            pictures.unlink(missing_ok=True)
        self.save()

    def stop(self) -> None:
        """End a `run` after the batch that it is at."""
        self._stopping = True

    def _batches(self, stop: int) -> Iterator[Batch]:
        """The batches of the run from here to `stop`."""
        s = self.settings
        loader = DataLoader(
            PickledOnce(self.views) if s.workers else self.views,
            batch_sampler=Batches(len(self.views), s.batch_size, s.seed, self.batch, stop),
            collate_fn=collate,
            num_workers=s.workers,
            multiprocessing_context=_clean_processes() if s.workers else None,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_start_worker,
        )
        for batch in loader:
            yield batch.to(self.device)

    @property
    def done(self) -> float:
        """The share of the run that is done."""
        if self.settings.minutes:
            return self.seconds / (60 * self.settings.minutes)
        return self.batch / self._batches_of_epochs

    @property
    def _batches_of_epochs(self) -> int:
        return self.settings.epochs * self.batches_per_epoch

    def _rate(self) -> float:
        return self.settings.learning_rate_at(self.batch // self.settings.accumulate, self.done)

    def _step(self, batch) -> dict[str, float]:
        s = self.settings
        self.network.train()
        for module in self.network.modules():  # what is frozen keeps its statistics too
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        # A seed for each batch makes resuming exact; torchvision's RPN draws from the global one.
        seed = (s.seed * 1_000_003 + self.batch) % 2**31
        torch.manual_seed(seed)
        self.generator.manual_seed(seed)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate() * group["share"]
        with torch.autocast(self.device.type, self.half_type, enabled=self.half):
            losses = self._losses(batch)
            loss = sum(losses.values())
        # At once: each look at a GPU's number waits for all that it has to do before.
        values = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            raise TrainingDiverged(
                f"batch {self.batch}: {', '.join(bad)} not finite; the last saved state is kept: "
                "start again from it with a lower learning rate"
            )
        self.scaler.scale(loss / s.accumulate).backward()
        if (self.batch + 1) % s.accumulate == 0:
            self.scaler.unscale_(self.optimizer)
            trained = [p for p in self.network.parameters() if p.requires_grad]
            nn.utils.clip_grad_norm_(trained, s.clip_gradient)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            if self.average is not None:
                self.average.update_parameters(self.network)
        return values

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        if self.settings.only_maps:
            return heatmap_losses(self.network, batch, self.settings.losses, self.maps_of)
        return training_losses(
            self.network, batch, self.settings.losses, self.experts, self.generator
        )

    def save(self) -> None:
        """Write weights and state, each whole or not at all."""
        result = self.network if self.average is None else self.average.module
        self.checkpoint.state = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in result.state_dict().items()
            if name in self.checkpoint.state  # not the counters of norms that learn
        }
        weights = self.folder / WEIGHTS_FILE
        save_checkpoint(self.checkpoint, weights.with_suffix(".new"))
        weights.with_suffix(".new").replace(weights)
        state = {
            "batch": self.batch,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sizes": self.sizes,
            "scaler": self.scaler.state_dict(),
            "gradients": [p.grad for p in self.network.parameters()],
            "settings": json.dumps(asdict(self.settings)),
        }
        if self.average is not None:
            state["average"] = self.average.state_dict()
        new = self.folder / (STATE_FILE + ".new")
        torch.save(state, new)
        new.replace(self.folder / STATE_FILE)

    def _saved_state(self) -> dict[str, Any]:
        """What `save` wrote, if it did, of a run with these settings."""
        file = self.folder / STATE_FILE
        if not file.is_file():
            return {}
        state = torch.load(file, map_location=self.device, weights_only=True)
        now, then = self.settings.deciding(), json.loads(state["settings"])
        changed = [k for k in now if now[k] != then.get(k)]
        if changed:
            raise ValueError(
                f"{self.folder} holds a run with other settings ({', '.join(changed)}); use them, "
                "or another folder"
            )
        return state

    def _resume(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # nothing where no scaler was needed, as on a CPU
            self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        for parameter, gradient in zip(self.network.parameters(), state["gradients"], strict=True):
            parameter.grad = gradient
        self.batch, self.seconds = state["batch"], state["seconds"]


class _Log:
    """Losses to a JSON Lines file and, where TensorBoard is installed, to its event files."""

    def __init__(self, folder: Path) -> None:
        self._lines = (folder / LOG_FILE).open("a")
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder))
        except ImportError:
            self._board = None

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        if self._board is not None:
            self._board.close()

    def write(self, batch: int, rate: float, losses: dict[str, float]) -> None:
        values = {"loss": sum(losses.values()), "learning rate": rate, **losses}
        self._lines.write(json.dumps({"batch": batch, **values}) + "\n")
        self._lines.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, batch)


def _clean_processes() -> BaseContext:
    """Where workers come from: forked from here they would inherit OpenCV's and OpenMP's locks
    without their threads. What they need is imported once for all of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dope_model.training.data"])
    return context


def _start_worker(_: int) -> None:
    """One thread each, and a terminal's Ctrl-C is for the process that trains."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _optimizer(
    network: DopeNetwork, settings: TrainingSettings, sizes: dict[str, float]
) -> torch.optim.Optimizer:
    """The optimiser of what learns in a network.

    Args:
        sizes: of the pretrained parameters, by name: AdamW's steps are in units of these.
    """
    on_gpu = next(network.parameters()).is_cuda
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    fresh = {"params": [p for name, p in trained if name not in sizes], "share": 1.0}
    known = [(sizes[name], p) for name, p in trained if name in sizes]
    rate, decay, share = settings.learning_rate, settings.weight_decay, settings.backbone_rate
    if settings.optimizer == "sgd":
        groups = [fresh, {"params": [p for _, p in known], "share": share}]
        return torch.optim.SGD(groups, rate, momentum=settings.momentum, weight_decay=decay)
    if settings.optimizer == "adamw":
        alike: dict[float, list[nn.Parameter]] = {}
        for size, parameter in known:
            alike.setdefault(size, []).append(parameter)
        groups = [{"params": some, "share": share * size} for size, some in alike.items()]
        # On a GPU one kernel for all that is done to a tensor.
        return torch.optim.AdamW([fresh, *groups], rate, weight_decay=decay, fused=on_gpu or None)
    raise ValueError(f"unknown optimizer {settings.optimizer!r}; known: sgd, adamw")


def _sizes(network: DopeNetwork) -> dict[str, float]:
    """Root mean squares of the pretrained parameters that learn, by name, rounded to a quarter of
    an octave: each group of an optimiser costs time."""
    pretrained = {id(p) for p in pretrained_parameters(network.backbone)}
    sizes = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and id(parameter) in pretrained:
            size = parameter.detach().square().mean().sqrt().item() or 1.0
            sizes[name] = 2.0 ** (round(4 * math.log2(size)) / 4)
    return sizes


def _made_fast(network: DopeNetwork, device: torch.device, half: bool) -> DopeNetwork:
    """The same network on `device`, where a training step takes about half the time."""
    fold_frozen_norms(network)
    if half and device.type == "cpu" and _multiplies_bfloat16():
        # Only the backbone: boxes and poses need more digits.
        network.backbone.forward = partial(_in_bfloat16, network.backbone.forward)
    return network.to(device, memory_format=torch.channels_last)


def _in_bfloat16(
    forward: Callable[[Tensor], Tensor | Features], images: Tensor
) -> Tensor | Features:
    with torch.autocast("cpu", torch.bfloat16):
        return forward(images).float()


def _multiplies_bfloat16() -> bool:
    """Whether this processor has matrix products of bfloat16 (AMX); others take far longer."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def _freeze(network: DopeNetwork, stages: int) -> list[nn.Module]:
    """Freeze the first `stages` of the backbone; the others are returned."""
    found = stages_of(network.backbone)
    for module in found[:stages]:
        module.requires_grad_(False)
    return found[stages:]


def fresh_checkpoint(
    anchors: dict[str, AnchorPoses],
    backbone: str,
    mode: Mode,
    backbone_weights: Path | None = None,
    seed: int = 0,
) -> Checkpoint:
    """An untrained network with anchor poses, on known features where weights are given.

    Args:
        backbone_weights: a safetensors file with the tensors `backbone.*` and `roi_features.*`
            (see `python -m dope_model backbone`).
    """
    torch.manual_seed(seed)
    config = NetworkConfig(
        parts={
            part: PartConfig(joints=a.poses.shape[1], anchor_poses=a.poses.shape[0])
            for part, a in anchors.items()
        },
        backbone=backbone,
    )
    network = DopeNetwork(config, mode)
    # torchvision's 0.01 fits 1024 channels; with fewer the signal would be weak and learning slow.
    nn.init.kaiming_normal_(network.rpn.head.conv[0][0].weight)
    for part, a in anchors.items():
        branches = network.branches[part]
        branches.anchor_poses.copy_(torch.from_numpy(a.poses))
        # As in Faster R-CNN: start near the anchor poses, all classes alike.
        nn.init.normal_(branches.cls_score.weight, std=0.01)
        nn.init.normal_(branches.pose_pred.weight, std=0.001)
        nn.init.zeros_(branches.cls_score.bias)
        nn.init.zeros_(branches.pose_pred.bias)
    if backbone_weights is not None:
        from safetensors.torch import load_file

        loaded = load_file(str(backbone_weights))
        expected = {k for k in network.state_dict() if k.startswith(("backbone.", "roi_features."))}
        if set(loaded) != expected:
            raise ValueError(
                f"{backbone_weights} does not hold a {backbone}: "
                f"{len(expected - set(loaded))} tensors missing, {len(set(loaded) - expected)} "
                "unknown"
            )
        network.load_state_dict(loaded, strict=False)
        if network.has_heatmaps:
            open_gates(network)
    else:
        _calibrate_batch_norms(network)
    return Checkpoint(config, network.state_dict(), mode)


@torch.no_grad()
def _calibrate_batch_norms(network: DopeNetwork) -> None:
    """Give the frozen batch norms of random weights the statistics of random images.

    Without, the signal of a deep random network vanishes and nothing can be learned.
    """

    def calibrate(norm: FrozenBatchNorm2d, inputs: tuple[Tensor]) -> None:
        norm.running_mean.copy_(inputs[0].mean(dim=(0, 2, 3)))
        norm.running_var.copy_(inputs[0].var(dim=(0, 2, 3)).clamp(min=1e-4))

    norms = [m for m in network.modules() if isinstance(m, FrozenBatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(calibrate) for norm in norms]
    coarse = torch.randn(4, 3, 16, 16)
    features = network.features(F.interpolate(coarse, size=(128, 128), mode="bicubic"))
    network.roi_features(features.coarse[:, :, :7, :7])
    for hook in hooks:
        hook.remove()


def load_expert(path: Path, part: str) -> DopeNetwork:
    """A part expert for distillation.

    Raises:
        ValueError: the checkpoint does not detect that part.
    """
    checkpoint = load_checkpoint(path)
    if part not in checkpoint.config.parts:
        raise ValueError(f"{path} is no {part} expert")
    return checkpoint.build()
