"""Weights: layouts, strict loading, SAM 2's files, and files that are no weights."""

import json
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks import VARIANTS, Hiera, SAM2UNet
from monai_sam2unet.networks.weights import (
    PRETRAINED_FILES,
    architecture,
    fit_first_layer,
    from_published,
    from_sam2,
    load_checked,
    load_pretrained_encoder,
    load_strict,
    model_architecture,
    read_checkpoint,
    read_model,
    read_state_dict,
)
from tests.golden import rule

NANO = {"variant": "nano", "in_channels": 3, "out_channels": 1, "adapter_dim": 4, "decoder_channels": 8}


def network(**changes):
    return SAM2UNet(**{**NANO, **changes})


def equal(one, other):
    return list(one) == list(other) and all(torch.equal(one[n], other[n]) for n in one)


def copied(state_dict):
    return {n: t.clone() for n, t in state_dict.items()}


def to_published(state_dict):
    """Our names back to the published ones, and the dead decoder step."""
    renamed = {}
    for name, tensor in state_dict.items():
        if name.startswith("encoder.blocks."):
            head, number, rest = "encoder.blocks", *name.removeprefix("encoder.blocks.").split(".", 1)
            rest = rest.replace("adapter.down", "prompt_learn.0").replace("adapter.up", "prompt_learn.2")
            name = f"{head}.{number}.{'' if 'prompt_learn' in rest else 'block.'}{rest}"
        renamed[name] = tensor
    return {**renamed, "up4.conv.double_conv.0.weight": torch.ones(8, 16, 3, 3)}


def hollow(golden, file):
    """The tensors of a published layout with one stored element each: files of full shape, but small."""
    keys = json.loads((golden / file).read_text())
    return {name: torch.zeros(()).expand(shape) for name, shape in keys.items()}


# --- layouts


def test_published_names_become_ours():
    names = (
        "encoder.patch_embed.proj.weight",
        "encoder.blocks.0.prompt_learn.0.weight",
        "encoder.blocks.11.prompt_learn.2.bias",
        "encoder.blocks.11.block.attn.qkv.weight",
        "encoder.blocks.3.block.mlp.layers.0.bias",
        "rfb1.branch0.0.conv.weight",
        "up3.conv.double_conv.0.weight",
        "up4.conv.double_conv.0.weight",
        "head.bias",
    )
    tensors = {name: torch.tensor(i) for i, name in enumerate(names)}
    assert {n: t.item() for n, t in from_published(tensors).items()} == {
        "encoder.patch_embed.proj.weight": 0,
        "encoder.blocks.0.adapter.down.weight": 1,
        "encoder.blocks.11.adapter.up.bias": 2,
        "encoder.blocks.11.attn.qkv.weight": 3,
        "encoder.blocks.3.mlp.layers.0.bias": 4,
        "rfb1.branch0.0.conv.weight": 5,
        "up3.conv.double_conv.0.weight": 6,
        "head.bias": 8,
    }


def test_published_layout_and_back():
    ours = network().state_dict()
    assert equal(from_published(to_published(ours)), ours)


def test_other_layouts_are_not_taken_for_the_published_one():
    with pytest.raises(
        ValueError, match=r"not a published SAM2-UNet.*prompt_learn.*\d+ names \(encoder\.pos_"
    ):
        from_published(network().state_dict())


@pytest.mark.parametrize("variant", list(PRETRAINED_FILES))
def test_encoder_out_of_sam2(golden, variant):
    """Every tensor of SAM 2's trunk has a place, and only the adapters have none there."""
    trunk = from_sam2(hollow(golden, f"keys_sam2_hiera_{variant}.json"))
    with torch.device("meta"):
        ours = Hiera(variant).state_dict()
    assert {n: t.shape for n, t in ours.items() if ".adapter." not in n} == {
        n: t.shape for n, t in trunk.items()
    }


def test_other_files_are_not_taken_for_sam2():
    with pytest.raises(
        ValueError, match=r"not a SAM 2 state dict: no 'image_encoder\.trunk\.\*'; 1 names \(a\)"
    ):
        from_sam2({"a": torch.zeros(1)})


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "changes", [{}, {"in_channels": 1, "out_channels": 3, "adapter_dim": 16, "decoder_channels": 24}]
)
def test_architecture_is_read_from_the_shapes(variant, changes):
    arguments = {**NANO, "variant": variant, **changes}
    with torch.device("meta"):
        assert architecture(SAM2UNet(**arguments).state_dict()) == arguments


def test_architecture_names_what_is_missing_or_unknown():
    state_dict = network().state_dict()
    with pytest.raises(ValueError, match=r"not a SAM2UNet state dict: 'head\.weight' is missing"):
        architecture({n: t for n, t in state_dict.items() if n != "head.weight"})
    shorter = {n: t for n, t in state_dict.items() if not n.startswith("encoder.blocks.5.")}
    with pytest.raises(ValueError, match="no variant of Hiera has 24 channels and 5 blocks"):
        architecture(shorter)


# --- first layer


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_repeated_grey_gives_the_same_response(channels):
    torch.manual_seed(0)
    weight, grey = torch.randn(5, 3, 7, 7), torch.randn(1, 1, 20, 24)
    expected = F.conv2d(grey.expand(-1, 3, -1, -1), weight, stride=4, padding=3)
    fitted = fit_first_layer(weight, channels)
    assert fitted.shape == (5, channels, 7, 7)
    result = F.conv2d(grey.expand(-1, channels, -1, -1), fitted, stride=4, padding=3)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_first_layer_of_equal_channels_is_kept():
    weight = torch.randn(2, 3, 7, 7)
    assert fit_first_layer(weight, 3) is weight


# --- strict loading


def test_strict_loading_is_complete():
    torch.manual_seed(0)
    source, target = network(), network()
    assert not equal(source.state_dict(), target.state_dict())
    load_strict(target, source.state_dict(), "source")
    assert equal(source.state_dict(), target.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("head.bias"), r"a\.pt does not fit SAM2UNet\. missing: 1 names \(head\.bias\)$"),
        (lambda s: s.update(extra=torch.ones(1)), r"SAM2UNet\. unknown: 1 names \(extra\)$"),
        (
            lambda s: s.update({"head.weight": torch.ones(1, 9, 1, 1)}),
            r"wrong shape: 1 names \(head\.weight \[1, 9, 1, 1\] instead of \[1, 8, 1, 1\]\)$",
        ),
        (
            lambda s: [s.pop(n) for n in list(s) if n.startswith("up1")],
            r"missing: 12 names \((up1\.[\w.]+, ){5}\.\.\.\)$",  # 2 x (kernel and five of the normalisation)
        ),
        (
            lambda s: (s.pop("head.bias"), s.update(extra=torch.ones(1))),
            r"missing: 1 names \(head\.bias\)\. unknown: 1 names \(extra\)$",
        ),
    ],
)
def test_nothing_is_loaded_unless_all_fits(change, message):
    target = network()
    before, other = copied(target.state_dict()), network().state_dict()
    change(other)
    with pytest.raises(ValueError, match=message):
        load_strict(target, other, "a.pt")
    assert equal(target.state_dict(), before)


@pytest.mark.parametrize(
    "wrap", [dict, to_published, lambda s: {"network": s}, lambda s: {"network": s, "epoch": 3}]
)
def test_load_checked_takes_every_layout_of_ours(tmp_path, wrap):
    torch.manual_seed(0)
    source, target = network(), network()
    torch.save(wrap(source.state_dict()), tmp_path / "model.pt")
    load_checked(target, tmp_path / "model.pt")
    assert equal(target.state_dict(), source.state_dict())
    assert model_architecture(tmp_path / "model.pt") == NANO


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out_channels": 3}, r"model\.pt: the file holds out_channels 1 where 3 is asked for$"),
        ({"decoder_channels": 16}, "decoder_channels 8 where 16 is asked for"),
        (
            {"in_channels": 1, "adapter_dim": 5},
            "in_channels 3 where 1 is asked for, adapter_dim 4 where 5 is asked for",
        ),
    ],
)
def test_load_checked_names_both_architectures(tmp_path, changes, message):
    torch.save(network().state_dict(), tmp_path / "model.pt")
    target = network(**changes)
    before = copied(target.state_dict())
    with pytest.raises(InputError, match=message):
        load_checked(target, tmp_path / "model.pt")
    assert equal(target.state_dict(), before)


def test_load_checked_names_both_variants(golden, tmp_path):
    torch.save(hollow(golden, "keys_sam2unet_base_plus.json"), tmp_path / "model.pt")
    # the published networks have adapters of 32 and decoders of 64 channels
    target = network(adapter_dim=32, decoder_channels=64)
    with pytest.raises(InputError, match="the file holds variant base_plus where nano is asked for"):
        load_checked(target, tmp_path / "model.pt")
    assert model_architecture(tmp_path / "model.pt") == {
        **NANO,
        "variant": "base_plus",
        "adapter_dim": 32,
        "decoder_channels": 64,
    }


def test_load_checked_refuses_an_incomplete_file(tmp_path):
    state_dict = network().state_dict()
    del state_dict["rfb2.branch1.0.bn.weight"]
    torch.save(state_dict, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"missing: 1 names \(rfb2\.branch1\.0\.bn\.weight\)"):
        load_checked(network(), tmp_path / "model.pt")


def test_load_checked_refuses_sam2s_own_file(golden, tmp_path):
    torch.save({"model": hollow(golden, "keys_sam2_hiera_tiny.json")}, tmp_path / "sam2.pt")
    with pytest.raises(InputError, match="not a SAM2UNet state dict"):
        load_checked(network(), tmp_path / "sam2.pt")


def test_a_missing_model_names_the_option(tmp_path):
    with pytest.raises(InputError, match=r"no model at .*model\.pt: train one first.*--checkpoint FILE"):
        read_model(tmp_path / "model.pt")
    defaults = {"variant": "large", "in_channels": 3}
    assert model_architecture(tmp_path / "model.pt", **defaults) == defaults


# --- files that are no weights


class Code:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def zipped(content, path):
    torch.save(content, path)


def pickled(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


def old_format(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [zipped, pickled, old_format])
def test_code_in_a_file_does_not_run(tmp_path, save):
    path, trace = tmp_path / "model.pt", tmp_path / "ran"
    pickle.loads(pickle.dumps(Code(trace))).close()
    assert trace.exists()  # the trap works
    trace.unlink()
    save({"head.bias": torch.zeros(1) if save is not pickled else 0, "code": Code(trace)}, path)
    with pytest.raises(InputError, match=r"model\.pt: refused, the file holds more than tensors") as caught:
        read_checkpoint(path)
    assert not trace.exists()
    assert "open" in str(caught.value)  # what the file wants to run is named
    assert "weights_only" not in str(caught.value)  # torch's advice to run it is not passed on


TEXTS = {
    "readme": b"hello, this is a README\n",
    "web page": b"<!DOCTYPE html><html><body>404</body></html>",
    "pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
    "JSON": b'{"model": []}',
    "nothing": b"",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_texts_are_refused(tmp_path, text):
    (tmp_path / "model.pt").write_bytes(text)
    with pytest.raises(InputError, match=r"model\.pt: (refused|cannot be read as weights \(\w+)"):
        read_checkpoint(tmp_path / "model.pt")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"", b"\x80\x02", b"}(", b"PK\x03\x04", b"cos\nsystem\n"]),
    rest=st.binary(max_size=40),
)
def test_any_bytes_are_refused(tmp_path, start, rest):
    """A few bytes may happen to be a pickled number or list: read, but never taken for a state dict."""
    (tmp_path / "model.pt").write_bytes(start + rest)
    with pytest.raises(InputError):
        read_state_dict(tmp_path / "model.pt")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, part):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(InputError, match=r"model\.pt: cannot be read as weights \(\w+Error: .+\)$"):
        read_checkpoint(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.pt: no such weight file"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(InputError, match="no such weight file"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ([torch.zeros(1)], "list"),
        (torch.zeros(1), "Tensor"),
        ({"a": 1}, "dict"),
        ({0: torch.zeros(1)}, "dict"),
        ({"model": {"a": "b"}}, "dict"),
    ],
)
def test_other_content_is_refused(tmp_path, content, kind):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(InputError, match=rf"expected a state dict \(names and tensors\), got {kind}$"):
        read_state_dict(tmp_path / "model.pt")


# --- SAM 2's weights


@pytest.fixture(scope="module")
def sam2_tiny(golden, tmp_path_factory):
    """Folder with a file of SAM 2's layout, and its trunk; of the rest only the first few tensors."""
    keys = json.loads((golden / "keys_sam2_hiera_tiny.json").read_text())
    trunk = {n: s for n, s in keys.items() if n.startswith("image_encoder.trunk.")}
    other = dict([(n, s) for n, s in keys.items() if n not in trunk][:5])
    tensors = {n: torch.from_numpy(np.asarray(rule.fill(n, s))) for n, s in {**trunk, **other}.items()}
    folder = tmp_path_factory.mktemp("pretrained")
    torch.save({"model": tensors}, folder / "sam2_hiera_tiny.pt")
    yield folder, {n.removeprefix("image_encoder.trunk."): tensors[n] for n in trunk}
    (folder / "sam2_hiera_tiny.pt").unlink()  # about 100 MB


def test_encoder_gets_sam2s_weights(sam2_tiny):
    folder, trunk = sam2_tiny
    target = network(variant="tiny")
    before = copied(target.state_dict())
    load_pretrained_encoder(target, "tiny", "sam2", folder)
    after = target.state_dict()
    assert equal({n: after[f"encoder.{n}"] for n in trunk}, trunk)
    rest = [n for n in after if n.removeprefix("encoder.") not in trunk]
    assert equal({n: after[n] for n in rest}, {n: before[n] for n in rest})
    assert sum(".adapter." in n for n in rest) == 12 * 4  # blocks of tiny, tensors of an adapter


@pytest.mark.parametrize("in_channels", [1, 4])
def test_other_channels_get_a_fitted_first_layer(sam2_tiny, in_channels):
    folder, trunk = sam2_tiny
    target = network(variant="tiny", in_channels=in_channels)
    load_pretrained_encoder(target, "tiny", str(folder / "sam2_hiera_tiny.pt"), "elsewhere")
    grey = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        result = target.encoder.patch_embed(grey.expand(-1, in_channels, -1, -1))
    expected = F.conv2d(
        grey.expand(-1, 3, -1, -1), trunk["patch_embed.proj.weight"], trunk["patch_embed.proj.bias"], 4, 3
    )
    torch.testing.assert_close(result, expected.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
    assert torch.equal(target.encoder.pos_embed, trunk["pos_embed"])


def test_a_file_of_another_variant_is_refused(sam2_tiny):
    folder, _ = sam2_tiny
    target = network()
    before = copied(target.state_dict())
    with pytest.raises(InputError, match="the file holds variant 'tiny', asked for 'nano'"):
        load_pretrained_encoder(target, "nano", str(folder / "sam2_hiera_tiny.pt"), folder)
    assert equal(target.state_dict(), before)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("blocks.3.norm1.weight", r"does not fit Hiera\. missing: 1 names \(blocks\.3\.norm1\.weight\)"),
        (
            "patch_embed.proj.weight",
            r"'image_encoder\.trunk\.patch_embed\.proj\.weight' is missing; 153 names",
        ),
    ],
)
def test_an_incomplete_trunk_is_refused(golden, tmp_path, lost, message):
    tensors = hollow(golden, "keys_sam2_hiera_tiny.json")
    del tensors[f"image_encoder.trunk.{lost}"]
    torch.save({"model": tensors}, tmp_path / "part.pt")
    target = network(variant="tiny")
    before = copied(target.state_dict())
    with pytest.raises(InputError, match=message):
        load_pretrained_encoder(target, "tiny", str(tmp_path / "part.pt"), tmp_path)
    assert equal(target.state_dict(), before)


@pytest.mark.parametrize("variant", list(PRETRAINED_FILES))
def test_a_missing_file_says_what_to_download_from_where(tmp_path, variant):
    # The addresses that SAM 2's checkpoints/download_ckpts.sh has for the release of 29 July 2024.
    url = f"https://dl.fbaipublicfiles.com/segment_anything_2/072824/sam2_hiera_{variant}.pt"
    with pytest.raises(InputError) as caught:
        load_pretrained_encoder(network(), variant, "sam2", tmp_path / "pretrained")
    message = str(caught.value)
    assert url in message
    assert f"into {tmp_path / 'pretrained'}" in message
    assert str(tmp_path / "pretrained" / f"sam2_hiera_{variant}.pt") in message
    assert "--pretrained none" in message


def test_a_missing_file_of_ones_own_is_named(tmp_path):
    with pytest.raises(InputError, match=r"mine\.pt: no such weight file"):
        load_pretrained_encoder(network(), "nano", str(tmp_path / "mine.pt"), tmp_path)


def test_nano_has_no_weights_of_sam2(tmp_path):
    with pytest.raises(
        InputError, match=r"variant 'nano' has no weights.*tiny, small, base_plus, large.*none"
    ):
        load_pretrained_encoder(network(), "nano", "sam2", tmp_path)


@pytest.mark.parametrize("word", ["none", "None", None])
def test_without_pretrained_weights_nothing_changes(tmp_path, word):
    target = network()
    before = copied(target.state_dict())
    load_pretrained_encoder(target, "nano", word, tmp_path)
    assert equal(target.state_dict(), before)
