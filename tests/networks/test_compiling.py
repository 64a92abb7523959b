"""Compilation as an option: it is asked for as documented, and gives the same."""

import copy

import pytest
import torch

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks import compile_network
from monai_sam2unet.networks.compiling import COMPILE_MODES, missing_compiler
from monai_sam2unet.settings import check_settings
from tests.weight_files import network


def picture(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mode", COMPILE_MODES)
def test_a_mode_reaches_pytorch_and_names_stay(monkeypatch, mode):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda f, **options: asked.append(options) or f)
    built, x = network().eval(), picture(1, 3, 64, 64)
    names, expected = list(built.state_dict()), built(x)
    compile_network(built, mode)
    # sizes must be known: with symbols for them the encoder pads
    assert asked == ([] if mode == "none" else [{"mode": mode, "dynamic": False}])
    assert list(built.state_dict()) == names
    assert torch.equal(built(x), expected)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"mode must be one of none, default, .*, got 'fast'"):
        compile_network(network(), "fast")


def test_a_missing_compiler_is_named_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "g++"))
    assert missing_compiler(torch.device("cpu")) == f"a C++ compiler ({tmp_path}/g++)"
    with pytest.raises(
        InputError, match=r"compile 'default' needs a C\+\+ compiler .*; install it, or leave it"
    ):
        check_settings("cpu", compile="default")
    check_settings("cpu", compile="none")
    (tmp_path / "g++").touch(0o755)
    check_settings("cpu", compile="default")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert missing_compiler(torch.device("cuda")) == "the package triton"


def test_an_engine_is_not_compiled_again():
    with pytest.raises(InputError, match=r"compile must be none with an engine, .*, got 'default'"):
        check_settings("cpu", compile="default", engine="model_trt.ts")
    check_settings("cpu", compile="none", engine="model_trt.ts")


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_compiler(torch.device("cpu"))), reason="no C++ compiler")
def test_compiled_is_the_same_function_in_training_and_inference():
    plain = network(tuning="adapters")
    compiled, x = copy.deepcopy(plain), picture(2, 3, 64, 96)
    compile_network(compiled, "default")
    results = []
    for made in (plain, compiled):
        outputs = made.train()(x)
        sum(output.square().mean() for output in outputs).backward()
        gradients = {n: p.grad for n, p in made.named_parameters() if p.grad is not None}
        with torch.inference_mode():
            results.append((outputs, gradients, made.eval()(x)))
    (outputs, gradients, logits), (others, their_gradients, other_logits) = results
    assert gradients.keys() == their_gradients.keys() == set(plain.trainable_names())
    for one, other in [*zip(outputs, others, strict=True), (logits, other_logits)]:
        assert (one - other).abs().max() <= 2e-5 * one.abs().max()  # float32 over some tens of layers
    largest = max(g.abs().max() for g in gradients.values())
    for name, gradient in gradients.items():
        assert (gradient - their_gradients[name]).abs().max() <= 1e-4 * largest, name
