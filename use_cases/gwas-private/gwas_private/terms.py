"""The analysis as a DIZ approves it: `pyproject.toml` is what `text` gives at epsilon 1.

One release of the sums 1, x, x^2, y, y^2 and xy (`genotype`) of declared variants x and a trait y. At each DIZ the
noise on every number has standard deviation NOISE_MULTIPLIERS · CLIP_NORM. The multipliers are the least with which the
release, and the noised count of patients by which a gate sees whether its cohort is large enough, fit the Rényi filter
of (epsilon, 1e-5); a test recomputes them with the gate's own accountant.

Public constants decide what the noise costs. A variant's scale is two standard deviations of a dosage: x^2 then makes
less of a patient's vector than with one, and more of it is x and xy, which effects are made of. `CLIP_NORM` is the norm
that nearly all vectors of thirty such variants stay below (about 4 is usual). A missing dosage counts as the public
mean.
"""

import shutil
from importlib.resources import files
from pathlib import Path

from gwas_private.errors import InputError
from gwas_private.variants import Study, as_json

EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
NOISE_MULTIPLIERS = dict(zip(EPSILONS, (9.497, 4.257, 2.18, 1.163, 0.6385), strict=True))
"""By epsilon, at delta = 1e-5."""
CLIP_NORM = 6.0
MOST = 1_000_000
"""Bound on a sum of one DIZ under masks: 200,000 patients, each with the largest number that clipping leaves."""


def noise_std(epsilon: float) -> float:
    """Of the noise that one DIZ adds to each number."""
    return NOISE_MULTIPLIERS[epsilon] * CLIP_NORM


def text(epsilon: float, study: Study) -> str:
    """`pyproject.toml` with these terms.

    Raises:
        InputError: There is no noise multiplier for this epsilon.
    """
    if epsilon not in NOISE_MULTIPLIERS:
        known = ", ".join(f"{e:g}" for e in EPSILONS)
        raise InputError(f"There are no terms for epsilon {epsilon:g}; choose one of {known}.")
    p, trait = len(study.variants), study.trait
    shapes = {"n": 1, "x": p, "xx": p, "y": 1, "yy": 1, "xy": p}
    arrays = [
        f'  {{ record = "sums", name = "{name}", dtype = "float64", shape = [{size}], kind = "sum",'
        f" max_abs = {MOST} }},"
        for name, size in shapes.items()
    ]
    features = [
        f'  {{ names = ["{v.name}"], low = 0.0, high = 2.0, centre = {v.centre:.10g}, scale = {v.scale:.10g},'
        f" fill = {v.centre:.10g} }},"
        for v in study.variants
    ]
    columns = [f'"{v.name}"' for v in study.variants]
    listed = [f"  {', '.join(columns[k : k + 6])}," for k in range(0, p, 6)]
    target = (
        f'target = {{ names = ["{trait.name}"], low = {trait.low}, high = {trait.high}, centre = {trait.centre},'
        f" scale = {trait.scale} }}"
    )
    return _filled(
        arrays="\n".join(arrays), features="\n".join(features), columns="\n".join(listed), trait=trait.name,
        target=target, clip_norm=CLIP_NORM, multiplier=NOISE_MULTIPLIERS[epsilon], epsilon=f"{epsilon:g}",
        noise_std=f"{noise_std(epsilon):.10g}",
    )  # fmt: skip


def write(app: Path, epsilon: float, study: Study, out: Path) -> None:
    """A copy of the app in `out`, with these terms and variants.

    Raises:
        InputError: There are no such terms, or `out` is there already.
    """
    said = text(epsilon, study)
    if out.exists():
        raise InputError(f"{out} is there already; name another folder.")
    shutil.copytree(app, out, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (out / "pyproject.toml").write_text(said, encoding="utf-8")
    (out / "gwas_private" / "variants.json").write_text(as_json(study), encoding="utf-8")


def _filled(**values: object) -> str:
    """`template.toml` with these values in place of @name@."""
    said = (files(__package__) / "template.toml").read_text(encoding="utf-8")
    for name, value in values.items():
        said = said.replace(f"@{name}@", str(value))
    return said
