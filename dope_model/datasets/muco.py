"""MuCo-3DHP: pictures composed of up to four people of MPI-INF-3DHP, in 2D and 3D.

As the owners' scripts (muco-3dhp.zip) compose it: folders such as `unaugmented_set_001` and
`augmented_set_001`, each with pictures and .mat files of 500 pictures: `img_names` {1, N},
`joint_loc2` (2, J, people, N) px and `joint_loc3` (3, J, people, N) mm in the camera's optical
frame, with the 17 joints of MuPoTS-3D or the 28 of MPI-INF-3DHP.

Mehta et al., "Single-shot multi-person 3D pose estimation from monocular RGB" (3DV 2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dope_model.datasets.conversions import MUCO, MUPOTS, Conversion
from dope_model.datasets.files import picture_size, read_mat, require_files
from dope_model.datasets.labels import Sample
from dope_model.datasets.sources import Labelled, fitted_intrinsics, part_labels

WHERE = (
    "MuCo-3DHP is what the owners' scripts compose: unaugmented_set_001 and the like, with "
    "pictures and .mat files of img_names, joint_loc2 and joint_loc3"
)


def read_muco(folder: Path) -> Iterator[Labelled]:
    """All composed pictures with 14 body joints each.

    Raises:
        FileNotFoundError: there are no .mat files, or pictures are missing.
        ValueError: a .mat file has another form.
    """
    folder = Path(folder)
    files = sorted(folder.rglob("*.mat"))
    if not files:
        raise FileNotFoundError(f"no .mat files below {folder}; {WHERE}")
    for file in files:
        content = read_mat(file, squeeze=False)
        try:
            names = [str(np.ravel(cell)[0]) for cell in np.ravel(content["img_names"])]
            flat, deep = (
                _four_axes(content[name], len(names)) for name in ("joint_loc2", "joint_loc3")
            )
        except KeyError as error:
            raise ValueError(f"{file} lacks {error}; {WHERE}") from error
        conversion = _conversion(file, flat.shape[2])
        require_files(file.parent, names, WHERE)
        for name, points_2d, points_3d in zip(names, flat, deep, strict=True):
            picture = file.parent / name
            width, height = picture_size(picture)
            bodies_2d, bodies_3d = conversion(points_2d), conversion(points_3d) / 1000
            everything = np.ones(bodies_2d.shape[:2], bool)
            labels = part_labels(
                "body", (width, height), bodies_2d, everything, bodies_3d, everything
            )
            file_name = picture.relative_to(folder).as_posix()
            intrinsics = fitted_intrinsics(bodies_2d, bodies_3d)
            yield Labelled(Sample(file_name, width, height, {"body": labels}, intrinsics))


def _four_axes(array: np.ndarray, count: int) -> np.ndarray:
    """(D, J, people, N) as (N, people, J, D); MATLAB drops axes of length 1 at the end."""
    array = np.asarray(array, float)
    while array.ndim < 4:
        array = array[..., None]
    if array.shape[3] != count:
        raise ValueError(f"joints of {array.shape[3]} pictures for {count} names; {WHERE}")
    return array.transpose(3, 2, 1, 0)


def _conversion(file: Path, joints: int) -> Conversion:
    for conversion in (MUPOTS, MUCO):
        if len(conversion.names) == joints:
            return conversion
    raise ValueError(f"{file} has {joints} joints, not 17 or 28; {WHERE}")
