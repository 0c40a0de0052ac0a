"""How fast models run on this machine, engine by engine, as one table:

    python -m dope_model benchmark speed --model dope_lite experts --parts --out report/

A row is a model on an engine, from an RGB image to people. All rows take turns in one process, so
that other work on the machine slows them alike: compare the ratios to the first row. The column
`crowded` is the time with 18 people in the image instead of 2, as a ratio to the row's own.

--parts adds, for every network, a row of one network per part (body, hand, face), one after the
other: the ensemble that one network takes the place of. They are cut from the network, which is
enough to time them; as experts they would have to be trained apart. A model `random:BACKBONE` is
the paper's network on that backbone with random weights, which is fit for timing alone.
"""

from __future__ import annotations

import argparse
import logging
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from dope_model.benchmark import report
from dope_model.benchmark.runner import add_model_argument
from dope_model.detector import WholeBodyDetector, experts_preset
from dope_model.network.config import AUTO, MODE_NAMES, PAPER_NETWORK
from dope_model.poses import PartDetections
from dope_model.postprocess.assembly import assemble
from dope_model.runtime import ENGINES
from dope_model.sample import sample_picture
from dope_model.weights import DEFAULT_MODEL

log = logging.getLogger(__name__)

RANDOM = "random:"
LEAST_ROUNDS = 3
CROWD = 3
"""Copies of the sample picture of two people along each side of the crowded image."""

Run = Callable[[np.ndarray], object]


def in_turn(
    runs: dict[str, Callable[[], object]], seconds: float, least_rounds: int = LEAST_ROUNDS
) -> dict[str, list[float]]:
    """Times of functions, s: one round after the other, in each of which every function runs once.

    The first, untimed round is for what is made at first use.
    """
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < least_rounds or time.perf_counter() < end:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
        rounds += 1
    return times


def random_checkpoint(backbone: str, seed: int = 0):
    """A `Checkpoint` of the paper's network with weights that keep activations of ordinary size."""
    import torch

    from dope_model.checkpoint import Checkpoint
    from dope_model.network.dope import DopeNetwork

    config = replace(PAPER_NETWORK, backbone=backbone)
    torch.manual_seed(seed)
    state = DopeNetwork(config).state_dict()
    generator = torch.Generator().manual_seed(seed)
    for name, value in state.items():
        if name.endswith("anchor_poses"):
            value.uniform_(0, 1, generator=generator)
        elif name.endswith(("cls_score.weight", "cls_logits.weight", "bbox_pred.weight")):
            value.normal_(0, 0.02, generator=generator)
        elif name.endswith(("bn3.weight", "downsample.1.weight")):
            value.fill_(0.5)
    return Checkpoint(config, state, about={"weights": "random"})


def part_checkpoint(checkpoint, part: str):
    """The network of one part, cut from that of several."""
    from dope_model.network.dope import DopeNetwork

    config = checkpoint.config.only(part)
    names = DopeNetwork(config).state_dict()
    return replace(
        checkpoint,
        config=config,
        state={name: checkpoint.state[name] for name in names},
        integration={part: checkpoint.integration[part]},
    )


class _Models:
    """Makes what is timed; weights that are no file yet are written to a folder."""

    def __init__(self, folder: Path, device: str, mode: str) -> None:
        self._folder, self._device, self._mode = folder, device, mode

    def file_of(self, model: str) -> str:
        """A model that `WholeBodyDetector.load` takes."""
        if not model.startswith(RANDOM):
            return model
        return self._saved(model, lambda: random_checkpoint(model.removeprefix(RANDOM)))

    def whole(self, model: str, engine: str) -> tuple[Run, str]:
        """From image to people, and what it runs on."""
        detector = self._load(self.file_of(model), engine)
        return detector, _engine_of(detector)

    def in_parts(self, model: str, engine: str) -> tuple[Run, str]:
        """The same by a network for each part."""
        from dope_model.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(self.file_of(model))
        files = [
            self._saved(f"{model} {part}", lambda p=part: part_checkpoint(checkpoint, p))
            for part in checkpoint.config.parts
        ]
        detectors = [self._load(file, engine) for file in files]

        def run(rgb: np.ndarray) -> list:
            found: dict[str, PartDetections] = {}
            for detector in detectors:
                found |= detector.find_parts(rgb)
            return assemble(found)

        return run, _engine_of(detectors[0])

    def _load(self, model: str, engine: str) -> WholeBodyDetector:
        return WholeBodyDetector.load(model, self._device, self._mode, engine)

    def _saved(self, name: str, make: Callable) -> str:
        from dope_model.checkpoint import save_checkpoint

        path = self._folder / f"{report.file_name(name)}.safetensors"
        if not path.exists():
            save_checkpoint(make(), path)
        return str(path)


def _engine_of(detector: WholeBodyDetector) -> str:
    return detector.engine.description if detector.engine else detector.description


def ready_rows(
    models: Sequence[str],
    engines: Sequence[str],
    parts: bool,
    make: _Models,
    images: Sequence[np.ndarray],
) -> tuple[dict[tuple[str, str], Run], dict[str, str]]:
    """What can run here, by model and engine, each after a first run; and why the others cannot."""
    rows: dict[tuple[str, str], Run] = {}
    missing: dict[str, str] = {}
    for name, model in report.short_names(models).items():
        kinds = [(name, make.whole)]
        experts = experts_preset(model) is not None
        if parts and not experts:
            kinds.append((f"{name}, a network per part", make.in_parts))
        for title, kind in kinds:
            for engine in engines[:1] if experts else engines:
                log.info("%s, %s: getting ready", title, engine)
                try:
                    run, runs_on = kind(model, engine)
                    for image in images:
                        run(image)
                except (ImportError, ValueError, OSError, RuntimeError) as error:
                    missing[f"{title}, {engine}"] = str(error).splitlines()[0]
                    continue
                # PyTorch on a CPU has two names.
                rows.setdefault((title, runs_on), run)
    return rows, missing


def measure(
    rows: dict[tuple[str, str], Run], image: np.ndarray, crowd: np.ndarray, seconds: float
) -> list[dict[str, object]]:
    """The table; times are those of one image with two people."""
    runs = {(key, False): lambda run=run: run(image) for key, run in rows.items()}
    runs |= {(key, True): lambda run=run: run(crowd) for key, run in rows.items()}
    times = in_turn(runs, seconds)
    reference = median(times[next(iter(rows)), False])
    table = []
    for model, engine in rows:
        each, crowded = (times[(model, engine), many] for many in (False, True))
        table.append({
            "model": model, "engine": engine, "median ms": 1e3 * median(each),
            "90th percentile ms": 1e3 * float(np.percentile(each, 90)),
            "ratio": median(each) / reference, "crowded": median(crowded) / median(each),
            "rounds": len(each),
        })  # fmt: skip
    return table


def machine() -> str:
    """Processor and, where PyTorch sees one, GPU."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor() or platform.machine()
    gpu = f"{torch.cuda.get_device_name()}; " if torch.cuda.is_available() else ""
    return f"{gpu}{cpu}, {torch.get_num_threads()} threads"


def add_speed(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "speed", help="every engine on this machine", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_model_argument(parser)
    parser.add_argument(
        "--engine", nargs="+", action="extend", choices=ENGINES[1:], help="all when left out"
    )
    parser.add_argument("--parts", action="store_true", help="also a network per part, in turn")
    parser.add_argument("--mode", default=AUTO, choices=MODE_NAMES)
    parser.add_argument("--size", default="1280x800", help="of the images (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--seconds", type=float, default=60.0, help="of measuring (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    width, _, height = options.size.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ValueError(f"--size is WIDTHxHEIGHT, such as 1280x800, not {options.size!r}")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("dope_model").setLevel(logging.INFO)
    images = [sample_picture(int(height), int(width), tiles) for tiles in (1, CROWD)]
    with tempfile.TemporaryDirectory() as folder:
        make = _Models(Path(folder), options.device, options.mode)
        models, engines = options.model or [DEFAULT_MODEL], options.engine or ENGINES[1:]
        rows, missing = ready_rows(models, engines, options.parts, make, images)
        if not rows:
            raise ValueError("; ".join(f"{name}: {why}" for name, why in missing.items()))
        table = measure(rows, *images, options.seconds)
    text = [f"# Speed\n\n{machine()}. Images {options.size}.\n", report.markdown_table(table), ""]
    text += [f"- not measured: {name}: {why}" for name, why in missing.items()]
    options.out.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "image": options.size, "rows": table, "missing": missing,
               "versions": report.versions()}  # fmt: skip
    report.write_json(options.out / "speed.json", content)
    (options.out / "speed.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))
    print(f"{options.out}/: speed.md, speed.json")
    return 0
