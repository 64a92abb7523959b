"""Weights in other layouts, precisions and containers: bit for bit where they claim to be."""

import json

import pytest
import torch

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks.weights import load_model, read_weights
from monai_sam2unet.networks.weights.conversion import convert, settings_file
from monai_sam2unet.networks.weights.reading import read_checkpoint, tensors_of
from tests.weight_files import SIZES, copied, equal, filled, hollow, keys, network, published, sam2

SUFFIXES = [".pt", ".pth", ".safetensors"]


@pytest.fixture
def model(tmp_path):
    """A model with settings beside it, and its tensors."""
    torch.manual_seed(0)
    tensors = copied(network().state_dict())
    torch.save(tensors, tmp_path / "model.pt")
    (tmp_path / "model.json").write_text('{"input_size": 96}')
    return tmp_path / "model.pt", tensors


def stored(path):
    """What a file holds, under its own names."""
    return tensors_of(read_checkpoint(path), path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ours_to_published_and_back(model, suffix):
    path, tensors = model
    there, back = path.with_name(f"there{suffix}"), path.with_name(f"back{suffix}")
    convert(read_weights(path), there, to="published")
    assert {"encoder.blocks.0.prompt_learn.0.weight", "up4.conv.double_conv.0.weight"} <= stored(there).keys()
    convert(read_weights(there), back)
    assert equal(stored(back), tensors)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_published_to_ours_and_back(tmp_path, suffix):
    torch.manual_seed(0)
    tensors = published(network().state_dict())
    torch.save(tensors, tmp_path / "published.pth")
    ours, back = tmp_path / f"ours{suffix}", tmp_path / f"back{suffix}"
    convert(read_weights(tmp_path / "published.pth"), ours)
    convert(read_weights(ours), back, to="published")
    alive = {name: tensor for name, tensor in tensors.items() if not name.startswith("up4.")}
    assert equal({name: tensor for name, tensor in stored(back).items() if name in alive}, alive)


def test_a_real_sized_network_both_ways(golden, tmp_path):
    """The tiny network of the reference, every tensor filled by the rule."""
    tensors = filled(golden, "published SAM2-UNet", "tiny")
    torch.save(tensors, tmp_path / "published.pth")
    convert(read_weights(tmp_path / "published.pth"), tmp_path / "ours.safetensors")
    convert(read_weights(tmp_path / "ours.safetensors"), tmp_path / "back.pth", to="published")
    back = stored(tmp_path / "back.pth")
    assert {n: list(t.shape) for n, t in back.items()} == keys(golden, "published SAM2-UNet", "tiny")
    assert all(torch.equal(back[n], tensors[n]) for n in tensors if not n.startswith("up4."))
    for path in tmp_path.iterdir():
        path.unlink()  # 120 MB each


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_the_published_names(golden, tmp_path, size):
    torch.save(hollow(golden, "published SAM2-UNet", size), tmp_path / "published.pth")
    written = convert(read_weights(tmp_path / "published.pth"), tmp_path / "back.pth", to="published")
    assert {n: list(t.shape) for n, t in written.items()} == keys(golden, "published SAM2-UNet", size)


@pytest.mark.parametrize(("dtype", "wanted"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_half_precision(model, dtype, wanted, suffix):
    path, tensors = model
    target = path.with_name(f"half{suffix}")
    convert(read_weights(path), target, dtype=dtype)
    halved = {n: t.to(wanted) if t.is_floating_point() else t for n, t in tensors.items()}
    assert equal(stored(target), halved)
    assert target.stat().st_size < 0.6 * path.stat().st_size
    loaded = network()
    load_model(loaded, target)
    assert equal(loaded.state_dict(), {n: halved[n].to(t.dtype) for n, t in tensors.items()})


def test_a_value_too_large_for_half_precision_is_refused(model):
    path, tensors = model
    tensors["head.weight"][0, 0] = 1e6  # float16 ends at 65504
    torch.save(tensors, path)
    with pytest.raises(InputError, match=r"head\.weight has values up to 1e\+06, too large for torch"):
        convert(read_weights(path), path.with_name("half.pt"), dtype="float16")
    assert not path.with_name("half.pt").exists()
    convert(read_weights(path), path.with_name("half.pt"), dtype="bfloat16")


def test_settings_go_along(model):
    path, _ = model
    convert(read_weights(path), path.with_name("other.safetensors"))
    assert json.loads(settings_file(path.with_name("other.safetensors")).read_text()) == {"input_size": 96}


def test_an_encoder_alone(model):
    """Converted, it is a file to start a training from; the settings of a model are none of its own."""
    path, tensors = model
    torch.save({"model": sam2(tensors)}, path)
    convert(read_weights(path), path.with_name("encoder.safetensors"))
    weights = read_weights(path.with_name("encoder.safetensors"))
    assert (weights.content, weights.architecture["adapter_dim"]) == ("encoder", 0)
    assert equal(weights.tensors, {n: tensors[n] for n in weights.tensors})
    assert not settings_file(path.with_name("encoder.safetensors")).exists()
    with pytest.raises(InputError, match="SAM 2 checkpoint has no decoder"):
        convert(read_weights(path), path.with_name("x.pth"), to="published")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("in_channels", [3, 1])
def test_only_what_was_trained(tmp_path, suffix, in_channels):
    torch.manual_seed(0)
    source = network().state_dict()
    torch.save({"model": sam2(source)}, tmp_path / "base.pt")
    tensors = copied(network(in_channels=in_channels).state_dict())
    first = "encoder.patch_embed.proj.weight"
    for name in tensors:
        if name.startswith("encoder.") and ".adapter." not in name and name != first:
            tensors[name] = source[name].clone()
    tensors[first] = (source[first].sum(1, keepdim=True) / in_channels).repeat(1, in_channels, 1, 1)
    if in_channels == 3:
        tensors[first] = source[first].clone()
    torch.save(tensors, tmp_path / "model.pt")
    small = tmp_path / f"small{suffix}"
    written = convert(read_weights(tmp_path / "model.pt"), small, to="trained", base=tmp_path / "base.pt")
    assert {n for n in written if n.startswith("encoder.")} == {n for n in tensors if ".adapter." in n}
    weights = read_weights(small, tmp_path)
    assert weights.base == tmp_path / "base.pt" and equal(weights.tensors, tensors)
    convert(weights, tmp_path / "whole.pt")
    assert equal(stored(tmp_path / "whole.pt"), tensors)
    # and its base is known when it is converted again
    convert(weights, tmp_path / f"again{suffix}", to="trained", dtype="float16")
    assert read_weights(tmp_path / f"again{suffix}", tmp_path).base == tmp_path / "base.pt"


def test_a_base_that_gives_nothing(model):
    path, tensors = model
    base = path.with_name("base.pt")
    torch.save({"model": {n: t + 1 for n, t in sam2(tensors).items()}}, base)
    with pytest.raises(InputError, match=r"base\.pt: gives nothing of .*model\.pt"):
        convert(read_weights(path), path.with_name("x.pt"), to="trained", base=base)
    with pytest.raises(InputError, match="the file that the training started from: --base FILE"):
        convert(read_weights(path), path.with_name("x.pt"), to="trained")
    with pytest.raises(InputError, match="was not trained"):
        convert(read_weights(base), path.with_name("x.pt"), to="trained", base=base)


def test_no_file_is_lost(model, monkeypatch):
    path, _ = model
    source = read_weights(path)
    with pytest.raises(InputError, match=r"name must end in \.pt, \.pth, \.safetensors, got '\.onnx'"):
        convert(source, path.with_name("x.onnx"))
    with pytest.raises(InputError, match="is the file to convert"):
        convert(source, path, overwrite=True)
    other = path.with_name("other.pt")
    other.write_bytes(b"mine")
    with pytest.raises(InputError, match="exists already; delete it, or allow it by --force"):
        convert(source, other)
    assert other.read_bytes() == b"mine"

    def fails(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("monai_sam2unet.networks.weights.conversion.torch.save", fails)
    with pytest.raises(InputError, match="No space left"):
        convert(source, other, overwrite=True)
    assert other.read_bytes() == b"mine" and not list(path.parent.glob(".*"))


def test_what_the_published_code_cannot_build_is_said(model, caplog, tmp_path):
    path, _ = model
    convert(read_weights(path), path.with_name("x.pth"), to="published")
    assert "decoder_channels 8, adapter_dim 4" in caplog.text
