"""The names and variants of the graphs of one network."""

from __future__ import annotations

from dataclasses import dataclass

INPUT, OUTPUT = "image", "packed"


@dataclass(frozen=True)
class Variant:
    """A variant of the graph of the same weights for the same canvas.

    Attributes:
        pooling: see `StaticDope`. TensorRT takes no "op".
        half: convolutions and linear layers in FP16; see `for_inference`.
    """

    pooling: str | None = None
    half: bool = False

    @property
    def name(self) -> str:
        """Short, for file names."""
        return f"{self.pooling or 'any'}-{'fp16' if self.half else 'fp32'}"


FOR_CPU = Variant(pooling="op")
"""OpenVINO's and ONNX Runtime's own RoIAlign is faster than both replacements."""
