"""Runs one TensorFlow Lite model with ai-edge-litert."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dope_model.experts.models import RUNTIME_COMMAND, MissingModelError


class TfliteModel:
    """A model with one square image input; not to be called from two threads at once.

    Attributes:
        resolution: side of the input, px.
    """

    def __init__(self, path: Path, threads: int = 2) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingModelError(
                f"the part experts need the ai-edge-litert package: {RUNTIME_COMMAND}"
            ) from error
        self._interpreter = Interpreter(str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {
            output["name"]: output["index"] for output in self._interpreter.get_output_details()
        }
        self.resolution = int(self._interpreter.get_input_details()[0]["shape"][1])

    def __call__(self, image: np.ndarray, low: float = 0.0) -> dict[str, np.ndarray]:
        """Outputs by name, without the batch axis.

        Args:
            image: (resolution, resolution, 3) uint8 RGB.
            low: what the model expects for black; it expects 1 for white.
        """
        values = image.astype(np.float32)
        values *= (1.0 - low) / 255
        values += low
        self._interpreter.set_tensor(self._input, values[None])
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(i)[0] for name, i in self._outputs.items()}


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logistic function, safe for large values."""
    return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
