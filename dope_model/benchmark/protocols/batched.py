"""The network on several pictures at once, for judging many of them on a GPU.

Pictures of one size share the backbone and the branches; the rest is picture by picture, as in
`DopeNetwork.forward`, with the same results.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dope_model.benchmark.protocols.protocol import Found
from dope_model.checkpoint import Checkpoint, load_checkpoint
from dope_model.network.config import Mode, mode_named
from dope_model.network.heads import PartOutput
from dope_model.postprocess.candidates import Candidates
from dope_model.postprocess.fusion import detect_parts
from dope_model.runtime.static_graph import for_inference
from dope_model.runtime.torch_engine import pick_device, to_arrays


class BatchedFinder:
    """Finds parts in lists of pictures: `finder([rgb, ...])` gives a list of parts by name."""

    def __init__(self, checkpoint: Checkpoint, mode: Mode, device: str = "auto") -> None:
        self.checkpoint = checkpoint
        self.device = pick_device(device)
        half = mode.half and self.device.type == "cuda"
        network = for_inference(checkpoint.build(mode), half)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.min_scores = checkpoint.min_candidate_scores()

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[np.ndarray]) -> list[Found]:
        """Parts found in pictures (H, W, 3) uint8, in their order."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for i, rgb in enumerate(pictures):
            by_size.setdefault(rgb.shape, []).append(i)
        found: list[Found] = [{}] * len(pictures)
        for members in by_size.values():
            some = self._of_one_size([pictures[i] for i in members])
            for i, parts in zip(members, some, strict=True):
                found[i] = parts
        return found

    def _of_one_size(self, pictures: list[np.ndarray]) -> list[Found]:
        network = self.network
        height, width = pictures[0].shape[:2]
        prepared = [
            network.prepare(
                torch.from_numpy(np.ascontiguousarray(rgb)).to(self.device).permute(2, 0, 1)
            )
            for rgb in pictures
        ]
        images = torch.cat([image for image, _ in prepared])
        shape = prepared[0][1]
        features = network.features(images.contiguous(memory_format=torch.channels_last))
        boxes = network.propose(images, [shape] * len(pictures), features)
        outputs = network.classify(features, boxes)
        scale = boxes[0].new_tensor([width / shape[1], height / shape[0]]).repeat(2)
        counts = [len(b) for b in boxes]
        candidates: list[dict[str, Candidates]] = [{} for _ in pictures]
        for part, output in outputs.items():
            values = (output.logits, output.deltas, output.sureness)
            rows = zip(*(v.split(counts) for v in values), strict=True)
            for i, row in enumerate(rows):
                own = PartOutput(*row)
                found = network.candidates(part, own, boxes[i] * scale, self.min_scores[part])
                candidates[i][part] = to_arrays(part, found)
        settings, image_shape = self.checkpoint.integration, pictures[0].shape
        return [detect_parts(own, settings, image_shape) for own in candidates]


def batched_finder(model: str, mode: str, engine: str, device: str) -> BatchedFinder | None:
    """A finder of several pictures at once, where that is faster: a network on a GPU."""
    if engine not in ("auto", "torch", "eager"):
        return None
    if pick_device(device).type != "cuda":
        return None
    checkpoint = load_checkpoint(model)
    if checkpoint.second_look is not None:  # that is two sizes of every picture
        return None
    return BatchedFinder(checkpoint, mode_named(mode, checkpoint.mode), device)
