"""Weights that hold only what was trained: what is left out, and that the base file is the right one."""

import hashlib

import pytest
import torch

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.networks.weights import architecture, load_model, load_pretrained, model_architecture
from monai_sam2unet.networks.weights.pretrained import PRETRAINED
from monai_sam2unet.networks.weights.trained import BaseFile, find_base, load_trained, trained_only
from tests.weight_files import SIZES, copied, equal, network, sam2


@pytest.fixture
def base_file(tmp_path):
    """A file of SAM 2's layout of the nano size, in a folder of its own."""
    torch.manual_seed(3)
    path = tmp_path / "pretrained" / "base.pt"
    path.parent.mkdir()
    torch.save({"model": sam2(network().state_dict())}, path)
    return path


def started(base_file, **changes):
    """A network that starts from the file, with other values in all that learns, and its base."""
    torch.manual_seed(4)
    made = network(**changes)
    base = load_pretrained(made, "nano", str(base_file), base_file.parent)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
        for name, buffer in made.named_buffers():
            if "running_mean" in name:
                buffer.normal_()
    return made, base


def saved(path, made, base):
    """Save what was trained, as a training does."""
    content = {
        "network": trained_only(made, base),
        "base": base.reference(),
        "architecture": architecture(made.state_dict()),
    }
    torch.save(content, path)
    return content["network"]


@pytest.mark.parametrize("tuning", ["adapters", "frozen", "lora", "bitfit"])
@pytest.mark.parametrize("in_channels", [3, 1])
def test_saved_and_made_whole_again(base_file, tmp_path, tuning, in_channels):
    changes = {"tuning": tuning, "in_channels": in_channels, "adapter_dim": 4 if tuning == "adapters" else 0}
    made, base = started(base_file, **changes)
    kept = saved(tmp_path / "small.pt", made, base)
    learns = {name for name, parameter in made.named_parameters() if parameter.requires_grad}
    assert learns <= kept.keys()
    # nothing of the encoder but what learns (and LoRA's scales, which are buffers)
    assert {n for n in kept if n.startswith("encoder.") and "lora_scale" not in n} == {
        n for n in learns if n.startswith("encoder.")
    }
    assert {n for n in kept if not n.startswith("encoder.")} == {
        n for n in made.state_dict() if not n.startswith("encoder.")
    }
    whole = network(**{**changes, "tuning": "full"}).eval()
    load_model(whole, tmp_path / "small.pt", base_file.parent)
    x = torch.randn(1, in_channels, 64, 64)
    with torch.inference_mode():
        expected, result = made.eval()(x), whole(x)
    if tuning == "lora":  # merged: the sum is formed in another order
        assert (expected - result).abs().max() < 1e-5 * expected.abs().max()
    else:
        assert torch.equal(expected, result)
    assert model_architecture(tmp_path / "small.pt")["in_channels"] == in_channels


def test_idle_adapters_of_a_frozen_encoder_are_kept(base_file, tmp_path):
    """They are frozen, but no file gives them."""
    made, base = started(base_file, tuning="frozen", adapter_dim=4)
    assert sum(".adapter." in name for name in saved(tmp_path / "small.pt", made, base)) == 24
    whole = network()
    load_model(whole, tmp_path / "small.pt", base_file.parent)
    assert equal(whole.state_dict(), made.state_dict())


def test_a_base_that_is_a_whole_network(tmp_path):
    """The decoder's statistics change although they are no parameters, so they are kept."""
    torch.manual_seed(3)
    torch.save(network().state_dict(), tmp_path / "base.pt")
    made, base = started(tmp_path / "base.pt")
    kept = saved(tmp_path / "small.pt", made, base)
    assert "rfb1.conv_res.bn.running_mean" in kept and "encoder.blocks.0.attn.qkv.weight" not in kept
    whole = network()
    load_model(whole, tmp_path / "small.pt", tmp_path)
    assert equal(whole.state_dict(), made.state_dict())


@pytest.mark.parametrize(
    ("size", "values"),
    # by hand: a block's adapter has 64 times its width and 32 values more; the decoder's parts as in
    # docs/design.md; with the statistics of 33 normalisations
    list(zip(SIZES, (2_587_395, 2_687_363, 3_050_419, 4_269_747), strict=True)),
)
def test_sizes_of_the_papers_tuning(size, values):
    with torch.device("meta"):
        made = SAM2UNet(size)
    trunk = [n for n in made.state_dict() if n.startswith("encoder.") and ".adapter." not in n]
    kept = trained_only(made, BaseFile("b", "0", 1, frozenset(trunk)))
    learnt = dict(made.named_parameters())
    assert sum(t.numel() for n, t in kept.items() if n in learnt) == values
    assert sum(t.numel() for t in kept.values()) < values + 12_000


# --- the base file


def test_a_renamed_base_file_is_found(base_file, tmp_path):
    made, base = started(base_file)
    saved(tmp_path / "small.pt", made, base)
    base_file.rename(base_file.with_name("other_name.bin"))
    (base_file.parent / "base.pt").write_bytes(b"x" * 10)  # a wrong file in its place
    whole = network()
    load_model(whole, tmp_path / "small.pt", base_file.parent)
    assert equal(whole.state_dict(), made.state_dict())


def test_a_missing_base_file_is_named(base_file, tmp_path):
    made, base = started(base_file)
    saved(tmp_path / "small.pt", made, base)
    content = base_file.read_bytes()
    base_file.unlink()
    target = network()
    before = copied(target.state_dict())
    with pytest.raises(InputError) as caught:
        load_model(target, tmp_path / "small.pt", base_file.parent)
    sha256 = hashlib.sha256(content).hexdigest()
    for part in (
        "small.pt: holds only what was trained",
        "base.pt",
        sha256,
        str(len(content)),
        "--pretrained_dir",
    ):
        assert part in str(caught.value)
    assert equal(target.state_dict(), before)


def test_a_changed_base_file_is_refused(base_file, tmp_path):
    made, base = started(base_file)
    saved(tmp_path / "small.pt", made, base)
    content = bytearray(base_file.read_bytes())
    content[len(content) // 2] ^= 1
    base_file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_model(network(), tmp_path / "small.pt", base_file.parent)
    assert f"the base.pt there is another file ({len(content)} bytes" in str(caught.value)
    assert hashlib.sha256(content).hexdigest() in str(caught.value)


@pytest.mark.parametrize(("sam", "size"), [("2", "large"), ("2.1", "tiny")])
def test_a_published_base_file_names_its_download(tmp_path, sam, size):
    file = PRETRAINED[sam, size]
    reference = BaseFile("renamed.pt", file.sha256, 1)
    with pytest.raises(InputError, match=rf"python -m scripts\.download_weights {size} --sam {sam}"):
        find_base(reference, tmp_path, "small.pt")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(base="base.pt"),
        lambda c: c["base"].pop("sha256"),
        lambda c: c.pop("architecture"),
        lambda c: c["architecture"].update(decoder_channels="many"),
        lambda c: c["architecture"].update(in_channels=10**9),
        lambda c: c["architecture"].update(adapter_dim=-1),
    ],
)
def test_damaged_notes_are_refused(base_file, tmp_path, change):
    made, base = started(base_file)
    saved(tmp_path / "small.pt", made, base)
    content = torch.load(tmp_path / "small.pt", weights_only=True)
    change(content)
    torch.save(content, tmp_path / "small.pt")
    for read in (model_architecture, lambda path: load_model(network(), path, base_file.parent)):
        with pytest.raises(InputError, match=r"small\.pt: what it notes about its base file is damaged"):
            read(tmp_path / "small.pt")


def test_a_base_file_is_looked_for_in_its_folder_alone(base_file, tmp_path):
    made, base = started(base_file)
    saved(tmp_path / "small.pt", made, base)
    content = torch.load(tmp_path / "small.pt", weights_only=True)
    content["base"]["name"] = f"../{base_file.parent.name}/base.pt"
    torch.save(content, tmp_path / "small.pt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"needs its base file base\.pt .* is not in"):
        load_model(network(), tmp_path / "small.pt", tmp_path / "empty")


def test_resuming_with_another_tuning_is_refused(base_file):
    made, base = started(base_file)
    kept = trained_only(made, base)
    other, base = started(base_file, tuning="bitfit")
    before = copied(other.state_dict())
    with pytest.raises(
        InputError, match=r"last\.pt: holds other trained tensors than this network has, \d+ \("
    ):
        load_trained(other, kept, base, "last.pt")
    assert equal(other.state_dict(), before)
