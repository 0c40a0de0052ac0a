"""MuPoTS-3D: 20 sequences of up to three people with 17 joints in 2D and 3D; for evaluation only.

As distributed (MultiPersonTestSet.zip): folders `TS1` to `TS20`, each with `annot.mat` and the
frames `img_000000.jpg` and so on.

Mehta et al., "Single-shot multi-person 3D pose estimation from monocular RGB" (3DV 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dope_model.datasets.files import read_mat, require_files

SEQUENCES = tuple(f"TS{k}" for k in range(1, 21))
WHERE = "MuPoTS-3D is TS1 to TS20 of MultiPersonTestSet.zip"


@dataclass(frozen=True)
class MupotsPerson:
    """One person in a frame: `joints_2d` (17, 2) px, and `universal_3d` (17, 3) mm in the camera's
    optical frame, scaled to a universal height."""

    joints_2d: np.ndarray
    universal_3d: np.ndarray


@dataclass(frozen=True)
class MupotsFrame:
    """One frame of a sequence with the people whose annotation is valid."""

    sequence: str
    path: Path
    people: list[MupotsPerson]


def read_mupots(folder: Path) -> list[MupotsFrame]:
    """All frames with a valid person, sequence by sequence.

    Raises:
        FileNotFoundError: sequences, annotations or frames are missing.
        ValueError: an annotation is not of the distributed form.
    """
    folder = Path(folder)
    if (folder / "MultiPersonTestSet").is_dir():
        folder = folder / "MultiPersonTestSet"
    require_files(folder, [f"{sequence}/annot.mat" for sequence in SEQUENCES], WHERE)
    frames = []
    for sequence in SEQUENCES:
        frames += _read_sequence(folder / sequence)
    require_files(folder, [f"{f.sequence}/{f.path.name}" for f in frames], WHERE)
    return frames


def _read_sequence(folder: Path) -> list[MupotsFrame]:
    path = folder / "annot.mat"
    try:
        frames = []
        for i, row in enumerate(read_mat(path, squeeze=False)["annotations"]):
            people = [
                MupotsPerson(p.annot2.T.astype(float), p.univ_annot3.T.astype(float))
                for p in (cell[0, 0] for cell in row)
                if p.isValidFrame.ravel()[0]
            ]
            if people:
                frames.append(MupotsFrame(folder.name, folder / f"img_{i:06d}.jpg", people))
        return frames
    except (KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is not of the distributed form ({error!r}); {WHERE}") from error
