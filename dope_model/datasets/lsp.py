"""Leeds Sports Pose and its extended training set: one person per picture, 14 joints in 2D.

As distributed: `joints.mat` beside the pictures, `images/im0001.jpg` (Leeds Sports Pose, 2,000
pictures: lsp_dataset.zip), `images/im00001.jpg` (extended, 10,000: lspet_dataset.zip) or
`im00001.png` (extended, high resolution: hr-lspet.zip).

Johnson and Everingham, "Clustered pose and nonlinear appearance models for human pose estimation"
(BMVC 2010) and "Learning effective human pose estimation from inaccurate annotation" (CVPR 2011).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dope_model.datasets.conversions import LSP_JOINTS
from dope_model.datasets.files import read_mat, require_files

WHERE = (
    "Leeds Sports Pose is joints.mat and images/ of lsp_dataset.zip, lspet_dataset.zip or "
    "hr-lspet.zip; or one .npz file with names, joints (N, 14, 3) and joint_names beside pictures"
)


@dataclass(frozen=True)
class LspPerson:
    """A picture and its person: `joints` (14, 2) px and `labelled` (14,) bool, in LSP's order.

    `visible` (14,) bool: Leeds Sports Pose labels hidden joints too, the extended set does not.
    """

    path: Path
    joints: np.ndarray
    labelled: np.ndarray
    visible: np.ndarray


def read_lsp(folder: Path) -> list[LspPerson]:
    """The pictures of a folder, in the data set's order.

    Raises:
        FileNotFoundError: joints or pictures are missing.
        ValueError: the joints are not those of a Leeds Sports Pose data set.
    """
    folder = Path(folder)
    tables = [] if (folder / "joints.mat").is_file() else sorted(folder.glob("*.npz"))
    if len(tables) == 1:
        names, joints, labelled, visible = _from_table(tables[0])
    else:
        require_files(folder, ["joints.mat"], WHERE)
        names, joints, labelled, visible = _from_mat(folder)
    require_files(folder, names, WHERE)
    return [
        LspPerson(folder / name, *row)
        for name, *row in zip(names, joints, labelled, visible, strict=True)
    ]


def _from_mat(folder: Path):
    joints = np.asarray(read_mat(folder / "joints.mat", squeeze=False)["joints"], float)
    extended = joints.shape[:2] == (14, 3)
    if not extended and joints.shape[:2] != (3, 14):
        raise ValueError(
            f"{folder / 'joints.mat'}: joints are {joints.shape}; Leeds Sports Pose has "
            "(3, 14, N), the extended set (14, 3, N)"
        )
    table = joints.transpose(2, 0, 1) if extended else joints.transpose(2, 1, 0)
    # MATLAB's pixel centres start at 1, this project's at 0.5.
    points, flag = table[..., :2] - 0.5, table[..., 2] > 0.5
    # The third value marks hidden joints in Leeds Sports Pose, which are labelled as well, and
    # labelled joints in the extended set.
    labelled = flag if extended else np.ones_like(flag)
    digits = 5 if extended else 4
    for pattern in ("images/im{:0{}d}.jpg", "im{:0{}d}.png", "im{:0{}d}.jpg"):
        if (folder / pattern.format(1, digits)).is_file():
            break
    else:
        pattern = "images/im{:0{}d}.jpg"
    names = [pattern.format(i + 1, digits) for i in range(len(table))]
    return names, points, labelled, flag if extended else ~flag


def _from_table(path: Path):
    """A generic table: names, joints (N, 14, 3) as x, y (px), labelled, and joint_names."""
    with np.load(path, allow_pickle=False) as file:
        missing = {"names", "joints", "joint_names"} - set(file.files)
        if missing:
            raise ValueError(f"{path} lacks {', '.join(sorted(missing))}")
        names, table = file["names"].tolist(), file["joints"].astype(float)
        joint_names = file["joint_names"].tolist()
    if set(joint_names) != set(LSP_JOINTS) or table.shape != (len(names), 14, 3):
        raise ValueError(
            f"{path}: expected joints (N, 14, 3) named {', '.join(LSP_JOINTS)}, not "
            f"{table.shape} named {', '.join(joint_names)}"
        )
    table = table[:, [joint_names.index(name) for name in LSP_JOINTS]]
    labelled = table[..., 2] > 0.5
    return names, table[..., :2], labelled, labelled
