"""The report of `benchmark speed` as a table and as a plot."""

from __future__ import annotations

from pathlib import Path

from dope_model.benchmark.speed import Configuration, Report
from dope_model.detector import experts_preset


def text(report: Report) -> str:
    """Everything in Markdown."""
    height, width = report.image
    peaks = ", ".join(f"{name} {peak:.0f} GFLOP/s" for name, peak in report.peaks.items())
    parts = [
        "# Speed",
        f"{report.machine}. Large matrix products: {peaks}. Images {width} x {height}.\n\n"
        f"Weights: {report.weights}.",
        *(_configuration(each) for each in report.configurations),
    ]
    if report.proposals:
        parts += [
            "## Cost against proposals",
            _table(
                ["proposals", "static graph ms"],
                [[str(n), _ms(t)] for n, t in report.proposals.items()],
            ),
        ]
    if report.people:
        counts = list(next(iter(report.people.values())))
        parts += [
            "## Cost against people in the picture, ms",
            _table(
                ["model", *map(str, counts), "largest / smallest"],
                [
                    [name, *(_ms(row[n]) for n in counts), f"{_spread(row):.2f}"]
                    for name, row in report.people.items()
                ],
            ),
        ]
    if report.postprocessing:
        # The experts have another post-processing.
        rows = [row for row in report.configurations[0].rows if experts_preset(row.name) is None]
        fastest = min(rows, key=lambda row: row.median)
        parts += [
            "## Post-processing against people",
            _table(
                ["joints", "people", "ms", f"share of a frame ({fastest.name})"],
                [
                    [merged, str(n), _ms(t), f"{100 * t / (t + fastest.median):.2f} %"]
                    for merged, times in report.postprocessing.items()
                    for n, t in times.items()
                ],
            ),
        ]
    return "\n\n".join(parts)


def _configuration(measured: Configuration) -> str:
    gflop = sum(measured.gflop.values())
    rows = [
        [
            row.name, row.runs_on, _ms(row.median), f"{row.ratio:.3f}",
            "" if row.floor_share is None else f"{100 * row.floor_share:.0f} %",
            str(len(row.times)),
        ]
        for row in measured.rows
    ]  # fmt: skip
    whole = sum(measured.stages.values())
    stages = [
        [name, f"{measured.gflop[name]:.1f}", _ms(spent), f"{100 * spent / whole:.1f} %"]
        for name, spent in measured.stages.items()
    ]
    parts = [
        f"## {measured.name}: {gflop:.1f} GFLOP",
        _table(["engine", "runs on", "median ms", "ratio", "of the peak", "rounds"], rows),
        "\n".join(f"- not measured: {name}: {why}" for name, why in measured.missing.items()),
        _table(["stage (static graph on PyTorch)", "GFLOP", "ms", "share"], stages),
    ]
    return "\n\n".join(part for part in parts if part)


def _spread(times: dict[int, float]) -> float:
    """Largest over smallest, of the pictures with people."""
    with_people = [spent for people, spent in times.items() if people]
    return max(with_people) / min(with_people)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def plot(report: Report, path: Path) -> bool:
    """Draw it; False where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    count = len(report.configurations)
    figure, axes = pyplot.subplots(2, max(count, 3), figsize=(5.5 * max(count, 3), 9))
    for axis in axes.flat:
        axis.set_visible(False)
    for axis, measured in zip(axes[0], report.configurations, strict=False):
        axis.set_visible(True)
        names = [row.name for row in measured.rows]
        axis.barh(names, [row.ratio for row in measured.rows])
        axis.invert_yaxis()
        axis.axvline(1, color="grey", linewidth=0.8)
        axis.set_title(measured.name)
        axis.set_xlabel("time / that of the reference")
    stages = axes[0][count] if count < axes.shape[1] else None
    if stages is not None:
        stages.set_visible(True)
        for place, measured in enumerate(report.configurations):
            start, whole = 0.0, sum(measured.stages.values())
            for colour, (name, spent) in enumerate(measured.stages.items()):
                label = name if place == 0 else None
                share = spent / whole
                stages.bar(place, share, bottom=start, color=f"C{colour}", label=label)
                start += share
        stages.set_xticks(range(count), [c.name for c in report.configurations])
        stages.set_title("stages, static graph on PyTorch")
        stages.legend(fontsize="small")
    for axis, title, label, curves in (
        (axes[1][0], "network", "proposals", {"static graph": report.proposals}),
        (axes[1][1], "people in the picture", "people", report.people),
        (axes[1][2], "post-processing", "people", report.postprocessing),
    ):
        axis.set_visible(True)
        for name, curve in curves.items():
            axis.plot(list(curve), [1e3 * t for t in curve.values()], marker="o", label=name)
        axis.set_title(title)
        axis.set_xlabel(label)
        axis.set_ylabel("ms")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize="small")
    figure.suptitle(f"{report.machine}\n{report.weights}", fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
    return True
