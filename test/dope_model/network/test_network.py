"""The network against an implementation of its own, in the authors' layout."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from random_networks import PARTS, SMALL, small_checkpoint, with_random_weights  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torchvision.models import resnet50  # noqa: E402
from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: E402
from torchvision.models.detection.image_list import ImageList  # noqa: E402
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead  # noqa: E402
from torchvision.ops import MultiScaleRoIAlign  # noqa: E402
from torchvision.ops.misc import FrozenBatchNorm2d  # noqa: E402

from dope_model.checkpoint import (  # noqa: E402
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from dope_model.network.config import (  # noqa: E402
    MODES,
    Mode,
    NetworkConfig,
    PartConfig,
    mode_named,
)
from dope_model.network.dope import DopeNetwork, resized_shape  # noqa: E402
from dope_model.network.heads import poses_from_deltas  # noqa: E402
from dope_model.network.roi_features import RoiFeatures  # noqa: E402


class AuthorsLayout(nn.Module):
    """The published network written anew from its description, with the authors' tensor names.

    Plain loops, every class decoded, everything rescaled at the end: nothing in common with the
    project's own network but torchvision.
    """

    def __init__(self, eps: float, proposals: int, body_joints: int = 13) -> None:
        super().__init__()
        net = resnet50(weights=None, norm_layer=partial(FrozenBatchNorm2d, eps=eps))
        self.joints = {"body": body_joints, "hand": 21, "face": 84}
        self.backbone = nn.Module()
        self.backbone.resnet_backbone = net
        self.rpn = RegionProposalNetwork(
            AnchorGenerator(((32, 64, 128, 256, 512),), ((0.5, 1.0, 2.0),)),
            RPNHead(1024, 15), 0.7, 0.3, 256, 0.5,
            {"training": 1000, "testing": 1000}, {"training": 1000, "testing": proposals}, 0.7,
        )  # fmt: skip
        self.roi_heads = nn.Module()
        self.roi_heads.dope_head = nn.Module()
        self.roi_heads.dope_head.resnet_backbone = net
        predictor = self.roi_heads.dope_predictor = nn.Module()
        for part, (_, classes) in PARTS.items():
            joints = self.joints[part]
            setattr(predictor, f"{part}_cls_score", nn.Linear(2048, classes + 1))
            setattr(predictor, f"{part}_pose_pred", nn.Linear(2048, classes * joints * 5))
            self.roi_heads.register_buffer(f"{part}_anchor_poses", torch.zeros(classes, joints, 5))

    @torch.no_grad()
    def forward(self, image: torch.Tensor, mode: Mode) -> tuple:
        height, width = image.shape[-2:]
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        scale = mode.min_size / min(height, width)
        if max(height, width) * scale > mode.max_size:
            scale = mode.max_size / max(height, width)
        x = F.interpolate(
            ((image / 255.0 - mean) / std)[None],
            scale_factor=scale, mode="bilinear", align_corners=False, recompute_scale_factor=True,
        )  # fmt: skip
        h, w = x.shape[-2:]
        padded = torch.zeros(1, 3, -(-h // 32) * 32, -(-w // 32) * 32)
        padded[:, :, :h, :w] = x
        r = self.backbone.resnet_backbone
        f = r.maxpool(r.relu(r.bn1(r.conv1(padded))))
        f = r.layer3(r.layer2(r.layer1(f)))
        (boxes,), _ = self.rpn(ImageList(padded, [(h, w)]), {"0": f})
        pooled = MultiScaleRoIAlign(["0"], 7, 2)({"0": f}, [boxes], [(h, w)])
        features = r.layer4(pooled).mean(3).mean(2)
        back = torch.tensor([width / w, height / h])
        out = {}
        for part, (_, classes) in PARTS.items():
            joints = self.joints[part]
            predictor = self.roi_heads.dope_predictor
            scores = F.softmax(getattr(predictor, f"{part}_cls_score")(features), -1)
            raw = getattr(predictor, f"{part}_pose_pred")(features).view(-1, classes, joints * 5)
            anchors = getattr(self.roi_heads, f"{part}_anchor_poses")
            poses = torch.zeros(len(boxes), classes, joints, 5)
            for i, box in enumerate(boxes):
                for c in range(classes):
                    flat, j = raw[i, c] / 5, joints
                    uv = anchors[c, :, :2] + flat[: 2 * j].view(j, 2)
                    poses[i, c, :, :2] = (box[:2] + uv * (box[2:] - box[:2])) * back
                    poses[i, c, :, 2:] = anchors[c, :, 2:] + flat[2 * j :].view(j, 3)
            out[part] = (scores, poses)
        return boxes * torch.cat([back, back]), out


def authors_file(path, reference: AuthorsLayout, half: bool = False, **overrides) -> None:
    """Save as the authors did: whole ResNet twice, old torchvision's name for the RPN's conv."""
    state = {k.replace("rpn.head.conv.0.0", "rpn.head.conv"): v
             for k, v in reference.state_dict().items()}  # fmt: skip
    state["backbone.resnet_backbone.bn1.num_batches_tracked"] = torch.tensor(7)
    content = {
        "state_dict": state,
        "half": half,
        "dope_kwargs": {
            "num_anchor_poses": {part: classes for part, (_, classes) in PARTS.items()},
            "min_size": SMALL.min_size, "max_size": SMALL.max_size,
            "rpn_post_nms_top_n_test": SMALL.proposals,
        },
        "body_ppi_kwargs": {"K": 10, "th_iou": 0.3, "iou_func": "torsoheadLR"},
        "hand_ppi_kwargs": {"K": 5},
        "face_ppi_kwargs": {"K": 10, "score_th": 0.02},
    }  # fmt: skip
    torch.save(content | overrides, path)


def random_image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(seed)) * 255
    smooth = F.interpolate(coarse[None], (height, width), mode="bicubic")[0].clamp(0, 255)
    return smooth.round().to(torch.uint8)


EVERYTHING = {"body": 0.0, "hand": 0.0, "face": 0.0}


@pytest.mark.parametrize("half", [False, True], ids=["eps 0", "eps 1e-5"])
@pytest.mark.parametrize(("height", "width", "body_joints"), [(97, 150, 13), (140, 131, 14)])
def test_authors_checkpoint_gives_the_reference_results(tmp_path, half, height, width, body_joints):
    eps = 1e-5 if half else 0.0
    reference = with_random_weights(AuthorsLayout(eps, SMALL.proposals, body_joints), seed=1)
    path = tmp_path / "DOPE_v1_0_0.pth.tgz"
    authors_file(path, reference, half)
    image = random_image(height, width)
    expected_boxes, expected = reference(image.float(), SMALL)

    checkpoint = load_checkpoint(path)
    assert checkpoint.config.batch_norm_eps == eps
    assert (checkpoint.mode.proposals, checkpoint.mode.half) == (SMALL.proposals, half)
    found = checkpoint.build()(image, EVERYTHING)

    for part, (_, classes) in PARTS.items():
        scores, poses = expected[part]
        count = len(expected_boxes)
        assert len(found[part].scores) == count * classes
        got_boxes = found[part].boxes.view(count, classes, 4)
        assert torch.allclose(got_boxes, expected_boxes[:, None].expand_as(got_boxes), atol=1e-3)
        assert torch.allclose(found[part].scores.view(count, classes), scores[:, 1:], atol=1e-5)
        shape = (count, classes, *poses.shape[2:3])
        assert torch.allclose(
            found[part].keypoints_2d.view(*shape, 2), poses[..., :2], atol=1e-2, rtol=1e-5
        )
        assert torch.allclose(found[part].keypoints_3d.view(*shape, 3), poses[..., 2:], atol=1e-5)
    assert len(expected_boxes) == SMALL.proposals
    assert scores.std(0).max() > 1e-3, "the boxes must not all look alike"


def test_authors_regression_weights_are_respected(tmp_path):
    """2D offsets are raw / 2 and, of hands, raw / 10; 3D ones raw / 4."""
    reference = with_random_weights(AuthorsLayout(0.0, SMALL.proposals), seed=1)
    found = {}
    for name, more in (
        ("plain", {}),
        ("other", {"pose2d_reg_weights": {"body": 2.0, "hand": 10.0, "face": 2.0},
                   "pose3d_reg_weights": 4.0}),
    ):  # fmt: skip
        authors_file(tmp_path / name, reference)
        content = torch.load(tmp_path / name)
        content["dope_kwargs"] |= more
        torch.save(content, tmp_path / name)
        found[name] = load_checkpoint(tmp_path / name).build()
    features = RoiFeatures(torch.randn(3, 2048, generator=torch.Generator().manual_seed(2)))
    with torch.no_grad():
        for part in PARTS:
            plain, other = (found[name].branches[part](features).deltas for name in found)
            factor = 0.5 if part == "hand" else 2.5
            torch.testing.assert_close(other[..., :2], factor * plain[..., :2])
            torch.testing.assert_close(other[..., 2:], 1.25 * plain[..., 2:])


def test_authors_postprocessing_settings_are_kept(tmp_path):
    authors_file(tmp_path / "m.pth", with_random_weights(AuthorsLayout(0.0, 12), seed=2))
    settings = load_checkpoint(tmp_path / "m.pth").integration
    assert settings["body"].K == 10
    assert settings["body"].th_iou == 0.3
    assert settings["body"].left_right_swapped
    assert settings["hand"].K == 5
    assert settings["face"].score_th == 0.02


def test_own_format_round_trip(tmp_path):
    checkpoint = small_checkpoint()
    save_checkpoint(checkpoint, tmp_path / "net.safetensors")
    loaded = load_checkpoint(tmp_path / "net.safetensors")
    assert loaded.config == checkpoint.config
    assert loaded.mode == checkpoint.mode
    assert loaded.integration == checkpoint.integration
    assert loaded.about == checkpoint.about
    image = random_image(90, 120)
    before, after = checkpoint.build()(image, EVERYTHING), loaded.build()(image, EVERYTHING)
    for part in PARTS:
        assert torch.equal(before[part].keypoints_2d, after[part].keypoints_2d)


def test_half_file_is_half_as_large_and_nearly_the_same(tmp_path):
    checkpoint = small_checkpoint(("face",))
    save_checkpoint(checkpoint, tmp_path / "full.safetensors")
    save_checkpoint(checkpoint, tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / f"{n}.safetensors").stat().st_size for n in ("full", "half")]
    assert sizes[1] < 0.55 * sizes[0]
    loaded = load_checkpoint(tmp_path / "half.safetensors")
    for key, tensor in checkpoint.state.items():
        assert torch.allclose(tensor, loaded.state[key], rtol=2e-3, atol=1e-4), key


def test_part_expert_is_the_same_network_with_one_part():
    checkpoint = small_checkpoint()
    expert_state = {
        key: value
        for key, value in checkpoint.state.items()
        if not key.startswith("branches.") or key.startswith("branches.hand.")
    }
    expert = Checkpoint(checkpoint.config.only("hand"), expert_state, SMALL).build()
    image = random_image(100, 100)
    alone, together = expert(image, {"hand": 0.0}), checkpoint.build()(image, EVERYTHING)
    assert set(alone) == {"hand"}
    assert torch.equal(alone["hand"].scores, together["hand"].scores)


class _Executed:
    """Unpickling this would create a file."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def _bad_files(tmp_path):
    good = tmp_path / "good.safetensors"
    save_checkpoint(small_checkpoint(("face",)), good)
    data = good.read_bytes()
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    other_pth = (tmp_path / "other.pth").read_bytes()
    return {
        "empty": (b"", "is empty"),
        "web page": (b"<!DOCTYPE html><html></html>", "web page"),
        "gzip": (b"\x1f\x8b\x08" + b"0" * 40, "gzip"),
        "text": (b"hello world, this is no model", "not a weights file"),
        "cut": (data[: len(data) // 2], "damaged safetensors"),
        "cut pytorch": (other_pth[:300], "damaged PyTorch"),
        "another model": (other_pth, "not a DOPE checkpoint"),
    }


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights file"):
        load_checkpoint(tmp_path / "absent.safetensors")
    for name, (content, message) in _bad_files(tmp_path).items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(path)


def test_nothing_in_a_file_is_executed(tmp_path):
    trap, path = tmp_path / "executed", tmp_path / "evil.pth"
    torch.save({"state_dict": {}, "dope_kwargs": _Executed(trap)}, path)
    with pytest.raises(CheckpointError, match="execute code"):
        load_checkpoint(path)
    assert not trap.exists()


def test_foreign_safetensors_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, str(tmp_path / "a.safetensors"))
    with pytest.raises(CheckpointError, match="another program"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_weights_that_do_not_fit_are_named():
    checkpoint = small_checkpoint(("face",))
    del checkpoint.state["branches.face.cls_score.bias"]
    with pytest.raises(CheckpointError, match=r"missing.*branches\.face\.cls_score\.bias"):
        checkpoint.build()
    checkpoint = small_checkpoint(("face",))
    checkpoint.state["branches.face.cls_score.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match="misshapen"):
        checkpoint.build()


def test_resized_shape_by_hand():
    realtime = MODES["realtime"]
    assert resized_shape(480, 640, realtime) == (400, 533)  # 640 * 400 / 480 = 533.3
    assert resized_shape(640, 480, realtime) == (533, 400)
    assert resized_shape(100, 1000, MODES["paper"]) == (133, 1333)  # the long side binds
    assert resized_shape(1, 5000, realtime) == (1, 1333)


def test_poses_from_deltas_by_hand():
    boxes = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    anchor = torch.tensor([[[0.5, 0.5, 0.1, 0.2, 0.3], [0.0, 1.0, 0.0, 0.0, 0.0]]])
    deltas = torch.tensor([[[0.1, -0.25, 0.0, 0.0, 1.0], [0.0, 0.0, -1.0, 0.0, 0.0]]])
    poses_2d, poses_3d = poses_from_deltas(boxes, anchor, deltas)
    assert np.allclose(poses_2d, [[[22, 30], [10, 60]]])
    assert np.allclose(poses_3d, [[[0.1, 0.2, 1.3], [-1, 0, 0]]])


def test_proposals_are_those_of_torchvision():
    """Where sigmoids do not tie, ranking by logits changes nothing."""
    network = with_random_weights(DopeNetwork(small_checkpoint().config, SMALL), seed=4)
    image = random_image(111, 140)
    images, shape = network.prepare(image)
    with torch.inference_mode():
        features = network.features(images)
        (ours,) = network.propose(images, [shape], features)
        stock = RegionProposalNetwork(
            network.rpn.anchor_generator, network.rpn.head, 0.7, 0.3, 256, 0.5,
            {"training": 1000, "testing": 1000}, {"training": 1000, "testing": 12}, 0.7,
        ).eval()  # fmt: skip
        (theirs,), _ = stock(ImageList(images, [shape]), {"0": features.coarse})
    assert torch.equal(ours, theirs)


def test_large_logits_keep_their_order():
    """sigmoid(30) and sigmoid(40) are both 1 in float32; the better box must still come first."""
    network = DopeNetwork(small_checkpoint(("face",)).config, SMALL)
    boxes = torch.tensor([[[0.0, 0.0, 40.0, 40.0], [60.0, 60.0, 90.0, 90.0]]])
    (kept,), _ = network.rpn.eval().filter_proposals(
        boxes, torch.tensor([30.0, 40.0]), [(100, 100)], [2]
    )
    assert kept[0].tolist() == [60, 60, 90, 90]


def test_boxes_without_an_area_are_no_proposals():
    """In one image of two; boxes are cut at the edges of their own image."""
    network = DopeNetwork(small_checkpoint(("face",)).config, SMALL)
    boxes = torch.tensor(
        [
            [[10.0, 10.0, 40.0, 40.0], [120.0, 20.0, 150.0, 60.0]],
            [[-5.0, 10.0, 40.0, 40.0], [120.0, 20.0, 150.0, 60.0]],
        ]
    )
    logits = torch.tensor([1.0, 2.0, 1.0, 2.0])
    first, second = network.rpn.eval().filter_proposals(
        boxes, logits, [(100, 100), (50, 130)], [2]
    )[0]
    assert first.tolist() == [[10, 10, 40, 40]]
    assert second.tolist() == [[120, 20, 130, 50], [0, 10, 40, 40]]


def test_proposals_have_the_sizes_that_the_mode_wants():
    """A box of another size takes nobody's place, and suppresses nobody."""
    config = small_checkpoint(("face",)).config
    boxes = torch.tensor(
        [[[0.0, 0, 90, 30], [10, 10, 70, 30], [10, 12, 69, 30], [0, 50, 20, 70], [50, 50, 95, 95]]]
    )
    logits = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])

    def kept(**bounds: float) -> list[list[float]]:
        rpn = DopeNetwork(config, replace(SMALL, proposals=2, **bounds)).rpn.eval()
        return rpn.filter_proposals(boxes, logits, [(100, 100)], [5])[0][0].tolist()

    large, long, _, small, square = boxes[0].tolist()
    assert kept() == [large, long]
    assert kept(max_box=60) == [long, small]
    assert kept(max_box=59.5) == [boxes[0, 2].tolist(), small]
    assert kept(min_box=25, max_box=60) == [long, square]
    assert kept(min_box=61) == [large]


def test_config_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="unknown part 'foot'"):
        NetworkConfig({"foot": PartConfig(21, 10)})
    with pytest.raises(ValueError, match="right and left"):
        NetworkConfig({"hand": PartConfig(21, 5)})
    with pytest.raises(ValueError, match="13 or 14"):
        NetworkConfig({"body": PartConfig(15, 10)})
    with pytest.raises(ValueError, match="unknown network settings: speed"):
        NetworkConfig.from_dict({"parts": {"body": {"joints": 13, "anchor_poses": 4}}, "speed": 1})
    with pytest.raises(ValueError, match="unknown backbone"):
        DopeNetwork(NetworkConfig({"face": PartConfig(84, 2)}, backbone="vgg"))


def test_auto_is_the_mode_that_the_weights_were_made_for():
    paper, realtime = MODES["paper"], MODES["realtime"]
    assert mode_named("auto", paper) == paper
    assert mode_named("auto", realtime) == realtime
    on_small_images = replace(realtime, min_size=256)
    assert mode_named("auto", on_small_images) == realtime
    assert mode_named("trained", on_small_images) == on_small_images
