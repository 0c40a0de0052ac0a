"""Proposals integration and NMS: by hand, by a second implementation, and by their symmetries."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.postprocess.candidates import Candidates
from dope_model.postprocess.integration import integrate
from dope_model.postprocess.settings import OVERLAP_JOINTS, IntegrationSettings
from dope_model.skeleton import BODY, skeleton_for

JOINTS = {"body": 13, "hand": 21, "face": 84}
OVERLAPS = ["bbox", "bbox_torsohead"] + [n + lr for n in OVERLAP_JOINTS for lr in ("", "LR")]
# The named joint sets are a body's; hands and faces have boxes and all joints.
PART_OVERLAPS = [("body", overlap) for overlap in OVERLAPS] + [
    (part, overlap) for part in ("hand", "face") for overlap in ("bbox", "mje", "mjeLR")
]


def candidates_from(part, classes, scores, boxes, offsets_3d=None) -> Candidates:
    """Candidates whose 2D joints sit on a diagonal of their box and whose 3D is shifted in x."""
    joints, count = JOINTS[part], len(scores)
    boxes = np.asarray(boxes, float).reshape(count, 4)
    along = np.linspace(0, 1, joints)[None, :, None]
    keypoints_2d = boxes[:, None, :2] + along * (boxes[:, None, 2:] - boxes[:, None, :2])
    keypoints_3d = np.zeros((count, joints, 3))
    keypoints_3d[:, :, 0] = 0.0 if offsets_3d is None else np.asarray(offsets_3d)[:, None]
    return Candidates(
        part, np.asarray(classes), np.asarray(scores, float), boxes, keypoints_2d, keypoints_3d
    )


def random_candidates(seed: int, part: str, count: int, classes: int) -> Candidates:
    random = np.random.default_rng(seed)
    people = random.uniform(0, 300, (3, 2))
    corner = people[random.integers(0, 3, count)] + random.normal(0, 12, (count, 2))
    size = random.uniform(40, 90, (count, 2))
    boxes = np.concatenate([corner, corner + size], axis=1)
    shape = random.normal(0.5, 0.25, (3, JOINTS[part], 5))[random.integers(0, 3, count)]
    poses = shape + random.normal(0, 0.04, shape.shape)
    return Candidates(
        part,
        random.integers(0, classes, count),
        random.permutation(np.linspace(0.011, 0.9, count)),  # no ties
        boxes,
        boxes[:, None, :2] + poses[..., :2] * size[:, None],
        poses[..., 2:],
        random.uniform(0.1, 0.9, (count, JOINTS[part])),
    )


def left_of(c: Candidates) -> list[int]:
    return sorted(range(len(c.scores)), key=lambda i: -c.scores[i])


def weight_by_the_book(c: Candidates, s: IntegrationSettings, candidate: int, joint: int) -> float:
    sure = c.confidence[candidate, joint]
    return c.scores[candidate] * (sure / (1 - sure)) ** s.confidence_exponent


def agreed_by_the_book(c: Candidates, s: IntegrationSettings, voters: list[int]) -> np.ndarray:
    """2D joints where the voters, best first, agree: one joint and one place at a time."""
    best_pose = c.keypoints_2d[voters[0]]
    reach = s.th_joint * max(best_pose.max(axis=0) - best_pose.min(axis=0))
    pose = np.zeros(best_pose.shape)
    for joint in range(len(pose)):
        legs = c.part == "body" and joint < 4
        upper = {j: 0.1 if legs and c.classes[j] > s.K else 1 for j in voters}
        weight = {j: weight_by_the_book(c, s, j, joint) * upper[j] for j in voters}
        place = {j: c.keypoints_2d[j, joint] for j in voters}
        near = [
            [j for j in voters if math.dist(place[j], place[proposed]) <= reach]
            for proposed in voters[:6]
        ]
        agreeing = max(near, key=lambda those: sum(weight[j] for j in those))
        total = sum(weight[j] for j in agreeing)
        pose[joint] = sum(weight[j] * place[j] for j in agreeing) / total
    return pose


def integrate_by_the_book(c: Candidates, s: IntegrationSettings) -> list[tuple]:
    """The integration as its description reads, one candidate at a time.

    Returns (score, 2D, 3D, seed class) per detection, best first.
    """
    swap = skeleton_for(c.part, JOINTS[c.part]).swap

    def mean_distance(a, b):
        return sum(math.dist(p, q) for p, q in zip(a, b, strict=True)) / len(a)

    def overlap(i, j):
        if s.iou_func in ("bbox", "bbox_torsohead"):
            (ax, ay, aX, aY), (bx, by, bX, bY) = c.boxes[i], c.boxes[j]
            w = max(0, min(aX, bX) - max(ax, bx) + 1)
            h = max(0, min(aY, bY) - max(ay, by) + 1)
            union = (aX - ax + 1) * (aY - ay + 1) + (bX - bx + 1) * (bY - by + 1) - w * h
            return w * h / union > s.th_iou
        name = s.iou_func.replace("LR", "")
        joints = {"torso": [4, 5, 10, 11], "torsohead": [4, 5, 10, 11, 12], "head": [12],
                  "shoulderhead": [10, 11, 12], "mje": range(JOINTS[c.part])}[name]  # fmt: skip
        seed, other = c.keypoints_2d[i], c.keypoints_2d[j]
        distance = mean_distance([seed[k] for k in joints], [other[k] for k in joints])
        if s.iou_func.endswith("LR"):
            swapped = mean_distance([seed[k] for k in joints], [other[swap[k]] for k in joints])
            distance = min(distance, swapped)
        ax, ay, aX, aY = c.boxes[i]
        return distance / (2 * (max(aX - ax, aY - ay) + 1)) < s.th_iou

    left = left_of(c)
    found = []
    while left:
        group = [j for j in left if j == left[0] or overlap(left[0], j)]
        left = [j for j in left if j not in group]
        unassigned, modes = list(group), []
        while unassigned and (not modes or c.scores[unassigned[0]] >= s.min_mode_score):
            seed = unassigned[0]
            members = [
                j for j in group
                if mean_distance(c.keypoints_3d[seed], c.keypoints_3d[j]) < s.th_pose3D
            ]  # fmt: skip
            unassigned = [j for j in unassigned if j not in members]
            modes.append((sum(c.scores[j] for j in members), seed, members))
        score, seed, members = max(modes, key=lambda mode: mode[0])
        if score <= s.th_persondetect:
            continue
        means = []
        for poses in (c.keypoints_2d, c.keypoints_3d):
            mean = np.zeros(poses.shape[1:])
            for joint in range(poses.shape[1]):
                weight = {j: weight_by_the_book(c, s, j, joint) for j in members}
                if c.part == "body" and joint < 4:
                    weight = {j: w * (0.1 if c.classes[j] > s.K else 1) for j, w in weight.items()}
                total = sum(weight.values())
                mean[joint] = sum(w * poses[j, joint] for j, w in weight.items()) / total
            means.append(mean)
        if s.th_joint:
            means[0] = agreed_by_the_book(c, s, [j for j in left_of(c) if j in members][:16])
        found.append((score, *means, c.classes[seed]))
    return sorted(found, key=lambda detection: -detection[0])


@pytest.mark.parametrize(
    ("th_joint", "confidence_exponent"), [(0.0, 0.0), (0.1, 0.0), (0.0, 1.0), (0.1, 2.0)]
)
@pytest.mark.parametrize(("part", "overlap"), PART_OVERLAPS)
def test_agrees_with_the_description_step_by_step(part, overlap, th_joint, confidence_exponent):
    for seed in range(4):
        s = IntegrationSettings(
            K=5, iou_func=overlap, th_iou=0.15, min_mode_score=0.1, th_joint=th_joint,
            confidence_exponent=confidence_exponent,
        )  # fmt: skip
        candidates = random_candidates(seed, part, 60, 10)
        expected = integrate_by_the_book(candidates, s)
        got = integrate(candidates, s)
        assert len(got) == len(expected) > 1
        for i, (score, keypoints_2d, keypoints_3d, seed_class) in enumerate(expected):
            assert got.scores[i] == pytest.approx(score, rel=1e-5)
            assert np.allclose(got.keypoints_2d[i], keypoints_2d, atol=1e-3)
            assert np.allclose(got.keypoints_3d[i], keypoints_3d, atol=1e-5)
            if part == "hand":
                assert got.is_left[i] == (seed_class >= 5)


def test_two_people_by_hand():
    candidates = candidates_from(
        "face", [0, 1, 0], [0.6, 0.2, 0.5],
        [[0, 0, 100, 100], [10, 0, 110, 100], [500, 0, 600, 100]], [0.0, 0.1, 0.0],
    )  # fmt: skip
    found = integrate(candidates, IntegrationSettings(K=10))
    assert found.scores.tolist() == pytest.approx([0.8, 0.5])
    assert found.keypoints_2d[0, 0].tolist() == pytest.approx([2.5, 0])  # 10 * 0.2 / 0.8
    assert found.keypoints_3d[0, 0, 0] == pytest.approx(0.025)


def test_modes_of_one_group_do_not_mix():
    """Far apart in 3D, two candidates of one place are two hypotheses; the heavier one wins."""
    box = [0, 0, 100, 100]
    candidates = candidates_from(
        "body", [0, 1, 1], [0.5, 0.4, 0.3], [box] * 3, [0.0, 1.0, 1.1]
    )  # fmt: skip
    found = integrate(candidates, IntegrationSettings(K=10))
    assert found.scores.tolist() == pytest.approx([0.7])
    assert found.keypoints_3d[0, 5, 0] == pytest.approx((0.4 * 1 + 0.3 * 1.1) / 0.7)


def test_no_further_mode_is_sought_below_min_mode_score():
    box = [0, 0, 100, 100]
    candidates = candidates_from("face", [0] * 4, [0.06, 0.04, 0.04, 0.04], [box] * 4, [0, 2, 2, 2])
    assert integrate(candidates, IntegrationSettings(K=10)).scores[0] == pytest.approx(0.06)
    lower = IntegrationSettings(K=10, min_mode_score=0.01)
    assert integrate(candidates, lower).scores[0] == pytest.approx(0.12)


def test_upper_body_classes_hardly_move_the_legs():
    candidates = candidates_from("body", [0, 12], [0.5, 0.5], [[0, 0, 100, 100]] * 2, [0.0, 0.2])
    found = integrate(candidates, IntegrationSettings(K=10))
    legs = 0.2 * 0.1 / 1.1
    assert found.keypoints_3d[0, :4, 0].tolist() == pytest.approx([legs] * 4)
    assert found.keypoints_3d[0, 4:, 0].tolist() == pytest.approx([0.1] * 9)


def test_the_first_upper_body_class_moves_the_legs_as_in_the_authors_code():
    boxes = [[0, 0, 100, 100]] * 2
    for number, legs in ((10, 0.1), (11, 0.2 * 0.1 / 1.1)):
        candidates = candidates_from("body", [0, number], [0.5, 0.5], boxes, [0.0, 0.2])
        found = integrate(candidates, IntegrationSettings(K=10))
        assert found.keypoints_3d[0, :4, 0].tolist() == pytest.approx([legs] * 4)


@pytest.mark.parametrize("name", ["torsohead", "head", "shoulderhead"])
def test_bodies_of_14_joints_overlap_by_their_neck_too(name):
    """Two candidates whose necks alone are far apart."""
    for joints, groups in ((13, 1), (14, 2)):
        poses = np.zeros((2, joints, 2))
        poses[1, 13:] = 1e3
        candidates = Candidates(
            "body", np.array([0, 0]), np.array([0.5, 0.4]), np.array([[0, 0, 100, 100]] * 2),
            poses, np.zeros((2, joints, 3)),
        )  # fmt: skip
        found = integrate(candidates, IntegrationSettings(K=10, iou_func=name))
        assert len(found) == groups


def test_a_weak_mode_is_not_reported():
    candidates = candidates_from("face", [0], [0.1], [[0, 0, 50, 50]])
    assert len(integrate(candidates, IntegrationSettings(K=10, th_persondetect=0.1))) == 0


def test_doubles_by_hand():
    """A diagonal of 100 px, and the same person once 5 px beside and once with sides confused."""
    candidates = candidates_from(
        "body", [0, 0, 0, 0], [0.4, 0.9, 0.3, 0.2],
        [[5, 0, 105, 100], [0, 0, 100, 100], [0, 0, 100, 100], [30, 0, 130, 100]],
    )  # fmt: skip
    candidates.keypoints_2d[2] = candidates.keypoints_2d[2][list(BODY.swap)]
    # Boxes of IoU 1 that do not overlap "enough" stand for those of different sizes.
    apart = IntegrationSettings(K=10, th_iou=1.0)
    assert len(integrate(candidates, apart)) == 4
    found = integrate(candidates, replace(apart, th_duplicate=0.06))
    assert found.scores.tolist() == pytest.approx([0.9, 0.2])
    found = integrate(candidates, replace(apart, th_duplicate=0.31))
    assert found.scores.tolist() == pytest.approx([0.9])
    found = integrate(candidates, replace(apart, th_duplicate=0.049))
    assert found.scores.tolist() == pytest.approx([0.9, 0.4, 0.2])


@pytest.mark.parametrize(
    ("large_score", "share", "left"),
    # Their joints are 28 px apart on average. Shares are of 50 px, the geometric mean of the sizes,
    # or where the small one is the better of its 25 px.
    [(0.9, 0.4, 2), (0.9, 0.7, 1), (0.1, 0.9, 2), (0.1, 1.3, 1)],
)
def test_a_small_person_before_a_large_one_is_no_double(large_score, share, left):
    candidates = candidates_from(
        "body", [0, 0], [large_score, 0.5], [[0, 0, 100, 100], [40, 40, 65, 65]]
    )
    settings = IntegrationSettings(K=10, th_iou=1.0, th_duplicate=share)
    assert len(integrate(candidates, settings)) == left


def test_a_joint_is_where_most_scores_agree():
    """Two candidates have the last joint where the best one does not; the mean is neither."""
    candidates = candidates_from("body", [0, 0, 0], [0.5, 0.4, 0.3], [[0, 0, 100, 100]] * 3)
    candidates.keypoints_2d[1, -1] = (20, 60)
    candidates.keypoints_2d[2, -1] = (27, 60)
    s = IntegrationSettings(K=10)
    assert integrate(candidates, s).keypoints_2d[0, -1] == pytest.approx((55.08, 76.67), abs=0.01)
    found = integrate(candidates, replace(s, th_joint=0.1)).keypoints_2d[0]
    assert found[-1] == pytest.approx((23, 60))
    assert found[:-1] == pytest.approx(candidates.keypoints_2d[0, :-1])
    # 7 px are too far apart now: every candidate is alone.
    found = integrate(candidates, replace(s, th_joint=0.05)).keypoints_2d[0]
    assert found[-1] == pytest.approx((100, 100))


@pytest.mark.parametrize("part", ["body", "hand", "face"])
def test_nobody_is_no_special_case(part):
    nobody = candidates_from(part, np.zeros(0, int), [], np.zeros((0, 4)))
    agreed = IntegrationSettings(K=5, th_joint=0.1)
    found = integrate(nobody, agreed)
    assert found.part == part
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_settings_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="unknown iou_func 'feet'"):
        IntegrationSettings(K=5, iou_func="feet")
    with pytest.raises(ValueError, match="unknown integration settings: th"):
        IntegrationSettings.from_dict({"K": 5, "th": 0.1})
    assert IntegrationSettings(K=5).min_candidate_score(10) == pytest.approx(0.01)
    assert IntegrationSettings(K=5, score_th=0.3).min_candidate_score(10) == 0.3


def test_the_surer_candidate_says_where_a_joint_is():
    candidates = candidates_from("face", [0, 0], [0.6, 0.3], [[0, 0, 100, 100], [10, 0, 110, 100]])
    candidates.confidence[0], candidates.confidence[1] = 0.5, 0.8  # odds of 1 and 4
    candidates.confidence[0, 0] = 1.0  # counts as 0.99
    found = integrate(candidates, IntegrationSettings(K=10, confidence_exponent=1))
    assert found.keypoints_2d[0, 1:, 0] - candidates.keypoints_2d[0, 1:, 0] == pytest.approx(
        10 * (0.3 * 4) / (0.6 + 0.3 * 4), abs=1e-4
    )
    assert found.keypoints_2d[0, 0, 0] == pytest.approx(10 * 1.2 / (0.6 * 99 + 1.2), abs=1e-4)
    assert found.scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("th_joint", [0.0, 0.1])
def test_confidence_of_a_joint_is_the_mean_by_the_candidates_scores(th_joint):
    """Two people in two places."""
    boxes = [[0, 0, 100, 100], [0, 0, 100, 100], [500, 0, 600, 100]]
    candidates = candidates_from("body", [0, 0, 0], [0.6, 0.2, 0.5], boxes)
    candidates.confidence[0], candidates.confidence[1], candidates.confidence[2] = 0.9, 0.5, 0.4
    candidates.confidence[:2, 3] = 0.6, 0.2  # 0.5 on average, the other joints 0.8
    found = integrate(candidates, IntegrationSettings(K=10, th_joint=th_joint))
    expected = np.full((2, 13), 0.8)
    expected[0, 3], expected[1] = 0.5, 0.4
    np.testing.assert_allclose(found.confidence, expected, atol=1e-6)


seeds = st.integers(0, 10_000)
any_overlap = st.sampled_from(OVERLAPS)


def same(a, b, scale=1.0, shift=(0.0, 0.0)):
    assert len(a) == len(b)
    assert np.allclose(a.scores, b.scores, rtol=1e-4)
    assert np.allclose(a.keypoints_2d * scale + np.array(shift), b.keypoints_2d, atol=1e-2)
    assert np.allclose(a.keypoints_3d, b.keypoints_3d, atol=1e-4)


@settings(deadline=None, max_examples=40)
@given(seeds, any_overlap)
def test_the_order_of_proposals_does_not_matter(seed, overlap):
    s = IntegrationSettings(K=10, iou_func=overlap, th_joint=0.1)
    candidates = random_candidates(seed, "body", 40, 20)
    order = np.random.default_rng(seed + 1).permutation(40)
    same(integrate(candidates, s), integrate(candidates.select(order), s))


@settings(deadline=None, max_examples=40)
@given(seeds, any_overlap, st.integers(-400, 400), st.integers(-400, 400))
def test_moving_the_image_moves_the_poses(seed, overlap, du, dv):
    s = IntegrationSettings(K=10, iou_func=overlap)
    candidates = random_candidates(seed, "body", 40, 20)
    moved = candidates.select(np.arange(40))
    moved.boxes = moved.boxes + np.array([du, dv, du, dv])
    moved.keypoints_2d = moved.keypoints_2d + np.array([du, dv])
    same(integrate(candidates, s), integrate(moved, s), shift=(du, dv))


def test_scaling_a_large_image_scales_the_poses():
    """At thousands of pixels the "+ 1" is lost in the box."""
    for seed in range(5):
        candidates = random_candidates(seed, "body", 40, 20)
        big, bigger = (candidates.select(np.arange(40)) for _ in range(2))
        for copy, scale in ((big, 1000), (bigger, 3000)):
            copy.boxes, copy.keypoints_2d = copy.boxes * scale, copy.keypoints_2d * scale
        a, b = (integrate(c, IntegrationSettings(K=10)) for c in (big, bigger))
        assert len(a) == len(b)
        assert np.allclose(a.keypoints_2d * 3, b.keypoints_2d, rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(seeds, any_overlap)
def test_mirroring_the_image_mirrors_the_poses(seed, overlap):
    s = IntegrationSettings(K=10, iou_func=overlap)
    candidates = random_candidates(seed, "body", 40, 20)
    swap = list(candidates.skeleton.swap)
    mirrored = candidates.select(np.arange(40))
    width = 640
    mirrored.boxes = mirrored.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0]
    mirrored.keypoints_2d = mirrored.keypoints_2d[:, swap] * [-1, 1] + [width, 0]
    mirrored.keypoints_3d = mirrored.keypoints_3d[:, swap] * [-1, 1, 1]
    a, b = integrate(candidates, s), integrate(mirrored, s)
    assert np.allclose(a.scores, b.scores, rtol=1e-4)
    assert np.allclose(a.keypoints_2d[:, swap] * [-1, 1] + [width, 0], b.keypoints_2d, atol=1e-2)
    assert np.allclose(a.keypoints_3d[:, swap] * [-1, 1, 1], b.keypoints_3d, atol=1e-4)
