"""Our denoising loop against the stock pipeline, and its progress, cancellation and seeds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, TextToVideoSDPipeline, UNet3DConditionModel

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.config import ClipConfig, SamplingConfig
from motion_ray.diffusion.loss import build_scheduler
from motion_ray.diffusion.sampler import sampling_scheduler
from motion_ray.errors import Cancelled, ConfigError, NonFiniteVideoError
from motion_ray.generation import VideoGenerator

CLIPS = ClipConfig(frames=3, height=32, width=32)
PROMPTS = ["a red robot doing the pll", "a person"]


def stock(
    folder, scheduler: str, guidance: float, steps: int = 5, negative: str | None = None
) -> torch.Tensor:
    pipeline: Any = TextToVideoSDPipeline.from_pretrained(folder)
    if scheduler == "dpmsolver++":
        pipeline.scheduler = build_scheduler(
            DPMSolverMultistepScheduler,
            dict(pipeline.scheduler.config),
            algorithm_type="dpmsolver++",
        )
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        module.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        PROMPTS[0],
        num_frames=3,
        height=32,
        width=32,
        num_inference_steps=steps,
        guidance_scale=guidance,
        negative_prompt=negative,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).frames


@pytest.mark.filterwarnings("ignore")  # the stock pipeline announces its own deprecation
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scheduler", ["ddim", "dpmsolver++"])
@pytest.mark.parametrize("guidance", [1.0, 6.0])
def test_equals_the_stock_pipeline(tiny_bases, prediction_type, scheduler, guidance):
    from motion_ray.diffusion.sampler import denoise, initial_noise

    folder = tiny_bases[prediction_type]
    backbone = load_backbone(str(folder), "cpu")
    ours = denoise(
        backbone,
        sampling_scheduler(scheduler, backbone.scheduler_config),
        initial_noise([7], (4, 3, 4, 4), torch.device("cpu")),
        backbone.encode_text(PROMPTS[:1]),
        backbone.encode_text([""]),
        steps=5,
        guidance=guidance,
    )
    theirs = stock(folder, scheduler, guidance)
    assert float(theirs.abs().max()) > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_generated_video_is_that_of_the_stock_pipeline(tiny_bases, monkeypatch):
    """With all that the sampling says: scheduler, steps, guidance and negative prompt."""
    folder = tiny_bases["v_prediction"]
    backbone = load_backbone(str(folder), "cpu")
    latents, decode = [], backbone.decode_latents
    monkeypatch.setattr(backbone, "decode_latents", lambda x: latents.append(x) or decode(x))
    sampling = SamplingConfig(
        scheduler="dpmsolver++", steps=4, guidance=6, negative_prompt="a robot"
    )
    VideoGenerator(backbone, sampling, CLIPS, "fp32").generate(PROMPTS[:1], [7])
    theirs = stock(folder, "dpmsolver++", guidance=6, steps=4, negative="a robot")
    torch.testing.assert_close(latents, [theirs], atol=1e-4, rtol=1e-4)
    without = stock(folder, "dpmsolver++", guidance=6, steps=4)
    assert (without - theirs).abs().max() > 0.01, "the negative prompt can be seen"


def test_a_video_does_not_depend_on_its_batch(tiny_bases):
    backbone = load_backbone(str(tiny_bases["v_prediction"]), "cpu")
    settings = SamplingConfig(steps=3, guidance=4)
    one = VideoGenerator(backbone, settings, CLIPS, "fp32", batch_size=1).generate(PROMPTS, [1, 2])
    two = VideoGenerator(backbone, settings, CLIPS, "fp32", batch_size=2).generate(PROMPTS, [1, 2])
    for a, b in zip(one, two, strict=True):
        assert (a.frames.int() - b.frames.int()).abs().max() <= 1
    assert not torch.equal(one[0].frames, one[1].frames)


def test_progress_is_told_after_every_step(tiny_bases):
    backbone = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    told: list[tuple[int, int]] = []
    VideoGenerator(backbone, SamplingConfig(steps=3), CLIPS, "fp32", batch_size=1).generate(
        PROMPTS, [1, 2], on_step=lambda done, total: told.append((done, total))
    )
    assert told == [(n, 6) for n in range(1, 7)]


def test_cancel_stops_before_the_next_step(tiny_bases):
    backbone = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    done: list[int] = []
    generator = VideoGenerator(backbone, SamplingConfig(steps=5), CLIPS, "fp32")
    with pytest.raises(Cancelled, match="2 of 5"):
        generator.generate(
            PROMPTS[:1], [1], on_step=lambda n, _: done.append(n), cancelled=lambda: len(done) >= 2
        )
    assert done == [1, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_no_video(tiny_bases, monkeypatch, value):
    """Pixels would be black or white, and look like an answer."""
    backbone = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    predict = backbone.predict

    def spoiled(*args: torch.Tensor) -> torch.Tensor:
        prediction = predict(*args)
        prediction[-1, 0, 0, 0, 0] = value
        return prediction

    monkeypatch.setattr(backbone, "predict", spoiled)
    generator = VideoGenerator(backbone, SamplingConfig(steps=2), CLIPS, "fp32")
    with pytest.raises(NonFiniteVideoError, match="not finite"):
        generator.generate(PROMPTS, [1, 2])


def test_seeds_and_prompts_must_match_in_number(tiny_bases):
    backbone = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    with pytest.raises(ConfigError, match="2 prompts but 1 seeds"):
        VideoGenerator(backbone, SamplingConfig(), CLIPS).generate(PROMPTS, [1])


def test_unknown_scheduler_is_refused():
    with pytest.raises(ConfigError, match=r"sampling\.scheduler"):
        sampling_scheduler("euler", {})


def test_cpu_kernels_change_nothing_but_rounding(tiny_bases):
    folder = tiny_bases["epsilon"]
    plain = UNet3DConditionModel.from_pretrained(folder, subfolder="unet").eval()
    fast = load_backbone(str(folder), "cpu").denoiser
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in fast.named_parameters()]
    x, t, text = torch.randn(2, 4, 3, 4, 4), torch.tensor([5, 800]), torch.randn(2, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(
            fast(x, t, text).sample, plain(x, t, text).sample, atol=1e-5, rtol=1e-4
        )
