"""Tuning through the configs: what moves in a run, what the run notes, and that it can be resumed."""

from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Events

from tests.bundle.finished import history, input_error, last

# Parameters of nano that learn: tests/networks/test_tuning.py adds them up layer by layer.
LEARNING = {"adapters": 550_947, "full": 1_324_707, "frozen": 525_795, "lora": 550_947, "bitfit": 532_059}


@pytest.mark.parametrize("tuning", LEARNING)
def test_a_run_moves_what_it_should(prepare, tmp_path, tuning):
    made = prepare(tmp_path, tuning=tuning, max_epochs=1)
    network = made.parser.get_parsed_content("network")
    before = {n: t.clone() for n, t in network.state_dict().items()}
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == LEARNING[tuning]
    made.run()
    after = last(tmp_path)["network"]
    assert after.keys() == before.keys()
    moved = {n for n in before if not torch.equal(after[n], before[n])}
    statistics = {n for n, _ in network.named_buffers() if not n.endswith("lora_scale")}
    assert moved == set(network.trainable_names()) | statistics
    noted = json.loads((tmp_path / "models" / "model.json").read_text())
    dim = 32 if tuning in ("adapters", "full") else 0
    assert (noted["tuning"], noted["adapter_dim"], noted["layer_decay"]) == (tuning, dim, 1.0)


def test_rank_and_alpha_from_the_command_line(prepare, tmp_path):
    made = prepare(tmp_path, tuning="lora", lora_rank=4, lora_alpha=2, adapter_dim=16)
    tensors = made.parser.get_parsed_content("network").state_dict()
    assert tensors["encoder.blocks.5.attn.qkv.lora_down"].shape == (4, 96)
    assert tensors["encoder.blocks.5.attn.proj.lora_scale"].item() == 0.5
    assert tensors["encoder.blocks.5.adapter.down.weight"].shape == (16, 96)


@pytest.mark.parametrize(
    "change", [{"tuning": "lora", "lora_rank": 4}, {"tuning": "full", "layer_decay": 0.7}], ids=str
)
def test_a_resumed_run_equals_an_undisturbed_one(train, prepare, tmp_path, change):
    """As in test_training.py, with the tensors of LoRA and with several groups in the optimiser."""
    train(tmp_path / "whole", **change)
    first = prepare(tmp_path / "parts", **change)
    trainer = first.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=1), lambda engine: engine.terminate())
    first.run()
    assert last(tmp_path / "parts")["epoch"] == 1
    train(tmp_path / "parts", resume="true", **change)
    whole, parts = last(tmp_path / "whole"), last(tmp_path / "parts")
    assert whole["epoch"] == parts["epoch"] == 2
    assert all(torch.equal(t, parts["network"][n]) for n, t in whole["network"].items())
    rates = [[group["lr"] for group in state["optimizer"]["param_groups"]] for state in (whole, parts)]
    assert rates[0] == rates[1]
    columns = ("epoch", "loss", "validation_dice", "learning_rate")
    rows = [[[r[c] for c in columns] for r in history(tmp_path / name)] for name in ("whole", "parts")]
    assert rows[0] == rows[1]
    # the history shows the full rate: 0.001, then half-way down the cosine to 1e-7
    assert [row[3] for row in rows[0]] == ["0.001", "0.0005"]


def test_layers_learn_at_their_own_rates(prepare, tmp_path):
    made = prepare(tmp_path, layer_decay=0.5, max_epochs=1)
    optimizer = made.parser.get_parsed_content("optimizer")
    # by hand: 0.001 halved from the decoder through six blocks to the embeddings
    assert [g["lr"] for g in optimizer.param_groups] == [0.001 / 2**step for step in range(8)]
    made.run()
    # the cosine ends at min_learning_rate for all
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([1e-7] * 8)


def test_resume_refuses_another_tuning(train, tmp_path):
    train(tmp_path, max_epochs=1, tuning="frozen")
    with pytest.raises(RuntimeError) as caught:
        train(tmp_path, max_epochs=1, tuning="lora", resume=True)
    assert "tuning: frozen there, lora now" in input_error(caught.value)


def test_settings_that_exclude_each_other(prepare, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        prepare(tmp_path, tuning="lora", layer_decay=0.8)
    assert "layer_decay 0.8 needs tuning 'full', got 'lora'" in input_error(caught.value)
