"""The training loop: one stage of a recipe, in pieces that resume."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dope_model.checkpoint import Checkpoint, save_checkpoint, with_todays_names
from dope_model.errors import Failure
from dope_model.network.backbone import stages_of
from dope_model.network.dope import DopeNetwork
from dope_model.network.keypoint_head import HEATMAPS
from dope_model.training.anchor_poses import anchor_poses_of
from dope_model.training.data import (
    Batch,
    Batches,
    PickledOnce,
    Source,
    Views,
    batches_per_epoch,
    collate,
)
from dope_model.training.distributed import mean_over_processes, rank, world_size
from dope_model.training.movenet import open_gates
from dope_model.training.norms import unfreeze_batch_norms
from dope_model.training.optimizer import made_fast, make_optimizer, sizes_of
from dope_model.training.settings import TrainingSettings
from dope_model.training.shared_pictures import SharedPictures
from dope_model.training.step import heatmap_losses, training_losses

STATE_FILE = "state.pt"
WEIGHTS_FILE = "weights.safetensors"
LOG_FILE = "losses.jsonl"
PICTURES_FILE = "pictures.raw"
_SAMPLES = 128  # views that give batch norms their first statistics
_LARGEST_GRADIENT = 10.0  # norm; early steps of an RPN can explode


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
        self.network = self.checkpoint.build()
        self.checkpoint.input_ranges = {}
        if (s.heatmaps_of or s.open_gates) and not self.network.has_heatmaps:
            raise ValueError(
                f"the backbone {self.checkpoint.config.backbone} has no heat maps: leave out "
                "heatmaps_of and open_gates"
            )
        if unknown := set(s.heatmaps_of) - set(self.network.branches):
            raise ValueError(
                f"heatmaps_of: the network has no {' or '.join(sorted(unknown))}; take some of "
                f"{', '.join(self.network.branches)}"
            )
        if s.open_gates:
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
                    f"the {part} expert has other anchor poses than the network, and distillation "
                    "needs the same ones: start anew in another folder, where the experts' are "
                    "taken, or train the expert with --anchors-from and the network's weights"
                )
            made_fast(expert, self.device, s.mixed_precision).eval().requires_grad_(False)
        self.views = Views(
            self.sources, anchors, (s.width, s.height), s.augmentation, s.seed,
            s.partial_is_background, only=s.heatmaps_of, short_side=s.short_side,
        )  # fmt: skip
        self._check_backgrounds()
        begun = self._saved_state()
        trained_stages = _freeze(self.network, s.frozen_stages)
        if s.train_batch_norms:
            # A run that was begun brings their statistics.
            self.network.to(self.device)
            run = None if begun else self._run_on_samples
            unfreeze_batch_norms(self.network.backbone, trained_stages, run)
        made_fast(self.network, self.device, s.mixed_precision)
        self.sizes = begun.get("sizes") or sizes_of(self.network)
        self.optimizer = make_optimizer(self.network, s, self.sizes)
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
        self.batch_size = s.batch_size * world_size()
        self.batches_per_epoch = batches_per_epoch(len(self.views), self.batch_size)
        self.model: nn.Module = _Losses(self)
        if world_size() > 1:
            if self.device.type == "cuda":
                nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
            # Not all parameters have a gradient in every stage, nor in every batch.
            self.model = DistributedDataParallel(self.model, find_unused_parameters=True)
        self.batch = 0  # batches done since the start of the run
        self.seconds = 0.0  # that they took
        self._stopping = False
        if begun:
            self._resume(begun)

    def _check_backgrounds(self) -> None:
        """Refuse to learn a part of which no picture says where it is not."""
        if self.settings.heatmaps_of or self.settings.partial_is_background:
            return
        for part in self.network.branches:
            found = [s.parts[part].complete for _, s, _ in self.views.items if part in s.parts]
            if found and not any(found):
                raise ValueError(
                    f"in none of the pictures every {part} is labelled, so nothing would be "
                    f"background, and everything a {part}: add pictures where all are, complete "
                    "the labels (python -m dope_model complete), or --set "
                    "partial_is_background=true"
                )

    def _run_on_samples(self) -> None:
        """Run the backbone on views from all over the data."""
        count, size = len(self.views), self.settings.batch_size
        some = range(0, count, -(-count // _SAMPLES))
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
        pictures = self.folder / f"{PICTURES_FILE}.{rank()}"
        if self.settings.memory_gb:
            room = int(1e9 * self.settings.memory_gb)
            self.views.read = SharedPictures(pictures, self.views.sizes(), room)
        progress = tqdm(
            disable=rank() > 0,
            total=None if self.settings.minutes else total, initial=self.batch, unit="batch",
            smoothing=0.02,
            mininterval=0.5 if sys.stderr.isatty() else 30,  # a log file needs few lines
        )  # fmt: skip
        log = _Log(self.folder) if rank() == 0 else contextlib.nullcontext()
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
                    if rank() == 0:
                        log.write(self.batch, self._rate(), losses)
                    if on_batch is not None:
                        on_batch(self, losses)
                    self._agree()
                    if self._stopping or self.done >= 1:
                        break
                    if time.monotonic() - saved > 60 * self.settings.save_minutes:
                        self.save()
                        saved = time.monotonic()
        finally:
            pictures.unlink(missing_ok=True)
        self.save()

    def _agree(self) -> None:
        """Processes have to end at the same batch: one that is asked to stop stops all, and the
        clock of the first counts."""
        if world_size() > 1:
            said = torch.tensor([float(self._stopping), self.seconds * (rank() == 0)])
            stopping, seconds = world_size() * mean_over_processes(said, self.device)
            self._stopping, self.seconds = stopping.item() > 0, seconds.item()

    def stop(self) -> None:
        """End a `run` after the batch that it is at."""
        self._stopping = True

    def _batches(self, stop: int) -> Iterator[Batch]:
        """The batches of the run from here to `stop`."""
        s = self.settings
        loader = DataLoader(
            PickledOnce(self.views) if s.workers else self.views,
            batch_sampler=Batches(
                len(self.views),
                self.batch_size,
                s.seed,
                self.batch,
                stop,
                slice(rank() * s.batch_size, (rank() + 1) * s.batch_size),
            ),
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
        step = self.batch // self.settings.accumulate
        # Linear scaling (Goyal et al., 2017): a step of N processes sees N times the pictures.
        return world_size() * self.settings.learning_rate_at(step, self.done)

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
            losses = self.model(batch)
            loss = sum(losses.values())
        # At once: each read of a GPU's number waits for all that it has to do before.
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
            nn.utils.clip_grad_norm_(trained, _LARGEST_GRADIENT)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            if self.average is not None:
                self.average.update_parameters(self.network)
        return values

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of a batch's loss, by name."""
        if self.settings.heatmaps_of:
            return heatmap_losses(
                self.network, batch, self.settings.losses, self.settings.heatmaps_of
            )
        return training_losses(
            self.network, batch, self.settings.losses, self.experts, self.generator
        )

    def save(self) -> None:
        """Write weights and state, each whole or not at all."""
        if rank():
            return
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
        now = self.settings.deciding()
        then = with_todays_names(json.loads(state["settings"]))
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


class _Losses(nn.Module):
    """A trainer's losses as a module, as DistributedDataParallel wants them."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self.network = trainer.network
        self._losses = trainer.losses

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self._losses(batch)


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


def _freeze(network: DopeNetwork, stages: int) -> list[nn.Module]:
    """Freeze the first `stages` of the backbone; the others are returned."""
    found = stages_of(network.backbone)
    for module in found[:stages]:
        module.requires_grad_(False)
    return found[stages:]
