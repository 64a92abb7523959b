"""Activation checkpointing: less is kept for the backward pass, and nothing else changes."""

import pytest
import torch

from monai_sam2unet.networks import SAM2UNet


def build(variant="nano", tuning="adapters", checkpointing=True):
    torch.manual_seed(0)
    network = SAM2UNet(variant, decoder_channels=8, adapter_dim=4, tuning=tuning)
    network.encoder.set_checkpointing(checkpointing)
    return network


def picture(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def learn(network, x, amp):
    """Outputs and gradients of one pass."""
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        outputs = network(x)
    sum(output.float().square().mean() for output in outputs).backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    return outputs, gradients


@pytest.mark.parametrize("tuning", ["adapters", "full", "lora"])
@pytest.mark.parametrize(
    ("variant", "amp"), [("nano", False), ("nano", True), ("tiny", False)], ids=["nano", "nano-bf16", "tiny"]
)
def test_gradients_are_the_same_to_the_bit(variant, amp, tuning):
    x = picture(2, 3, 96, 64)  # grids that the windows do not divide
    outputs, gradients = learn(build(variant, tuning).train(), x, amp)
    plain_outputs, plain = learn(build(variant, tuning, checkpointing=False).train(), x, amp)
    assert all(torch.equal(a, b) for a, b in zip(outputs, plain_outputs, strict=True))
    assert gradients.keys() == plain.keys()
    assert [name for name in plain if not torch.equal(gradients[name], plain[name])] == []
    assert any(name.startswith("encoder.") and gradient.any() for name, gradient in gradients.items())


def kept(network, x):
    """Bytes of all tensors that the encoder keeps for the backward pass, its parameters left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    sizes = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        stages = network.encoder(x)
    assert stages[0].requires_grad
    return sum(sizes.values())


def test_the_input_of_each_block_is_all_that_is_kept():
    x = picture(2, 3, 64, 64)
    with_it = kept(build("tiny").train(), x)
    # by hand: float32 tokens before each block of tiny, 16 x 16 x 96 at first; a stage's first block gets the
    # grid and the channels of the stage before (blocks per stage: 1, 2, 7, 2)
    inputs = 2 * 4 * (16 * 16 * 96 * 2 + 8 * 8 * 192 * 2 + 4 * 4 * 384 * 7 + 2 * 2 * 768)
    assert with_it == inputs
    assert kept(build("tiny", checkpointing=False).train(), x) > 4 * with_it


@pytest.mark.parametrize(("training", "times"), [(True, 2), (False, 1)])
def test_blocks_are_computed_again_in_training_alone(training, times):
    network, calls = build().train(training), []
    for number, block in enumerate(network.encoder.blocks):
        block.attn.register_forward_hook(lambda *_, number=number: calls.append(number))
    outputs = network(picture(1, 3, 64, 64))
    (outputs[0] if training else outputs).sum().backward()
    assert sorted(calls) == sorted(list(range(len(network.encoder.blocks))) * times)


def test_it_can_be_switched_off_again():
    network = build().train()
    network.encoder.set_checkpointing(False)
    x = picture(1, 3, 64, 64)
    assert kept(network, x) == kept(build(checkpointing=False).train(), x)


def test_evaluation_and_names_are_the_same():
    network, plain, x = build().eval(), build(checkpointing=False).eval(), picture(1, 3, 64, 96)
    assert torch.equal(network(x), plain(x))
    assert network.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("training", [True, False])
def test_scripting_leaves_it_out(training):
    network, x = build(), picture(1, 3, 64, 96)
    scripted = torch.jit.script(network.train(training))
    assert "checkpoint(" not in getattr(scripted.encoder.blocks, "0").code
    with torch.no_grad():
        torch.testing.assert_close(scripted.eval()(x), network.eval()(x), rtol=1e-4, atol=1e-5)


def test_tracing_and_export():
    network, x = build().eval(), picture(1, 3, 64, 96)
    other = torch.randn_like(x)
    with torch.no_grad():
        expected = network(other)
        torch.testing.assert_close(torch.jit.trace(network, x)(other), expected, rtol=1e-4, atol=1e-5)
        exported = torch.export.export(network, (x,)).module()
        torch.testing.assert_close(exported(other), expected, rtol=1e-4, atol=1e-5)
