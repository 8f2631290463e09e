"""What flame_fl's own code may compute per patient: the work of one message type under a *vetted* claim.

A work is data, no code: which columns with which public bounds, and a formula or a model from a closed list. No value
here may come from the data of the analysis: bounds, centres, scales, categories and edges are public constants, so that
one patient's contribution depends on that patient's records alone.

`output_arrays` gives exactly what a work releases, so that the release contract can be compared with it.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flame_fl.contract.data_terms import DataStore
from flame_fl.contract.release_contract import MessageTerms
from flame_fl.contract.words import Frozen, ItemName, Moderate, Name

ALL = ("*",)
MAX_COLUMNS = 1_000_000
MAX_COORDINATES = 1 << 28
Shape = tuple[int, ...]
Positive = Annotated[float, Field(ge=1e-100, le=1e100)]
Width = Annotated[int, Field(ge=1, le=MAX_COLUMNS)]


class Columns(Frozen):
    """Numeric columns under one rule: clamp to [low, high], subtract centre, divide by scale."""

    names: Annotated[tuple[ItemName, ...], Field(min_length=1, max_length=MAX_COLUMNS)]
    """Of the record table or of the further tables; ["*"] is every column of the further tables, sorted by name."""
    width: Width | None = None
    """How many columns ["*"] stands for, at every DIZ; only with ["*"]."""
    low: Moderate
    """Public lower bound; smaller values are set to it."""
    high: Moderate
    """Public upper bound; larger values are set to it."""
    centre: Moderate | tuple[Moderate, ...] = 0.0
    """What is subtracted after clamping: one number, or one per column."""
    scale: Positive | tuple[Positive, ...] = 1.0
    """What is divided by afterwards: one number, or one per column."""
    fill: Moderate | None = None
    """Stands for a value that is missing or no number; without it the record is left out."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if ("*" in self.names) != (self.width is not None) or ("*" in self.names and len(self.names) > 1):
            raise ValueError('"*" stands alone and needs width; names need none')
        if len(set(self.names)) < len(self.names):
            raise ValueError("a column is named twice")
        for name in ("centre", "scale"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != self.count:
                raise ValueError(f"{name} needs one number, or {self.count}")
        return self

    @property
    def count(self) -> int:
        """How many columns."""
        return self.width if self.width is not None else len(self.names)

    def each(self, value: float | tuple[float, ...]) -> tuple[float, ...]:
        """`centre` or `scale`, per column."""
        return value if isinstance(value, tuple) else (value,) * self.count

    def squares(self) -> list[float]:
        """Per column, the square of the largest standardised value there can be."""
        sides = zip(self.each(self.centre), self.each(self.scale), strict=True)
        return [(max(abs(self.low - c), abs(self.high - c)) / s) ** 2 for c, s in sides]


class Categories(Frozen):
    """A column of stated categories. A record with another value, or none, is left out."""

    name: ItemName
    """The column."""
    values: Annotated[tuple[ItemName, ...], Field(min_length=2, max_length=10_000)]
    """The categories as text, in the order of the cells; "1" is also the number 1."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.values)) < len(self.values):
            raise ValueError("a category is named twice")
        return self

    @property
    def cells(self) -> int:
        """How many."""
        return len(self.values)


class Bins(Frozen):
    """A numeric column in stated bins [edge, next edge); the outermost bins also take what lies beyond them."""

    name: ItemName
    """The column."""
    edges: Annotated[tuple[Moderate, ...], Field(min_length=2, max_length=10_001)]
    """Ascending."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if any(a >= b for a, b in itertools.pairwise(self.edges)):
            raise ValueError("edges must ascend")
        return self

    @property
    def cells(self) -> int:
        """How many."""
        return len(self.edges) - 1


Features = Annotated[tuple[Columns, ...], Field(min_length=1, max_length=10_000)]


class Count(Frozen):
    """How many patients there are. Per patient: 1."""

    kind: Literal["count"]
    """The formula."""


class Histogram(Frozen):
    """Patients per cell of one column, or of two. Per patient: the shares of its records in each cell."""

    kind: Literal["histogram"]
    """The formula."""
    cells: Annotated[tuple[Categories | Bins, ...], Field(min_length=1, max_length=2)]
    """The columns."""


class Moments(Frozen):
    """For covariances, principal components, linear models. Per record: 1, x, xxᵀ (upper triangle), y, y², xy."""

    kind: Literal["moments"]
    """The formula."""
    features: Features
    """The columns that are x."""
    target: Columns | None = None
    """y, one column; without it there is none."""


class Genotype(Frozen):
    """For single-variant association. Per record: 1, x and x² per variant, y, y², xy per variant."""

    kind: Literal["genotype"]
    """The formula."""
    features: Features
    """Dosages x."""
    target: Columns | None = None
    """Trait y, one column."""


class GroupMoments(Frozen):
    """For differential expression. Per record, in its group's part: 1, x, x²."""

    kind: Literal["group-moments"]
    """The formula."""
    groups: Categories
    """The column that says which group."""
    features: Features
    """The columns that are x."""


class GlmGradient(Frozen):
    """For generalised linear models at sent coefficients b. Per record: (y − m)·(1, x), and m'·(1, x)(1, x)ᵀ.

    m is the mean at (1, x)·b under the canonical link, m' its derivative; the Hessian is an upper triangle.
    """

    kind: Literal["glm-gradient"]
    """The formula."""
    family: Literal["gaussian", "binomial", "poisson"]
    """With its canonical link: identity, logit, log."""
    features: Features
    """The columns that are x."""
    target: Columns
    """y, one column."""
    hessian: bool = True
    """Whether the Hessian is released too."""
    record: ItemName = "arrays"
    """The ArrayRecord in which the message brings the array "coefficients", shape (1 + columns,)."""

    @model_validator(mode="after")
    def _of_family(self) -> Self:
        low, high = self.target.low, self.target.high
        plain = self.target.centre == 0 and self.target.scale == 1
        if self.family != "gaussian" and not plain:
            raise ValueError(f"the target of {self.family} is not standardised: centre 0, scale 1")
        if (self.family == "binomial" and (low, high) != (0, 1)) or (self.family == "poisson" and low < 0):
            raise ValueError(f"the target's bounds do not fit {self.family}")
        return self


Formula = Annotated[Count | Histogram | Moments | Genotype | GroupMoments | GlmGradient, Field(discriminator="kind")]


class Sums(Frozen):
    """Work: one vector per patient, clipped to clip_norm, summed over the patients, noised, released once."""

    kind: Literal["sums"]
    """The work."""
    store: Name
    """The data store."""
    formula: Formula
    """What is summed."""
    record: ItemName = "sums"
    """The ArrayRecord of the answer."""
    records_per_patient: Annotated[int, Field(ge=1, le=10_000)] = 100
    """A patient's first so many usable records are averaged, before clipping; 1 takes the first alone."""

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        target = getattr(self.formula, "target", None)
        if target is not None and target.count != 1:
            raise ValueError("a target is one column")
        _check_size(self)
        return self


class Linear(Frozen):
    """x·Wᵀ + b. Arrays: "I.weight" (outputs, inputs) and "I.bias" (outputs,), I the layer's place from 0."""

    kind: Literal["linear"]
    """The layer."""
    inputs: Width
    """Numbers in."""
    outputs: Width
    """Numbers out."""
    bias: bool = True
    """Whether there is b."""


class Activation(Frozen):
    """A function of each number. gelu is the form with tanh (Hendrycks and Gimpel 2016)."""

    kind: Literal["relu", "tanh", "gelu", "sigmoid"]
    """The layer."""


class GroupNorm(Frozen):
    """Centre and scale each record's numbers within groups of neighbours, then weight and bias, both (width,)."""

    kind: Literal["group-norm"]
    """The layer."""
    width: Width
    """Numbers in and out."""
    groups: Width
    """How many groups; divides width."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.groups:
            raise ValueError("groups must divide width")
        return self


class LayerNorm(Frozen):
    """The same over all numbers of a record."""

    kind: Literal["layer-norm"]
    """The layer."""
    width: Width
    """Numbers in and out."""


class Convolution(Frozen):
    """Of pictures (two sizes) or volumes (three), channel by channel, row by row, as torch's Conv2d and Conv3d.

    Arrays: "I.weight" (outputs, inputs, kernel, ...) and "I.bias" (outputs,). Along each axis are left
    (size + 2 padding - kernel) // stride + 1 numbers.
    """

    kind: Literal["convolution"]
    """The layer."""
    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=2, max_length=3)]
    """Sizes of what comes in: height and width, or depth, height and width."""
    inputs: Annotated[int, Field(ge=1, le=1024)]
    """Channels in."""
    outputs: Annotated[int, Field(ge=1, le=1024)]
    """Channels out."""
    kernel: Annotated[int, Field(ge=1, le=11)]
    """Its size along each axis."""
    stride: Annotated[int, Field(ge=1, le=11)] = 1
    """Step along each axis."""
    padding: Annotated[int, Field(ge=0, le=10)] = 0
    """So many zeros beyond each end."""
    bias: bool = True
    """Whether there is one per channel out."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.padding >= self.kernel or min(self.shape) + 2 * self.padding < self.kernel:
            raise ValueError("the kernel must be larger than the padding, and no larger than what comes in")
        if max(self.inputs * math.prod(self.shape), self.outputs * math.prod(self.left)) > MAX_COLUMNS:
            raise ValueError(f"more than {MAX_COLUMNS} numbers would come in or go out")
        return self

    @property
    def left(self) -> tuple[int, ...]:
        """Sizes of what goes out."""
        return tuple((size + 2 * self.padding - self.kernel) // self.stride + 1 for size in self.shape)


Layer = Annotated[Linear | Activation | GroupNorm | LayerNorm | Convolution, Field(discriminator="kind")]


class DpSgd(Frozen):
    """Work: steps of gradient descent on a stated model, each patient's gradient clipped to clip_norm, the sum noised.

    How many steps, how often a patient takes part and how much noise is in the privacy terms, not here. There is no
    layer that mixes records (no batch norm), and none that draws at random (no dropout).
    """

    kind: Literal["dp-sgd"]
    """The work."""
    store: Name
    """The data store."""
    features: Features
    """What the model reads."""
    task: Literal["regression", "binary", "multiclass"]
    """Loss: squared error, or cross-entropy of logits."""
    target: Columns | Categories
    """One numeric column for regression; categories otherwise (binary: the second is the positive one)."""
    layers: Annotated[tuple[Layer, ...], Field(min_length=1, max_length=64)]
    """The model, in order."""
    learning_rate: Annotated[float, Field(gt=0, le=1e6)]
    """Step length."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of the noised gradients; starts at zero with each message."""
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """L2 penalty, added to the noised gradient."""
    expected_patients: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """Public guess of how many patients a DIZ has: the noised sum is divided by sample_rate times this."""
    record: ItemName = "arrays"
    """The ArrayRecord with the weights, in the message and in the answer."""
    records_per_patient: Annotated[int, Field(ge=1, le=10_000)] = 100
    """A patient's gradient is the mean over its first so many usable records."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if isinstance(self.target, Columns) != (self.task == "regression"):
            raise ValueError("regression needs a numeric target, the other tasks need categories")
        outputs = 1
        if isinstance(self.target, Categories):
            if self.task == "binary" and self.target.cells != 2:
                raise ValueError("a binary target has two categories")
            outputs = 1 if self.task == "binary" else self.target.cells
        elif self.target.count != 1:
            raise ValueError("a target is one column")
        width = columns(self.features)
        for place, layer in enumerate(self.layers):
            if isinstance(layer, Activation):
                continue
            wanted, gives = _widths(layer)
            if wanted != width:
                raise ValueError(f"layer {place} takes {wanted} numbers, but gets {width}")
            width = gives
        if width != outputs:
            raise ValueError(f"the last layer gives {width} numbers, but {self.task} needs {outputs}")
        if not parameters(self):
            raise ValueError("the model has nothing to learn")
        _check_size(self)
        return self


Work = Annotated[DpSgd | Sums, Field(discriminator="kind")]


def _widths(layer: Linear | GroupNorm | LayerNorm | Convolution) -> tuple[int, int]:
    """Numbers in and out."""
    if isinstance(layer, Convolution):
        return layer.inputs * math.prod(layer.shape), layer.outputs * math.prod(layer.left)
    return (layer.inputs, layer.outputs) if isinstance(layer, Linear) else (layer.width, layer.width)


def columns(features: tuple[Columns, ...]) -> int:
    """How many numbers a record has."""
    return sum(block.count for block in features)


def parameters(work: DpSgd) -> dict[str, Shape]:
    """Shapes of the model's arrays, by name, in their fixed order (as the state of a `torch.nn.Sequential`)."""
    shapes: dict[str, Shape] = {}
    for place, layer in enumerate(work.layers):
        if isinstance(layer, Linear):
            shapes[f"{place}.weight"] = (layer.outputs, layer.inputs)
            if layer.bias:
                shapes[f"{place}.bias"] = (layer.outputs,)
        elif isinstance(layer, Convolution):
            shapes[f"{place}.weight"] = (layer.outputs, layer.inputs, *[layer.kernel] * len(layer.shape))
            if layer.bias:
                shapes[f"{place}.bias"] = (layer.outputs,)
        elif not isinstance(layer, Activation):
            shapes[f"{place}.weight"] = shapes[f"{place}.bias"] = (layer.width,)
    return shapes


def formula_shapes(formula: Formula) -> dict[str, Shape]:
    """Shapes of what a formula sums, by name; one patient's vector is all of them, in this order."""
    match formula:
        case Count():
            return {"n": (1,)}
        case Histogram():
            return {"count": tuple(column.cells for column in formula.cells)}
        case GroupMoments():
            p, groups = columns(formula.features), formula.groups.cells
            return {"n": (groups,), "x": (groups, p), "xx": (groups, p)}
        case GlmGradient():
            p = columns(formula.features) + 1
            return {"gradient": (p,), **({"hessian": (p * (p + 1) // 2,)} if formula.hessian else {})}
    p = columns(formula.features)
    shapes: dict[str, Shape] = {"n": (1,), "x": (p,)}
    shapes["xx"] = (p * (p + 1) // 2,) if isinstance(formula, Moments) else (p,)
    return shapes if formula.target is None else shapes | {"y": (1,), "yy": (1,), "xy": (p,)}


def output_arrays(work: DpSgd | Sums) -> dict[tuple[str, str], tuple[str, Shape]]:
    """(record, array name) -> (dtype, shape): exactly what an answer holds, no more and no less."""
    if isinstance(work, DpSgd):
        return {(work.record, name): ("float32", shape) for name, shape in parameters(work).items()}
    return {(work.record, name): ("float64", shape) for name, shape in formula_shapes(work.formula).items()}


def input_arrays(work: DpSgd | Sums) -> dict[tuple[str, str], Shape]:
    """(record, array name) -> shape: what a message must bring."""
    if isinstance(work, DpSgd):
        return {(work.record, name): shape for name, shape in parameters(work).items()}
    if isinstance(work.formula, GlmGradient):
        return {(work.formula.record, "coefficients"): (columns(work.formula.features) + 1,)}
    return {}


def largest_norm(formula: Formula) -> float | None:
    """The longest vector that one patient can have under the public bounds: with this clip_norm nothing is clipped.

    None where it depends on sent coefficients.
    """
    match formula:
        case Count() | Histogram():
            return 1.0
        case GlmGradient():
            squares = [1.0, *_squares(formula.features)]
            if formula.family != "binomial":
                return None
            curvature = _triangle(squares) / 16 if formula.hessian else 0.0  # m' = m(1 - m) is at most 1/4
            return math.sqrt(math.fsum(squares) + curvature)
    squares = _squares(formula.features)
    second = _triangle(squares) if isinstance(formula, Moments) else math.fsum(s * s for s in squares)
    total = 1.0 + math.fsum(squares) + second
    if not isinstance(formula, GroupMoments) and formula.target is not None:
        (y,) = formula.target.squares()
        total += y + y * y + y * math.fsum(squares)
    return math.sqrt(total)


def check_work(work: DpSgd | Sums, message: MessageTerms, stores: Mapping[str, DataStore]) -> None:
    """That a message type releases what its work computes, and sees what it reads.

    Raises:
        ValueError: Naming what stands in the way.
    """
    listed = {(rule.record, rule.name): (rule.dtype, rule.exact_shape) for rule in message.arrays}
    wanted = output_arrays(work)
    if listed != wanted or message.metrics:
        shown = ", ".join(f"{r}/{n} {dtype} {list(shape)}" for (r, n), (dtype, shape) in wanted.items())
        raise ValueError(f"its work releases exactly these arrays and no metric: {shown}")
    if message.update != "value":
        raise ValueError('the noise is in what its work releases: update = "value"')
    if (store := stores.get(work.store)) is None or store.kind != "table":
        raise ValueError(f'its work needs a data store {work.store!r} of kind "table"')
    if store.features_file is not None or "*" in (*store.columns, *store.features):
        return  # what the view has is known at the DIZ only
    if missing := sorted(columns_read(work) - {*store.columns, *store.features}):
        raise ValueError(f"its work reads {missing[0]!r}, which data store {work.store!r} does not name")


def columns_read(work: DpSgd | Sums) -> set[str]:
    """Columns and features that a work names."""
    parts = [*getattr(work, "features", ())]
    parts += [work.target] if isinstance(work, DpSgd) else []
    if isinstance(work, Sums):
        formula = work.formula
        parts += [*getattr(formula, "features", ()), *getattr(formula, "cells", ())]
        parts += [part for name in ("target", "groups") if (part := getattr(formula, name, None)) is not None]
    named = {name for part in parts for name in (part.names if isinstance(part, Columns) else (part.name,))}
    return named - {"*"}


def _squares(features: tuple[Columns, ...]) -> list[float]:
    return [square for block in features for square in block.squares()]


def _triangle(squares: list[float]) -> float:
    """The sum over i <= j of squares i times squares j."""
    return (math.fsum(squares) ** 2 + math.fsum(s * s for s in squares)) / 2


def _check_size(work: DpSgd | Sums) -> None:
    if sum(math.prod(shape) for _, shape in output_arrays(work).values()) > MAX_COORDINATES:
        raise ValueError("one patient's vector would be too long")
