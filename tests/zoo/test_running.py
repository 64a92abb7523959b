"""What the zoo's tests run: the sound entry passes, and each kind of mistake is found."""

from __future__ import annotations

import pytest
import torch

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.zoo import check_entry, running

META = "configs/metadata.json"


def test_the_entry_runs(entry):
    before = sorted(entry.rglob("*"))
    for check in (running.check_model, running.check_properties, running.check_in_out, running.check_export):
        assert [*check(entry)] == []
    assert sorted(entry.rglob("*")) == before  # nothing is left in it


def test_property_under_another_id(broken):
    config = broken / "configs/inference.json"
    config.write_text(config.read_text().replace('"preprocessing"', '"before"').replace("@pre", "@be"))
    config.write_text(
        config.read_text().replace("@beprocessing", "@before").replace("@betrained", "@pretrained")
    )
    (finding,) = running.check_properties(broken)
    assert (finding.file, finding.got) == ("configs/inference.json", "no property preprocessing")


def test_missing_property(broken, edit):
    edit("configs/inference.json", "device", ...)
    edit("configs/inference.json", "torch_device", "$torch.device('cpu')")
    (finding,) = running.check_properties(broken)
    assert finding.file == "configs/inference.json" and "device" in finding.got


def test_config_whose_objects_cannot_be_made(broken, edit):
    edit("configs/train.json", "loss_function#name", "no such mode")
    (finding,) = running.check_properties(broken)
    assert finding.file == "configs/train.json" and "no such mode" in finding.got


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("inputs#image#num_channels", 4, "got shape [1, 4, 32, 32]"),
        ("outputs#pred#num_channels", 2, "doesn't match: `2`"),
        ("outputs#pred#dtype", "int64", "doesn't match: torch.int64"),
        ("inputs#image#spatial_shape", ["32*n", "32*k"], "Invalid names"),
    ],
)
def test_network_of_another_format(broken, edit, key, value, told):
    edit(META, f"network_data_format#{key}", value)
    (finding,) = running.check_in_out(broken)
    assert finding.file == META and told in finding.got


def test_weights_of_another_network(broken):
    """Their own architecture is read from the file; the config's settings take its place here."""
    torch.save(SAM2UNet("nano", decoder_channels=16).state_dict(), broken / "models/model.pt")
    assert [*running.check_export(broken)] == []
    config = broken / "configs/inference.json"
    config.write_text(config.read_text().replace("\"$@architecture['decoder_channels']\"", "32"))
    (finding,) = running.check_export(broken)
    assert finding.file == "models/model.pt" and "ckpt_export fails" in finding.got


def test_export_that_computes_something_else(entry, monkeypatch):
    """The other side of the comparison keeps its random weights."""
    monkeypatch.setattr(running, "load_model", lambda network, path: None)
    (finding,) = running.check_export(entry)
    assert finding.file == "models/model.pt" and "as TorchScript its logits differ by" in finding.got


def test_weights_that_are_none(broken):
    (broken / "models/model.pt").write_bytes(b"no weights")
    (finding,) = (f for f in check_entry(broken) if "here" not in f.got)  # installed versions apart
    assert finding.file == "models/model.pt" and "trained SAM2-UNet" in finding.expected


def test_weights_that_are_not_plain(broken):
    state = SAM2UNet("nano", decoder_channels=32).state_dict()
    encoder = {n: t for n, t in state.items() if n.startswith("encoder.")}
    torch.save(encoder, broken / "models/model.pt")
    (finding,) = running.check_model(broken)
    assert "a whole network" in finding.expected and "scripts.convert_weights" in finding.remedy


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        check_entry(tmp_path / "nowhere")
