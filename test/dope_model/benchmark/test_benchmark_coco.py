"""The protocol `coco`: numbers by hand, and OKS and AP by two ways."""

from __future__ import annotations

import argparse
import json

import dataset_files as files
import numpy as np
import pytest

pytest.importorskip("pycocotools")
from dope_model.benchmark.conditions import CONDITIONS, in_original_pixels  # noqa: E402
from dope_model.benchmark.predictions import pixels_of  # noqa: E402
from dope_model.benchmark.protocols.coco import EVALUATED, Coco, recall_at_precision  # noqa: E402
from dope_model.benchmark.protocols.keypoint_ap import (  # noqa: E402
    BODY_SIGMAS,
    keypoint_matches,
    object_keypoint_similarity,
)
from dope_model.datasets.conversions import COCO_JOINTS  # noqa: E402
from dope_model.poses import PartDetections  # noqa: E402
from dope_model.skeleton import BODY  # noqa: E402

AREA = 900.0


def annotation(number: int, image: int, at: float, labelled=range(17), crowd=0) -> dict:
    """A person of 30 x 40 px at (at, 5)."""
    points = np.random.default_rng(5).uniform(0, 1, (17, 2)) * [30, 40] + [at, 5]
    flags = np.isin(np.arange(17), list(labelled)) * 2
    table = np.concatenate([np.where(flags[:, None] > 0, points, 0), flags[:, None]], axis=1)
    return {
        "id": number, "image_id": image, "category_id": 1, "iscrowd": crowd, "area": AREA,
        "bbox": [at, 5, 30, 40], "num_keypoints": int((flags > 0).sum()),
        "keypoints": table.ravel().tolist(),
    }  # fmt: skip


def bodies(*poses, scores) -> dict[str, PartDetections]:
    return {
        "body": PartDetections("body", scores, np.stack(poses), np.zeros((len(poses), 13, 3))),
        "hand": PartDetections.empty("hand", 21),
        "face": PartDetections.empty("face", 84),
    }


def body_of(person: dict, shift: float = 0.0) -> np.ndarray:
    """Our joints of an annotated person, the head at its nose."""
    table = np.array(person["keypoints"]).reshape(17, 3)[:, :2] + 0.5
    names = [name if name in COCO_JOINTS else "nose" for name in BODY.joints]
    return table[[COCO_JOINTS.index(name) for name in names]] + [shift, 0]


@pytest.fixture
def protocol(tmp_path):
    """Two people in the first picture, of whom the second has no keypoints; one in the second; and
    a third without anybody."""
    people = [annotation(1, 1, 2), annotation(2, 1, 33, labelled=()), annotation(3, 2, 10)]
    files.write_coco(tmp_path, "val", people, 3, "person_keypoints_val2017.json")
    files.write_picture(tmp_path / "nobody" / "lamp.png", 77)
    protocol = Coco()
    protocol.min_scores = {"body": 0.5, "hand": 0.5, "face": 0.5}
    return protocol, people, tmp_path


def outcome(protocol, found: dict[str, dict], folder, **changes):
    parser = argparse.ArgumentParser()
    protocol.add_arguments(parser)
    options = argparse.Namespace(
        **{**vars(parser.parse_args([])), "data": folder, "limit": None,
           "nobody": folder / "nobody", **changes}
    )  # fmt: skip
    pictures = protocol.load(options)
    evaluated = [protocol.evaluate(p, found.get(p.name, {})) for p in pictures]
    return pictures, protocol.summarise(pictures, evaluated)


def test_numbers_by_hand(protocol):
    protocol, people, folder = protocol
    lamp = np.random.default_rng(0).uniform(0, 40, (13, 2))
    found = {
        # The person, somebody without keypoints (neither right nor wrong), and a guess far away.
        f"{1:012d}.jpg": bodies(
            body_of(people[0]), body_of(people[0], 31), body_of(people[0], 400),
            scores=[0.9, 0.8, 0.3],
        ),
        # 4 px beside it.
        f"{2:012d}.jpg": bodies(body_of(people[2], 4), scores=[0.6]),
        f"{3:012d}.jpg": bodies(lamp, scores=[0.75]),
        "nobody/lamp.png": bodies(lamp, scores=[0.2]),
    }  # fmt: skip
    pictures, result = outcome(protocol, found, folder)
    assert len(pictures) == 4
    summary = result.summary
    sigmas = np.array(BODY_SIGMAS)[list(EVALUATED)]
    oks = np.exp(-(4**2) / (2 * AREA * (2 * sigmas) ** 2)).mean()
    assert 0.5 < oks < 0.75
    assert summary["recall"] == 1 and summary["recall 0.75"] == 0.5
    assert summary["precision"] == pytest.approx(2 / 3)
    assert summary["precision 0.75"] == pytest.approx(1 / 3)
    assert summary["nobody: body"] == 0.5 and summary["nobody: hand"] == 0
    # Right, wrong, right, wrong by score: precision 0.9 holds up to the first only.
    assert summary["recall at P 0.9"] == 0.5
    gaps = abs(1 - 0.9), abs(0 - 0.75), abs(1 - 0.6), abs(0 - 0.3)
    assert summary["calibration error"] == pytest.approx(np.mean(gaps))
    (row,) = [r for r in result.rows["by height of the person"] if r["people"]]
    assert row["height"] == "30 to 60 px" and row["people"] == 2 and row["recall"] == 1
    assert row["told"] == 3 and row["precision"] == pytest.approx(2 / 3)
    body = result.rows["in pictures without people"][0]
    assert (body["pictures"], body["with one"], body["in all"]) == (2, 1, 1)


def test_precision_rises_with_the_least_score(protocol):
    protocol, people, folder = protocol
    found = {
        f"{1:012d}.jpg": bodies(body_of(people[0]), body_of(people[0], 400), scores=[0.9, 0.6]),
        f"{2:012d}.jpg": bodies(body_of(people[2], 300), body_of(people[2]), scores=[0.2, 0.7]),
    }
    precision = []
    for least in (0.1, 0.5, 0.65):
        protocol.min_scores = {"body": least}
        precision.append(outcome(protocol, found, folder)[1].summary["precision"])
    assert precision == pytest.approx([2 / 4, 2 / 3, 1])


def test_matches_agree_with_our_own_similarity():
    """Whom pycocotools matches is who is similar enough by `object_keypoint_similarity`."""
    random = np.random.default_rng(1)
    people = [annotation(i + 1, i + 1, 5.0) for i in range(30)]
    results, expected = [], []
    for person in people:
        table = np.array(person["keypoints"]).reshape(17, 3)
        moved = table.copy()
        moved[:, :2] += random.normal(0, random.uniform(0.5, 8), (17, 2))
        results.append({"image_id": person["image_id"], "category_id": 1, "score": 0.5,
                        "keypoints": moved.ravel().tolist()})  # fmt: skip
        expected.append(object_keypoint_similarity(
            moved[:, :2], table[:, :2], table[:, 2] > 0, AREA, np.array(BODY_SIGMAS)
        ))  # fmt: skip
    content = {
        "images": [{"id": i + 1, "width": 64, "height": 48} for i in range(30)],
        "annotations": people, "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip
    matches = keypoint_matches(content, results, range(1, 31))
    for level in (0.5, 0.75):
        assert matches.right[level].tolist() == [oks >= level for oks in expected]
    assert 5 < matches.right[0.5].sum() < 25
    assert matches.people == 30
    nothing = keypoint_matches(content, [], range(1, 31))
    assert nothing.people == 30 and recall_at_precision(nothing, 0.9) == 0


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_keep_points_at_their_places(tmp_path, condition):
    """The brightest place of a changed picture, brought back, is that of the original one."""
    rgb = np.zeros((400, 640, 3), np.uint8)
    rgb[96:112, 480:496] = 255
    changed = CONDITIONS[condition](rgb)
    assert changed.dtype == np.uint8
    rows, columns = np.nonzero(changed[..., 0] > 0.9 * changed.max())
    if condition == "noise":
        rows, columns = np.nonzero(changed.min(axis=2) > 150)
    point = np.array([np.median(columns), np.median(rows)]) + 0.5
    found = bodies(np.tile(point, (13, 1)), scores=[1.0])
    back = in_original_pixels(found, condition, (400, 640))
    np.testing.assert_allclose(back["body"].keypoints_2d[0, 0], (488, 104), atol=2.5)


def test_a_table_by_condition(protocol):
    protocol, people, folder = protocol
    found = {
        f"{1:012d}.jpg": bodies(body_of(people[0]), scores=[0.9]),
        f"dark/{2:012d}.jpg": bodies(body_of(people[2]), scores=[0.9]),
    }
    pictures, result = outcome(protocol, found, folder, conditions=True)
    assert len(pictures) == 3 + 1 + 3 * len(CONDITIONS)
    rows = {row["condition"]: row for row in result.rows["by condition"]}
    assert set(rows) == {"unchanged", *CONDITIONS}
    assert rows["unchanged"]["recall"] == rows["dark"]["recall"] == 0.5
    assert rows["noise"]["recall"] == 0
    dark = next(p for p in pictures if p.condition == "dark")
    assert pixels_of(dark).mean() < 0.5 * pixels_of(pictures[0]).mean()


def test_a_folder_of_pictures_with_keypoints_beside_it(protocol, tmp_path):
    _, _, folder = protocol
    file = folder / "annotations" / "person_keypoints_val2017.json"
    beside = tmp_path / "some"
    (folder / "val2017").rename(beside)
    (tmp_path / "some_keypoints.json").write_text(json.dumps(json.loads(file.read_text())))
    assert len(outcome(Coco(), {}, beside, nobody=None)[0]) == 3
    (tmp_path / "some_keypoints.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds 0 .json files; COCO is annotations/"):
        outcome(Coco(), {}, beside, nobody=None)


def test_a_limit_leaves_pictures_of_each_kind(protocol):
    protocol, _, folder = protocol
    pictures, _ = outcome(protocol, {}, folder, limit=1, conditions=True)
    kinds = [p.condition or str(p.truth.picture is None) for p in protocol.limited(pictures, 1)]
    assert kinds == ["False", "True", *CONDITIONS]
