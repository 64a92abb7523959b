"""What a picture is recognised by after it was compressed, resized, brightened, turned or slightly cropped.

A hash, whose distances find candidates fast, and a thumbnail, by which candidates are checked.
docs/leakage.md has the measurements behind the constants.

Shapes: N pictures, V = 4 orientations, S = 48 pixels of a thumbnail's side.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter
from skimage.feature import match_template

FLAT = 4.0  # grey levels, standard deviation of a thumbnail below which a hash holds nothing but noise

HASH_SIDE = 32  # pixels
SIDE = 48  # pixels
MARGIN = 5  # pixels of a thumbnail's border that may lack in the other picture
BACKGROUND = 3.0  # pixels, standard deviation of the blur that is taken off before thumbnails are aligned
SCALES = tuple(1.025**step for step in range(-4, 5))  # 0.91 to 1.10
FIRST_SCALES = SCALES[1::3]
HOPELESS = 0.65  # correlation at the first scales, below which the others do not bring it to what counts

ORIENTATIONS = ("", "mirrored left-right", "mirrored up-down", "rotated by 180 degrees")
_STEPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # of rows and columns, for each orientation


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of a picture.

    Attributes:
        digest: of size and pixels, equal for equal pictures alone.
        hashes: (V, 64) bool, of the picture in each of `ORIENTATIONS`.
        thumbnail: (S, S) uint8, grey.
    """

    digest: bytes
    hashes: np.ndarray
    thumbnail: np.ndarray

    @property
    def flat(self) -> bool:
        """Whether the picture is so uniform that neither hash nor thumbnail tells it from others."""
        return bool(self.thumbnail.std() < FLAT)


def fingerprint(picture: Image.Image) -> Fingerprint:
    """Reduce a picture.

    Args:
        picture: of mode "RGB", any size.

    Returns:
        Its fingerprint, 3 KB.
    """
    digest = hashlib.blake2b(repr(picture.size).encode() + picture.tobytes(), digest_size=16).digest()
    grey = picture.convert("L")
    small, thumbnail = (
        np.asarray(grey.resize((side, side), Image.Resampling.LANCZOS)) for side in (HASH_SIDE, SIDE)
    )
    return Fingerprint(digest, perceptual_hash(small), thumbnail)


def perceptual_hash(grey: np.ndarray) -> np.ndarray:
    """Which of the lowest frequencies of a picture are above their median.

    Args:
        grey: (32, 32), any range.

    Returns:
        (V, 64) bool, the hash of the picture in each of `ORIENTATIONS`. The first is the `phash` of the
        package ImageHash.
    """
    lowest = dctn(grey.astype(np.float64))[:8, :8]
    # A mirrored picture has the same coefficients, the odd ones with the other sign.
    signs = np.where(np.arange(8) % 2, -1, 1)
    turned = [lowest * (signs if x < 0 else 1) * (signs[:, None] if y < 0 else 1) for y, x in _STEPS]
    flat = np.reshape(turned, (len(ORIENTATIONS), -1))
    return flat > np.median(flat, axis=1, keepdims=True)


def aligned_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """The highest correlation of a thumbnail with the inner part of another, moved and scaled by up to 10 %.

    The background (brightness that changes slowly: the dark frame of an endoscope's picture, its lamp) is
    taken off: it is alike in pictures that show nothing in common.

    Args:
        first: (S, S), grey.
        second: likewise.

    Returns:
        Between -1 and 1; 0 where one of them is constant. Below `HOPELESS`, the highest of three scales.
    """
    whole, inner = _detail(first), _detail(second)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    best = max(_moved_correlation(whole, inner, scale) for scale in FIRST_SCALES)
    if best < HOPELESS:
        return best
    return max(best, *(_moved_correlation(whole, inner, s) for s in SCALES if s not in FIRST_SCALES))


def _moved_correlation(whole: np.ndarray, inner: np.ndarray, scale: float) -> float:
    """The highest correlation over all places where the scaled inner part lies wholly inside."""
    side = round(len(inner) * scale)
    template = Image.fromarray(inner).resize((side, side), Image.Resampling.BILINEAR)
    return min(float(match_template(whole, np.asarray(template)).max()), 1.0)


def turn(thumbnails: np.ndarray, orientation: int) -> np.ndarray:
    """Thumbnails (..., S, S) in the orientation of a place in `ORIENTATIONS`."""
    y, x = _STEPS[orientation]
    return thumbnails[..., ::y, ::x]


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation (n,) of thumbnails (n, S, S), none of them constant."""
    first, second = (given.reshape(len(given), SIDE * SIDE).astype(np.float32) for given in (first, second))
    first -= first.mean(axis=1, keepdims=True)
    second -= second.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products: np.ndarray = np.einsum("ij,ij->i", first, second) / norms
    return products


def _detail(thumbnail: np.ndarray) -> np.ndarray:
    """A thumbnail without what changes slowly, float32."""
    values = thumbnail.astype(np.float32)
    detail: np.ndarray = values - gaussian_filter(values, BACKGROUND, mode="nearest")
    return detail
