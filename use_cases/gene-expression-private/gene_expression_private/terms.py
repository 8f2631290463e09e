"""The analysis as a DIZ approves it: `pyproject.toml` is what `text` gives for fold changes at epsilon 1.

There are two analyses, each with a budget of its own; who runs both about the same patients spends both.

`expression`   one release of the sums 1, x and x^2 per group and gene (`group-moments`)
`classifier`   eight releases of the gradient of a logistic likelihood (`glm-gradient`, without the Hessian)

At each DIZ the noise on every number has standard deviation NOISE_MULTIPLIERS · CLIP_NORM. The multipliers are the
least with which all releases, and the noised count of patients by which a gate sees whether its cohort is large enough,
fit the Rényi filter of (epsilon, 1e-5); a test recomputes them with the gate's own accountant.

Public constants decide what the noise costs. A gene's `scale` is about two standard deviations of a gene: x^2 then
makes less of a patient's vector than with one, and more of it is x, which the fold change is made of. `CLIP_NORM` for
fold changes is the norm that nine in ten of thirty such genes stay below (30 values of spread 1/2 give about 4); for
gradients it is half of the first one's, since direction matters more than length.
"""

import json
import shutil
from importlib.resources import files
from pathlib import Path

from gene_expression_private.errors import InputError
from gene_expression_private.genes import HIGH, LOW, Gene

EXPRESSION, CLASSIFIER = "expression", "classifier"
EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
RELEASES = {EXPRESSION: 1, CLASSIFIER: 8}
NOISE_MULTIPLIERS = {
    EXPRESSION: dict(zip(EPSILONS, (9.497, 4.257, 2.18, 1.163, 0.6385), strict=True)),
    CLASSIFIER: dict(zip(EPSILONS, (26.86, 12.05, 6.164, 3.288, 1.806), strict=True)),
}
"""By analysis and epsilon, at delta = 1e-5."""
CLIP_NORM = {EXPRESSION: 6.0, CLASSIFIER: 0.7}
GROUPS = ("control", "case")
MOST = 1_000_000
"""Bound on a sum of one DIZ under masks: 160,000 patients, each with the largest number that clipping leaves."""


def noise_std(analysis: str, epsilon: float) -> float:
    """Of the noise that one DIZ adds to each number of one release."""
    return NOISE_MULTIPLIERS[analysis][epsilon] * CLIP_NORM[analysis]


def text(analysis: str, epsilon: float, genes: tuple[Gene, ...]) -> str:
    """`pyproject.toml` with these terms.

    Raises:
        InputError: There is no such analysis, or no noise multiplier for this epsilon.
    """
    if analysis not in NOISE_MULTIPLIERS or epsilon not in NOISE_MULTIPLIERS[analysis]:
        known = ", ".join(f"{e:g}" for e in EPSILONS)
        raise InputError(f"There are no terms for {analysis!r} with epsilon {epsilon:g}; choose one of {known}.")
    p, expression = len(genes), analysis == EXPRESSION
    kind = "query.groups" if expression else "query.gradient"
    shapes = {"n": [2], "x": [2, p], "xx": [2, p]} if expression else {"gradient": [p + 1]}
    arrays = [
        f'  {{ record = "sums", name = "{name}", dtype = "float64", shape = {shape}, kind = "sum", max_abs = {MOST} }},'
        for name, shape in shapes.items()
    ]
    features = [
        f'  {{ names = ["{g.name}"], low = {LOW}, high = {HIGH}, centre = {g.centre}, scale = {g.scale} }},'
        for g in genes
    ]
    groups = ", ".join(f'"{group}"' for group in GROUPS)
    formula = (
        f'kind = "group-moments"\ngroups = {{ name = "group", values = [{groups}] }}'
        if expression
        else 'kind = "glm-gradient"\nfamily = "binomial"\nhessian = false\n'
        'target = { names = ["case"], low = 0.0, high = 1.0 }'
    )
    columns = [f'"{g.name}"' for g in genes]
    listed = [f"  {', '.join(columns[k : k + 8])}," for k in range(0, p, 8)]
    return _filled(
        analysis=analysis, kind=kind, per_run=RELEASES[analysis], arrays="\n".join(arrays), formula=formula,
        column="group" if expression else "case", columns="\n".join(listed), features="\n".join(features),
        clip_norm=CLIP_NORM[analysis], multiplier=NOISE_MULTIPLIERS[analysis][epsilon], epsilon=f"{epsilon:g}",
        noise_std=f"{noise_std(analysis, epsilon):.10g}",
    )  # fmt: skip


def write(app: Path, analysis: str, epsilon: float, genes: tuple[Gene, ...], out: Path) -> None:
    """A copy of the app in `out`, with these terms and genes.

    Raises:
        InputError: There are no such terms, or `out` is there already.
    """
    said = text(analysis, epsilon, genes)
    if out.exists():
        raise InputError(f"{out} is there already; name another folder.")
    shutil.copytree(app, out, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (out / "pyproject.toml").write_text(said, encoding="utf-8")
    listed = json.dumps([[gene.name, gene.centre, gene.scale] for gene in genes])
    (out / "gene_expression_private" / "genes.json").write_text(listed + "\n", encoding="utf-8")


def _filled(**values: object) -> str:
    """`template.toml` with these values in place of @name@."""
    said = (files(__package__) / "template.toml").read_text(encoding="utf-8")
    for name, value in values.items():
        said = said.replace(f"@{name}@", str(value))
    return said
