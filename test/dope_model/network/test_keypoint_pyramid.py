"""The backbone with heat maps: its pieces, and the weights that it starts from."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from packages import package
from torch.nn import functional as F
from torchvision.ops import roi_align

from dope_model.checkpoint import load_checkpoint
from dope_model.experts.tfjs_weights import read_tfjs, tfjs_weights
from dope_model.network.config import NetworkConfig, PartConfig
from dope_model.network.dope import IMAGENET_MEAN, IMAGENET_STD, DopeNetwork
from dope_model.network.heads import poses_from_deltas
from dope_model.network.keypoint_head import (
    CONFIDENCE,
    GATE_SLOPE,
    HAND_HEATMAPS,
    HEATMAPS,
    KEYPOINTS,
    PEAK,
    POINT_SCALE,
    SHARPNESS,
    FusionGate,
    decode_heatmaps,
    heatmap_of_joint,
)
from dope_model.network.pyramid import ConvSame
from dope_model.network.roi_features import RoiFeatures
from dope_model.skeleton import BODY, FACE84
from dope_model.training import movenet
from dope_model.training.movenet import CLOSED, OPEN, open_gates
from dope_model.training.pretrained import convert_backbone

CONFIG = NetworkConfig({"body": PartConfig(13, 3)}, backbone="mobilenet_v2_keypoints")


def test_heat_maps_point_at_their_peak():
    """A Gaussian is the softmax of a parabola: its mean is known."""
    side, x, y, spread = 28, 0.3, 0.65, 0.03
    grid = (torch.arange(side) + 0.5) / side
    distance = (grid[None, :] - x) ** 2 + (grid[:, None] - y) ** 2
    logits = 2.0 - distance / (2 * SHARPNESS * spread**2)
    flat = torch.full((side, side), -3.0)
    values = decode_heatmaps(torch.stack([logits, flat])[None])[0]
    mean_x, mean_y, sure, peak_x, peak_y = values[:, 0].tolist()
    for found in ((mean_x, mean_y), (peak_x, peak_y)):
        assert np.array(found) / POINT_SCALE + 0.5 == pytest.approx([x, y], abs=1e-3)
    assert sure == pytest.approx(1 / (1 + np.exp(-2.0)), abs=0.02)
    assert values[:3, 1].tolist() == pytest.approx([0, 0, 1 / (1 + np.exp(3.0))], abs=1e-6)


def test_points_are_those_of_softmax_and_argmax():
    """Plainly, map by map, also where a peak's surroundings are cut off by the edge."""
    side = 28
    maps = 2 * torch.randn(4, 9, side, side, generator=torch.Generator().manual_seed(1)) - 4
    maps[0, 0, 0, 27], maps[0, 1, 27, 0] = 9.0, 9.0
    grid = ((torch.arange(side) + 0.5) / side - 0.5) * POINT_SCALE
    found = decode_heatmaps(maps)
    for roi, which in np.ndindex(4, 9):
        logits = SHARPNESS * maps[roi, which]
        row, column = np.unravel_index(int(logits.argmax()), (side, side))
        window = slice(max(0, row - 3), row + 4), slice(max(0, column - 3), column + 4)
        wanted = []
        for part in ((slice(None), slice(None)), window):
            weights = logits[part].flatten().softmax(dim=0).view(logits[part].shape)
            wanted += [
                (weights.sum(0) * grid[part[1]]).sum(),
                (weights.sum(1) * grid[part[0]]).sum(),
            ]
        wanted.insert(2, maps[roi, which].max().sigmoid())
        torch.testing.assert_close(found[roi, :, which], torch.stack(wanted), atol=1e-5, rtol=1e-4)


def test_stride_two_is_padded_after_the_map():
    """As TensorFlow's "SAME" is for even sizes: the first output sees pixels 0, 1 and 2."""
    convolution = ConvSame(1, 1, 3, 2, bias=False)
    torch.nn.init.ones_(convolution.weight)
    image = torch.zeros(1, 1, 6, 6)
    image[0, 0, 0] = torch.tensor([1.0, 10, 100, 1000, 10000, 100000])
    assert convolution(image)[0, 0, 0].tolist() == [111, 11100, 110000]


def test_depthwise_stride_two_learns_as_any_convolution():
    """In bfloat16 gradients come another way, and are those of the padded convolution."""
    random = torch.Generator().manual_seed(3)
    convolution = ConvSame(5, 5, 3, 2, groups=5)
    x = torch.randn(2, 5, 8, 6, generator=random).bfloat16().requires_grad_(True)
    wanted = torch.randn(2, 5, 4, 3, generator=random)
    learned = (x, convolution.weight, convolution.bias)
    with torch.autocast("cpu", torch.bfloat16):
        y = convolution(x)
        with torch.no_grad():
            same = convolution(x)
    plain = F.conv2d(F.pad(x.float(), (0, 1, 0, 1)), *learned[1:], 2, groups=5)
    ours, theirs = ([z, *torch.autograd.grad((z * wanted).sum(), learned)] for z in (y, plain))
    for value, exact in zip([same, *ours], [plain, *theirs], strict=True):
        torch.testing.assert_close(value.float(), exact.float(), rtol=0.02, atol=0.04)


def test_every_heat_map_belongs_to_one_joint():
    parts = (("body", 13), ("hand", 21), ("face", 84))
    body, hand, face = (heatmap_of_joint(*part) for part in parts)
    assert heatmap_of_joint("body", 14) == body
    assert body.keys() == set(range(13)) and hand.keys() == set(range(21))
    # COCO's: nose, eyes and ears are no joints of ours.
    used = [*range(5), *body.values(), *hand.values(), *face.values()]
    assert sorted(used) == list(range(HEATMAPS))
    assert body[BODY.index["left_ankle"]] == 15
    # A mirrored face has maps for the same landmarks.
    assert {FACE84.swap[j] for j in face} == face.keys()


WHOLE = NetworkConfig(
    {"body": PartConfig(13, 3), "hand": PartConfig(21, 2), "face": PartConfig(84, 2)},
    backbone="mobilenet_v2_keypoints",
)
BOX = torch.tensor([[100.0, 50, 300, 450]])


def rois_that_point(network, place):
    """A RoI's random features whose heat maps point at `place` (HEATMAPS, 2) in the unit box."""
    points = torch.rand(1, 5, HEATMAPS)
    points[0, PEAK] = (place.T - 0.5) * POINT_SCALE
    return RoiFeatures(torch.randn(1, network.roi_vector.channels), points)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_joints_lie_between_what_is_regressed_and_where_their_heat_maps_point(share):
    """Whatever the class; joints without a map are regressed."""
    network = DopeNetwork(WHOLE)
    place = torch.rand(HEATMAPS, 2, generator=torch.Generator().manual_seed(1))
    rois = rois_that_point(network, place)
    for part, branches in network.branches.items():
        count, joints = branches.part.anchor_poses, branches.part.joints
        branches.anchor_poses.uniform_(0, 1)
        torch.nn.init.normal_(branches.pose_pred.weight, std=0.05)
        torch.nn.init.zeros_(branches.map_trust.trust.weight)
        logit = torch.tensor(share).logit(1e-7) / GATE_SLOPE
        torch.nn.init.constant_(branches.map_trust.trust.bias, logit)
        trusting = branches(rois).deltas[0].detach()
        trust, branches.map_trust = branches.map_trust, None
        plain = branches(rois).deltas[0].detach()
        branches.map_trust = trust
        found, depth = poses_from_deltas(BOX.expand(count, 4), branches.anchor_poses, trusting)
        regressed, same = poses_from_deltas(BOX.expand(count, 4), branches.anchor_poses, plain)
        assert torch.equal(depth, same)
        maps = heatmap_of_joint(part, joints)
        for joint in range(joints):
            expected = regressed[:, joint]
            if joint in maps:
                pointed = place[maps[joint]] * torch.tensor([200, 400]) + BOX[0, :2]
                expected = expected + share * (pointed - expected)
            torch.testing.assert_close(found[:, joint], expected, atol=1e-2, rtol=0)


def test_the_gates_start_open_to_the_heat_maps_of_movenet():
    network = DopeNetwork(WHOLE)
    for branches in network.branches.values():
        torch.nn.init.zeros_(branches.pose_pred.weight)
        torch.nn.init.zeros_(branches.pose_pred.bias)
        branches.anchor_poses.uniform_(0, 1)
    open_gates(network)
    place = torch.rand(HEATMAPS, 2, generator=torch.Generator().manual_seed(1))
    rois = rois_that_point(network, place)
    shares = {
        "body": 1 / (1 + np.exp(-GATE_SLOPE * OPEN)),
        "hand": 1 / (1 + np.exp(-GATE_SLOPE * CLOSED)),
    }
    for part, joint in (("body", BODY.index["right_wrist"]), ("hand", 4)):
        branches = network.branches[part]
        anchor = branches.anchor_poses[1, joint, :2]
        pointed = place[heatmap_of_joint(part, branches.part.joints)[joint]]
        expected = shares[part] * (pointed - anchor)
        torch.testing.assert_close(
            branches(rois).deltas[0, 1, joint, :2].detach(), expected.float(), atol=1e-4, rtol=0
        )


def test_movenets_maps_start_as_they_are_and_can_be_corrected():
    """By the second head, at every place of theirs; the other maps are its own."""
    torch.manual_seed(0)
    pyramid = DopeNetwork(CONFIG).eval().backbone
    seen = []
    pyramid.keypoints.register_forward_hook(lambda module, inputs, output: seen.append(output))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before = pyramid(images).heatmaps
        assert torch.equal(before[:, :KEYPOINTS], seen[0])
        added = torch.randn(HEATMAPS)
        of_hand = torch.tensor([m in HAND_HEATMAPS for m in range(HEATMAPS)])
        pyramid.part_maps.people.last.bias += added[~of_hand]
        pyramid.part_maps.hands.fine.last.bias += added[of_hand]
        after = pyramid(images).heatmaps
    torch.testing.assert_close(after - before, added.view(1, -1, 1, 1).expand_as(after))


def test_proposals_and_heads_see_what_is_known_of_hands():
    """At stride 16, and what hands' maps are made of; the people's maps are not."""
    torch.manual_seed(0)
    network = DopeNetwork(CONFIG).eval()
    pyramid, images = network.backbone, torch.randn(1, 3, 64, 96)
    boxes = [torch.tensor([[8.0, 8, 56, 40]])]

    def seen():
        with torch.no_grad():
            features = network.features(images)
            coarse, fine = features
            first, stop = HAND_HEATMAPS.start, HAND_HEATMAPS.stop
            of_hand, others = fine[:, first:stop], torch.cat([fine[:, :first], fine[:, stop:]], 1)
            pooled = network.pool(features, boxes).coarse
            return [coarse, network.rpn.head([coarse])[0][0], pooled, of_hand, others]

    before = seen()
    for parameter in pyramid.part_maps.hands.blocks.parameters():
        parameter.data *= 1.5
    after = seen()
    same = [torch.equal(old, new) for old, new in zip(before, after, strict=True)]
    assert same == [False, False, False, False, True]
    assert torch.equal(before[0][:, :128], after[0][:, :128])  # those of people


def test_from_an_image_to_a_joint_by_hand():
    """The shipped network's bodies: its heat maps pooled by torchvision, decoded in NumPy, and
    fused with what its linear layers regress."""
    network = load_checkpoint("dope_lite").build()
    image = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor([[8.0, 4, 90, 92], [30, 20, 70, 60]])
    head, heatmap_of = network.branches["body"], heatmap_of_joint("body", 13)
    with torch.no_grad():
        features = network.features(image)
        output = network.classify(features, [boxes])["body"]
        vector = network.roi_vectors(network.pool(features, [boxes])).vector
        pooled = roi_align(features.heatmaps, [boxes], 28, 1 / 4, 1, aligned=True).double().numpy()
        gate = 1 / (1 + np.exp(-6 * head.map_trust.trust(vector).double().numpy()))
        regressed = (head.pose_pred(vector) / 5).view(2, 10, 65)[..., :26].reshape(2, 10, 13, 2)
    grid = (np.arange(28) + 0.5) / 28
    for roi, (k, joint) in itertools.product(range(2), enumerate(heatmap_of)):
        heatmap = pooled[roi, heatmap_of[joint]]
        row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
        rows, columns = (slice(max(0, middle - 3), middle + 4) for middle in (row, column))
        weights = np.exp(4 * (heatmap[rows, columns] - heatmap.max()))
        weights /= weights.sum()
        point = (weights.sum(axis=0) @ grid[columns], weights.sum(axis=1) @ grid[rows])
        decoded = point - head.anchor_poses[:, joint, :2].numpy()
        expected = gate[roi, k] * decoded + (1 - gate[roi, k]) * regressed[roi, :, joint].numpy()
        np.testing.assert_allclose(output.deltas[roi, :, joint, :2], expected, atol=1e-4)
        confidence = 1 / (1 + np.exp(-heatmap.max()))
        assert output.confidence[roi, joint] == pytest.approx(confidence, abs=1e-5)


def test_a_second_peak_pulls_the_mean_only():
    maps = torch.full((1, 1, 28, 28), -9.0)
    maps[0, 0, 5, 6], maps[0, 0, 5, 7], maps[0, 0, 20, 25] = 3.0, 3.0, 3.0 - 1e-6
    values = decode_heatmaps(maps)[0, :, 0] / POINT_SCALE + 0.5
    mean_x, mean_y, _, peak_x, peak_y = values.tolist()
    assert (peak_x, peak_y) == pytest.approx((7 / 28, 5.5 / 28), abs=1e-4)
    assert mean_x == pytest.approx((6.5 + 7.5 + 25.5) / 3 / 28, abs=1e-4)
    assert mean_y == pytest.approx((5.5 + 5.5 + 20.5) / 3 / 28, abs=1e-4)


def tfjs_package(path, tensors, model=movenet.MODEL):
    """An npm package with a tfjs model of these tensors, stored as FP16."""
    stored = {"dtype": "float16", "original_dtype": "float32"}
    entries = [
        {"name": n, "shape": list(v.shape), "dtype": "float32", "quantization": stored}
        for n, v in tensors.items()
    ]
    content = b"".join(v.astype(np.float16).tobytes() for v in tensors.values())
    half = len(content) // 2
    files = {
        model: json.dumps(
            {"weightsManifest": [{"paths": ["a.bin", "b.bin"], "weights": entries}]}
        ).encode(),
        model.rpartition("/")[0] + "/a.bin": content[:half],
        model.rpartition("/")[0] + "/b.bin": content[half:],
    }
    return package(path, files)


def test_tensors_of_a_tfjs_model(tmp_path):
    tensors = {"a": np.arange(6.0).reshape(2, 3), "b/c": np.array([0.5], np.float32)}
    found = read_tfjs(tfjs_package(tmp_path / "x.tgz", tensors), movenet.MODEL)
    assert found.keys() == tensors.keys()
    assert all(np.array_equal(found[n], v) and found[n].dtype == np.float32
               for n, v in tensors.items())  # fmt: skip


def test_quantised_tensors_in_several_files_and_files_that_do_not_fit():
    manifest = [{
        "paths": ["1.bin", "2.bin"],
        "weights": [
            {"name": "a", "shape": [2, 1], "dtype": "float32",
             "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0}},
            {"name": "b", "shape": [], "dtype": "int32"},
        ],
    }]  # fmt: skip
    files = {"1.bin": bytes([4, 7, 1]), "2.bin": bytes([1, 0, 0])}
    found = tfjs_weights(manifest, files.__getitem__)
    assert found["a"].tolist() == [[1.0], [2.5]] and found["a"].dtype == np.float32
    assert found["b"] == 257 and found["b"].dtype == np.int32
    files["2.bin"] += b"?"
    with pytest.raises(ValueError, match="7 bytes, but the manifest uses 6"):
        tfjs_weights(manifest, files.__getitem__)


def movenet_like(random):
    """Random tensors under MoveNet's names, of MobileNetV2's widths times 1.5."""
    tensors = {}

    def conv(stem, shape, kernel="Conv2D_weights", bias="Conv2D_bn_offset"):
        tensors[f"{stem}{kernel}"] = random.normal(0, 0.1, shape)
        if bias:
            tensors[f"{stem}{bias}"] = random.normal(0, 0.1, shape[-1])

    def depthwise(stem, channels):
        tensors[f"{stem}depthwise_weights"] = random.normal(0, 0.1, (3, 3, channels, 1))
        tensors[f"{stem}depthwise_bn_offset"] = random.normal(0, 0.1, channels)

    root = movenet._PYRAMID
    conv(f"{root}model/Conv1/", (3, 3, 3, 48))
    depthwise(f"{root}model/expanded_conv_depthwise/", 48)
    conv(f"{root}model/expanded_conv_project/", (1, 1, 48, 24))
    width = 24
    outs = [40] * 2 + [48] * 3 + [96] * 4 + [144] * 3 + [240] * 3 + [480]
    for number, out in enumerate(outs, 1):
        conv(f"{root}model/block_{number}_expand/", (1, 1, width, 6 * width))
        depthwise(f"{root}model/block_{number}_depthwise/", 6 * width)
        conv(f"{root}model/block_{number}_project/", (1, 1, 6 * width, out))
        width = out
    conv(f"{root}model/Conv_1/", (1, 1, 480, 1280))
    read = "ReadVariableOp"
    for number, shape in (("", (1280, 64)), ("_1", (96, 64)), ("_2", (48, 32)), ("_3", (40, 24))):
        stem = f"{root}conv2d{number}/"
        conv(stem, (1, 1, *shape), f"Conv2D/{read}", f"BiasAdd/{read}")
    for number, (a, b) in (("", (64, 32)), ("_1", (32, 24)), ("_2", (24, 24))):
        stem = f"{root}separable_conv2d{number}/separable_conv2d"
        tensors[f"{stem}/{read}"] = random.normal(0, 0.1, (3, 3, a, 1))
        conv(stem, (1, 1, a, b), "_weights", "_bn_offset")
    head = f"{movenet._HEAD}separable_conv2d_6"
    tensors[f"{head}/separable_conv2d/{read}"] = random.normal(0, 0.1, (3, 3, 24, 1))
    conv(head, (1, 1, 24, 96), f"/separable_conv2d/{read}_1", f"/BiasAdd/{read}")
    conv(f"{movenet._HEAD}conv2d_7/", (1, 1, 96, 17), f"Conv2D/{read}", f"BiasAdd/{read}")
    return tensors


def test_movenets_weights_find_their_places(tmp_path):
    tensors = movenet_like(np.random.default_rng(0))
    found = convert_backbone("mobilenet_v2_keypoints", tfjs_package(tmp_path / "x.tgz", tensors))
    network = DopeNetwork(CONFIG)
    missing = network.load_state_dict(found, strict=False).missing_keys
    assert not [name for name in missing if name.startswith(("backbone.", "roi_features."))]
    pyramid = network.backbone

    # The first layer, by hand: TensorFlow sees colours from -1 to 1, and rows 0 to 2 of the image.
    rgb = np.random.default_rng(1).integers(0, 256, (8, 8, 3))
    kernel = tensors[f"{movenet._PYRAMID}model/Conv1/Conv2D_weights"]
    bias = tensors[f"{movenet._PYRAMID}model/Conv1/Conv2D_bn_offset"]
    by_hand = np.einsum("yxc,yxco->o", rgb[2:5, 4:7] / 127.5 - 1, kernel) + bias
    image = (rgb / 255 - IMAGENET_MEAN) / IMAGENET_STD
    ours = pyramid.blocks[0](torch.from_numpy(image).float().permute(2, 0, 1)[None])
    assert ours.detach()[0, :, 1, 2].numpy() == pytest.approx(np.clip(by_hand, 0, 6), abs=2e-3)

    # A block in the middle: 1x1, depthwise 3x3, 1x1, and the sum, at the middle of a 3x3 map.
    x = np.random.default_rng(2).normal(size=(3, 3, 240))
    name = f"{movenet._PYRAMID}model/block_14"
    wide = np.clip(x @ tensors[f"{name}_expand/Conv2D_weights"][0, 0]
                   + tensors[f"{name}_expand/Conv2D_bn_offset"], 0, 6)  # fmt: skip
    deep = (wide * tensors[f"{name}_depthwise/depthwise_weights"][..., 0]).sum(axis=(0, 1))
    deep = np.clip(deep + tensors[f"{name}_depthwise/depthwise_bn_offset"], 0, 6)
    by_hand = deep @ tensors[f"{name}_project/Conv2D_weights"][0, 0]
    by_hand = x[1, 1] + by_hand + tensors[f"{name}_project/Conv2D_bn_offset"]
    ours = pyramid.blocks[15](torch.from_numpy(x).float().permute(2, 0, 1)[None])
    assert ours.detach()[0, :, 1, 1].numpy() == pytest.approx(by_hand, abs=2e-2)

    # Hands' own blocks begin as the same ones.
    four = torch.randn(1, 40, 16, 24, generator=torch.Generator().manual_seed(3))
    own = pyramid.part_maps.hands.blocks(four)
    assert own.shape == (1, 144, 4, 6) and torch.equal(own, pyramid.blocks[4:14](four))

    last = tensors[f"{movenet._HEAD}conv2d_7/Conv2D/ReadVariableOp"][0, 0]
    kept = pyramid.keypoints[1].weight.detach()[:, :, 0, 0].numpy()
    assert kept == pytest.approx(last.T, abs=1e-3)


def test_another_package_is_refused(tmp_path):
    wrong = tfjs_package(tmp_path / "x.tgz", {"a": np.zeros(2)}, "package/other/model.json")
    with pytest.raises(ValueError, match="not the package that mobilenet_v2_keypoints comes from"):
        convert_backbone("mobilenet_v2_keypoints", wrong)


@pytest.mark.parametrize(
    ("part", "joints"), [("body", 13), ("body", 14), ("hand", 21), ("face", 84)]
)
def test_a_joint_is_as_sure_as_its_heat_map(part, joints):
    """One without a heat map is as sure as the part's heat maps are on average."""
    gate = FusionGate(part, 9, joints)
    points = torch.rand(3, 5, HEATMAPS, generator=torch.Generator().manual_seed(4))
    sure = points[:, CONFIDENCE].numpy()
    maps = heatmap_of_joint(part, joints)
    expected = np.repeat(sure[:, list(maps.values())].mean(axis=1)[:, None], joints, axis=1)
    for joint, number in maps.items():
        expected[:, joint] = sure[:, number]
    assert gate.confidence(points).numpy() == pytest.approx(expected, abs=1e-6)
