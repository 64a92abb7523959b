"""The structure loss: the reference's figures, a plain oracle, and what must hold for any mask."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceCELoss
from scipy.ndimage import uniform_filter
from scipy.special import expit

from monai_sam2unet import StructureLoss
from monai_sam2unet.losses import boundary_weight, segmentation_loss, with_background
from tests.golden import rule
from tests.plain.loss import structure_loss

MODES = ("weighted", "legacy")
CASES = [f"{case}-{mode}" for case in ("a", "b", "c", "empty") for mode in MODES]


def logits_and_mask(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(shape, generator=generator)
    mask = torch.zeros(shape)
    mask[..., 5 : shape[-2] // 2, 3 : shape[-1] // 2] = 1
    return logits, mask


def plain_loss(logits, mask, mode):
    """NumPy in float64, picture by picture, from the paper's formula; the box mean is SciPy's."""
    losses = []
    p = expit(logits)
    entropy = -(mask * np.log(p) + (1 - mask) * np.log(1 - p))
    for i in np.ndindex(*logits.shape[:2]):
        weight = 1 + 5 * np.abs(uniform_filter(mask[i], 31, mode="constant") - mask[i])
        if mode == "weighted":
            bce = (weight * entropy[i]).sum() / weight.sum()
        else:
            bce = entropy.mean()  # over the whole batch: the weight cancels
        inter = (p[i] * mask[i] * weight).sum()
        union = ((p[i] + mask[i]) * weight).sum()
        losses.append(bce + 1 - (inter + 1) / (union - inter + 1))
    return np.mean(losses)


# --- values


@pytest.mark.parametrize("name", CASES)
def test_equal_to_the_reference(golden, name):
    """Loss and gradient of the published code (`legacy`) and of the paper's formula (`weighted`)."""
    case, mode = name.split("-")
    expected = json.loads((golden / "structure_loss.json").read_text())[name]
    logits = torch.from_numpy(3 * rule.image(f"loss-{case}", expected["shape"])).requires_grad_()
    mask = torch.from_numpy(rule.mask(f"loss-{case}", expected["shape"]))
    if case == "empty":
        mask.zero_()
    loss = StructureLoss(mode)(logits, mask)
    loss.backward()
    # float32 sums in another order: measured 2e-7 of the loss, 3e-6 of the gradient
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-6)
    if case != "empty":  # no gradient is stored there
        assert logits.grad.norm().item() == pytest.approx(expected["grad_l2"], rel=1e-5)
        assert logits.grad.abs().max().item() == pytest.approx(expected["grad_absmax"], rel=1e-5)


def test_all_reference_cases_are_used(golden):
    assert set(json.loads((golden / "structure_loss.json").read_text())) == set(CASES)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("soft", [False, True])
def test_equal_to_a_plain_oracle(mode, soft):
    logits, mask = logits_and_mask(2, 3, 40, 56)
    if soft:
        mask = F.avg_pool2d(mask, 5, stride=1, padding=2)
        assert ((mask > 0) & (mask < 1)).any()
    expected = plain_loss(logits.double().numpy(), mask.double().numpy(), mode)
    assert StructureLoss(mode)(logits, mask).item() == pytest.approx(expected, rel=1e-5)


def test_the_modes_differ():
    logits, mask = logits_and_mask(2, 1, 40, 56)
    assert abs(StructureLoss("weighted")(logits, mask) - StructureLoss("legacy")(logits, mask)) > 1e-3


def test_errors_near_the_boundary_cost_more():
    _, mask = logits_and_mask(1, 1, 96, 96)
    logits = 8 * (2 * mask - 1)
    near, far = logits.clone(), logits.clone()
    near[..., 48:52, 20:24] = 8  # just below the rectangle that ends at row 48
    far[..., 90:94, 88:92] = 8
    loss = StructureLoss()
    assert loss(near, mask) > 1.5 * loss(far, mask)


@settings(max_examples=25)
@given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 9))
def test_boundary_weight_equals_one_square_box(height, width, seed):
    mask = torch.rand(2, 2, height, width, generator=torch.Generator().manual_seed(seed)).round()
    box = F.avg_pool2d(mask, 31, stride=1, padding=15)
    weight = boundary_weight(mask)
    torch.testing.assert_close(weight, 1 + 5 * (box - mask).abs(), rtol=1e-5, atol=1e-5)
    assert weight.min() >= 1 and weight.max() <= 6


@pytest.mark.parametrize("shape", [(1, 2, 31, 30), (1, 1, 32, 400), (1, 1, 1600, 1200)])
@pytest.mark.parametrize("ignored", [False, True])
def test_boundary_weight_of_soft_masks_is_exact_at_any_size(shape, ignored):
    """Sums over a large picture would lose the bits that the box's mean is made of."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(shape, generator=generator)
    counted = (torch.rand(1, 1, *shape[2:], generator=generator) < 0.7).float() if ignored else None
    seen = mask if counted is None else mask * counted
    # SciPy in float64 with zeros beyond the edge: the definition in the docstring
    box = uniform_filter(seen.double().numpy(), (0, 0, 31, 31), mode="constant")
    if counted is not None:
        box /= 1 - uniform_filter(1 - counted.double().numpy(), (0, 0, 31, 31), mode="constant")
    expected = 1 + 5 * np.abs(box - seen.double().numpy())
    # five times the rounding of a mean near 1 in float32, 6e-8, at each of a few steps
    assert np.abs(boundary_weight(seen, counted).numpy() - expected).max() < 2e-6


@pytest.mark.parametrize("mode", MODES)
def test_equal_to_the_published_form_over_three_outputs(mode):
    outputs = [logits_and_mask(2, 1, 96, 64, seed=seed)[0].requires_grad_() for seed in range(3)]
    _, mask = logits_and_mask(2, 1, 96, 64)
    results = []
    for loss in (structure_loss(outputs, mask, mode), StructureLoss(mode)(outputs, mask)):
        results.append((loss.item(), torch.autograd.grad(loss, outputs)))
    (expected, plain), (value, gradients) = results
    assert value == pytest.approx(expected, rel=1e-6)
    for one, other in zip(gradients, plain, strict=True):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def test_boundary_weight_far_from_boundaries_is_one():
    mask = torch.zeros(1, 1, 80, 80)
    mask[..., :20] = 1
    weight = boundary_weight(mask)[0, 0]
    # 15 pixels from the boundary (and, in the foreground, from the edge) the box holds one value
    assert (weight[:, 36:] == 1).all()
    assert (weight[:, 19:34] > 1).all()
    assert weight[40, 19] == pytest.approx(1 + 5 * 15 / 31)  # 16 of 31 columns are foreground


# --- outputs, channels, precision


@pytest.mark.parametrize("mode", MODES)
def test_three_outputs_are_summed_with_their_weights(mode):
    _, mask = logits_and_mask(2, 1, 32, 48)
    outputs = [logits_and_mask(2, 1, 32, 48, seed=i)[0] for i in range(3)]
    one = [StructureLoss(mode)(o, mask).item() for o in outputs]
    assert StructureLoss(mode)(outputs, mask).item() == pytest.approx(sum(one), rel=1e-6)
    weighted = StructureLoss(mode, weights=[1, 0.5, 0.25])
    assert weighted(outputs, mask).item() == pytest.approx(one[0] + one[1] / 2 + one[2] / 4, rel=1e-6)
    assert weighted(outputs[:2], mask).item() == pytest.approx(one[0] + one[1] / 2, rel=1e-6)
    assert weighted(outputs[0], mask).item() == pytest.approx(one[0], rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_channels_and_pictures_are_averaged(mode):
    logits, mask = logits_and_mask(2, 3, 32, 48)
    loss = StructureLoss(mode)
    one = [loss(logits[i : i + 1, j : j + 1], mask[i : i + 1, j : j + 1]) for i in range(2) for j in range(3)]
    assert loss(logits, mask).item() == pytest.approx(torch.stack(one).mean().item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_in_float32(dtype):
    logits, mask = logits_and_mask(2, 1, 64, 64)
    half = logits.to(dtype).requires_grad_()
    loss = StructureLoss()(half, mask)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, StructureLoss()(half.detach().float(), mask))
    loss.backward()
    assert half.grad.dtype == dtype and half.grad.isfinite().all()


def test_integer_masks_are_taken():
    logits, mask = logits_and_mask(1, 1, 32, 32)
    assert torch.equal(StructureLoss()(logits, mask.to(torch.uint8)), StructureLoss()(logits, mask))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("scale", [0.0, 3.0, 1000.0])
def test_empty_and_full_masks_are_finite(mode, value, scale):
    logits = (scale * logits_and_mask(2, 1, 33, 40)[0]).requires_grad_()
    loss = StructureLoss(mode)(logits, torch.full((2, 1, 33, 40), value))
    loss.backward()
    assert loss.isfinite() and loss >= 0
    assert logits.grad.isfinite().all()


# --- what must hold for any mask


@settings(max_examples=40)
@given(
    mode=st.sampled_from(MODES),
    seed=st.integers(0, 2**20),
    share=st.floats(0, 1),
    scale=st.floats(0, 50),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_properties(mode, seed, share, scale, size):
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand(2, 1, *size, generator=generator) < share).float()
    logits = scale * torch.randn(2, 1, *size, generator=generator)
    loss = StructureLoss(mode)
    value = loss(logits, mask)
    assert value >= -1e-6
    # exp(-30) is about 1e-13: nothing is left of either term
    assert loss(60 * mask - 30, mask) == pytest.approx(0, abs=1e-6)
    assert loss(30 - 60 * mask, mask) > 30 - 1e-3  # confident and wrong in every pixel
    # mirrored pictures have the same loss
    torch.testing.assert_close(loss(logits.flip(-1), mask.flip(-1)), value, rtol=1e-4, atol=1e-5)


def test_descent_finds_the_mask():
    _, mask = logits_and_mask(1, 1, 32, 32)
    logits = torch.zeros_like(mask, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(30):
        optimizer.zero_grad()
        StructureLoss()(logits, mask).backward()
        optimizer.step()
    assert torch.equal((logits > 0).float(), mask)


# --- what is refused


def test_unfit_shapes_are_named():
    with pytest.raises(ValueError, match=r"got \[2, 1, 32, 32\] and \[2, 32, 32\]; give the mask as"):
        StructureLoss()(torch.zeros(2, 1, 32, 32), torch.zeros(2, 32, 32))
    with pytest.raises(ValueError, match=r"got \[1, 1, 16, 16\] and \[1, 1, 32, 32\]"):
        StructureLoss()([torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 16, 16)], torch.zeros(1, 1, 32, 32))


def test_number_of_outputs_is_checked():
    mask = torch.zeros(1, 1, 32, 32)
    with pytest.raises(ValueError, match="expected 1 to 3 outputs, got 4"):
        StructureLoss()([mask] * 4, mask)
    with pytest.raises(ValueError, match="expected 1 to 2 outputs, got 0"):
        StructureLoss(weights=(1, 1))([], mask)


def test_unknown_mode_is_named():
    with pytest.raises(ValueError, match="mode must be 'weighted' or 'legacy', got 'paper'"):
        StructureLoss("paper")


# --- several classes


def exclusive_case(seed=0, ignored=False):
    """Logits (2, 4, 40, 56) of three exclusive classes, their masks, and a mask of what is ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 4, 40, 56, generator=generator)
    label_map = torch.zeros(2, 40, 56, dtype=torch.long)
    label_map[:, 3:20, 5:30], label_map[:, 12:34, 30:50], label_map[1, 25:38, 2:20] = 1, 2, 3
    masks = F.one_hot(label_map, 4).permute(0, 3, 1, 2)[:, 1:].float()
    hidden = torch.zeros(2, 1, 40, 56)
    hidden[0, :, 8:24, 20:40], hidden[1, :, :, :6] = 1, 1
    return logits, (torch.cat([masks, hidden], dim=1) if ignored else masks)


def plain_exclusive(logits, masks, counted, class_weights, mode):
    """NumPy in float64: the definition in the docstring of `StructureLoss`, picture by picture."""
    factors = np.array([1.0, *class_weights])
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    entropies, norms, overlaps = [], [], []
    for i in range(len(logits)):
        seen = masks[i] * counted[i]
        box = [uniform_filter(m, 31, mode="constant") for m in seen]
        share = 1 - uniform_filter(1 - counted[i], 31, mode="constant")
        weight = [
            (1 + 5 * np.abs(b / np.maximum(share, 1e-9) - m)) * counted[i]
            for b, m in zip(box, seen, strict=True)
        ]
        true = np.concatenate([1 - seen.sum(0, keepdims=True), seen]) * factors[:, None, None]
        pixel = np.max(weight, axis=0) if mode == "weighted" else counted[i]
        entropies.append((pixel * -(true * np.log(p[i])).sum(0)).sum())
        norms.append((pixel * true.sum(0)).sum())
        for m, q, w, a in zip(seen, p[i, 1:], weight, class_weights, strict=True):
            inter = (w * m * q).sum()
            overlaps.append(a * (1 - (inter + 1) / ((w * (m + q)).sum() - inter + 1)))
    entropies, norms = np.array(entropies), np.array(norms)
    entropy = (entropies / norms).mean() if mode == "weighted" else entropies.sum() / norms.sum()
    return entropy + np.mean(overlaps) / np.mean(class_weights)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 3.0, 0.5)])
@pytest.mark.parametrize("ignored", [False, True])
def test_exclusive_classes_equal_a_plain_oracle(mode, weights, ignored):
    logits, target = exclusive_case(ignored=ignored)
    counted = 1 - target[:, 3].double().numpy() if ignored else np.ones((2, 40, 56))
    expected = plain_exclusive(
        logits.double().numpy(), target[:, :3].double().numpy(), counted, weights, mode
    )
    loss = StructureLoss(mode, activation="softmax", class_weights=weights)
    assert loss(logits, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_one_exclusive_class_is_the_paper_s_loss(mode):
    """softmax over (background, class) is the sigmoid of their difference."""
    logits, mask = logits_and_mask(2, 1, 40, 56)
    background = logits_and_mask(2, 1, 40, 56, seed=1)[0]
    both = torch.cat([background, logits + background], dim=1)
    expected = StructureLoss(mode)(logits, mask)
    assert StructureLoss(mode, activation="softmax")(both, mask).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


@pytest.mark.parametrize("mode", MODES)
def test_equal_class_weights_change_no_bit(mode):
    logits, mask = logits_and_mask(2, 3, 40, 56)
    for weights in ((1, 1, 1), (2.0, 2.0, 2.0)):
        assert torch.equal(
            StructureLoss(mode, class_weights=weights)(logits, mask), StructureLoss(mode)(logits, mask)
        )


def test_class_weights_are_factors_of_the_classes():
    logits, mask = logits_and_mask(2, 2, 40, 56)
    one = [StructureLoss()(logits[:, k : k + 1], mask[:, k : k + 1]).item() for k in range(2)]
    weighted = StructureLoss(class_weights=(3.0, 1.0))(logits, mask).item()
    assert weighted == pytest.approx((3 * one[0] + one[1]) / 4, rel=1e-5)


LOSS_FORMS = [("weighted", "sigmoid"), ("legacy", "sigmoid"), ("weighted", "softmax"), ("legacy", "softmax"),
              ("dice_ce", "sigmoid"), ("dice_ce", "softmax")]  # fmt: skip


@pytest.mark.parametrize(("name", "activation"), LOSS_FORMS)
def test_ignored_pixels_change_neither_loss_nor_gradient(name, activation):
    logits, target = exclusive_case(ignored=True)
    logits = logits if activation == "softmax" else logits[:, 1:]
    loss = segmentation_loss(name, activation)
    hidden = target[:, 3:] > 0

    def value_and_gradient(logits, target):
        leaf = logits.clone().requires_grad_()
        value = loss([leaf, leaf], target)
        value.backward()
        return value.detach(), leaf.grad

    value, gradient = value_and_gradient(logits, target)
    assert gradient.isfinite().all() and (gradient * ~hidden).abs().sum() > 0
    assert not (gradient * hidden).any()
    other_logits = torch.where(hidden, 9 * torch.ones_like(logits), logits)
    other_target = torch.cat([torch.where(hidden, 1 - target[:, :3], target[:, :3]), target[:, 3:]], dim=1)
    for other in ((other_logits, target), (logits, other_target)):
        value_there, gradient_there = value_and_gradient(*other)
        assert value_there == value
        assert torch.equal(gradient_there * ~hidden, gradient * ~hidden)
    without = loss([logits, logits], target[:, :3])
    assert abs(without - value) > 1e-5, "the test must have pixels that matter"


@pytest.mark.parametrize(("name", "activation"), LOSS_FORMS)
def test_nothing_ignored_is_the_loss_without_the_channel(name, activation):
    logits, target = exclusive_case()
    logits = logits if activation == "softmax" else logits[:, 1:]
    none = torch.cat([target, torch.zeros(2, 1, 40, 56)], dim=1)
    loss = segmentation_loss(name, activation, [1.0, 2.0, 3.0])
    # float32: the picture-wise sums of dice_ce come in another order
    assert loss(logits, none).item() == pytest.approx(loss(logits, target).item(), rel=1e-6)


@pytest.mark.parametrize(("name", "activation"), LOSS_FORMS)
def test_pictures_ignored_as_a_whole_are_finite(name, activation):
    logits, target = exclusive_case()
    logits = (logits if activation == "softmax" else logits[:, 1:]).requires_grad_()
    loss = segmentation_loss(name, activation)(logits, torch.cat([target, torch.ones(2, 1, 40, 56)], dim=1))
    loss.backward()
    assert loss.isfinite() and not logits.grad.any()


def test_dice_ce_is_monai_s():
    logits, masks = exclusive_case()
    full = torch.cat([1 - masks.sum(1, keepdim=True), masks], dim=1)
    weight = torch.tensor([1.0, 3.0, 1.0, 0.5])
    for factors, weights in ((weight, weight[1:].tolist()), (None, ())):
        theirs = DiceCELoss(softmax=True, include_background=False, weight=factors)(logits, full)
        ours = segmentation_loss("dice_ce", "softmax", weights)
        assert ours(logits, masks).item() == pytest.approx(theirs.item(), rel=1e-6)
        assert ours([logits] * 3, masks).item() == pytest.approx(3 * theirs.item(), rel=1e-6)
    theirs = [DiceCELoss(sigmoid=True)(logits[:, k + 1 : k + 2], masks[:, k : k + 1]) for k in range(3)]
    ours = segmentation_loss("dice_ce", "sigmoid")(logits[:, 1:], masks)
    assert ours.item() == pytest.approx(torch.stack(theirs).mean().item(), rel=1e-6)


@pytest.mark.parametrize("name", ["weighted", "dice_ce"])
def test_descent_finds_exclusive_classes(name):
    _, masks = exclusive_case()
    logits = torch.zeros(2, 4, 40, 56, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        segmentation_loss(name, "softmax")(logits, masks).backward()
        optimizer.step()
    assert torch.equal(F.one_hot(logits.argmax(1), 4).permute(0, 3, 1, 2)[:, 1:].float(), masks)


def test_soft_masks_that_overshoot_are_shares():
    """Masks that are resized one by one may add up to more than 1."""
    target = torch.tensor([0.8, 0.4, 0.0]).view(1, 3, 1, 1)
    expected = [0, 0.8 / 1.2, 0.4 / 1.2, 0]  # by hand
    assert with_background(target).flatten().tolist() == pytest.approx(expected)


def test_unfit_classes_are_named():
    with pytest.raises(
        ValueError, match=r"one channel less than logits, none for the background, got \[1, 3, 8"
    ):
        StructureLoss(activation="softmax")(torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match="class weights of 2 classes, got 3"):
        StructureLoss(activation="softmax", class_weights=(1, 1, 1))(
            torch.zeros(1, 3, 8, 8), torch.zeros(1, 2, 8, 8)
        )
    with pytest.raises(ValueError, match="activation must be one of sigmoid, softmax, got 'relu'"):
        StructureLoss(activation="relu")
