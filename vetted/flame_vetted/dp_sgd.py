"""DP-SGD (Abadi et al. 2016, algorithm 1) over patients, with integer noise.

One step: draw the batch (each patient with probability q), take each patient's mean gradient over its records, clip it
into integers, add up, add discrete Gaussian noise, divide by the public q · expected_patients, move the weights. An
empty batch is a step like any other; the number of steps never depends on anything but the terms.

The sum of a step has sensitivity `CLIP_INT` under add-or-remove-one-patient, so the steps of a message are
`SelfComposed(PoissonSampled(q, Gaussian(noise_multiplier)), steps)`. Weights, momentum and weight decay are functions
of noised sums and public values.

The sampled discrete Gaussian has, at every integer Rényi order, exactly the bound of the continuous one: moments of the
likelihood ratio are sums over shifts by whole numbers, under which the lattice does not change (docs/vetted.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from flame_fl.contract.ports import NoiseSource
from flame_fl.contract.vetted_terms import Categories, DpSgd
from flame_vetted.claim import Claim
from flame_vetted.cohort import Floats, Indices, People, Readable, cells, people, standardised
from flame_vetted.network import Network
from flame_vetted.sampling import poisson_sample
from flame_vetted.sums import integer_sum, noised

GradientsOf = Callable[[Floats, Indices], Floats]
"""Flat weights (d,) and record indices (m,) -> a gradient per record (m, d)."""
_LARGEST = 1e30  # of a weight: what noise has blown up stays a number


@dataclass(frozen=True)
class Descent:
    """How weights move: none of it touches privacy.

    Attributes:
        learning_rate: Step length.
        momentum: Of the noised gradients.
        weight_decay: L2 penalty.
        expected_patients: Public; the noised sum is divided by sample_rate times this.
    """

    learning_rate: float
    expected_patients: int
    momentum: float = 0.0
    weight_decay: float = 0.0


def descend(
    weights: Floats,
    everybody: People,
    gradients_of: GradientsOf,
    claim: Claim,
    descent: Descent,
    *,
    noise: NoiseSource | None = None,
    sample: Callable[[int, float], Indices] = poisson_sample,
) -> Floats:
    """All steps of one message. `noise` and `sample` are the real ones unless a test says otherwise."""
    velocity = np.zeros_like(weights)
    for _ in range(claim.steps):
        batch = sample(len(everybody), claim.sample_rate)
        rows_of = partial(gradients_of, weights)
        total = integer_sum(everybody, batch, rows_of, len(weights), claim.clip_norm)
        gradient = noised(total, claim, noise) / (claim.sample_rate * descent.expected_patients)
        with np.errstate(all="ignore"):
            velocity = descent.momentum * velocity + gradient + descent.weight_decay * weights
            moved = weights - descent.learning_rate * velocity
        weights = np.clip(np.nan_to_num(moved), -_LARGEST, _LARGEST)
    return weights


@dataclass(frozen=True)
class Trainer:
    """A stated model and the patients it learns from.

    Attributes:
        network: The model.
        people: Patients with usable records.
        x: Standardised features, (records, columns).
        y: The target's value, or its category's number, (records,).
    """

    network: Network
    people: People
    x: Floats
    y: Floats

    def gradients_of(self, weights: Floats, records: Indices) -> Floats:
        """A gradient per record."""
        return self.network.gradients(weights, self.x[records], self.y[records])

    def train(self, weights: Floats, claim: Claim, noise: NoiseSource | None = None) -> Floats:
        """The weights after all steps of one message."""
        work = self.network.work
        descent = Descent(work.learning_rate, work.expected_patients, work.momentum, work.weight_decay)
        return descend(weights, self.people, self.gradients_of, claim, descent, noise=noise)


def prepare(work: DpSgd, view: Readable) -> Trainer:
    """Read what the model needs.

    Raises:
        InputError: The view lacks a column.
    """
    x, usable = standardised(view, work.features)
    if isinstance(work.target, Categories):
        cell = cells(view, work.target)
        y, there = cell.astype(np.float64), cell >= 0
    else:
        targets, there = standardised(view, (work.target,))
        y = targets[:, 0]
    return Trainer(Network(work), people(view.patients, usable & there, work.records_per_patient), x, y)
