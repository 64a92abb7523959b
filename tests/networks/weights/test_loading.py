"""Weights go into a network completely, or not at all and with a reason."""

import logging

import pytest
import torch
from safetensors.torch import save_file

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.networks.weights import (
    load_model,
    load_network,
    load_pretrained,
    load_strict,
    model_architecture,
    read_weights,
)
from monai_sam2unet.networks.weights.pretrained import PRETRAINED
from tests.weight_files import NANO, SIZES, copied, equal, filled, hollow, network, published, sam2

FIRST = "encoder.patch_embed.proj.weight"


def saved(path, **changes):
    """A file of a network with other values than the next one, and its state dict."""
    torch.manual_seed(1)
    state_dict = copied(network(**changes).state_dict())
    torch.save(state_dict, path)
    torch.manual_seed(2)
    return state_dict


# --- strict loading


def test_strict_loading_is_complete():
    torch.manual_seed(0)
    source, target = network(), network()
    assert not equal(source.state_dict(), target.state_dict())
    load_strict(target, source.state_dict(), "source")
    assert equal(source.state_dict(), target.state_dict())


def test_strict_loading_is_all_or_nothing():
    target = network()
    before, other = copied(target.state_dict()), network().state_dict()
    other["extra"] = other.pop("head.bias")
    other["head.weight"] = torch.ones(1, 9, 1, 1)
    message = (
        r"a\.pt does not fit SAM2UNet\. missing: 1 \(head\.bias\)\. unknown: 1 \(extra\)\. "
        r"wrong shape: 1 \(head\.weight \[1, 9, 1, 1\] instead of \[1, 8, 1, 1\]\)$"
    )
    with pytest.raises(ValueError, match=message):
        load_strict(target, other, "a.pt")
    assert equal(target.state_dict(), before)


# --- a trained model


@pytest.mark.parametrize(
    "wrap", [dict, published, lambda s: {"network": s}, lambda s: {f"module.{n}": t for n, t in s.items()}]
)
def test_every_form_of_a_model(tmp_path, wrap):
    ours = saved(tmp_path / "model.pt")
    torch.save(wrap(ours), tmp_path / "model.pt")
    target = network()
    load_model(target, tmp_path / "model.pt")
    assert equal(target.state_dict(), ours)
    assert model_architecture(tmp_path / "model.pt") == NANO


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"out_channels": 3},
            r"model\.pt: checkpoint of this bundle; it holds out_channels 1 where 3 is asked for$",
        ),
        ({"decoder_channels": 16}, "decoder_channels 8 where 16 is asked for"),
        (
            {"in_channels": 1, "adapter_dim": 5},
            "in_channels 3 where 1 is asked for, adapter_dim 4 where 5 is asked for",
        ),
    ],
)  # fmt: skip
def test_both_architectures_are_named(tmp_path, changes, message):
    saved(tmp_path / "model.pt")
    target = network(**changes)
    before = copied(target.state_dict())
    with pytest.raises(InputError, match=message):
        load_model(target, tmp_path / "model.pt")
    assert equal(target.state_dict(), before)


def test_both_variants_are_named(golden, tmp_path):
    torch.save(hollow(golden, "published SAM2-UNet", "base_plus"), tmp_path / "model.pt")
    # the published networks have adapters of 32 and decoders of 64 channels
    target = network(adapter_dim=32, decoder_channels=64)
    with pytest.raises(InputError, match="it holds variant base_plus where nano is asked for"):
        load_model(target, tmp_path / "model.pt")


def test_a_broken_model_changes_nothing(tmp_path):
    ours = saved(tmp_path / "model.pt")
    ours["head.bias"][0] = float("nan")
    torch.save(ours, tmp_path / "model.pt")
    target = network()
    before = copied(target.state_dict())
    with pytest.raises(InputError, match=r"NaN or infinite values: 1 \(head\.bias\)"):
        load_model(target, tmp_path / "model.pt")
    assert equal(target.state_dict(), before)


def test_sam2s_own_file_is_no_model(golden, tmp_path):
    torch.save({"model": hollow(golden, "SAM 2", "tiny")}, tmp_path / "sam2.pt")
    message = r"sam2\.pt: SAM 2 checkpoint \(tiny\), which has no decoder: train from it .*--variant tiny"
    with pytest.raises(InputError, match=message):
        load_model(network(), tmp_path / "sam2.pt")


def test_a_missing_model_names_the_option(tmp_path):
    with pytest.raises(InputError, match=r"no model at .*model\.pt: train one first.*--checkpoint FILE"):
        load_model(network(), tmp_path / "model.pt")
    defaults = {"variant": "large", "in_channels": 3}
    assert model_architecture(tmp_path / "model.pt", **defaults) == defaults


def test_architecture_of_a_file_of_no_known_kind(tmp_path):
    torch.save({"fc.weight": torch.ones(2)}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"model\.pt: no known checkpoint"):
        model_architecture(tmp_path / "model.pt")


# --- what a training starts from


@pytest.fixture(scope="module")
def sam2_tiny(golden, tmp_path_factory):
    """Folder with a whole file of SAM 2's layout, and its tensors."""
    tensors = filled(golden, "SAM 2", "tiny")
    folder = tmp_path_factory.mktemp("pretrained")
    torch.save({"model": tensors}, folder / "sam2_hiera_tiny.pt")
    yield folder, tensors
    (folder / "sam2_hiera_tiny.pt").unlink()  # 150 MB


@pytest.mark.parametrize("tuning", ["adapters", "lora"])
def test_encoder_gets_sam2s_weights(sam2_tiny, tuning):
    folder, tensors = sam2_tiny
    target = network(variant="tiny", tuning=tuning)
    before = copied(target.state_dict())
    base = load_pretrained(target, "tiny", "sam2", folder)
    trunk = "image_encoder.trunk."
    given = {n.replace(trunk, "encoder."): t for n, t in tensors.items() if n.startswith(trunk)}
    after = target.state_dict()
    assert len(given) == 154 and equal({n: after[n] for n in given}, given)
    rest = [n for n in after if n not in given]
    assert equal({n: after[n] for n in rest}, {n: before[n] for n in rest})
    assert sum(".adapter." in n for n in rest) == 12 * 4  # blocks of tiny, tensors of an adapter
    assert (base.name, base.names) == ("sam2_hiera_tiny.pt", frozenset(given))


@pytest.mark.parametrize("in_channels", [1, 4])
def test_other_channels_get_a_fitted_first_layer(sam2_tiny, in_channels):
    folder, tensors = sam2_tiny
    target = network(variant="tiny", in_channels=in_channels)
    load_pretrained(target, "tiny", str(folder / "sam2_hiera_tiny.pt"), "elsewhere")
    weight = tensors["image_encoder.trunk.patch_embed.proj.weight"]
    expected = weight.sum(1, keepdim=True).expand(-1, in_channels, -1, -1) / in_channels
    torch.testing.assert_close(target.state_dict()[FIRST], expected)


def test_no_pretrained_weights(caplog, tmp_path):
    target = network()
    before = copied(target.state_dict())
    with caplog.at_level(logging.INFO, logger="monai_sam2unet"):
        assert load_pretrained(target, "nano", "none", tmp_path) is None
    assert equal(target.state_dict(), before) and "random values" in caplog.text


@pytest.mark.parametrize(("pretrained", "sam"), [("sam2", "2"), ("sam2.1", "2.1")])
@pytest.mark.parametrize("size", SIZES)
def test_a_missing_file_names_itself_and_its_source(tmp_path, pretrained, sam, size):
    with pytest.raises(InputError) as caught:
        load_pretrained(network(), size, pretrained, tmp_path)
    command = f"python -m scripts.download_weights {size} --sam {sam}"
    for part in (str(tmp_path / PRETRAINED[sam, size].name), command, "--pretrained none"):
        assert part in str(caught.value)


def test_nano_has_no_published_weights(tmp_path):
    with pytest.raises(InputError, match=r"'nano' has no weights of SAM 2 .*--pretrained none"):
        load_pretrained(network(), "nano", "sam2", tmp_path)


def test_another_variant_names_both(golden, tmp_path):
    torch.save({"model": hollow(golden, "SAM 2", "small")}, tmp_path / "any.pt")
    message = r"any\.pt: SAM 2 checkpoint, variant 'small', where 'tiny' is asked for; give --variant small"
    with pytest.raises(InputError, match=message):
        load_pretrained(network(variant="tiny"), "tiny", str(tmp_path / "any.pt"), tmp_path)


# --- parts of a whole network


def test_a_whole_network_gives_all(tmp_path):
    ours = saved(tmp_path / "w.pt")
    target = network()
    base = load_pretrained(target, "nano", str(tmp_path / "w.pt"), tmp_path)
    assert equal(target.state_dict(), ours) and base.names == frozenset(ours)


def test_a_whole_network_must_fit_as_a_whole(tmp_path):
    saved(tmp_path / "w.pt")
    target = network(out_channels=2)
    before = copied(target.state_dict())
    with pytest.raises(InputError, match=r"out_channels 1 where 2 is asked for.*--pretrained_part body"):
        load_pretrained(target, "nano", str(tmp_path / "w.pt"), tmp_path)
    assert equal(target.state_dict(), before)


@pytest.mark.parametrize(
    ("part", "changes", "given"),
    [
        ("body", {"out_channels": 2}, lambda n: n.split(".")[0] not in ("head", "side1", "side2")),
        ("encoder", {"out_channels": 2, "decoder_channels": 16}, lambda n: n.startswith("encoder.")),
        ("trunk", {"adapter_dim": 7}, lambda n: n.startswith("encoder.") and "adapter" not in n),
        ("trunk", {"adapter_dim": 0}, lambda n: n.startswith("encoder.") and "adapter" not in n),
    ],
)
def test_parts_by_name(tmp_path, part, changes, given):
    ours = saved(tmp_path / "w.pt")
    target = network(**changes)
    before = copied(target.state_dict())
    base = load_pretrained(target, "nano", str(tmp_path / "w.pt"), tmp_path, part)
    after = target.state_dict()
    names = {n for n in after if given(n)}
    assert base.names == names
    assert equal({n: after[n] for n in names}, {n: ours[n] for n in names})
    assert equal(
        {n: after[n] for n in after if n not in names}, {n: before[n] for n in after if n not in names}
    )


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            "encoder",
            r"SAM 2 checkpoint, does not give part 'encoder'\. missing: 24 \(encoder\.blocks\.0\.adapter",
        ),
        ("body", r"does not give part 'body'\. missing: "),
    ],
)
def test_a_part_that_the_file_does_not_hold(tmp_path, part, message):
    ours = saved(tmp_path / "w.pt")
    torch.save({"model": sam2(ours)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=message):
        load_pretrained(network(), "nano", str(tmp_path / "w.pt"), tmp_path, part)
    load_pretrained(network(), "nano", str(tmp_path / "w.pt"), tmp_path, "trunk")


def test_channels_of_a_whole_network_are_fitted_too(tmp_path):
    ours = saved(tmp_path / "w.pt")
    target = network(in_channels=1)
    load_pretrained(target, "nano", str(tmp_path / "w.pt"), tmp_path)
    torch.testing.assert_close(target.state_dict()[FIRST], ours[FIRST].sum(1, keepdim=True))


# --- memory


@pytest.mark.parametrize("save", [torch.save, save_file])
def test_tensors_are_mapped_not_read(golden, tmp_path, save):
    """Reading takes none of the process's own memory: the pages are the file's."""
    tensors = filled(golden, "SAM 2", "tiny")
    save(tensors, tmp_path / "w")
    size = (tmp_path / "w").stat().st_size
    del tensors
    before = own_memory()
    weights = read_weights(tmp_path / "w")
    assert len(weights.tensors) == 154
    assert own_memory() - before < 0.1 * size
    (tmp_path / "w").unlink()


def test_a_built_network_lies_in_the_mapped_file(tmp_path):
    torch.save(SAM2UNet("tiny").state_dict(), tmp_path / "w")
    size = (tmp_path / "w").stat().st_size
    load_network(tmp_path / "w")  # what the first call imports
    before = own_memory()
    built = load_network(tmp_path / "w")
    assert own_memory() - before < 0.1 * size
    del built
    (tmp_path / "w").unlink()


def own_memory():
    """Bytes of memory that belong to this process alone (Linux)."""
    try:
        with open("/proc/self/status") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("RssAnon"))
    except FileNotFoundError:
        pytest.skip("needs /proc")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda s: s.pop("head.bias"), r"missing: 1 \(head\.bias\)"),
        (lambda s: s.update({"head.bais": s.pop("head.bias")}), r"missing: 1 \(head\.bias\)\. unknown: 1"),
        (lambda s: s.update({"head.bias": torch.zeros(3)}), r"wrong shape: 1 \(head\.bias \[3\] instead of"),
    ],
)
def test_a_network_is_not_built_for_a_file_that_is_not_complete(tmp_path, spoil, told):
    """The stock app of MONAI Label builds it from the config, and then loads whatever fits."""
    state = saved(tmp_path / "model.pt")
    spoil(state)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(InputError, match=rf"model\.pt: checkpoint of this bundle, but not complete.*{told}"):
        model_architecture(tmp_path / "model.pt")
