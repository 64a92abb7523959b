"""A network built from a file: the same as one that was built and loaded."""

import pytest
import torch
from safetensors.torch import save_file

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks.weights import load_model, load_network
from tests.weight_files import copied, equal, hollow, network, published


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_built_network_is_the_loaded_one(tmp_path, tuning, mapped):
    torch.manual_seed(1)
    ours = network(tuning=tuning, in_channels=4, out_channels=2).state_dict()
    torch.save(published(ours) if tuning == "full" else ours, tmp_path / "model.pt")
    target = network(in_channels=4, out_channels=2, tuning="full")
    load_model(target, tmp_path / "model.pt")
    built = load_network(tmp_path / "model.pt", mapped=mapped)
    assert equal(built.state_dict(), target.state_dict()) and not built.training
    x = torch.randn(1, 4, 64, 32)
    assert torch.equal(built(x), target.eval()(x))
    built(x).sum().backward()
    assert all(p.grad is not None for n, p in built.named_parameters() if not n.startswith("side"))


@pytest.mark.parametrize("save", [torch.save, save_file])
def test_a_built_network_has_the_usual_types_and_strides(tmp_path, save):
    torch.manual_seed(0)
    half = {n: t.half() for n, t in network().state_dict().items()}
    save(half, tmp_path / "w")
    for name, tensor in load_network(tmp_path / "w").state_dict().items():
        assert tensor.dtype == (torch.int64 if name.endswith("num_batches_tracked") else torch.float32)
        assert tensor.is_contiguous() and torch.equal(tensor, half[name].to(tensor.dtype)), name


def test_building_checks_as_loading_does(golden, tmp_path):
    ours = network().state_dict()
    torch.save({**ours, "head.bias": torch.full((1,), torch.nan)}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"NaN or infinite values: 1 \(head\.bias\)"):
        load_network(tmp_path / "model.pt")
    torch.save({"model": hollow(golden, "SAM 2", "tiny")}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"SAM 2 checkpoint \(tiny\), which has no decoder"):
        load_network(tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"no model at .*none\.pt"):
        load_network(tmp_path / "none.pt")


def test_a_network_with_memory_of_its_own_outlives_its_file(tmp_path):
    """A server's file may be written over while its network is in use."""
    torch.manual_seed(0)
    ours = copied(network().state_dict())
    torch.save(ours, tmp_path / "model.pt")
    built = load_network(tmp_path / "model.pt", mapped=False)
    size = (tmp_path / "model.pt").stat().st_size
    with open(tmp_path / "model.pt", "r+b") as file:
        file.write(bytes(size))
    assert equal(built.state_dict(), ours)
