"""Paint a synthetic endoscopy frame: mucosa, folds, vessels, polyps, highlights and the black border.

Shapes: planes are ``(H, W)`` float64, pictures ``(H, W, 3)`` float64 in [0, 1]. Lengths are in units of half
the shorter side, with the origin in the middle of the frame, so that every size shows the same scene.
Only raw 64-bit draws of PCG64 and plain arithmetic are used: numpy fixes these across versions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]


class Draws:
    """Uniform numbers from the raw stream of PCG64, which numpy keeps the same across versions."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """One number in [low, high)."""
        return float(self.plane(1, low=low, high=high)[0])

    def plane(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Plane:
        """An array of numbers in [low, high)."""
        raw = self._bits.random_raw(int(np.prod(shape))) >> np.uint64(11)
        unit: Plane = raw.astype(np.float64).reshape(shape) / 2.0**53
        return low + (high - low) * unit

    def chance(self, probability: float) -> bool:
        """True with the probability given."""
        return self.uniform() < probability


@dataclass(frozen=True)
class Patient:
    """What frames of one patient have in common: colour of the mucosa (RGB in [0, 1]), lens, vessels."""

    colour: Plane
    light: float
    border: str
    radius: float
    vessels: float


@dataclass
class Scene:
    """A frame while it is painted; `x`, `y` are the coordinates of each pixel."""

    draws: Draws
    patient: Patient
    x: Plane
    y: Plane
    picture: Plane
    lumen: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.x.shape[0], self.x.shape[1]


def smoothstep(value: Plane, low: float, high: float) -> Plane:
    """0 below `low`, 1 above `high`, a cubic between; `low` above `high` falls instead."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _interpolation(length: int, cells: int) -> Plane:
    """Weights (length, cells + 1) of a smooth interpolation between grid points."""
    position = np.linspace(0.0, cells, length, endpoint=False)
    cell = position.astype(np.int64)
    t = position - cell
    t = t * t * (3.0 - 2.0 * t)
    weights = np.zeros((length, cells + 1))
    rows = np.arange(length)
    weights[rows, cell], weights[rows, cell + 1] = 1.0 - t, t
    return weights


def noise(draws: Draws, shape: tuple[int, int], cells: int, octaves: int = 1) -> Plane:
    """Smooth noise in about [-1, 1], `cells` bumps across; each octave is half as large and strong."""
    out = np.zeros(shape)
    for octave in range(octaves):
        n = cells * 2**octave
        grid = draws.plane(n + 1, n + 1, low=-1.0)
        out += 0.5**octave * (_interpolation(shape[0], n) @ grid @ _interpolation(shape[1], n).T)
    return out


def _blend(picture: Plane, colour: Plane, weight: Plane) -> Plane:
    return picture + weight[..., None] * (colour - picture)


def make_patient(key: tuple[int, ...]) -> Patient:
    """Draw what all frames of one patient share."""
    draws = Draws(*key)
    red = draws.uniform(0.68, 0.88)
    green = red * draws.uniform(0.46, 0.68)
    colour = np.array([red, green, green * draws.uniform(0.62, 0.98)])
    border = ("round", "octagon", "corners")[int(draws.uniform(0.0, 3.0))]
    return Patient(
        colour, draws.uniform(0.85, 1.1), border, draws.uniform(0.96, 1.12), draws.uniform(0.0, 0.5)
    )


def start_scene(draws: Draws, patient: Patient, size: tuple[int, int]) -> Scene:
    """Lay out coordinates and paint plain mucosa that darkens towards the lumen."""
    width, height = size
    half = min(width, height) / 2.0
    columns, rows = ((np.arange(length) + 0.5 - length / 2.0) / half for length in (width, height))
    x, y = np.meshgrid(columns, rows)
    lumen = (draws.uniform(-0.7, 0.7), draws.uniform(-0.6, 0.6))
    uneven = noise(draws, (height, width), 3, octaves=3)
    tint = noise(draws, (height, width), 2, octaves=2)
    colour = patient.colour * (1.0 + 0.10 * uneven[..., None])
    colour = colour + tint[..., None] * np.array([0.015, -0.03, -0.045])
    scene = Scene(draws, patient, x, y, colour, lumen)
    distance = np.hypot(x - lumen[0], y - lumen[1])
    depth = draws.uniform(0.25, 0.85)
    scene.picture *= 1.0 - depth * (1.0 - smoothstep(distance, 0.0, draws.uniform(0.35, 0.8)))[..., None]
    return scene


def add_vessels(scene: Scene) -> None:
    """Paint thin dark-red lines where smooth noise crosses zero, in patches."""
    lines = np.abs(noise(scene.draws, scene.shape, 4, octaves=2))
    patches = smoothstep(noise(scene.draws, scene.shape, 2), -0.1, 0.5)
    weight = scene.patient.vessels * patches * (1.0 - smoothstep(lines, 0.0, 0.07))
    scene.picture = _blend(scene.picture, np.array([0.55, 0.18, 0.16]), weight)


def add_folds(scene: Scene) -> None:
    """Paint curved bands around the lumen: lit on the side of the lens, shaded on the other."""
    dx, dy = scene.x - scene.lumen[0], scene.y - scene.lumen[1]
    angle, distance = np.arctan2(dy, dx), np.hypot(dx, dy)
    for _ in range(int(scene.draws.uniform(1.0, 5.0))):
        u = scene.draws.uniform
        start, wobble, phase = u(0.35, 1.5), u(0.03, 0.14), u(0.0, 6.3)
        radius = start * (1.0 + wobble * np.sin(2 * angle + phase) + 0.4 * wobble * np.sin(5 * angle - phase))
        reach = smoothstep(np.cos(angle - u(-3.2, 3.2)), u(-0.9, 0.3), u(0.5, 0.9))
        across = (distance - radius) / u(0.05, 0.12)
        ridge, groove = np.exp(-across * across), np.exp(-((across + 1.5) ** 2))
        light = u(0.05, 0.16) * ridge - u(0.15, 0.38) * groove
        scene.picture *= 1.0 + (reach * light)[..., None]


def _outline(scene: Scene, centre: tuple[float, float], size: float) -> tuple[Plane, Plane, Plane]:
    """Relative radius (1 on the outline) of a deformed ellipse, and the direction from its centre."""
    u = scene.draws.uniform
    turn, squeeze = u(0.0, 3.15), u(0.62, 1.0)
    dx, dy = scene.x - centre[0], scene.y - centre[1]
    along = dx * np.cos(turn) + dy * np.sin(turn)
    across = (dy * np.cos(turn) - dx * np.sin(turn)) / squeeze
    angle = np.arctan2(across, along)
    edge = size * (
        1.0 + u(0.0, 0.12) * np.sin(2 * angle + u(0, 6.3)) + u(0.0, 0.09) * np.sin(3 * angle + u(0, 6.3))
        + u(0.0, 0.04) * np.sin(5 * angle + u(0, 6.3))
    )  # fmt: skip
    return np.hypot(along, across) / edge, dx / size, dy / size


def _shine(scene: Scene, x: float, y: float, size: float) -> None:
    """Paint one specular highlight: a saturated core with a short halo."""
    u = scene.draws.uniform
    turn, squeeze = u(0.0, 3.15), u(0.35, 1.0)
    # Only a window is painted, for speed: the halo is below 1e-5 six radii out.
    rows = np.flatnonzero(np.abs(scene.y[:, 0] - y) < 6.0 * size)
    columns = np.flatnonzero(np.abs(scene.x[0] - x) < 6.0 * size)
    window = np.ix_(rows, columns)
    dx, dy = scene.x[window] - x, scene.y[window] - y
    along, across = dx * np.cos(turn) + dy * np.sin(turn), (dy * np.cos(turn) - dx * np.sin(turn)) / squeeze
    distance = np.hypot(along, across) / size
    weight = np.maximum(1.0 - smoothstep(distance, 0.7, 1.1), 0.35 * np.exp(-(distance**2) / 3.0))
    scene.picture[window] = _blend(scene.picture[window], np.array([1.0, 0.98, 0.95]), weight)


def add_polyp(scene: Scene, centre: tuple[float, float], size: float) -> Plane:
    """Paint a dome lit from the lens, with its cast shadow, own tint and texture.

    Args:
        scene: the frame.
        centre: of the polyp.
        size: mean radius.

    Returns:
        Coverage in [0, 1], at least 0.5 where it is polyp.
    """
    u = scene.draws.uniform
    contrast = u(0.45, 1.0)
    rho, nx, ny = _outline(scene, centre, size)
    soft = 1.6 / (size * min(scene.shape) / 2.0)  # an edge of about three pixels
    cover = 1.0 - smoothstep(rho, 1.0 - soft, 1.0 + soft)
    # Light comes from the lens in the middle of the frame: the side turned away is in the shade.
    reach = max(float(np.hypot(*centre)), 0.3)
    lx, ly = -centre[0] / reach * 0.55, -centre[1] / reach * 0.55 - 0.15
    shadow = np.exp(-(((np.hypot(nx + 0.35 * lx, ny + 0.35 * ly) - 0.9) / 0.28) ** 2))
    scene.picture *= 1.0 - contrast * 0.38 * (shadow * (1.0 - cover))[..., None]
    height = np.sqrt(np.clip(1.0 - np.minimum(rho, 1.0) ** 2, 0.0, 1.0))
    lambert = 0.55 * height + 0.55 * (nx * lx + ny * ly) + 0.52
    tint = np.array([u(1.0, 1.14), u(0.72, 1.16), u(0.72, 1.12)])
    colour = scene.patient.colour * (1.0 + contrast * (tint - 1.0))
    texture = 1.0 + 0.12 * noise(scene.draws, scene.shape, int(u(8.0, 18.0)), octaves=2)
    body = colour * ((0.35 + 0.65 * lambert) * texture)[..., None]
    rim = np.exp(-(((rho - 1.0) / 0.09) ** 2))
    scene.picture = _blend(scene.picture, body, cover * (0.72 + 0.28 * contrast))
    scene.picture *= 1.0 - 0.28 * contrast * rim[..., None]
    for _ in range(int(u(0.0, 4.0))):
        x, y = lx + u(-0.3, 0.3), ly + u(-0.3, 0.3)
        _shine(scene, centre[0] + size * x, centre[1] + size * y, size * u(0.05, 0.13))
    return cover


def add_distractors(scene: Scene) -> None:
    """Paint what is no polyp: highlights on the mucosa, bubbles, residue of stool."""
    u = scene.draws.uniform
    for _ in range(int(u(2.0, 9.0))):
        _shine(scene, u(-1.0, 1.0), u(-0.9, 0.9), u(0.012, 0.045))
    if scene.draws.chance(0.35):
        x, y = u(-0.8, 0.8), u(-0.8, 0.8)
        for _ in range(int(u(2.0, 7.0))):
            distance = np.hypot(scene.x - x - u(-0.3, 0.3), scene.y - y - u(-0.3, 0.3)) / u(0.04, 0.11)
            ring = np.exp(-(((distance - 1.0) / 0.2) ** 2))
            scene.picture = _blend(scene.picture, np.array([0.98, 0.9, 0.82]), 0.28 * ring)
    if scene.draws.chance(0.3):
        patch = smoothstep(noise(scene.draws, scene.shape, 4, octaves=3), 0.75, 1.05)
        scene.picture = _blend(scene.picture, np.array([0.62, 0.5, 0.18]), 0.6 * patch)


def visible(scene: Scene) -> Plane:
    """What the lens shows, in [0, 1]: round, octagonal, or the frame with its corners cut."""
    radius = scene.patient.radius
    x, y = np.abs(scene.x), np.abs(scene.y)
    side = float(scene.x.max())
    if scene.patient.border == "round":
        distance = np.hypot(scene.x / max(1.0, 0.8 * side), scene.y)
    elif scene.patient.border == "octagon":
        distance = np.maximum(np.maximum(x / side, y), (x / side + y) / 1.42) + 0.04
    else:
        distance = np.maximum((x / side + y) / 1.62, np.maximum(x / side, y) * 0.9)
    return 1.0 - smoothstep(distance, radius - 0.025, radius + 0.015)


def finish(scene: Scene) -> tuple[Plane, Plane]:
    """Dim towards the rim, add sensor noise and the black border; returns the picture and what is visible."""
    falloff = scene.patient.light * (1.06 - 0.34 * np.clip(np.hypot(scene.x, scene.y), 0.0, 1.5) ** 2)
    grain = scene.draws.plane(*scene.shape, low=-0.022, high=0.022)
    seen = visible(scene)
    picture = (scene.picture * falloff[..., None] + grain[..., None]) * seen[..., None]
    return np.clip(picture, 0.0, 1.0) + 0.012 * (1.0 - seen[..., None]), seen
