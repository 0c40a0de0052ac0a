"""MuPoTS-3D: 20 sequences of up to three people with 17 joints in 2D and 3D; for evaluation only.

As distributed (MultiPersonTestSet.zip): folders `TS1` to `TS20`, each with `annot.mat`,
`occlusion.mat` and the frames `img_000000.jpg` and so on.

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
    """One person in a frame.

    Attributes:
        joints_2d: (17, 2) px.
        joints_3d: (17, 3) mm in the camera's optical frame.
        universal_3d: (17, 3) mm, the same person scaled to a universal height, for evaluation.
        occluded: (17,) bool.
    """

    joints_2d: np.ndarray
    joints_3d: np.ndarray
    universal_3d: np.ndarray
    occluded: np.ndarray


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
    needed = [f"{s}/{name}" for s in SEQUENCES for name in ("annot.mat", "occlusion.mat")]
    require_files(folder, needed, WHERE)
    frames = []
    for sequence in SEQUENCES:
        frames += _read_sequence(folder / sequence)
    require_files(folder, [f"{f.sequence}/{f.path.name}" for f in frames], WHERE)
    return frames


def _read_sequence(folder: Path) -> list[MupotsFrame]:
    path = folder / "annot.mat"
    try:
        annotations = read_mat(path, squeeze=False)["annotations"]
        occlusions = read_mat(folder / "occlusion.mat", squeeze=False)["occlusion_labels"]
        if annotations.shape != occlusions.shape:
            raise ValueError(
                f"{folder}: annotations of {annotations.shape} frames and people, occlusions of "
                f"{occlusions.shape}"
            )
        frames = []
        for i, row in enumerate(annotations):
            people = []
            for k, cell in enumerate(row):
                person = cell[0, 0]
                if person.isValidFrame.ravel()[0]:
                    people.append(
                        MupotsPerson(
                            person.annot2.T.astype(float),
                            person.annot3.T.astype(float),
                            person.univ_annot3.T.astype(float),
                            np.asarray(occlusions[i, k]).ravel().astype(bool),
                        )
                    )
            if people:
                frames.append(MupotsFrame(folder.name, folder / f"img_{i:06d}.jpg", people))
        return frames
    except (KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is not of the distributed form ({error!r}); {WHERE}") from error
