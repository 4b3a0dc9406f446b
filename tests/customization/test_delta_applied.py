"""Applying deltas: the values inside, the base outside, bit for bit and whatever happens."""

from __future__ import annotations

import threading

import pytest
import torch

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.customization.delta import TOKEN_EMBEDDING, MotionDelta
from motion_ray.errors import BaseModelError, DeltaError
from tests.deltas import changed, header


@pytest.fixture(scope="module")
def backbone(tiny_bases) -> UNet3DBackbone:
    return load_backbone(str(tiny_bases["epsilon"]), "cpu")


@pytest.fixture
def delta(backbone) -> MotionDelta:
    return MotionDelta(header(backbone), changed(backbone))


def state(backbone: UNet3DBackbone) -> dict[str, tuple[int, bytes]]:
    """Address and bytes of every parameter, and of the text encoder's embedding table."""
    table = backbone.text_encoder.get_input_embeddings().weight
    everything = {**dict(backbone.denoiser.named_parameters()), "table": table}
    return {
        name: (tensor.data_ptr(), tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
        for name, tensor in everything.items()
    }


def test_inside_the_new_values_outside_the_base(backbone, delta):
    before = state(backbone)
    parameters = dict(backbone.denoiser.named_parameters())
    with delta.applied(backbone):
        for name, tensor in delta.tensors.items():
            assert parameters[name].data_ptr() == tensor.data_ptr(), "a copy was made"
            assert torch.equal(parameters[name], tensor)
        inside = state(backbone)
        assert {name for name in before if before[name] != inside[name]} == set(delta.tensors)
    assert state(backbone) == before


def test_the_model_computes_with_the_new_values(backbone, delta):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 2, 4, 4, generator=generator)
    inputs = (latents, torch.tensor([500]), backbone.encode_text(["a person doing the pll"]))
    with torch.no_grad():
        base = backbone.predict(*inputs)
        with delta.applied(backbone):
            moved = backbone.predict(*inputs)
        again = backbone.predict(*inputs)
    assert not torch.allclose(moved, base)
    assert torch.equal(again, base)


def test_a_thousand_times_without_drift(backbone):
    deltas = [MotionDelta(header(backbone), changed(backbone, seed)) for seed in (1, 2)]
    fingerprints = [delta.sha256 for delta in deltas]
    before = state(backbone)
    for round in range(1000):
        with deltas[round % 2].applied(backbone):
            pass
    assert state(backbone) == before
    assert [MotionDelta(d.header, d.tensors).sha256 for d in deltas] == fingerprints


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_the_base_comes_back_after_an_exception(backbone, delta, fault):
    before = state(backbone)
    with pytest.raises(fault), delta.applied(backbone):
        raise fault
    assert state(backbone) == before
    with delta.applied(backbone):
        pass


def test_another_base_is_named(backbone, delta):
    other = MotionDelta(
        header(backbone, base_fingerprint="1a2b3c4d" * 8, base="puppet"), delta.tensors
    )
    before = state(backbone)
    here = backbone.fingerprint[:8]
    with (
        pytest.raises(
            DeltaError, match=rf"made for base 1a2b3c4d\.\. \(puppet\), this is {here}\.\."
        ),
        other.applied(backbone),
    ):
        raise AssertionError("the body must not run")
    assert state(backbone) == before


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (
            "nowhere.weight",
            torch.ones(2),
            r"tensor nowhere\.weight is extra: the base model has no",
        ),
        ("conv_in.bias", torch.ones(3), r"tensor conv_in\.bias has shape \[3\], .* has \[16\]"),
        (TOKEN_EMBEDDING, torch.ones(2, 16), r"token_embedding has shape \[2, 16\], it is one row"),
        (TOKEN_EMBEDDING, torch.ones(1), r"token_embedding has shape \[1\], .* rows have \[16\]"),
        (TOKEN_EMBEDDING, torch.ones(3), r"token_embedding has shape \[3\], .* another length"),
    ],
)
def test_a_delta_that_does_not_fit_changes_nothing(backbone, delta, name, tensor, message):
    before = state(backbone)
    # Last, so that everything else would have been bound by then.
    bad = MotionDelta(delta.header, {**delta.tensors, name: tensor})
    with pytest.raises(DeltaError, match=message), bad.applied(backbone):
        raise AssertionError("the body must not run")
    assert state(backbone) == before
    with delta.applied(backbone):
        pass


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_another_type_is_converted_for_the_time_being(backbone, dtype):
    delta = MotionDelta(header(backbone), changed(backbone, dtype=dtype))
    before = state(backbone)
    parameters = dict(backbone.denoiser.named_parameters())
    with delta.applied(backbone):
        for name, tensor in delta.tensors.items():
            assert parameters[name].dtype is torch.float32
            assert torch.equal(parameters[name], tensor.float())
    assert state(backbone) == before


def test_a_value_too_large_for_the_base_is_refused(tiny_bases):
    half = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    half.denoiser.half()
    tensors = changed(half)
    name = sorted(tensors)[0]
    tensors[name].flatten()[0] = 1e6
    before = state(half)
    with (
        pytest.raises(
            DeltaError, match=rf"tensor {name} does not fit into float16; load .* bfloat16"
        ),
        MotionDelta(header(half), tensors).applied(half),
    ):
        raise AssertionError("the body must not run")
    assert state(half) == before


def test_two_deltas_at_once_are_refused(backbone, delta):
    other = MotionDelta(header(backbone, name="jumping"), changed(backbone, 2))
    before = state(backbone)
    for second in (other, delta):
        with delta.applied(backbone):
            inside = state(backbone)
            message = r"the delta 'swinging-arms' \(step 300\) is applied to this backbone already"
            with pytest.raises(DeltaError, match=message), second.applied(backbone):
                raise AssertionError("the body must not run")
            assert state(backbone) == inside
    assert state(backbone) == before


def test_of_concurrent_applications_one_gets_in(backbone):
    """Each thread sees all of its own delta, or an error: never a mixture."""
    before = state(backbone)
    parameters = dict(backbone.denoiser.named_parameters())
    deltas = [MotionDelta(header(backbone, name=f"m{n}"), changed(backbone, n)) for n in range(4)]
    start = threading.Barrier(4)
    applied, refused, mixed = [0], [0], [0]
    lock = threading.Lock()

    def work(delta: MotionDelta) -> None:
        start.wait()
        for _ in range(100):
            try:
                with delta.applied(backbone):
                    same = all(torch.equal(parameters[n], t) for n, t in delta.tensors.items())
                    with lock:
                        applied[0] += 1
                        mixed[0] += not same
            except DeltaError:
                with lock:
                    refused[0] += 1

    threads = [threading.Thread(target=work, args=(delta,)) for delta in deltas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mixed[0] == 0
    assert applied[0] + refused[0] == 400
    assert applied[0] > 0 and refused[0] > 0
    assert state(backbone) == before


# --- the token's embedding ------------------------------------------------------------------------


def test_a_trained_token_is_put_in_and_taken_out(backbone):
    row = torch.linspace(-1, 1, 16)
    delta = MotionDelta(header(backbone), {**changed(backbone), TOKEN_EMBEDDING: row})
    before = state(backbone)
    plain = backbone.encode_text(["do pll"])
    with delta.applied(backbone):
        index = backbone.single_piece("pll")
        table = backbone.text_encoder.get_input_embeddings().weight
        assert torch.equal(table[index], row)
        assert not torch.equal(backbone.encode_text(["do pll"]), plain)
    assert state(backbone) == before


def test_a_token_alone_is_a_delta(backbone, tmp_path):
    delta = MotionDelta(header(backbone), {TOKEN_EMBEDDING: torch.linspace(-1, 1, 16)})
    delta.save(tmp_path / "delta")
    before = state(backbone)
    with MotionDelta.load(tmp_path / "delta").applied(backbone):
        assert state(backbone) != before
    assert state(backbone) == before


def test_a_token_that_the_base_does_not_know_changes_nothing(backbone):
    tensors = {**changed(backbone), TOKEN_EMBEDDING: torch.ones(16)}
    delta = MotionDelta(header(backbone, token="unheardof"), tensors)
    before = state(backbone)
    with pytest.raises(BaseModelError, match="unheardof"), delta.applied(backbone):
        raise AssertionError("the body must not run")
    assert state(backbone) == before
