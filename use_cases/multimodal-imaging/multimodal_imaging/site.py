"""What a DIZ's patients look like to this app, and what it is asked about them.

A `Site` is a DIZ's two data stores read once: patients in the order of their table, and a `Block` for each modality.
Which features a block has is declared (panel, run config, grid), never found in the data: shapes are the same at every
DIZ, also where it lacks the modality, and an answer's shape says nothing about its patients.

Each site module has ``ANSWERS``, from the name of a query (without ``query.``) to the function that answers it, and
``ASKED``, from the same names to the config keys and array names that a message of this kind may bring: `approved`
refuses all others. An answer's arrays are summed over the DIZ. What is asked about is in ``request.settings``, the
run config that was approved.
"""

import hashlib
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from multimodal_imaging.errors import InputError
from multimodal_imaging.settings import Settings

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Arrays = dict[str, npt.NDArray[Any]]

MISSING = -1
"""The code of a missing value."""

SMALLEST_GROUP = 2
"""DIZ in a group of them: a sum over one DIZ would be that DIZ's."""


@dataclass(frozen=True, eq=False)
class Block:
    """One modality of a DIZ's n patients.

    Attributes:
        name: As the run config calls it.
        kind: "genome", "phenome", "image" or "omics".
        features: Names of the f features.
        values: (n, f) float64, NaN where missing, and throughout where the patient lacks the modality.
        there: (n,) who has the modality.
        pixels: Of images: rows (k,) to normalised float32 on the grid, (k, 1, D, H, W) or (k, 1, H, W); zeros for who
            lacks it. None for other kinds.
    """

    name: str
    kind: str
    features: tuple[str, ...]
    values: Float
    there: Bool
    pixels: Callable[[Int], Float32] | None = None


@dataclass(frozen=True, eq=False)
class Site:
    """The patients of one DIZ.

    Attributes:
        node: Flower's id of this node: the hub names groups of DIZ by it.
        patients: (n,) ids, each once.
        numbers: (n,) float64 by numeric column of the patients' table, NaN where missing.
        codes: (n,) int64 by column with declared levels, `MISSING` where missing or none of the levels.
        levels: The declared levels of each column in `codes`.
        train: (n,) who trains; the others test.
        blocks: By modality, in the run config's order.
        problems: How many images, and for which reason, cannot be used (see `image_checks.REASONS`).
    """

    node: int
    patients: tuple[str, ...]
    numbers: Mapping[str, Float]
    codes: Mapping[str, Int]
    levels: Mapping[str, tuple[str, ...]]
    train: Bool
    blocks: Mapping[str, Block]
    problems: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of patients, n."""
        return len(self.patients)

    @property
    def complete(self) -> Bool:
        """(n,) who has all modalities."""
        return np.asarray(np.logical_and.reduce([block.there for block in self.blocks.values()], axis=0))

    def number(self, name: str) -> Float:
        """(n,) the values of a numeric column.

        Raises:
            InputError: There is none of this name.
        """
        if name not in self.numbers:
            raise InputError(f"The patients' table has no numeric column {name!r}; check the names in the run config.")
        return self.numbers[name]

    def code(self, name: str) -> Int:
        """(n,) the codes of a column with declared levels.

        Raises:
            InputError: There is none of this name.
        """
        if name not in self.codes:
            raise InputError(f"The column {name!r} is not in the patients' table, or its levels are not declared.")
        return self.codes[name]

    def fold(self, folds: int, seed: int) -> Int:
        """(n,) the fold of each patient, by a hash of the id: the same wherever the patient is."""
        digests = (hashlib.sha256(f"{seed}/fold/{patient}".encode()).digest() for patient in self.patients)
        return np.array([int.from_bytes(digest, "big") % folds for digest in digests], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Request:
    """What one message asks.

    Attributes:
        settings: What the approved run config says.
        config: All config records of the message merged: numbers, words, or lists of them.
        arrays: All array records of the message merged.
        kept: What this DIZ keeps for itself between the messages of a session, by name (FedBN's normalisation). It is
            Flower's ``context.state.array_records``, and never leaves.
    """

    settings: Settings
    config: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    kept: MutableMapping[str, Any] = field(default_factory=dict)

    def array(self, name: str, shape: tuple[int, ...]) -> Float:
        """An array of this shape, finite.

        Raises:
            InputError: It is not there or not so.
        """
        found = self.arrays.get(name)
        if found is None or found.shape != shape or found.dtype.kind not in "iuf" or not np.isfinite(found).all():
            raise InputError(f"The message does not bring finite numbers {name!r} of shape {shape}.")
        return found.astype(np.float64)


Answer = Callable[[Site, Request], Arrays]
"""Answers one query from a DIZ's patients."""


def group_of(site: Site, request: Request) -> int:
    """The DIZ's group in a cross-validation by groups of DIZ, which a message names by ``nodes`` and ``groups``.

    Args:
        site: Whose group.
        request: ``nodes``: ids as words (they have 64 bits); ``groups``: the group of each, 0, 1, ...

    Raises:
        InputError: Groups were not approved, one has fewer than two DIZ, or this DIZ is in none.
    """
    settings = request.settings
    if settings.validation != "sites":
        raise InputError("Groups of DIZ were not approved: the run config's 'validation' is not 'sites'.")
    nodes = [str(node) for node in request.config.get("nodes", [])]
    groups = [int(group) for group in request.config.get("groups", [])]
    if len(nodes) != len(groups) or len(set(nodes)) < len(nodes):
        raise InputError("Every DIZ is in one group: name each once, with its group.")
    sizes = [groups.count(group) for group in range(settings.site_groups)]
    if sum(sizes) != len(groups) or min(sizes) < SMALLEST_GROUP:
        raise InputError(
            f"There are {settings.site_groups} groups of DIZ with at least {SMALLEST_GROUP} in each, else a sum would "
            "be that of one DIZ; run with fewer groups, or validate by patients."
        )
    if str(site.node) not in nodes:
        raise InputError("This DIZ is in none of the groups; begin the run again with those that take part.")
    return groups[nodes.index(str(site.node))]
