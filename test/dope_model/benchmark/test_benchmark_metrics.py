"""The benchmarks' metrics against other implementations and hand-computed values."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.benchmark.protocols import keypoint_ap, menpo, mupots, pck, rhd
from dope_model.datasets.coco import WHOLEBODY_FIELDS
from dope_model.datasets.conversions import MUPOTS_JOINTS
from dope_model.skeleton import BODY, BODY14, HAND

seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_pck_counts_as_a_loop_does(seed):
    random = np.random.default_rng(seed)
    errors = random.random((6, 5))
    errors[random.random((6, 5)) < 0.2] = np.nan
    errors[random.random((6, 5)) < 0.2] = np.inf
    thresholds = np.sort(random.random(7))
    curve = pck.pck_curve(errors, thresholds)
    for threshold, value in zip(thresholds, curve, strict=True):
        evaluated = [e for row in errors for e in row if not np.isnan(e)]
        if evaluated:
            expected = sum(e <= threshold for e in evaluated) / len(evaluated)
            assert value == pytest.approx(expected, abs=1e-9)
            assert pck.pck(errors, threshold) == pytest.approx(expected, abs=1e-9)


def test_nothing_to_judge_is_not_a_number():
    assert np.isnan(pck.pck(np.full(3, np.nan), 1))
    assert np.isnan(pck.pck_curve(np.full(3, np.nan), np.array([1.0]))).all()


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_area_is_scipys(seed):
    trapezoid = pytest.importorskip("scipy.integrate").trapezoid
    random = np.random.default_rng(seed)
    x, y = np.sort(random.random(9)), random.random(9)
    expected = trapezoid(y, x) / (x[-1] - x[0])
    assert pck.area_under_curve(x, y) == pytest.approx(expected, abs=1e-6)


def test_distances_of_missed_and_uncounted_joints():
    truth = np.array([[0.0, 0], [10, 0], [0, 10]])
    counted = np.array([True, True, False])
    predicted = truth + [3.0, 4.0]
    assert pck.distances(predicted, truth, counted)[:2].tolist() == [5, 5]
    assert np.isnan(pck.distances(predicted, truth, counted)[2])
    assert pck.distances(None, truth, counted)[:2].tolist() == [np.inf, np.inf]
    predicted[0] = np.nan
    assert pck.distances(predicted, truth, counted)[:2].tolist() == [np.inf, 5]


def test_reference_lengths_by_hand():
    assert pck.torso_size(np.array([0.0, 0]), np.array([3.0, 4])) == 5
    keypoints = np.array([[0.0, 0], [10, 4], [99, 99]])
    assert pck.tight_box_side(keypoints, np.array([True, True, False])) == 10


def test_pairs_are_made_best_first_and_once():
    similarity = np.array([[0.9, 0.8], [0.95, 0.1], [0.0, 0.05]])
    assert pck.best_pairs(similarity, 0.1) == {0: 1, 1: 0}
    assert pck.best_pairs(np.zeros((0, 2)), 0.1) == {}
    assert pck.best_pairs(np.full((2, 2), 0.05), 0.1) == {}


# --- hands ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_best_scale_is_the_least_squares_one(seed):
    random = np.random.default_rng(seed)
    truth, predicted = random.normal(0, 0.1, (2, 21, 3))
    aligned = rhd.without_scale(predicted, truth)
    column = (predicted - predicted[0]).reshape(-1, 1)
    scale = np.linalg.lstsq(column, (truth - truth[0]).ravel(), rcond=None)[0][0]
    assert np.allclose(aligned, scale * (predicted - predicted[0]) + truth[0], atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(seeds, st.floats(0.1, 9))
def test_hands_of_another_size_and_place_are_perfect(seed, scale):
    random = np.random.default_rng(seed)
    truth = random.normal(0, 0.1, (21, 3))
    moved = scale * truth + random.normal(0, 3, 3)
    assert np.allclose(rhd.without_scale(moved, truth), truth, atol=1e-6)
    by_bone = rhd.with_true_reference_bone(moved, truth)
    assert np.allclose(by_bone, truth, atol=1e-6)
    turned = truth[:, [1, 0, 2]]
    assert not np.allclose(rhd.without_scale(turned, truth), truth, atol=1e-3)


def test_reference_bone_is_the_middle_fingers_first():
    truth = np.zeros((21, 3))
    truth[HAND.index["middle_mcp"]] = [0, 0.1, 0]
    truth[HAND.index["middle_pip"]] = [0, 0.14, 0]
    aligned = rhd.with_true_reference_bone(truth * 2.5, truth)
    assert np.allclose(aligned, truth)


def test_area_between_20_and_50_mm_by_hand():
    # Half of the errors at 10 mm, half at 35 mm: 1/2 up to 35 mm and 1 above it.
    errors = np.array([0.010, 0.035] * 10)
    assert rhd.pck_auc(errors, 0.020, 0.050) == pytest.approx(0.75, abs=0.01)
    assert rhd.pck_auc(np.full(5, np.inf), 0.020, 0.050) == 0
    assert rhd.pck_auc(np.zeros(5), 0.020, 0.050) == 1


# --- faces ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_equation_4_is_the_mean_of_squares(seed):
    random = np.random.default_rng(seed)
    truth, predicted = random.normal(0, 50, (2, 84, 2))
    squares = [(tx - px) ** 2 + (ty - py) ** 2
               for (tx, ty), (px, py) in zip(truth, predicted, strict=True)]  # fmt: skip
    width, height = truth[:, 0].max() - truth[:, 0].min(), truth[:, 1].max() - truth[:, 1].min()
    expected = np.sqrt(np.mean(squares)) / np.sqrt(width**2 + height**2)
    assert menpo.normalised_error(predicted, truth) == pytest.approx(expected, abs=1e-9)


def test_face_errors_by_hand():
    truth = np.zeros((84, 2))
    truth[0] = [30, 40]  # a box of 30 x 40 has a diagonal of 50
    assert menpo.normalised_error(truth + [3, 4], truth) == pytest.approx(0.1)
    assert menpo.normalised_error(None, truth) == np.inf
    assert menpo.cumulative_auc(np.array([0.0]), 0.1) == 1
    assert menpo.cumulative_auc(np.array([np.inf]), 0.1) == 0
    assert menpo.cumulative_auc(np.array([0.02, np.inf]), 0.1) == pytest.approx(0.4, abs=1e-3)


# --- 3D bodies -----------------------------------------------------------------------------------


def _mupots_pose(random) -> np.ndarray:
    return random.normal(0, 300, (17, 3))


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_bones_get_the_true_lengths_and_keep_their_directions(seed):
    random = np.random.default_rng(seed)
    predicted, truth = _mupots_pose(random), _mupots_pose(random)
    scaled = mupots.with_true_bone_lengths(predicted, truth)
    # The owners' parents, written as they number them, from 1.
    parents = [2, 16, 2, 3, 4, 2, 6, 7, 15, 9, 10, 15, 12, 13, 15, 15, 2]
    for j, p in enumerate(np.array(parents) - 1):
        if j == p:
            assert np.allclose(scaled[j], predicted[j])
            continue
        bone, old = scaled[j] - scaled[p], predicted[j] - predicted[p]
        assert np.isclose(np.linalg.norm(bone), np.linalg.norm(truth[j] - truth[p]))
        assert np.allclose(bone / np.linalg.norm(bone), old / np.linalg.norm(old), atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_3d_errors_ignore_place_and_with_rescaling_size(seed):
    random = np.random.default_rng(seed)
    truth = _mupots_pose(random)
    moved = truth + random.normal(0, 1000, 3)
    assert np.allclose(mupots.errors_3d(moved, truth, rescaled=False), 0, atol=1e-6)
    assert np.allclose(mupots.errors_3d(1.3 * moved, truth, rescaled=True), 0, atol=1e-6)
    plain = mupots.errors_3d(1.3 * truth, truth, rescaled=False)
    expected = 0.3 * np.linalg.norm(truth - truth[14], axis=1)
    assert np.allclose(plain, expected)
    assert np.isinf(mupots.errors_3d(None, truth, rescaled=True)).all()


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_people_are_matched_as_the_owners_loop_does(seed):
    random = np.random.default_rng(seed)
    truth = random.uniform(0, 120, (3, 17, 2))
    predicted = truth[random.permutation(3)] + random.normal(0, 30, (3, 17, 2))
    taken, expected = set(), {}
    for i in range(3):
        counts = []
        for j in range(3):
            agree = sum(
                abs(truth[i, k, 0] - predicted[j, k, 0]) < 40
                and abs(truth[i, k, 1] - predicted[j, k, 1]) < 40
                for k in range(1, 14)
            )
            counts.append(0 if j in taken else agree)
        if max(counts) > 0:
            expected[i] = counts.index(max(counts))
            taken.add(expected[i])
    assert mupots.match_people(truth, predicted) == expected


def test_3d_pck_and_auc_by_hand():
    errors = np.array([0.0, 100.0, 149.0, 150.0, np.inf])
    assert mupots.pck_3d(errors) == pytest.approx(3 / 5)
    # An error of 0 counts from 5 mm on (30 of 31 thresholds), one of 100 mm from 105 on (10),
    # one of 149 only at 150 (1).
    assert mupots.auc_3d(errors) == pytest.approx((30 + 10 + 1) / (5 * 31))


def test_our_bodies_as_mupots_joints():
    body14 = np.arange(14 * 3, dtype=float).reshape(14, 3)
    joints = mupots.mupots_joints(body14)
    assert np.array_equal(joints[MUPOTS_JOINTS.index("head_top")], body14[12])
    assert np.array_equal(joints[MUPOTS_JOINTS.index("neck")], body14[13])
    assert np.array_equal(joints[MUPOTS_JOINTS.index("left_knee")], body14[3])
    assert np.array_equal(joints[14], (body14[4] + body14[5]) / 2)
    assert np.isnan(joints[16]).all()
    joints = mupots.mupots_joints(body14[:13])
    assert np.isnan(joints[0]).all()
    assert np.array_equal(joints[1], (body14[10] + body14[11]) / 2)
    assert len(BODY14) == len(BODY) + 1


# --- average precision ---------------------------------------------------------------------------


def _annotation(random, i: int, image: int) -> dict:
    annotation = {"id": i, "image_id": image, "category_id": 1, "iscrowd": 0}
    centre = random.uniform(100, 500, 2)
    for name, count in WHOLEBODY_FIELDS.items():
        table = np.concatenate(
            [centre + random.normal(0, 40, (count, 2)), random.integers(0, 3, (count, 1))], axis=1
        )
        table[table[:, 2] == 0] = 0
        annotation[name] = table.ravel().tolist()
    annotation["num_keypoints"] = int((np.array(annotation["keypoints"])[2::3] > 0).sum())
    annotation["area"] = float(random.uniform(3000, 9000))
    annotation["bbox"] = [*(centre - 50).tolist(), 100.0, 100.0]
    return annotation


def _result(annotation: dict, random, noise: float) -> dict:
    result = {"image_id": annotation["image_id"], "category_id": 1, "score": float(random.random())}
    for name in WHOLEBODY_FIELDS:
        table = np.array(annotation[name]).reshape(-1, 3)
        moved = table[:, :2] + random.normal(0, noise, (len(table), 2))
        result[name] = np.concatenate([moved, np.ones((len(table), 1))], axis=1).ravel().tolist()
    return result


def _truth(seed: int) -> tuple[dict, np.random.Generator]:
    random = np.random.default_rng(seed)
    annotations = [_annotation(random, i + 1, 1 + i % 3) for i in range(6)]
    images = [{"id": i, "width": 640, "height": 480, "file_name": f"{i}.jpg"} for i in (1, 2, 3)]
    categories = [{"id": 1, "name": "person"}]
    return {"images": images, "annotations": annotations, "categories": categories,
            "info": {}}, random  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_oks_is_pycocotools(seed):
    COCOeval = pytest.importorskip("pycocotools.cocoeval").COCOeval
    COCO = pytest.importorskip("pycocotools.coco").COCO
    truth, random = _truth(seed)
    results = [_result(a, random, noise=8) for a in truth["annotations"]]
    coco = COCO()
    coco.dataset = copy.deepcopy(truth)
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "keypoints")
    evaluation.params.imgIds, evaluation.params.catIds = [1, 2, 3], [1]
    evaluation._prepare()
    for image in (1, 2, 3):
        theirs = evaluation.computeOks(image, 1)
        of_image = [r for r in results if r["image_id"] == image]
        of_image.sort(key=lambda r: -r["score"])
        people = [a for a in truth["annotations"] if a["image_id"] == image]
        for i, result in enumerate(of_image):
            for k, person in enumerate(people):
                table = np.array(person["keypoints"]).reshape(-1, 3)
                ours = keypoint_ap.object_keypoint_similarity(
                    np.array(result["keypoints"]).reshape(-1, 3)[:, :2], table[:, :2],
                    table[:, 2] > 0, person["area"], np.array(keypoint_ap.BODY_SIGMAS),
                )  # fmt: skip
                assert ours == pytest.approx(theirs[i, k], abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("part", list(keypoint_ap.WHOLEBODY_SIGMAS))
@pytest.mark.filterwarnings("ignore:.*use 'score' instead")
def test_whole_bodies_get_the_numbers_of_coco_wholebodys_own_tool(seed, part, tmp_path):
    pytest.importorskip("pycocotools")
    try:
        from xtcocotools.coco import COCO
        from xtcocotools.cocoeval import COCOeval
    except (ImportError, ValueError) as error:  # its wheels are built for NumPy 1
        pytest.skip(f"no usable xtcocotools ({error})")
    truth, random = _truth(seed)
    noise = {"body": 9, "foot": 9, "wholebody": 2}.get(part, 1.5)
    results = [_result(a, random, noise) for a in truth["annotations"]]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    coco = COCO(str(path))
    evaluation = COCOeval(
        coco, coco.loadRes(copy.deepcopy(results)), f"keypoints_{part}",
        np.array(keypoint_ap.WHOLEBODY_SIGMAS[part]), use_area=True,
    )  # fmt: skip
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    ours = keypoint_ap.wholebody_ap(truth, results, [1, 2, 3], part)
    theirs = {name: evaluation.stats[k] for name, k in
              (("AP", 0), ("AP50", 1), ("AP75", 2), ("AR", 5))}  # fmt: skip
    assert 0 < ours["AP"] < 1
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_perfect_people_have_ap_1_and_nobody_0():
    pytest.importorskip("pycocotools")
    truth, random = _truth(9)
    results = [_result(a, random, noise=0) for a in truth["annotations"]]
    assert keypoint_ap.keypoint_ap(truth, results, [1, 2, 3])["AP"] == 1
    for part in keypoint_ap.WHOLEBODY_SIGMAS:
        assert keypoint_ap.wholebody_ap(truth, results, [1, 2, 3], part)["AP"] == 1
        assert keypoint_ap.wholebody_ap(truth, [], [1, 2, 3], part)["AP"] == 0
    assert keypoint_ap.keypoint_ap(truth, [], [1, 2, 3])["AR"] == 0
