"""Unfreezing batch norms: they normalise by each batch's statistics again."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torchvision.ops.misc import FrozenBatchNorm2d

from dope_model.training.folding import scale_and_shift


def unfreeze_batch_norms(
    network: nn.Module, modules: Iterable[nn.Module], run: Callable[[], object] | None
) -> int:
    """Replace the frozen batch norms in some `modules` of a network by ones that learn, which
    compute the same.

    With norms frozen, a step that moves one layer moves what every later one gets, so that only
    small steps are safe. The names of the tensors stay: a frozen network loads what was learned.

    Args:
        run: calls the network on pictures of the training, once or more, whose statistics the norms
            take; None: they keep those that they have.

    Returns:
        The number of norms that learn now.
    """
    chosen = {m for module in modules for m in module.modules() if isinstance(m, FrozenBatchNorm2d)}
    seen: dict[nn.Module, list[tuple[int, Tensor, Tensor]]] = {norm: [] for norm in chosen}

    def note(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        seen[norm].append((len(inputs[0]), mean, var))

    hooks = [norm.register_forward_pre_hook(note) for norm in chosen]
    if run is not None:
        with torch.no_grad():
            run()
    for hook in hooks:
        hook.remove()
    for owner in list(network.modules()):
        for name, norm in list(owner.named_children()):
            if norm in chosen:
                setattr(owner, name, _learning(norm, *_together(norm, seen[norm])))
    return len(chosen)


def _together(
    norm: FrozenBatchNorm2d, seen: list[tuple[int, Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) over batches of which number, mean and variance are known."""
    if not seen:
        return norm.running_mean, norm.running_var
    numbers, means, variances = zip(*seen, strict=True)
    shares = torch.tensor(numbers).to(means[0])[:, None] / sum(numbers)
    means, variances = torch.stack(means), torch.stack(variances)
    mean = (shares * means).sum(dim=0)
    return mean, (shares * (variances + (means - mean).square())).sum(dim=0)


@torch.no_grad()
def _learning(frozen: FrozenBatchNorm2d, mean: Tensor, var: Tensor) -> nn.BatchNorm2d:
    """A batch norm that gives what `frozen` does while its inputs have these statistics."""
    norm = nn.BatchNorm2d(len(mean), eps=frozen.eps).to(mean).train(frozen.training)
    scale, shift = scale_and_shift(
        frozen.weight, frozen.bias, frozen.running_mean, frozen.running_var, frozen.eps
    )
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    norm.weight.copy_(scale * (var + norm.eps).sqrt())
    norm.bias.copy_(shift + mean * scale)
    return norm
