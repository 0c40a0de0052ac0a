"""Views, anchor poses and targets: by hand, and by the symmetry of mirrored pictures."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from labelled_pictures import face_labels, hand_labels, ring_landmarks  # noqa: E402
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler  # noqa: E402
from torchvision.models.detection.image_list import ImageList  # noqa: E402
from torchvision.models.detection.rpn import RegionProposalNetwork  # noqa: E402
from torchvision.ops import box_iou  # noqa: E402

from dope_model.datasets.labels import LabelSet, Sample  # noqa: E402
from dope_model.network.config import Mode, NetworkConfig, PartConfig  # noqa: E402
from dope_model.network.proposals import build_proposal_network  # noqa: E402
from dope_model.skeleton import FACE84  # noqa: E402
from dope_model.training.anchor_poses import (  # noqa: E402
    AnchorPoses,
    fit_anchor_poses,
    mirrored_pose,
)
from dope_model.training.augmentation import (  # noqa: E402
    NO_AUGMENTATION,
    Augmentation,
    View,
    random_view,
)
from dope_model.training.instances import instance_boxes, instances_of  # noqa: E402
from dope_model.training.proposals import (  # noqa: E402
    OBJECT,
    anchor_losses,
    label_anchors,
    proposals_and_losses,
)
from dope_model.training.targets import (  # noqa: E402
    BACKGROUND,
    IGNORE,
    BatchTargets,
    ImageBoxes,
    PartTargets,
    match_boxes,
    overlaps,
    sample_boxes,
    targets_of,
)


def test_boxes_have_a_margin_and_stay_in_the_picture():
    keypoints = np.array([[[10.0, 20], [50, 100], [900, 900]]])
    valid = np.array([[True, True, False]])
    assert instance_boxes(keypoints, valid, 200, 104).tolist() == [[6, 12, 54, 104]]
    assert instance_boxes(keypoints, ~np.ones((1, 3), bool), 200, 104).tolist() == [[0, 0, 0, 0]]


def test_anchor_poses_of_hands_are_the_two_shapes_and_their_mirror_images():
    labels = hand_labels(200, seed=1)
    anchors = fit_anchor_poses("hand", LabelSet([Sample("a", 200, 200, {"hand": labels})]), 2)
    assert anchors.poses.shape == (4, 21, 5)
    assert np.allclose(anchors.poses[2:], mirrored_pose("hand", anchors.poses[:2]))
    shapes = np.random.default_rng(7).normal(0, 0.05, (2, 21, 3))
    shapes -= shapes[:, :1]
    found = anchors.poses[:2, :, 2:]
    nearest = [min(np.abs(f - s).mean() for s in shapes) for f in found]
    assert max(nearest) < 0.001
    instances = instances_of(labels, 200, 200)
    classes = anchors.classify(instances)
    assert ((classes >= 2) == labels.is_left).all()
    # A mirrored hand is of the mirrored class.
    assert (anchors.classify(instances.mirrored(200)) == (classes + 2) % 4).all()


def test_too_few_poses_are_refused():
    few = LabelSet([Sample("a", 200, 200, {"hand": hand_labels(12, seed=1)})])
    with pytest.raises(ValueError, match="12 poses with enough 3D joints are too few for 5"):
        fit_anchor_poses("hand", few, 5)


def test_classes_come_from_2d_where_there_is_no_3d():
    ring = ring_landmarks()
    poses = np.zeros((2, 84, 5))
    poses[0, :, :2] = 0.5 + ring / 2.4
    poses[1, :, :2] = 0.5 + ring / 2.4 * [0.3, 1]
    anchors = AnchorPoses("face", poses)
    labels = face_labels(np.array([[50.0, 50]]), np.array([20.0]))
    labels.valid_3d[:] = False
    assert anchors.classify(instances_of(labels, 100, 100)).tolist() == [0]
    labels.keypoints_2d[0, :, 0] = 50 + (labels.keypoints_2d[0, :, 0] - 50) * 0.3
    instances = instances_of(labels, 100, 100)
    instances.boxes = np.array([[26.0, 26, 74, 74]])
    assert anchors.classify(instances).tolist() == [1]


def ring_sample(side: int = 120) -> tuple[np.ndarray, Sample]:
    labels = face_labels(
        np.array([[40.0, 60.0]]), np.array([20.0]), np.array([[80.0, 10, 110, 40]])
    )
    picture = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    return picture, Sample("a.png", side, side, {"face": labels})


def black_view(sample: Sample, side: int, settings: Augmentation, seed: int = 0) -> View:
    """A view, on a square canvas, of a picture in which nothing is to be seen."""
    picture = np.zeros((sample.height, sample.width, 3), np.uint8)
    return random_view(picture, sample, (side, side), settings, np.random.default_rng(seed))


def test_a_plain_view_changes_nothing():
    picture, sample = ring_sample()
    view = random_view(picture, sample, (120, 120), NO_AUGMENTATION, np.random.default_rng(0))
    assert np.abs(view.image.astype(int) - picture).max() <= 1
    assert np.allclose(view.instances["face"].keypoints_2d, sample.parts["face"].keypoints_2d)
    assert np.allclose(view.ignored["face"], [[80, 10, 110, 40]])


def test_a_mirrored_view_is_the_view_of_the_mirrored_picture():
    picture, sample = ring_sample()
    settings = Augmentation(flip=1, scale=(1, 1), turn_deg=0, perspective=0, colour=0)
    view = random_view(picture, sample, (120, 120), settings, np.random.default_rng(0))
    assert np.abs(view.image.astype(int) - picture[:, ::-1]).max() <= 1
    labels, swap = sample.parts["face"], list(FACE84.swap)
    expected = labels.keypoints_2d[:, swap] * [-1, 1] + [120, 0]
    assert np.allclose(view.instances["face"].keypoints_2d, expected, atol=1e-4)
    expected_3d = labels.keypoints_3d[:, swap] * [-1, 1, 1]
    assert np.allclose(view.instances["face"].keypoints_3d, expected_3d, atol=1e-6)
    assert np.allclose(view.ignored["face"], [[10, 10, 40, 40]], atol=1e-4)


def test_a_mirrored_left_hand_is_a_right_one():
    labels = hand_labels(4, seed=2)
    sample = Sample("a.png", 200, 200, {"hand": labels})
    settings = Augmentation(flip=1, scale=(1, 1), turn_deg=0, perspective=0, colour=0)
    view = black_view(sample, 200, settings)
    assert (view.instances["hand"].is_left == ~labels.is_left).all()


@pytest.mark.parametrize("seed", range(6))
def test_labels_follow_the_picture(seed):
    """White dots drawn at landmarks are white at the mapped landmarks of any view."""
    labels = face_labels(np.array([[150.0, 150.0]]), np.array([80.0]))
    picture = np.zeros((300, 300, 3), np.uint8)
    marked = [1, 16, 30, 52, 64, 83]  # no two of them partners
    for j in marked:
        u, v = labels.keypoints_2d[0, j]
        picture[int(v) - 4 : int(v) + 5, int(u) - 4 : int(u) + 5] = 255
    settings = Augmentation(scale=(0.9, 1.2), perspective=0.1, turn_deg=25, colour=0)
    sample = Sample("a", 300, 300, {"face": labels})
    view = random_view(picture, sample, (280, 260), settings, np.random.default_rng(seed))
    face = view.instances["face"]
    # In a mirrored view the dot of a landmark has become its partner's.
    first = face.keypoints_2d[0, marked[0]].astype(int)
    is_mirrored = view.image[first[1], first[0], 0] < 200
    checked = 0
    for j in marked:
        u, v = face.keypoints_2d[0, FACE84.swap[j] if is_mirrored else j].astype(int)
        if 2 < u < 277 and 2 < v < 257:
            assert view.image[v, u, 0] > 200
            checked += 1
    assert checked >= 4


def test_an_aimed_view_has_an_instance_in_its_middle_half():
    """However small a part of the picture is seen."""
    labels = face_labels(np.array([[30.0, 270.0], [250.0, 40.0]]), np.array([20.0, 12.0]))
    sample = Sample("a", 300, 300, {"face": labels})
    settings = Augmentation(scale=(3, 4), centred=1.0, perspective=0.0, colour=0)
    seen = []
    for seed in range(20):
        view = black_view(sample, 100, settings, seed)
        points = view.instances["face"].keypoints_2d
        middles = (points.min(axis=1) + points.max(axis=1)) / 2
        assert len(middles) == 1 and (np.abs(middles[0] - 50) < 25 + 3).all()
        seen.append(round(np.ptp(points[0], axis=0).max()))
    assert max(seen) > 1.4 * min(seen)  # both faces come


def test_an_aimed_view_shows_its_instance_at_a_drawn_size():
    """Between a fifth and four fifths of the canvas, however large it is in the picture."""
    labels = face_labels(np.array([[80.0, 220.0], [220.0, 80.0]]), np.array([30.0, 90.0]))
    sample = Sample("a", 300, 300, {"face": labels})
    settings = Augmentation(
        centred=1.0, centred_size=(0.2, 0.8), perspective=0.0, colour=0, turn_deg=0, min_visible=0
    )
    sizes = []
    for seed in range(30):
        view = black_view(sample, 100, settings, seed)
        points = view.instances["face"].keypoints_2d
        middles = (points.min(axis=1) + points.max(axis=1)) / 2
        aimed_at = np.abs(middles - 50).max(axis=1).argmin()
        sizes.append(np.ptp(points[aimed_at], axis=0).max())
    assert 20 - 1e-6 <= min(sizes) < 30 and 60 < max(sizes) <= 80 + 1e-6


def test_a_tiny_instance_is_not_enlarged_without_end():
    labels = face_labels(np.array([[50.0, 50.0]]), np.array([8.0]))
    sample = Sample("a", 100, 100, {"face": labels})
    settings = Augmentation(
        flip=0, centred=1.0, centred_size=(0.9, 0.9), perspective=0.0, colour=0, turn_deg=0
    )
    view = black_view(sample, 200, settings)
    seen = np.ptp(view.instances["face"].keypoints_2d[0], axis=0)
    assert seen == pytest.approx(3 * np.ptp(labels.keypoints_2d[0], axis=0), rel=1e-4)


def test_some_views_are_turned_by_any_angle():
    labels = face_labels(np.array([[50.0, 50.0]]), np.array([30.0]))
    sample = Sample("a", 100, 100, {"face": labels})
    settings = Augmentation(
        flip=0, scale=(1, 1), turn_deg=10, turned=0.5, perspective=0, colour=0, min_visible=0
    )
    before = labels.keypoints_2d[0, 8] - labels.keypoints_2d[0, 33]
    turns = []
    for seed in range(60):
        view = black_view(sample, 100, settings, seed)
        points = view.instances["face"].keypoints_2d[0]
        after = points[8] - points[33]
        turned = complex(*after) / complex(*before)
        turns.append(np.angle(turned))
    far = np.abs(np.degrees(turns)) > 10.1
    assert 0.3 < far.mean() < 0.7 and np.abs(turns).max() > np.radians(120)


def test_nothing_to_aim_at_is_no_hindrance():
    labels = face_labels(np.zeros((0, 2)), np.zeros(0))
    view = black_view(Sample("a", 50, 50, {"face": labels}), 40, Augmentation(centred=1.0))
    assert view.image.shape == (40, 40, 3)


def test_small_and_cut_instances_are_ignored():
    labels = face_labels(np.array([[60.0, 60.0], [118.0, 60.0]]), np.array([4.0, 30.0]))
    sample = Sample("a", 120, 120, {"face": labels})
    settings = Augmentation(
        flip=0, scale=(1, 1), turn_deg=0, perspective=0, colour=0, min_visible=0.7
    )
    view = black_view(sample, 120, settings)
    assert len(view.instances["face"]) == 0
    assert len(view.ignored["face"]) == 2


def part_targets(complete=True, ignored=()) -> PartTargets:
    return PartTargets(
        boxes=np.array([[10, 10, 50, 50]], np.float32),
        classes=np.array([3]),
        poses=np.zeros((1, 84, 5), np.float32),
        valid=np.ones((1, 84, 2), bool),
        ignored=np.array(ignored, np.float32).reshape(-1, 4),
        complete=complete,
    )


def nobody(ignored=()) -> PartTargets:
    one = part_targets(ignored=ignored)
    return replace(one, **{k: getattr(one, k)[:0] for k in ("boxes", "classes", "poses", "valid")})


def batch_targets(*images: PartTargets) -> BatchTargets:
    return BatchTargets.stack(images)


def labels_of(boxes, *images: PartTargets):
    """Labels and matches of the same boxes in each image."""
    labels, matched = match_boxes(ImageBoxes.of([boxes] * len(images)), batch_targets(*images))
    return labels.view(len(images), -1), matched.view(len(images), -1)


def test_targets_travel_between_processes_as_they_are():
    targets = batch_targets(part_targets(complete=False, ignored=[[1.0, 2, 3, 4]]), nobody())
    copy = pickle.loads(pickle.dumps(targets))
    assert copy.complete.tolist() == [False, True]
    assert copy.present.tolist() == [[True], [False]]
    for name, tensor in vars(targets).items():
        torch.testing.assert_close(getattr(copy, name), tensor, rtol=0, atol=0)


BOXES = torch.tensor(
    [
        [10.0, 10, 50, 50],  # the instance
        [10.0, 10, 50, 70],  # IoU 2/3
        [10.0, 10, 50, 95],  # IoU 0.47
        [200.0, 200, 240, 240],  # nothing there
        [100.0, 100, 120, 120],  # in the ignore region
        [0.0, 0, 0, 0],  # as padding is
    ]
)


def test_overlaps_are_those_of_torchvision():
    random = torch.Generator().manual_seed(0)
    boxes, others = (torch.rand(n, 4, generator=random) * 100 for n in (30, 20))
    boxes[:, 2:] += boxes[:, :2]
    others[:, 2:] += others[:, :2]
    iou, share = overlaps(boxes[:, None], others)
    torch.testing.assert_close(iou, box_iou(boxes, others))
    half = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, -90, 95, 90]])
    assert overlaps(*half)[1].item() == pytest.approx(0.5)


def test_boxes_are_labelled_by_overlap():
    (labels,), (matched,) = labels_of(BOXES, part_targets(ignored=[[90, 90, 190, 190]]))
    assert labels.tolist() == [3, 3, BACKGROUND, BACKGROUND, IGNORE, BACKGROUND]
    assert matched[:2].tolist() == [0, 0]


def test_each_image_has_its_own_instances():
    """Padding is no instance, and ignore regions are those of the box's image."""
    two = part_targets()
    two = replace(
        two, boxes=np.array([[200, 200, 240, 240], [10, 10, 50, 50]], np.float32),
        classes=np.array([1, 2]), poses=two.poses.repeat(2, 0), valid=two.valid.repeat(2, 0),
    )  # fmt: skip
    labels, matched = labels_of(BOXES, nobody([[90, 90, 190, 190]]), two)
    assert labels[0].tolist() == [*[BACKGROUND] * 4, IGNORE, BACKGROUND]
    assert labels[1].tolist() == [2, 2, BACKGROUND, 1, BACKGROUND, BACKGROUND]
    assert matched[1, [0, 1, 3]].tolist() == [1, 1, 0]


def test_an_instance_on_an_ignore_region_stays_one():
    (labels,), _ = labels_of(BOXES, part_targets(ignored=[[0, 0, 60, 60]]))
    assert labels[0] == 3


def test_what_is_not_annotated_asks_nothing():
    (labels,), _ = labels_of(BOXES, part_targets(complete=False))
    assert labels.tolist() == [3, 3, *[IGNORE] * 4]


def test_partial_ground_truth_is_background_only_for_the_baseline():
    view = View(np.zeros((9, 9, 3), np.uint8), {}, {}, {"face": False})
    anchors = {"face": AnchorPoses("face", np.zeros((2, 84, 5)))}
    assert not targets_of(view, anchors)["face"].complete
    assert targets_of(view, anchors, partial_is_background=True)["face"].complete


def test_boxes_are_drawn_from_positives_and_background():
    random = torch.Generator().manual_seed(0)
    corner = torch.rand(500, 2, generator=random) * 150 + 120
    far = torch.cat([corner, corner + 20], dim=1)
    near = torch.tensor([[10.0, 10, 50, 50]]) + torch.rand(60, 4, generator=random)
    targets = {"face": batch_targets(part_targets(), nobody())}
    drawn = sample_boxes([torch.cat([far, near]), far[:7]], targets, 64, 0.25, random)
    labels, _ = match_boxes(drawn, targets["face"])
    assert drawn.counts == [64, 7]
    assert (labels == 3).sum() == (labels[:64] == 3).sum() == 16
    again = sample_boxes([torch.cat([far, near]), far[:7]], targets, 64, 0.25, random)
    assert not torch.equal(drawn.boxes, again.boxes)
    few = sample_boxes([far, far], targets, 64, 0.25, random)
    labels = match_boxes(few, targets["face"])[0]
    assert (labels == 3).tolist() == [False] * 63 + [True] + [False] * 64, "its own box"


# --- the RPN's training, beside torchvision's ---------------------------------------------------


def rpn_and_targets():
    config = NetworkConfig({"face": PartConfig(84, 4)}, backbone="mobilenet_v2")
    torch.manual_seed(3)
    rpn = build_proposal_network(config, 8, Mode(128, 200, 20, half=False))
    random = torch.Generator().manual_seed(1)
    features = torch.randn(3, 8, 8, 8, generator=random)
    images = torch.zeros(3, 3, 128, 128)
    one = part_targets()
    two = replace(
        one, boxes=np.array([[70, 30, 120, 90], [12, 11, 49, 52]], np.float32),
        classes=np.array([1, 2]), poses=one.poses.repeat(2, 0), valid=one.valid.repeat(2, 0),
    )  # fmt: skip
    return rpn.train(), images, features, [one, nobody(), two]


def test_anchors_are_labelled_and_losses_are_those_of_torchvision():
    """Where all anchors are drawn, nothing is left to chance."""
    rpn, images, features, parts = rpn_and_targets()
    anchors = 8 * 8 * 15
    rpn.fg_bg_sampler = BalancedPositiveNegativeSampler(2 * anchors, 0.5)
    stock = RegionProposalNetwork(
        rpn.anchor_generator, rpn.head, 0.7, 0.3, 2 * anchors, 0.5, {"training": 2000},
        {"training": 2000}, 0.7,
    ).train()  # fmt: skip
    wanted = [{"boxes": torch.from_numpy(p.boxes)} for p in parts]
    _, theirs = stock(ImageList(images, [(128, 128)] * 3), {"0": features}, wanted)
    targets = {"face": BatchTargets.stack(parts)}
    proposals, ours = proposals_and_losses(rpn, images, features, targets)
    assert len(proposals) == 3
    torch.testing.assert_close(ours["rpn/objectness"], theirs["loss_objectness"])
    torch.testing.assert_close(ours["rpn/boxes"], theirs["loss_rpn_box_reg"])
    assert ours["rpn/boxes"] > 0


def test_anchors_on_ignore_regions_are_no_background():
    rpn, images, features, parts = rpn_and_targets()
    parts[1] = nobody([[0, 0, 128, 128]])
    (anchors,) = rpn.anchor_generator(ImageList(images[:1], [(128, 128)]), [features])
    labels, _ = label_anchors(rpn, anchors, {"face": BatchTargets.stack(parts)})
    inside = overlaps(anchors, torch.tensor([0.0, 0, 128, 128]))[1] > 0.7
    assert (labels[1][inside] == IGNORE).all() and inside.sum() > 100
    assert BACKGROUND in labels[0] and BACKGROUND in labels[2]


def test_anchors_are_drawn_as_in_faster_rcnn():
    """At most half of them objects, the rest background."""
    rpn, images, features, parts = rpn_and_targets()
    (anchors,) = rpn.anchor_generator(ImageList(images[:1], [(128, 128)]), [features])
    labels, matched = label_anchors(rpn, anchors, {"face": BatchTargets.stack(parts)})
    objects = int((labels == OBJECT).sum())
    rpn.fg_bg_sampler = BalancedPositiveNegativeSampler(16, 0.5)
    zeros = torch.zeros(labels.numel())
    # Logits that are right everywhere, but for one object.
    logits = torch.where(labels.flatten() == OBJECT, 50.0, -50.0)
    losses = anchor_losses(rpn, logits, zeros[:, None].expand(-1, 4), anchors, labels, matched)
    assert losses["rpn/objectness"].item() == pytest.approx(0, abs=1e-6)
    wrong = anchor_losses(rpn, -logits, zeros[:, None].expand(-1, 4), anchors, labels, matched)
    assert wrong["rpn/objectness"].item() == pytest.approx(50)
    assert objects > 0
