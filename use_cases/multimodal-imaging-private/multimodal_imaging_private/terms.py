"""The analysis as a DIZ approves it: `pyproject.toml` is what `text` gives at epsilon 4.

`ROUNDS` messages of `STEPS` steps of DP-SGD each, every patient in a batch with chance `SAMPLE_RATE`. The multipliers
are the least with which all of them, and the noised count of patients by which a gate sees whether its cohort is large
enough, fit the Rényi filter of (epsilon, 1e-5); a test recomputes them with the gate's own accountant.

The network: two convolutions of stride 2 and a linear layer, 693 weights. Each weight gets the noise of all, so few are
better than many: a linear model of the 2,016 voxels did worse on synthetic volumes.
"""

import math
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from multimodal_imaging_private.errors import InputError
from multimodal_imaging_private.volumes import SHAPE, VOXELS

EPSILONS = (1.0, 2.0, 4.0, 8.0)
NOISE_MULTIPLIERS = dict(zip(EPSILONS, (4.871, 2.646, 1.587, 1.072), strict=True))
"""By epsilon, at delta = 1e-5."""
ROUNDS, STEPS, SAMPLE_RATE, CLIP_NORM = 6, 20, 0.1, 0.5
LEARNING_RATE, CHANNELS, KERNEL, STRIDE, PADDING = 0.6, 4, 3, 2, 1
CENTRE, SCALE = 0.3, 0.25
"""Public, of an intensity from 0 to 1."""
AGE_CENTRE, AGE_SCALE, OLDEST = 55.0, 20.0, 120.0
Float32 = npt.NDArray[np.float32]


def halved(shape: tuple[int, ...]) -> tuple[int, ...]:
    """What a convolution leaves of a grid."""
    return tuple((size + 2 * PADDING - KERNEL) // STRIDE + 1 for size in shape)


FIRST = halved(SHAPE)
SECOND = halved(FIRST)


def shapes() -> dict[str, tuple[int, ...]]:
    """Of the network's arrays, by name: layers 0, 2 and 4 have them."""
    kernel = (KERNEL,) * 3
    return {
        "0.weight": (CHANNELS, 1, *kernel),
        "0.bias": (CHANNELS,),
        "2.weight": (CHANNELS, CHANNELS, *kernel),
        "2.bias": (CHANNELS,),
        "4.weight": (1, CHANNELS * math.prod(SECOND)),
        "4.bias": (1,),
    }


def first_weights(seed: int) -> dict[str, Float32]:
    """Normal, with variance one over the numbers that a weight's output is made of; no bias."""
    rng, found = np.random.default_rng(seed), {}
    for name, shape in shapes().items():
        spread = 0.0 if name.endswith("bias") else 1.0 / math.sqrt(math.prod(shape[1:]))
        found[name] = (spread * rng.normal(size=shape)).astype(np.float32)
    return found


def text(epsilon: float, patients: int) -> str:
    """`pyproject.toml` with these terms.

    Args:
        epsilon: One of `EPSILONS`.
        patients: Public guess of how many one DIZ has.

    Raises:
        InputError: There is no noise multiplier for this epsilon, or nobody is expected.
    """
    if epsilon not in NOISE_MULTIPLIERS or patients < 1:
        known = ", ".join(f"{e:g}" for e in EPSILONS)
        raise InputError(f"There are no terms for epsilon {epsilon:g} and {patients} patients; choose one of {known}.")
    arrays = [
        f'  {{ record = "arrays", name = "{name}", dtype = "float32", shape = {list(shape)}, max_abs = 1000 }},'
        for name, shape in shapes().items()
    ]

    def convolution(shape: tuple[int, ...], inputs: int) -> str:
        sizes = f"shape = {list(shape)}, inputs = {inputs}, outputs = {CHANNELS}"
        return f'  {{ kind = "convolution", {sizes}, kernel = {KERNEL}, stride = {STRIDE}, padding = {PADDING} }},'

    tanh, ends = '  { kind = "tanh" },', CHANNELS * math.prod(SECOND)
    layers = [convolution(SHAPE, 1), tanh, convolution(FIRST, CHANNELS), tanh]
    layers.append(f'  {{ kind = "linear", inputs = {ends}, outputs = 1 }},')
    return _filled(
        epsilon=f"{epsilon:g}", multiplier=NOISE_MULTIPLIERS[epsilon], rounds=ROUNDS, steps=STEPS, rate=SAMPLE_RATE,
        clip_norm=CLIP_NORM, learning_rate=LEARNING_RATE, patients=patients, arrays="\n".join(arrays),
        layers="\n".join(layers), voxels=VOXELS, centre=CENTRE, scale=SCALE, age_centre=AGE_CENTRE, age_scale=AGE_SCALE,
        oldest=OLDEST,
    )  # fmt: skip


def write(app: Path, epsilon: float, patients: int, out: Path) -> None:
    """A copy of the app in `out`, with these terms.

    Raises:
        InputError: There are no such terms, or `out` is there already.
    """
    said = text(epsilon, patients)
    if out.exists():
        raise InputError(f"{out} is there already; name another folder.")
    shutil.copytree(app, out, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (out / "pyproject.toml").write_text(said, encoding="utf-8")


def _filled(**values: object) -> str:
    """`template.toml` with these values in place of @name@."""
    said = (files(__package__) / "template.toml").read_text(encoding="utf-8")
    for name, value in values.items():
        said = said.replace(f"@{name}@", str(value))
    return said
