"""The mean of trained weights, which is often better than each of them.

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy
without increasing inference time" (ICML 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dope_model.checkpoint import Checkpoint
from dope_model.training.folding import scale_and_shift


def mean_of(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """A checkpoint with the mean of all weights, and all else of the first one.

    They must come from the same initial weights; means of unrelated weights are useless.

    Raises:
        ValueError: they are not of one network, or have other anchor poses.
    """
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if other.config != first.config:
            raise ValueError("weights of different networks have no mean")
        for name in (n for n in first.state if n.endswith("anchor_poses")):
            ours, theirs = first.state[name].float(), other.state[name].float()
            if not torch.allclose(ours, theirs, atol=1e-3):
                raise ValueError("weights with different anchor poses have no mean: see --start")
    states = [_without_statistics(c.state, c.config.batch_norm_eps) for c in checkpoints]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(dim=0)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }
    return replace(first, state=mean, input_ranges={})


def _without_statistics(state: Mapping[str, Tensor], eps: float) -> dict[str, Tensor]:
    """The same weights in float32, frozen batch norms without mean and of variance one: what such a
    norm does is in two tensors then, of which means make sense."""
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    for name in list(state):
        norm, _, tensor = name.rpartition(".")
        # Trainable norms count their batches, frozen ones do not.
        if tensor != "running_var" or f"{norm}.num_batches_tracked" in state:
            continue
        weight, bias, mean = (state[f"{norm}.{n}"] for n in ("weight", "bias", "running_mean"))
        scale, shift = scale_and_shift(weight, bias, mean, state[name], eps)
        state[f"{norm}.weight"], state[f"{norm}.bias"] = scale, shift
        state[f"{norm}.running_mean"] = torch.zeros_like(scale)
        state[name] = torch.ones_like(scale) - eps
    return state
