"""Every format gives what PyTorch gives, for any batch and size; what cannot be exported is said."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.bundle import onnx_export

from monai_sam2unet.errors import InputError
from monai_sam2unet.export import (
    FORMATS,
    Case,
    PackedNetwork,
    compare,
    export,
    formats,
    network_pixels,
    runner,
)
from monai_sam2unet.export.inputs import MEAN, STD, normalised
from monai_sam2unet.networks import VARIANTS, SAM2UNet
from tests.plain.hiera import PlainHiera

# one window and several, padded and not, one picture and more; rows differ from columns
SHAPES = [(1, 64, 64), (2, 96, 64), (1, 32, 288)]
FREE = ["torchscript", "onnx", "openvino"]


def installed(kind):
    for package in FORMATS[kind].packages:
        pytest.importorskip(package, reason=f"{kind} needs {package}: make exports")


def pixels(batch, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


def probabilities(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def eager(network, x):
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(x)).numpy()


def agrees(network, run, shapes=SHAPES):
    """Logits and probabilities are PyTorch's, and not trivial."""
    for shape in shapes:
        x = normalised(pixels(*shape))
        expected, got = eager(network, x), run(x)
        assert got.shape == expected.shape and got.dtype == np.float32
        # float32 rounds by 6e-8; some tens of layers in another order stay below this
        assert np.abs(probabilities(got) - probabilities(expected)).max() < 1e-5
        assert probabilities(expected).std() > 0.05


@pytest.mark.parametrize("kind", FREE)
def test_any_size_and_batch(network, tmp_path, kind):
    installed(kind)
    agrees(network, runner(export(network, tmp_path / FORMATS[kind].file, kind), kind))


@pytest.mark.parametrize("kind", ["pt2", "onnx", "openvino"])
def test_one_size_and_any_batch(network, tmp_path, kind):
    installed(kind)
    run = runner(export(network, tmp_path / FORMATS[kind].file, kind, size=64), kind)
    agrees(network, run, [(1, 64, 64), (3, 64, 64)])
    with pytest.raises(Exception, match="64"):  # each runtime has its own error and words
        run(normalised(pixels(1, 64, 96)))


@pytest.mark.parametrize("kind", ["torchscript", "pt2", "onnx", "openvino"])
def test_a_fused_network_is_exported_as_well(network, tmp_path, kind):
    installed(kind)
    fused = copy.deepcopy(network).fuse()
    path = export(fused, tmp_path / FORMATS[kind].file, kind, size=64 if kind == "pt2" else None)
    agrees(network, runner(path, kind), [(1, 64, 64), (3, 64, 64)])


@pytest.fixture(scope="module")
def narrow():
    """Tiny with narrow layers, biases as large as weights; and the same with the plain encoder."""
    torch.manual_seed(0)
    variant = replace(VARIANTS["tiny"], embed_dim=8, depths=(1, 1, 2, 2), global_blocks=(3,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "narrow", variant)
        network = SAM2UNet("narrow", decoder_channels=8, adapter_dim=4).eval()
        for parameter in network.encoder.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        plain = copy.deepcopy(network)
        encoder = PlainHiera(variant, adapter_dim=4)
    encoder.load_state_dict(network.encoder.state_dict())
    plain.encoder = encoder
    return network, plain


@pytest.mark.parametrize("size", [96, 320])  # one window cut off at both sides; whole ones and those cut off
@pytest.mark.parametrize("kind", ["pt2", "onnx", "openvino"])
def test_one_size_equals_the_plain_form(narrow, tmp_path, kind, size):
    installed(kind)
    network, plain = narrow
    run = runner(export(network, tmp_path / FORMATS[kind].file, kind, size=size), kind)
    for batch in (1, 2):
        x = normalised(pixels(batch, size, size))
        expected = eager(plain, x)
        assert np.abs(run(x) - expected).max() < 2e-5 * np.abs(expected).max()


def test_graphs_of_one_size_have_no_padding(narrow, tmp_path):
    """Keys are the tokens of a window and one for all that would pad it."""
    installed("onnx")
    import onnx

    network, _ = narrow
    free = onnx.load(export(network, tmp_path / "free.onnx", "onnx")).graph
    graph = onnx.load(export(network, tmp_path / "model.onnx", "onnx", size=320))
    graph = onnx.shape_inference.infer_shapes(graph).graph
    keys = {v.type.tensor_type.shape.dim[-1].dim_value for v in graph.value_info if "Softmax" in v.name}
    # 10x10 cells in windows of 7x7: whole ones, of 7x3 and 3x3, with four tokens or one to a cell; the whole
    # picture; windows of stages 1 and 2, of which none is padded
    assert keys == {49 * 4, 21 * 4 + 1, 9 * 4 + 1, 49, 21 + 1, 9 + 1, 400, 64, 16}
    kinds, free_kinds = ([node.op_type for node in found.node] for found in (graph, free))
    assert "Pad" not in kinds and "Pad" in free_kinds
    assert "BatchNormalization" not in kinds + free_kinds
    # three steps of the decoder and the head; the position embedding is a constant at one size alone
    assert (kinds.count("Resize"), free_kinds.count("Resize")) == (4, 5)


def test_the_network_is_not_changed(network, tmp_path):
    before = {name: (p.requires_grad, p.data_ptr()) for name, p in network.named_parameters()}
    export(network, tmp_path / "model.pt2", "pt2", size=64)
    assert {name: (p.requires_grad, p.data_ptr()) for name, p in network.named_parameters()} == before
    assert not network.fused


@pytest.mark.slow
def test_torch_export_of_any_size(network, tmp_path):
    agrees(network, runner(export(network, tmp_path / "model.pt2", "pt2"), "pt2"))


def test_windows_that_do_not_divide_the_picture(tmp_path):
    """Windows of 14 and 7 tokens, which SAM 2's variants have and nano has not."""
    installed("onnx")
    torch.manual_seed(0)
    tiny = SAM2UNet("tiny", decoder_channels=8).eval()
    run = runner(export(tiny, tmp_path / "model.onnx", "onnx"), "onnx")
    for shape in ((1, 64, 96), (2, 32, 256)):
        x = normalised(pixels(*shape))
        assert np.abs(run(x) - eager(tiny, x)).max() < 1e-5


@pytest.mark.parametrize("kind", FREE)
def test_packed_takes_pixels_and_gives_probabilities(network, tmp_path, kind):
    installed(kind)
    path = export(PackedNetwork(network), tmp_path / FORMATS[kind].file, kind, threshold=0.4)
    run = runner(path, kind)
    for shape in SHAPES:
        x = pixels(*shape)
        expected = probabilities(eager(network, normalised(x)))
        assert np.abs(run(x) - expected).max() < 1e-5
    noted = json.loads((tmp_path / f"{path.name}.json").read_text())
    assert noted["input"]["dtype"] == "uint8" and noted["input"]["shape"] == ["batch", "32*n", "32*n", 3]
    assert noted["output"]["name"] == "probability" and noted["threshold_of_probability"] == 0.4


def test_int8(network, tmp_path):
    installed("onnx-int8")
    import onnx

    inputs = [normalised(pixels(1, 64, 64, seed)) for seed in range(4)]
    path = export(network, tmp_path / "int8.onnx", "onnx-int8", calibration=inputs)
    weights = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert onnx.TensorProto.INT8 in weights
    run = runner(path, "onnx-int8")
    for shape in SHAPES:
        x = normalised(pixels(*shape, seed=9))
        difference = np.abs(probabilities(run(x)) - probabilities(eager(network, x)))
        # 8 bit of every activation: a few per cent; a wrong graph would be off by tens
        assert 0 < difference.mean() < 0.06


def test_int8_needs_pictures(network, tmp_path):
    installed("onnx-int8")
    with pytest.raises(InputError, match="calibrate with, got none; give them by --data DIR"):
        export(network, tmp_path / "int8.onnx", "onnx-int8")
    assert not list(tmp_path.iterdir())


def test_monai_onnx_export(bundle_root, network, model_file, tmp_path):
    """The command of docs/export.md gives a file for any size and batch, too."""
    installed("onnx")
    axes = {0: "batch", 2: "height", 3: "width"}
    onnx_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.onnx"),
        ckpt_file=str(model_file),
        config_file=str(bundle_root / "configs" / "inference.json"),
        meta_file=str(bundle_root / "configs" / "metadata.json"),
        checkpoint=str(model_file),
        use_trace=True,
        input_shape=[2, 3, 288, 320],
        converter_kwargs={
            "dynamo": False,
            "opset_version": 18,
            "input_names": ["image"],
            "output_names": ["logits"],
            "dynamic_axes": {"image": axes, "logits": axes},
        },
    )
    agrees(network, runner(tmp_path / "model.onnx", "onnx"))


def test_the_networks_mode_stays(network, tmp_path):
    try:
        export(network.train(), tmp_path / "model.ts", "torchscript")
        assert network.training
    finally:
        network.eval()


def test_another_network_takes_the_files_place_only_when_whole(network, tmp_path, monkeypatch):
    path = export(network, tmp_path / "model.ts", "torchscript")
    before = path.read_bytes()

    def full(program, file):
        file.write(b"half")
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(torch.jit, "save", full)
    with pytest.raises(InputError, match=r"model.ts: cannot be written"):
        export(network, path, "torchscript")
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"model.ts", "model.ts.json"}


def test_what_cannot_be_done_is_said(network, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"format must be one of torchscript, pt2, .*, got 'onx'"):
        export(network, tmp_path / "a", "onx")
    with pytest.raises(InputError, match="size must be a multiple of 32 pixels or dynamic, got 100"):
        export(network, tmp_path / "a", "torchscript", size=100)
    with pytest.raises(InputError, match=r"no.ts: no such file; write it with .*--format torchscript"):
        runner(tmp_path / "no.ts", "torchscript")
    with pytest.raises(InputError, match="pictures have 3 channels, the network takes 1"):
        PackedNetwork(SAM2UNet("nano", in_channels=1))
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"onnx and openvino not installed .*-m pip install onnx openvino$"):
        export(network, tmp_path / "a", "openvino")
    assert not list(tmp_path.iterdir())


def test_normalisation_is_that_of_the_inference(bundle_root):
    config = json.loads((bundle_root / "configs" / "inference.json").read_text())
    (step,) = (
        step for step in config["preprocessing"]["transforms"] if step["_target_"] == "NormalizeIntensityd"
    )
    assert tuple(step["subtrahend"]) == MEAN and tuple(step["divisor"]) == STD


def test_comparison(network):
    """PyTorch beside itself, and beside a function that finds nothing."""
    case = Case(pixels(1, 50, 70)[0], np.full((50, 70), 255, np.uint8))
    x = normalised(network_pixels(case.pixels(), (64, 96)))
    expected = probabilities(eager(network, x))
    runners = {
        "same": lambda x: eager(network, x),
        "nothing": lambda x: np.full((1, 1, 64, 96), -100.0, "f4"),
    }
    found = compare(network, runners, [case, case], (64, 96))
    assert list(found) == ["pytorch", "same", "nothing"]
    assert found["same"].difference == 0 and found["same"].dices == [1, 1]
    assert found["same"].reference == found["pytorch"].reference
    assert 0 < found["same"].reference_dice < 1
    # nothing found: off by the largest probability, no overlap with either mask
    assert found["nothing"].difference == pytest.approx(expected.max(), abs=1e-6)
    assert found["nothing"].dice == 0 and found["nothing"].reference_dice == 0


def test_real_pictures(network, real_data, tmp_path):
    folder = real_data("PolypGen") / "test" / "images"
    cases = [Case(file) for file in sorted(folder.iterdir())[:4]]
    runners = {"torchscript": runner(export(network, tmp_path / "m.ts", "torchscript"), "torchscript")}
    for kind in ("onnx", "openvino"):
        installed(kind)
        runners[kind] = runner(export(network, tmp_path / FORMATS[kind].file, kind), kind)
    found = compare(network, runners, cases, (128, 160))
    for kind in runners:
        assert found[kind].difference < 1e-5 and found[kind].dice > 0.999
