"""TRN: the published shape, relations by hand, and weights from a pickle into a safe folder."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from PIL import Image

from jobs.score_gestures import main
from motion_ray.errors import BaseModelError
from motion_ray.evaluation.motion import load_motion_classifier, own_accuracy
from motion_ray.evaluation.motion_trn import BLOCKS, STEM, BnInception, Relations, Trn
from motion_ray.evaluation.motion_trn_weights import MEAN, convert_trn

LABELS = ("Swiping Left", "Drumming Fingers", "No gesture")


def test_the_trunk_has_as_many_parameters_as_the_published_bn_inception() -> None:
    # 11,295,240 with the 1000-class layer of ImageNet, which TRN replaces.
    trunk = sum(each.numel() for each in BnInception().parameters())
    assert trunk == 11_295_240 - (1024 * 1000 + 1000)
    channels = STEM
    widths = []
    for block in BLOCKS.values():
        channels = block.width(channels)
        widths.append(channels)
    assert widths == [256, 320, 576, 576, 576, 608, 608, 1056, 1024, 1024]


def test_names_are_those_of_the_published_weights() -> None:
    names = Trn(8, 27).state_dict()
    for name, shape in {
        "base_model.conv1_7x7_s2.weight": (64, 3, 7, 7),
        "base_model.inception_3a_double_3x3_2_bn.running_mean": (96,),
        "base_model.inception_4e_double_3x3_2.weight": (256, 256, 3, 3),
        "base_model.inception_5b_pool_proj.bias": (128,),
        "new_fc.weight": (256, 1024),
        "consensus.fc_fusion_scales.0.1.weight": (256, 8 * 256),
        "consensus.fc_fusion_scales.6.3.bias": (27,),
    }.items():
        assert names[name].shape == shape
    assert "base_model.inception_3c_1x1.weight" not in names


def test_relations_vote_over_ordered_groups() -> None:
    relations = Relations(3, 2)
    assert relations.sizes == (3, 2)
    assert relations.groups[0] == [(0, 1, 2)]
    assert sorted(relations.groups[1]) == [(0, 1), (0, 2), (1, 2)]
    features = torch.randn(1, 3, 256, generator=torch.Generator().manual_seed(0))
    whole, pair = relations.fc_fusion_scales
    expected = whole(features.flatten(1))
    for first, second in relations.groups[1]:
        expected = expected + pair(torch.cat([features[:, first], features[:, second]], 1))
    torch.testing.assert_close(relations(features), expected)
    assert not torch.allclose(relations(features.flip(1)), expected)  # order matters
    assert all(len(groups) <= 3 for groups in Relations(8, 2).groups)


def random_trn() -> Trn:
    """Weights that keep differences between frames alive through thirty layers."""
    torch.manual_seed(0)
    model = Trn(8, len(LABELS)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    with torch.no_grad():
        model.new_fc.weight *= 0.02  # so that no class is certain
    return model


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the published file's form: names of parallel training, an old zip-less
    pickle, other values beside the weights."""
    state = random_trn().state_dict()
    old = OrderedDict(
        (f"module.{name}", value)
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    )
    path = tmp_path_factory.mktemp("trn") / "TRN_jester.pth.tar"
    values = {"epoch": 120, "arch": "BNInception", "state_dict": old, "best_prec1": 95.3}
    torch.save(values, path, _use_new_zipfile_serialization=False)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_converted_weights_classify_as_the_network_does(published: Path, tmp_path: Path) -> None:
    convert_trn(published, digest(published), LABELS, tmp_path / "trn")
    classifier = load_motion_classifier(str(tmp_path / "trn"))
    assert classifier.labels == ("Drumming Fingers", "No gesture", "Swiping Left")
    model = random_trn()
    generator = torch.Generator().manual_seed(1)
    video = torch.randint(0, 40, (1, 8, 3, 256, 256), generator=generator, dtype=torch.uint8)
    video += 25 * torch.arange(8, dtype=torch.uint8)[:, None, None, None]  # ever brighter
    middle = video[..., 16:240, 16:240].float() - torch.tensor(MEAN)[:, None, None]
    with torch.no_grad():
        expected = model(middle).softmax(-1)
    torch.testing.assert_close(classifier.probabilities(video), expected, atol=1e-4, rtol=1e-3)
    backwards = classifier.probabilities(video.flip(1))
    assert not torch.allclose(backwards, expected, atol=1e-2)


def test_published_weights_are_converted_and_tested_by_one_command(
    published: Path, tmp_path: Path
) -> None:
    jester, pictures = tmp_path / "jester", tmp_path / "jester" / "20bn-jester-v1" / "7"
    pictures.mkdir(parents=True)
    for number in range(10):
        Image.new("RGB", (176, 100), (20 * number, 0, 0)).save(pictures / f"{number + 1:05d}.jpg")
    (jester / "jester-v1-labels.csv").write_text("\n".join(LABELS))
    (jester / "jester-v1-validation.csv").write_text(f"7;{LABELS[0]}")
    line = ["--jester", str(jester), "--classifier", str(tmp_path / "trn")]
    assert main([*line, "--trn", str(published), "--trn-sha256", digest(published)]) == 0
    assert own_accuracy(str(tmp_path / "trn")).endswith("of 1")


def test_a_pickle_is_opened_only_with_its_sha256(published: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="has the sha256"):
        convert_trn(published, "00" * 32, LABELS, tmp_path / "trn")
    with pytest.raises(BaseModelError, match="no TRN of 27 classes"):
        convert_trn(published, digest(published), [str(n) for n in range(27)], tmp_path / "trn")
    other = tmp_path / "other.pth.tar"
    other.write_bytes(b"no pickle")
    with pytest.raises(BaseModelError, match="holds no weights"):
        convert_trn(other, digest(other), LABELS, tmp_path / "trn")
    with pytest.raises(BaseModelError, match="cannot be read"):
        convert_trn(tmp_path / "nowhere", "00" * 32, LABELS, tmp_path / "trn")
    assert not (tmp_path / "trn").exists()


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth.tar"
    torch.save({"state_dict": {"module.x": Path("a")}}, path)
    with pytest.raises(BaseModelError, match="holds no weights"):
        convert_trn(path, digest(path), LABELS, tmp_path / "trn")
