"""Human3.6M: four cameras' videos of one person each, 32 joints in 2D and 3D.

As distributed, per subject (S1, S5, ...): `MyPoseFeatures/D2_Positions/*.cdf`,
`MyPoseFeatures/D3_Positions_mono/*.cdf` (mm in the camera's frame) and `Videos/*.mp4` with the same
names. Reading CDF needs `pip install cdflib`.

Ionescu et al., "Human3.6M: large scale datasets and predictive methods for 3D human sensing in
natural environments" (PAMI 2013).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dope_model.datasets.conversions import HUMAN36M, HUMAN36M_JOINTS
from dope_model.datasets.files import require_files
from dope_model.datasets.labels import Sample
from dope_model.datasets.sources import Labelled, fitted_intrinsics, part_labels
from dope_model.datasets.videos import video_size
from dope_model.hints import pip_install

TRAINING_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
WHERE = (
    "Human3.6M is, per subject, MyPoseFeatures/D2_Positions, MyPoseFeatures/D3_Positions_mono and "
    "Videos (Poses_D2_Positions_S1.tgz and so on, unpacked)"
)


def read_human36m(
    folder: Path, subjects: tuple[str, ...] = TRAINING_SUBJECTS, every: int = 25
) -> Iterator[Labelled]:
    """Every `every`-th frame of the subjects' videos; two per second if None.

    Raises:
        FileNotFoundError: poses or videos are missing.
        ImportError: cdflib is missing.
        ValueError: a file has another form.
    """
    folder = Path(folder)
    kinds = ("MyPoseFeatures/D2_Positions", "MyPoseFeatures/D3_Positions_mono", "Videos")
    require_files(folder, [f"{s}/{kind}" for s in subjects for kind in kinds], WHERE)
    for subject in subjects:
        names = sorted(p.stem for p in (folder / subject / kinds[0]).glob("*.cdf"))
        needed = [f"{kinds[1]}/{name}.cdf" for name in names]
        require_files(folder / subject, [*needed, *(f"Videos/{n}.mp4" for n in names)], WHERE)
        for name in names:
            flat = _poses(folder / subject / kinds[0] / f"{name}.cdf", 2)
            deep = _poses(folder / subject / kinds[1] / f"{name}.cdf", 3) / 1000
            video = folder / subject / "Videos" / f"{name}.mp4"
            yield from _frames(subject, name, video, flat, deep, every)


def _frames(subject, name, video, flat, deep, every) -> Iterator[Labelled]:
    width, height = video_size(video)
    intrinsics = fitted_intrinsics(flat, deep)
    flat, deep = HUMAN36M(flat), HUMAN36M(deep)
    everything = np.ones((1, flat.shape[1]), bool)
    for frame in range(0, min(len(flat), len(deep)), every):
        labels = part_labels(
            "body", (width, height), flat[frame, None], everything, deep[frame, None], everything
        )
        file = f"{subject}_{name.replace(' ', '_')}_{frame:06d}.jpg"
        yield Labelled(Sample(file, width, height, {"body": labels}, intrinsics), video, frame)


def _poses(path: Path, dimensions: int) -> np.ndarray:
    """Poses (T, 32, D) of a CDF file."""
    try:
        import cdflib
    except ImportError as error:
        raise ImportError(
            f"Human3.6M's CDF files need cdflib ({error}): {pip_install('cdflib')}"
        ) from error
    try:
        pose = np.asarray(cdflib.CDF(str(path)).varget("Pose"), float)
        return pose.reshape(-1, len(HUMAN36M_JOINTS), dimensions)
    except Exception as error:  # cdflib raises many types on damaged files
        raise ValueError(f"{path} is not a CDF file of poses, or is damaged ({error})") from error
