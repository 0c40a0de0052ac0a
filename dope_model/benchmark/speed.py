"""How fast the network runs on this machine, and where the time goes:

    python -m dope_model benchmark speed --model net.safetensors --model experts --out report/

In one process and in turn, so that all suffer alike from what else the machine does: the plain
eager network as the reference (batch norms unfolded, float32, NCHW), and every engine there is. Of
each the median, its ratio to the reference, and the share of the machine's floor, which is the
counted work divided by the speed of a large matrix product. Then the stages, and the cost against
the number of proposals and of people.

Without a weights file the network has random weights: its times hold, its poses mean nothing. The
time of an engine goes from an RGB image to pose candidates; that of the part experts to detections.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from dope_model.benchmark.report import short_names
from dope_model.network.config import MODE_NAMES, MODES, PAPER_NETWORK, Mode, mode_named
from dope_model.postprocess.assembly import assemble
from dope_model.postprocess.candidates import Candidates
from dope_model.postprocess.fusion import detect_parts
from dope_model.postprocess.settings import IntegrationSettings
from dope_model.sample import CLIP

log = logging.getLogger(__name__)

REFERENCE = "reference: plain PyTorch"
LEAST_ROUNDS = 3
PROPOSALS = (10, 25, 50, 100, 200)
PEOPLE = (0, 1, 2, 5, 10, 20, 50)
JOINTS_MERGED = {"mean": {}, "agreed on": {"th_joint": 0.1, "sure_power": 2.0}}
"""Settings of the integration: LCR-Net++'s, and those of dope_lite."""
CROWD_SHAPE = 800, 1280
"""Height and width of the image that `crowd_candidates` lie in, px."""
TILES = (1, 2, 3)
"""Pictures of 2, 8 and 18 people: so many copies of the sample picture along each side."""
PEOPLE_PER_TILE = 2
TWO_LOOKS = "both-looks"
"""The fastest engine with the second look that a checkpoint asks for; the others look once."""
ENGINES = ("eager", "static", "compiled", "openvino", "int8", "tensorrt", TWO_LOOKS)

Run = Callable[[np.ndarray], object]


@dataclass
class Row:
    """One engine in one configuration; s, and shares of 1."""

    name: str
    runs_on: str
    times: list[float]
    ratio: float
    floor_share: float | None = None

    @property
    def median(self) -> float:
        return median(self.times)


@dataclass
class Configuration:
    """All engines in one mode.

    Attributes:
        gflop: by stage of the network.
        stages: s, by stage of the static graph on PyTorch.
        missing: why an engine is not in the table, by its name.
    """

    name: str
    rows: list[Row]
    gflop: dict[str, float]
    stages: dict[str, float]
    missing: dict[str, str]


@dataclass
class Report:
    """All that was measured.

    Attributes:
        peaks: GFLOP/s of a large matrix product, by precision.
        proposals: s, of the network by number of proposals.
        people: s, by model and number of people in the picture.
        postprocessing: s, by how joints are merged (see `JOINTS_MERGED`) and number of people.
    """

    weights: str
    machine: str
    image: tuple[int, int]
    peaks: dict[str, float] = field(default_factory=dict)
    configurations: list[Configuration] = field(default_factory=list)
    proposals: dict[int, float] = field(default_factory=dict)
    people: dict[str, dict[int, float]] = field(default_factory=dict)
    postprocessing: dict[str, dict[int, float]] = field(default_factory=dict)


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


# --- what is run ---------------------------------------------------------------------------------


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


def sample_picture(height: int, width: int, tiles: int = 1) -> np.ndarray:
    """Two rendered people as (height, width, 3) uint8 RGB, `tiles` times in each direction."""
    film = cv2.VideoCapture(str(CLIP))
    read, bgr = film.read()
    film.release()
    if not read:
        raise ValueError(f"{CLIP} cannot be read by this OpenCV")
    picture = np.tile(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), (tiles, tiles, 1))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def make_engine(name: str, checkpoint, mode: Mode, device: str):
    """An engine by its name in ENGINES, or the reference."""
    from dope_model.runtime.torch_engine import EagerEngine, StaticEngine

    if name == REFERENCE:
        return EagerEngine(checkpoint, mode, device, plain=True)
    if name == "eager":
        return EagerEngine(checkpoint, mode, device)
    if name in ("static", "compiled"):
        return StaticEngine(checkpoint, mode, device, compiled=name == "compiled")
    from dope_model.runtime import load_engine, load_looks

    if name == TWO_LOOKS:
        if checkpoint.second_look is None:
            raise ValueError("these weights do not ask for a second look")
        return load_looks("auto", checkpoint, mode, device)
    if name == "int8" and not checkpoint.input_ranges:  # any serve to measure a time
        from dope_model.runtime.int8 import measure_ranges

        ranges = measure_ranges(checkpoint, mode, [sample_picture(480, 640)])
        checkpoint = replace(checkpoint, input_ranges=ranges)
    return load_engine(name, checkpoint, mode, device)


def ready_engines(
    names: Sequence[str], checkpoint, mode: Mode, device: str, image: np.ndarray
) -> tuple[dict[str, Run], dict[str, str]]:
    """Engines that have run once, by name; and why the others could not."""
    engines, missing = {}, {}
    for name in names:
        log.info("%s: getting ready", name)
        try:
            engine = make_engine(name, checkpoint, mode, device)
            engine(image)
        except (ImportError, ValueError, OSError, RuntimeError) as error:
            missing[name] = str(error).splitlines()[0]
            continue
        engines[name] = engine
    return engines, missing


def default_engines(device: str) -> list[str]:
    """Those worth a row on that device: "cpu" or "cuda...\""""
    if device == "cpu":
        return ["eager", "static", "openvino", "int8"]
    return ["eager", "static", "compiled", "tensorrt"]


# --- the machine's floor ------------------------------------------------------------------------


def matrix_product_peak(device: str, half: bool) -> float:
    """The best GFLOP/s of a large matrix product on PyTorch."""
    import torch

    on_gpu = device != "cpu"
    side = 8192 if on_gpu else 2048
    kind = torch.float16 if half else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    best = float("inf")
    # As the convolutions, which PyTorch lets take TF32 on a GPU, and products not.
    products = torch.backends.cuda.matmul
    allowed, products.allow_tf32 = products.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        for _ in range(8):
            if on_gpu:
                torch.cuda.synchronize()
            start = time.perf_counter()
            torch.mm(a, b)
            if on_gpu:
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
    finally:
        products.allow_tf32 = allowed
    return 2 * side**3 / best / 1e9


# --- stages -------------------------------------------------------------------------------------


def measure_stages(graph, image: np.ndarray, seconds: float) -> tuple[dict, dict]:
    """GFLOP and s of each stage of a `StaticDope` on its device; on a GPU each a CUDA graph.

    The work of RoIAlign, of element-wise operations and of selections is not counted.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    device = graph.anchors.device
    values: tuple = (torch.from_numpy(image).to(device),)
    gflop: dict[str, float] = {}
    steps: list[tuple[str, Callable[[], float]]] = []
    with torch.inference_mode():
        for name, stage in graph.stages():
            with FlopCounterMode(display=False) as counter:
                given = stage(*values)
            gflop[name] = counter.get_total_flops() / 1e9
            if device.type == "cuda":
                timer, given = _captured_stage(stage, values)
            else:
                timer = _timed_stage(stage, values)
            steps.append((name, timer))
            values = given
        times: dict[str, list[float]] = {name: [] for name, _ in steps}
        end = time.perf_counter() + seconds
        while len(times["prepare"]) < LEAST_ROUNDS or time.perf_counter() < end:
            for name, timer in steps:
                times[name].append(timer())
    return gflop, {name: median(each) for name, each in times.items()}


def _timed_stage(stage, values: tuple) -> Callable[[], float]:
    def timer() -> float:
        start = time.perf_counter()
        stage(*values)
        return time.perf_counter() - start

    return timer


def _captured_stage(stage, values: tuple) -> tuple[Callable[[], float], tuple]:
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            stage(*values)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        given = stage(*values)
    graph.replay()
    torch.cuda.synchronize()
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def timer() -> float:
        before.record()
        graph.replay()
        after.record()
        after.synchronize()
        return before.elapsed_time(after) / 1e3

    return timer, given


# --- people -------------------------------------------------------------------------------------


def crowd_candidates(people: int, per_person: int = 12, seed: int = 0) -> dict[str, Candidates]:
    """Candidates as a trained network gives them for a crowd: several of each part of everyone,
    and no more of a part than an engine hands over.

    Args:
        per_person: candidates of each part.
    """
    from dope_model.runtime.graph_engine import CANDIDATES

    random = np.random.default_rng(seed)
    found = {}
    for part, config in PAPER_NETWORK.parts.items():
        each = 2 if part == "hand" else 1
        owners = people * each
        corner = random.uniform(0, 0.8, (owners, 2)) * CROWD_SHAPE[::-1]
        side = random.uniform(40, 160, (owners, 1)) * (1, 1.5)
        shape = (config.joints, 5)
        pose = random.uniform(0, 1, (owners, *shape))
        owner = np.repeat(np.arange(owners), per_person)
        count = len(owner)
        low = corner[owner] + random.normal(0, 4, (count, 2))
        span = side[owner] * random.uniform(0.9, 1.1, (count, 1))
        poses = pose[owner] + random.normal(0, 0.03, (count, *shape))
        found[part] = Candidates(
            part,
            random.integers(0, config.anchor_poses, count),
            random.uniform(0.01, 0.9, count).astype(np.float32),
            np.concatenate([low, low + span], axis=1).astype(np.float32),
            (low[:, None] + poses[..., :2] * span[:, None]).astype(np.float32),
            poses[..., 2:].astype(np.float32),
        )
        found[part] = found[part].best_first().select(np.s_[:CANDIDATES])
    return found


def postprocess(candidates: dict[str, Candidates], **merging: float) -> list:
    """From candidates to people, as `WholeBodyDetector` does."""
    settings = {}
    for part in candidates:
        classes = PAPER_NETWORK.parts[part].anchor_poses
        classes = classes // 2 if part == "hand" else classes
        settings[part] = IntegrationSettings(K=classes, **merging)
    return assemble(detect_parts(candidates, settings, CROWD_SHAPE))


def measure_postprocessing(seconds: float) -> dict[str, dict[int, float]]:
    """s, by how joints are merged and by number of people in the image."""
    crowds = {people: crowd_candidates(people) for people in PEOPLE}
    ways = {
        name: lambda crowd, merging=merging: postprocess(crowd, **merging)
        for name, merging in JOINTS_MERGED.items()
    }
    return _medians(ways, crowds, seconds)


def measure_people(
    models: dict[str, Run], height: int, width: int, seconds: float
) -> dict[str, dict[int, float]]:
    """s, by model and by number of people in the picture."""
    pictures = {0: np.full((height, width, 3), 128, np.uint8)}
    for tiles in TILES:
        pictures[tiles**2 * PEOPLE_PER_TILE] = sample_picture(height, width, tiles)
    return _medians(models, pictures, seconds)


def _medians(
    runs: dict[str, Callable], inputs: dict[int, object], seconds: float
) -> dict[str, dict[int, float]]:
    """s, by what runs and by number of people in its input; they all take turns."""
    calls = {
        f"{people} {name}": lambda run=run, one=one: run(one)
        for name, run in runs.items()
        for people, one in inputs.items()
    }
    times = in_turn(calls, seconds)
    return {name: {people: median(times[f"{people} {name}"]) for people in inputs} for name in runs}


def measure_proposals(
    checkpoint, mode: Mode, device: str, image: np.ndarray, seconds: float
) -> dict[int, float]:
    """s, of the static graph on PyTorch by number of proposals."""
    engines = {
        str(count): make_engine("static", checkpoint, replace(mode, proposals=count), device)
        for count in PROPOSALS
    }
    times = in_turn({n: lambda e=e: e(image) for n, e in engines.items()}, seconds)
    return {int(name): median(each) for name, each in times.items()}


# --- all of it ----------------------------------------------------------------------------------


def measure(
    models: Sequence[str],
    backbone: str,
    modes: Sequence[str],
    size: tuple[int, int],
    device: str,
    engines: Sequence[str] | None,
    seconds: float,
) -> Report:
    """Measure everything on this machine.

    Args:
        models: weights files, the first of which is the reference's, and "experts"; without a
            weights file random weights on `backbone` are the reference's.
        size: height and width of the images, px.
        engines: names in ENGINES; None: all that suit the device.
        seconds: for each table and each curve, at least; LEAST_ROUNDS rounds may take longer.
    """
    from dope_model.checkpoint import load_checkpoint
    from dope_model.detector import WholeBodyDetector, experts_preset
    from dope_model.runtime.torch_engine import pick_device

    device = str(pick_device(device))
    experts = {
        name: WholeBodyDetector.load(name).find_parts
        for name in models
        if experts_preset(name) is not None
    }
    files = [name for name in models if name not in experts]
    checkpoints = {name: load_checkpoint(file) for name, file in short_names(files, "stem").items()}
    if not checkpoints:
        checkpoints = {f"random {backbone}": random_checkpoint(backbone)}
        weights = f"random weights of {backbone}: the times hold, the poses mean nothing"
    else:
        weights = files[0]
    first = next(iter(checkpoints))
    if engines is None:
        looks = [TWO_LOOKS] * any(c.second_look is not None for c in checkpoints.values())
        names = default_engines(device) + looks
    else:
        names = list(engines)
    image = sample_picture(*size)
    report = Report(weights, _machine(device), size)
    precisions = {"float32": False} if device == "cpu" else {"float32": False, "FP16": True}

    for mode_name in modes:
        mode = mode_named(mode_name, checkpoints[first].mode)
        title = f"{mode.min_size} px, {mode.proposals} proposals"
        log.info("%s", title)
        ready, missing = ready_engines(
            [REFERENCE, *names], checkpoints[first], mode, device, image
        )  # fmt: skip
        for other, checkpoint in list(checkpoints.items())[1:]:
            more, without = ready_engines(names, checkpoint, mode, device, image)
            ready |= {f"{other}: {name}": engine for name, engine in more.items()}
            missing |= {f"{other}: {name}": reason for name, reason in without.items()}
        if mode_name == modes[0]:
            quick = {name: run for name, run in ready.items() if name != REFERENCE}
        graph = make_engine("static", checkpoints[first], mode, device).static_graph(*size)
        gflop, stages = measure_stages(graph, image, seconds / 4)
        runs = {**ready, **experts}
        _raise_peaks(report.peaks, device, precisions)
        times = in_turn({n: lambda r=r: r(image) for n, r in runs.items()}, seconds)
        _raise_peaks(report.peaks, device, precisions)
        rows = _rows(times, runs)
        report.configurations.append(Configuration(title, rows, gflop, stages, missing))
    for configuration in report.configurations:
        _set_floor_shares(configuration, report.peaks, {REFERENCE, *names} - {TWO_LOOKS})
    mode = mode_named(modes[0], checkpoints[first].mode)
    log.info("cost against proposals, people and candidates")
    report.proposals = measure_proposals(checkpoints[first], mode, device, image, seconds / 2)
    report.people = measure_people({**quick, **experts}, *size, seconds / 2)
    report.postprocessing = measure_postprocessing(min(seconds, 10.0))
    return report


def _raise_peaks(peaks: dict[str, float], device: str, precisions: dict[str, bool]) -> None:
    """The best so far: other work on the machine can only lower what is measured."""
    for name, half in precisions.items():
        peaks[name] = max(peaks.get(name, 0.0), matrix_product_peak(device, half))


def _rows(times: dict[str, list[float]], runs: dict[str, Run]) -> list[Row]:
    reference = median(times[REFERENCE])
    return [
        Row(
            name,
            getattr(runs[name], "description", "MediaPipe's models on cpu"),
            each,
            median(each) / reference,
        )
        for name, each in times.items()
    ]


def _set_floor_shares(
    configuration: Configuration, peaks: dict[str, float], names: Collection[str]
) -> None:
    """Of the engines `names`, whose work was counted; INT8 has another peak, which is not known."""
    work = sum(configuration.gflop.values())
    for row in configuration.rows:
        if row.name in names and "INT8" not in row.runs_on:
            peak = peaks["FP16" if "FP16" in row.runs_on else "float32"]
            row.floor_share = work / peak / row.median


def _machine(device: str) -> str:
    import torch

    threads = f"{torch.get_num_threads()} threads"
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    cpu = f"{processor}, {threads}, {torch.backends.cpu.get_cpu_capability()}"
    versions = f"PyTorch {torch.__version__}"
    if device == "cpu":
        return f"{cpu}; {versions}; no GPU in use"
    return f"{torch.cuda.get_device_name(device)}; {cpu}; {versions}"


def add_speed(subparsers: argparse._SubParsersAction) -> None:
    """Add the protocol to a parser."""
    parser = subparsers.add_parser(
        "speed", help="every engine on this machine", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--model", action="append", default=[], metavar="MODEL",
        help="a weights file or experts; may be given several times (default: random weights)",
    )  # fmt: skip
    parser.add_argument("--backbone", default="resnet50", help="of random weights (%(default)s)")
    parser.add_argument("--mode", nargs="+", default=list(MODES), choices=MODE_NAMES)
    parser.add_argument("--size", default="1280x800", help="of the images (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, help="those that suit the device")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each table (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from dope_model.benchmark.speed_report import plot, text

    width, _, height = options.size.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ValueError(f"--size is WIDTHxHEIGHT, such as 1280x800, not {options.size!r}")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("dope_model").setLevel(logging.INFO)
    report = measure(
        options.model, options.backbone, options.mode, (int(height), int(width)), options.device,
        options.engines, options.seconds,
    )  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "speed.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    (options.out / "speed.md").write_text(text(report) + "\n")
    print(text(report))
    if not plot(report, options.out / "speed.png"):
        print("no plot: pip install matplotlib")
    print(f"\n{options.out}/: speed.md, speed.json, speed.png")
    return 0
