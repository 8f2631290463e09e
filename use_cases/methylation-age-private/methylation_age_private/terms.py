"""The analysis as a DIZ approves it, for each epsilon: `pyproject.toml` is what `text` gives for epsilon 1.

One message releases, summed over patients and once, the 2,701 numbers 1, x, xx', y, yy, xy of a patient's 71 CpGs x and
transformed age y. Its noise has standard deviation NOISE_MULTIPLIERS[epsilon] · CLIP_NORM on each number at each DIZ.
The multiplier is the least with which that release, and the noised count of patients by which a gate sees whether its
cohort is large enough, fit the Rényi filter of (epsilon, 1e-5); a test recomputes it with the gate's own accountant.

Two public constants decide how much the noise hurts:

* `CLIP_NORM`. A row of unit variance has a vector of norm near 75 / √2 = 53, nearly all of it products of CpGs. A
  shorter vector means that this patient counts less in a least-squares fit, which does not bias a linear model as long
  as the length follows x; noise falls in proportion. 20 shortens almost everybody.
* `clock.AGE_SCALE`, a third of the spread of transformed ages. y is one of 73 columns: three times larger, it lengthens
  the vector by an eighth, and the noise on xy and y is worth a third.
"""

import shutil
from importlib.resources import files
from pathlib import Path

from methylation_age_private import mean_betas
from methylation_age_private.clock import AGE_CENTRE, AGE_SCALE, BETA_SCALE
from methylation_age_private.errors import InputError

NOISE_MULTIPLIERS = {0.5: 9.497, 1.0: 4.257, 2.0: 2.18, 4.0: 1.163, 8.0: 0.6385}
"""By epsilon, at delta = 1e-5, for one release and one noised count."""
CLIP_NORM = 20.0
MOST = 1_000_000
"""Bound on a sum of one DIZ under masks: 50,000 patients, each with the largest number that clipping leaves."""


def text(epsilon: float) -> str:
    """`pyproject.toml` with the terms for this epsilon.

    Raises:
        InputError: There is no noise multiplier for it.
    """
    if epsilon not in NOISE_MULTIPLIERS:
        known = ", ".join(f"{e:g}" for e in NOISE_MULTIPLIERS)
        raise InputError(f"There are no terms for epsilon {epsilon:g}; choose one of {known}.")
    means, p = mean_betas(), len(mean_betas())
    shapes = {"n": [1], "x": [p], "xx": [p * (p + 1) // 2], "y": [1], "yy": [1], "xy": [p]}
    arrays = [
        f'  {{ record = "sums", name = "{name}", dtype = "float64", shape = {shape}, kind = "sum", max_abs = {MOST} }},'
        for name, shape in shapes.items()
    ]
    features = [
        f'  {{ names = ["{cpg}"], low = 0.0, high = 1.0, centre = {mean}, scale = {BETA_SCALE}, fill = {mean} }},'
        for cpg, mean in means.items()
    ]
    columns = [f'"{cpg}"' for cpg in means]
    listed = [f"  {', '.join(columns[k : k + 8])}," for k in range(0, p, 8)]
    return _filled(
        epsilon=f"{epsilon:g}", multiplier=NOISE_MULTIPLIERS[epsilon], clip_norm=CLIP_NORM,
        noise_std=f"{noise_std(epsilon):.10g}", centre=AGE_CENTRE, scale=AGE_SCALE,
        columns="\n".join(listed), arrays="\n".join(arrays), features="\n".join(features),
    )  # fmt: skip


def noise_std(epsilon: float) -> float:
    """Of the noise that one DIZ adds to each number."""
    return NOISE_MULTIPLIERS[epsilon] * CLIP_NORM


def write(app: Path, epsilon: float, out: Path) -> None:
    """A copy of the app in `out`, with the terms for this epsilon.

    Raises:
        InputError: There are none, or `out` is there already.
    """
    said = text(epsilon)
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
