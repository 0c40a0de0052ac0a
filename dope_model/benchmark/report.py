"""What every benchmark's report is made of: tables, JSON and plots.

A row is a dictionary from column to value; a value that is not known is NaN or left out.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import dope_model
from dope_model.hints import pip_install

_LISTED_PACKAGES = (
    "numpy", "opencv-python-headless", "torch", "torchvision", "openvino", "onnxruntime",
    "ai-edge-litert", "mediapipe",
)  # fmt: skip

Row = Mapping[str, object]


def format_value(column: str, value: object) -> str:
    """A cell of a Markdown table: "" for what is not known (None, NaN), one decimal where the
    column's name ends in mm, px or %, otherwise three; integers and text as they are."""
    if value is None:
        return ""
    if isinstance(value, bool | int | str | np.integer | np.bool_):
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        return ""
    return f"{number:.1f}" if column.endswith((" mm", " px", " %")) else f"{number:.3f}"


def markdown_table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table without a newline at the end; numbers are right-aligned."""
    if not rows:
        return "nothing to show"
    columns = list(dict.fromkeys(column for row in rows for column in row))

    def is_text(column: str) -> bool:
        return any(isinstance(row.get(column), str) for row in rows)

    rule = ["---" if is_text(column) else "---:" for column in columns]
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join(rule) + "|"]
    for row in rows:
        cells = [format_value(column, row.get(column)) for column in columns]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def write_json(path: Path, content: object) -> None:
    """`content` as JSON. Arrays become lists, paths text, and numbers that are not finite null."""
    path.write_text(json.dumps(_plain(content), indent=1) + "\n")


def versions() -> dict[str, str]:
    """Python, this package, the machine, and the packages that models run on, where installed."""
    found = {
        "python": platform.python_version(),
        "dope_model": dope_model.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for package in _LISTED_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def require_plots() -> None:
    """Call this before a long run that ends in plots.

    Raises:
        ImportError: matplotlib is not installed; says what brings it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"plots need matplotlib ({error}): {pip_install('matplotlib')}"
        ) from error


def line_plot(
    path: Path,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
    title: str = "",
) -> None:
    """Write a PNG of one line per entry of `curves`, name to (x values, y values from 0 to 1).

    Raises:
        ImportError: matplotlib is not installed.
    """
    require_plots()
    # No pyplot: it would look for a screen and keep every figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    for name, (x, y) in curves.items():
        axes.plot(x, y, label=name)
    axes.margins(x=0)
    axes.grid(alpha=0.3)
    axes.set_ylim(0, 1)
    if curves:
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def short_names(models: Sequence[str]) -> dict[str, str]:
    """Models by names for tables: a weights file's name without its ending, with its folder where
    that is needed to tell files apart.

    Raises:
        ValueError: a model is named twice.
    """
    if len(set(models)) < len(models):
        raise ValueError(f"a model is named twice: {', '.join(models)}")
    for name in (lambda p: p.stem, lambda p: f"{p.parent.name}/{p.stem}".lstrip("/")):
        short = {name(Path(model)): model for model in models}
        if len(short) == len(models):
            return short
    return {model: model for model in models}


def file_name(text: str) -> str:
    """`text` with all that does not suit a file's name replaced by "-"."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)
