"""COCO keypoints and COCO-WholeBody: people in everyday pictures, in 2D.

As distributed: `annotations/person_keypoints_train2017.json` (17 joints,
annotations_trainval2017.zip) or `annotations/coco_wholebody_train_v1.0.json` (133: 17 of the body,
6 of the feet, 68 of the face, 21 of each hand) and the pictures in `train2017/`; `val2017` alike.

Lin et al., "Microsoft COCO" (ECCV 2014); Jin et al., "Whole-body human pose estimation in the wild"
(ECCV 2020).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dope_model.datasets.files import first_existing, read_json, require_files

WHERE_COCO = "COCO is annotations/person_keypoints_{0}2017.json and {0}2017/"
WHERE_WHOLEBODY = (
    "COCO-WholeBody is annotations/coco_wholebody_{0}_v1.0.json and COCO's pictures in {0}2017/"
)
PIXEL_MIDDLE = 0.5
"""From a pixel's index to its centre, px."""
WHOLEBODY_FIELDS = {
    "keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21,
}  # fmt: skip
"""The annotation's fields and their numbers of keypoints, in the order of the 133."""


@dataclass
class CocoPicture:
    """A picture and its annotations, as in the file."""

    id: int
    path: Path
    width: int
    height: int
    annotations: list[dict] = field(default_factory=list)


def read_coco(
    folder: Path, part: str, wholebody: bool
) -> tuple[Path, list[CocoPicture]]:  # fmt: skip
    """The annotations file and the pictures of `part`, "train" or "val".

    Raises:
        FileNotFoundError: annotations or pictures are missing.
        ValueError: the annotations are of another form.
    """
    folder = Path(folder)
    name = f"coco_wholebody_{part}_v1.0.json" if wholebody else f"person_keypoints_{part}2017.json"
    where = (WHERE_WHOLEBODY if wholebody else WHERE_COCO).format(part)
    path = first_existing(folder, (f"annotations/{name}", name), where)
    images = first_existing(folder, (f"{part}2017", f"images/{part}2017"), where)
    return path, _read(path, images, where, wholebody)


def read_coco_folder(folder: Path) -> tuple[Path, list[CocoPicture]]:
    """COCO's validation part as distributed; or pictures with keypoints in COCO's format.

    Args:
        folder: as distributed, or of pictures, with one .json file in it or FOLDER_keypoints.json
            beside it.

    Returns:
        The annotations file and the pictures, those without people too.

    Raises:
        FileNotFoundError: annotations or pictures are missing.
        ValueError: the annotations are of another form.
    """
    folder = Path(folder)
    if (folder / "annotations").is_dir():
        return read_coco(folder, "val", wholebody=False)
    beside = folder.resolve()
    beside = beside.with_name(f"{beside.name}_keypoints.json")
    files = [beside] if beside.is_file() else sorted(folder.glob("*.json"))
    where = f"{WHERE_COCO.format('val')}, or a folder of pictures with one .json file"
    if len(files) != 1:
        raise FileNotFoundError(f"{folder} holds {len(files)} .json files; {where}")
    return files[0], _read(files[0], folder, where, wholebody=False)


def _read(path: Path, images: Path, where: str, wholebody: bool) -> list[CocoPicture]:
    content = read_json(path)
    try:
        pictures = {
            image["id"]: CocoPicture(
                image["id"], images / image["file_name"], image["width"], image["height"]
            )
            for image in content["images"]
        }
        needed = WHOLEBODY_FIELDS if wholebody else {"keypoints": 17}
        for annotation in content["annotations"]:
            for name, count in needed.items():
                if len(annotation[name]) != 3 * count:
                    raise ValueError(
                        f"{path}: annotation {annotation.get('id')} has {len(annotation[name])} "
                        f"numbers in {name}, not {3 * count}"
                    )
            pictures[annotation["image_id"]].annotations.append(annotation)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not of the distributed form ({error!r}); {where}") from error
    require_files(images, [p.path.name for p in pictures.values()], where)
    return list(pictures.values())


def keypoints_of(annotation: dict, field_name: str = "keypoints") -> tuple[np.ndarray, np.ndarray]:
    """Points (K, 2) px and COCO's flag (K,): 0 not labelled, 1 hidden, 2 visible.

    COCO's 17 keypoints are pixel indices and mean the pixels' centres. Its boxes, and what
    COCO-WholeBody added, follow this project's convention: an image of width W spans 0 to W.
    """
    table = np.array(annotation[field_name], float).reshape(-1, 3)
    if field_name == "keypoints":
        table[:, :2] += PIXEL_MIDDLE
    return table[:, :2], table[:, 2]
