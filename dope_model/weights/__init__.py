"""The weights that come with the package; README.md beside them says what they are."""

from __future__ import annotations

from pathlib import Path

DEFAULT_MODEL = "dope_lite"
"""The network whose weights come with the package."""
SHIPPED = {DEFAULT_MODEL: Path(__file__).with_name("dope_lite.safetensors")}
"""Files by the name that stands for them wherever a model is asked for."""


def weights_file(model: str | Path) -> Path:
    """The file of a model: that of a shipped one by its name, else the path itself.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = SHIPPED.get(str(model), Path(model))
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights file at {path}; models that need none: {', '.join(SHIPPED)}, "
            "experts:fast, experts:guided, experts:thorough"
        )
    return path
