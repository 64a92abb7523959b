"""SAM2UNet computes the reference's function: equal weights in, equal stages and logits out."""

import numpy as np
import pytest
import torch

from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.networks.weights import load_strict
from monai_sam2unet.networks.weights.layouts import recognise, rename
from tests.golden import rule
from tests.weight_files import filled

VARIANTS = ("tiny", "small", "base_plus", "large")
STAGE_TOLERANCE, LOGIT_TOLERANCE = 2e-5, 1e-4  # stated with the reference values


def relative_errors(golden, variant):
    """Largest relative error of each stored tensor."""
    network = SAM2UNet(variant).eval()
    published = filled(golden, "published SAM2-UNet", variant)
    load_strict(network, rename(published, recognise(published)).tensors, "reference")
    reference = np.load(golden / f"sam2unet_{variant}_352.npz")
    x = torch.from_numpy(rule.image(f"{variant}-352", (1, 3, 352, 352)))
    with torch.inference_mode():
        stages, (main, side1, side2) = network.encoder(x), network.outputs(x)
        assert torch.equal(network(x), main)
    ours = {f"stage{i + 1}": s for i, s in enumerate(stages)}
    ours |= {"out": main, "side1": side1, "side2": side2}
    errors = {}
    for name in [n for n in reference.files if "." not in n]:
        assert list(reference[f"{name}.shape"]) == list(ours[name].shape)
        flat = ours[name].reshape(-1).numpy()
        sampled = flat[rule.sample_indices(name, flat.size)]
        errors[name] = float(np.abs(sampled - reference[name]).max() / reference[f"{name}.stats"][2])
        mean, deviation, largest = reference[f"{name}.stats"]
        np.testing.assert_allclose(
            [flat.mean(), flat.std(), np.abs(flat).max()], [mean, deviation, largest], atol=1e-4 * largest
        )
    return errors


@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_to_the_reference(golden, variant):
    errors = relative_errors(golden, variant)
    assert set(errors) == {"stage1", "stage2", "stage3", "stage4", "out", "side1", "side2"}
    for name, error in errors.items():
        assert error < (STAGE_TOLERANCE if name.startswith("stage") else LOGIT_TOLERANCE), (name, error)
