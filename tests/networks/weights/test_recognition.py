"""Weight files are recognised, complete and sound, or refused with a reason."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks import VARIANTS, SAM2UNet
from monai_sam2unet.networks.weights import architecture, fit_first_layer, read_weights
from tests.weight_files import LAYOUTS, NANO, SIZES, copied, equal, filled, hollow, network, published, sam2

WORDS = {
    "SAM 2": "SAM 2 checkpoint",
    "SAM 2.1": "SAM 2.1 checkpoint",
    "transformers": "Hugging Face transformers checkpoint of SAM 2",
    "timm": "timm checkpoint of SAM 2's encoder",
    "published SAM2-UNet": "published SAM2-UNet checkpoint",
}


# --- file kinds x sizes


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_published_kind_and_size(golden, tmp_path, kind, size):
    torch.save(LAYOUTS[kind][1](hollow(golden, kind, size)), tmp_path / "any_name.bin")
    weights = read_weights(tmp_path / "any_name.bin")
    whole = kind == "published SAM2-UNet"
    assert (weights.kind, weights.variant) == (WORDS[kind], size)
    assert weights.content == ("network" if whole else "encoder")
    assert weights.architecture == {
        "variant": size,
        "in_channels": 3,
        "adapter_dim": 32 if whole else 0,
        **({"out_channels": 1, "decoder_channels": 64} if whole else {}),
    }


@pytest.mark.parametrize("save", [torch.save, save_file])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_values_arrive_to_the_bit(golden, tmp_path, kind, save):
    """Each tensor under our name is the one that the file holds under its own."""
    tensors = filled(golden, kind, "tiny")
    save(tensors, tmp_path / "weights")
    weights = read_weights(tmp_path / "weights")
    taken = [tensor for name, tensor in tensors.items() if name not in weights.unused]
    assert len(taken) == len(weights.tensors)
    # the order of a state dict is that of the modules, the same in all of these implementations but for the
    # place of the position embeddings, so tensors are found by their content
    found = {tensor.numpy().tobytes() for tensor in weights.tensors.values()}
    assert all(tensor.numpy().tobytes() in found for tensor in taken)
    name = {
        "SAM 2": "image_encoder.trunk.blocks.3.mlp.layers.1.bias",
        "SAM 2.1": "image_encoder.trunk.blocks.3.mlp.layers.1.bias",
        "transformers": "vision_encoder.backbone.blocks.3.mlp.proj_out.bias",
        "timm": "blocks.3.mlp.fc2.bias",
        "published SAM2-UNet": "encoder.blocks.3.block.mlp.layers.1.bias",
    }[kind]
    assert torch.equal(weights.tensors["encoder.blocks.3.mlp.layers.1.bias"], tensors[name])
    (tmp_path / "weights").unlink()  # 100 MB and more


def bare(state_dict):
    """The encoder of our network alone, under SAM 2's names."""
    return {n.removeprefix("image_encoder.trunk."): t for n, t in sam2(state_dict).items()}


@pytest.mark.parametrize(
    ("wrap", "kind", "content"),
    [
        (dict, "checkpoint of this bundle", "network"),
        (lambda s: {"network": s, "epoch": 3, "settings": {}}, "checkpoint of this bundle", "network"),
        (lambda s: {f"module.{n}": t for n, t in s.items()}, "checkpoint of this bundle", "network"),
        (lambda s: {"state_dict": {f"module.{n}": t for n, t in published(s).items()}}, "publ", "network"),
        (lambda s: {"model": sam2(s)}, "SAM 2 checkpoint", "encoder"),
        (lambda s: {"model": {f"module.{n}": t for n, t in sam2(s).items()}}, "SAM 2 checkpoint", "encoder"),
        (bare, "encoder of SAM 2 alone", "encoder"),
        (lambda s: {n: t for n, t in s.items() if n.startswith("encoder.")}, "of this bundle", "encoder"),
    ],
)  # fmt: skip
def test_forms_of_one_network(tmp_path, wrap, kind, content):
    torch.manual_seed(0)
    ours = network().state_dict()
    torch.save(wrap(ours), tmp_path / "w.pt")
    weights = read_weights(tmp_path / "w.pt")
    assert kind in weights.kind and weights.content == content
    assert equal(weights.tensors, {n: ours[n] for n in weights.tensors})
    left_out = [n for n in ours if n not in weights.tensors]
    adapters = weights.architecture["adapter_dim"] > 0
    assert left_out == [
        name
        for name in ours
        if (content == "encoder" and not name.startswith("encoder."))
        or (not adapters and ".adapter." in name)
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("counters", [False, True])
def test_other_precisions_are_taken(tmp_path, dtype, counters):
    """Also where every tensor was cast, the batch counters too."""
    torch.manual_seed(0)
    ours = network().state_dict()
    cast = {n: t.to(dtype) if t.is_floating_point() or counters else t for n, t in ours.items()}
    torch.save(cast, tmp_path / "w.pt")
    loaded = network()
    loaded.load_state_dict(read_weights(tmp_path / "w.pt").tensors)
    assert equal(loaded.state_dict(), {n: cast[n].to(t.dtype) for n, t in ours.items()})


def test_lora_is_merged(tmp_path):
    torch.manual_seed(0)
    trained = network(tuning="lora", lora_rank=2, adapter_dim=0)
    for name, parameter in trained.named_parameters():
        if "lora_up" in name:
            torch.nn.init.normal_(parameter)
    torch.save({"network": trained.state_dict()}, tmp_path / "w.pt")
    weights = read_weights(tmp_path / "w.pt")
    assert (
        weights.kind == "checkpoint of this bundle, LoRA merged" and weights.architecture["adapter_dim"] == 0
    )
    plain = network(tuning="full", adapter_dim=0).eval()
    plain.load_state_dict(weights.tensors)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected, result = trained.eval()(x), plain(x)
    assert (expected - result).abs().max() < 1e-5 * expected.abs().max()


# --- what is refused


def without(*names):
    return lambda s: [s.pop(name) for name in names]


def spoilt(name, value):
    def spoil(state_dict):
        state_dict[name].view(-1)[0] = value

    return spoil


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("head.bias"),
            r"w\.pt: checkpoint of this bundle, but not complete and sound\. missing: 1 \(head\.bias\)$",
        ),
        (
            without("head.weight", "up1.conv.double_conv.0.weight"),
            r"missing: 2 \(up1\.conv.*, head\.weight\)$",
        ),
        (without("encoder.pos_embed"), r"missing: 1 \(encoder\.pos_embed\)$"),
        (lambda s: s.update({"encoder.extra": torch.ones(1)}), r"unknown: 1 \(encoder\.extra\)$"),
        (lambda s: s.update({"mystery.weight": torch.ones(1)}), r"unknown: 1 \(mystery\.weight\)$"),
        (
            lambda s: s.update({"rfb2.conv_res.bn.bias": torch.ones(9)}),
            r"wrong shape: 1 \(rfb2\.conv_res\.bn\.bias \[9\] instead of \[8\]\)$",
        ),
        (
            lambda s: [s.pop(n) for n in list(s) if n.startswith("up1")],
            r"missing: 12 \((up1\.[\w.]+, ){5}\.\.\.\)$",  # 2 x (kernel and five of the normalisation)
        ),
        (
            lambda s: (s.pop("head.bias"), s.update(extra=torch.ones(1))),
            r"missing: 1 \(head\.bias\)\. unknown: 1 \(extra\)$",
        ),
        (
            lambda s: [s.pop(n) for n in list(s) if n.startswith("encoder.blocks.5.")],
            "no variant of Hiera has 24 channels and 5 blocks; there are: nano 24 and 6, tiny 96 and 12",
        ),
        (spoilt("head.weight", float("nan")), r"NaN or infinite values: 1 \(head\.weight\)"),
        (spoilt("encoder.blocks.2.attn.qkv.weight", float("inf")), "NaN or infinite values: 1 .*qkv"),
        (  # finite in float64, but not in the network
            lambda s: s.update({"head.weight": s["head.weight"].double() + 1e300}),
            r"NaN or infinite values: 1 \(head\.weight\)",
        ),
        (
            lambda s: s.update({"head.weight": s["head.weight"].to_sparse()}),
            r"wrong type: 1 \(head\.weight torch\.float32 sparse_coo\)",
        ),
        (
            lambda s: s.update({"head.weight": s["head.weight"].to(torch.int8)}),
            r"wrong type: 1 \(head\.weight torch\.int8\); expected float32, float16, bfloat16 or float64$",
        ),
        (
            lambda s: s.update({"head.weight": s["head.weight"].to(torch.complex64)}),
            r"wrong type: 1 \(head\.weight torch\.complex64\)",
        ),
    ],
)  # fmt: skip
def test_incomplete_and_unsound_files_are_refused(tmp_path, change, message):
    state_dict = copied(network().state_dict())
    change(state_dict)
    torch.save(state_dict, tmp_path / "w.pt")
    with pytest.raises(InputError, match=message):
        read_weights(tmp_path / "w.pt")


def test_nan_in_what_is_not_taken_does_not_matter(golden, tmp_path):
    tensors = hollow(golden, "SAM 2", "tiny")
    tensors["no_mem_embed"] = torch.full((1, 1, 256), float("nan"))
    torch.save({"model": tensors}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt").variant == "tiny"


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_missing_or_unknown_tensor_of_every_kind(golden, tmp_path, kind):
    tensors = hollow(golden, kind, "tiny")
    # as each layout calls the second normalisation of block 7
    gone = next(n for n in tensors if "blocks.7." in n and n.endswith(("norm2.weight", "layer_norm2.weight")))
    torch.save({n: t for n, t in tensors.items() if n != gone}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"missing: 1 \(encoder\.blocks\.7\.norm2\.weight\)$"):
        read_weights(tmp_path / "w.pt")
    torch.save({**tensors, "surprise": torch.ones(1)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"unknown: 1 \(surprise\)$"):
        read_weights(tmp_path / "w.pt")


# --- architecture


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "changes", [{}, {"in_channels": 1, "out_channels": 3, "adapter_dim": 0, "decoder_channels": 24}]
)
def test_architecture_is_read_from_the_shapes(variant, changes):
    arguments = {**NANO, "variant": variant, **changes}
    with torch.device("meta"):
        assert architecture(SAM2UNet(**arguments, tuning="full").state_dict()) == arguments


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
