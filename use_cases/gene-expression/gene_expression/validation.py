"""Who counts: training sets, held-out sets and halves of the patients, named the same at every DIZ.

A `Population` is words in a message. It stands for `count` sets of samples of one split:

* ``all``: every sample;
* ``patients``: set k leaves out the patients whose hash is k modulo `folds`;
* ``sites``: set k leaves out the DIZ of group k, `groups` saying for each id in `nodes` which that is. A DIZ in the
  group contributes zeros to training sums, and nothing but its own samples to the held-out ones;
* ``halves``: set b has the patients for whom bit b of their hash says so, about half of them, and set b + 1 (b even)
  the others: complementary pairs (Shah and Samworth, J. R. Stat. Soc. B 75, 2013).

Hashes are SHA-256 of seed, purpose and patient id, so all samples of a patient are on one side at every DIZ without
anybody exchanging ids, and the folds of one purpose have nothing to do with those of another.

What the hub can subtract. From sums over all samples and over a training set it has the sums over the held-out set: a
fold's patients over all DIZ, or a group's DIZ. Groups therefore have at least two DIZ each, and there are at least two;
a DIZ refuses others. It cannot see whether an id stands for a DIZ that exists, nor that nobody of a group is lost
later: with d losses allowed, a sum over a group of g DIZ hides a DIZ among g - d. Where that is too little,
cross-validate by patients: the approved run config decides (`DIVISION`), and a DIZ holds the hub to it. The halves'
sums differ in random sets of about half of the patients; many of them are many equations about the same patients, so
at most `MOST_HALVES` can be asked, and how often a message may be sent is in the terms.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gene_expression.errors import InputError
from gene_expression.table import Request, Table

Members = npt.NDArray[np.bool_]

DIVISION = ("validation", "folds", "outer-folds", "site-groups", "stability", "seed")
"""Run-config keys that say how patients are divided; a DIZ holds the hub to their approved values."""

SCHEMES = ("all", "patients", "sites", "halves")
SPLITS = ("train", "test", "all")
MOST_HALVES = 100
MOST_SETS = 100
"""In one message; the release contract states fewer."""

SMALLEST_GROUP = 2


@dataclass(frozen=True)
class Population:
    """Sets of samples.

    Attributes:
        scheme: One of `SCHEMES`.
        split: One of `SPLITS`: which samples there are to choose from.
        folds: Of patients.
        seed: Of the patients' hashes.
        nodes: Flower's ids of the DIZ, for groups of them.
        groups: The group of each, 0, 1, ...
        first: The first set.
        count: How many sets.
        held_out: Whether the sets are what is left out, instead of the rest.
    """

    scheme: str = "all"
    split: str = "train"
    folds: int = 0
    seed: int = 0
    nodes: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    first: int = 0
    count: int = 1
    held_out: bool = False

    @property
    def size(self) -> int:
        """How many sets the scheme has; without limit, 1, where it has no folds."""
        if self.scheme == "sites":
            return len(set(self.groups))
        return self.folds if self.scheme == "patients" else 1

    def one(self, index: int, *, held_out: bool = False) -> "Population":
        """Set `index` alone."""
        return replace(self, first=index, count=1, held_out=held_out)

    def of(self, first: int, count: int) -> "Population":
        """Sets `first` to `first` + `count` - 1."""
        return replace(self, first=first, count=count)

    def content(self) -> dict[str, Any]:
        """As a message's config record."""
        return {
            "of_scheme": self.scheme,
            "of_split": self.split,
            "of_folds": self.folds,
            "of_seed": self.seed,
            "of_nodes": [str(node) for node in self.nodes],  # ids have 64 bits, a record's numbers 63
            "of_groups": list(self.groups),
            "of_first": self.first,
            "of_count": self.count,
            "of_held_out": self.held_out,
        }


def patient_folds(folds: int, seed: int = 0) -> Population:
    """Cross-validation by patients.

    Raises:
        InputError: There are fewer than two folds.
    """
    if folds < 2:
        raise InputError(f"A cross-validation by patients needs 2 folds or more, not {folds}.")
    return Population("patients", folds=folds, seed=seed, count=folds)


def site_folds(nodes: Sequence[int], groups: int = 2) -> Population:
    """Cross-validation by DIZ: `groups` groups of them, dealt out by turns in the order of their ids.

    Raises:
        InputError: There would be a group of fewer than two DIZ, whose sum would be one DIZ's.
    """
    ordered = sorted(set(nodes))
    if groups < 2 or len(ordered) < SMALLEST_GROUP * groups:
        raise InputError(
            f"{len(ordered)} DIZ do not make {groups} groups of at least {SMALLEST_GROUP}, and 2 groups are the least; "
            "ask for fewer groups, or validate by patients."
        )
    of = tuple(place % groups for place in range(len(ordered)))
    return Population("sites", nodes=tuple(ordered), groups=of, count=groups)


def outer_folds(scheme: str, sites: Sequence[int], *, groups: int, folds: int, seed: int) -> Population | None:
    """The training sets of a run's outer cross-validation.

    Args:
        scheme: Of the run config's ``validation``: "none", "patients" or "sites".
        sites: Flower's ids of the DIZ.
        groups: Of DIZ.
        folds: Of patients.
        seed: Of the patients' hashes.
    """
    if scheme == "none":
        return None
    return site_folds(sites, groups) if scheme == "sites" else patient_folds(folds, seed)


def members(table: Table, request: Request) -> Members:
    """(count, rows) which samples are in each set of the request's population.

    Raises:
        InputError: The population is not one of the above, or one that a DIZ does not answer about.
    """
    config = request.config
    scheme, count = str(config.get("of_scheme", "all")), int(config.get("of_count", 1))
    first, held_out = int(config.get("of_first", 0)), bool(config.get("of_held_out", False))
    if scheme not in SCHEMES or first < 0 or not 1 <= count <= MOST_SETS:
        raise InputError(f"There are no samples {scheme!r}, set {first} and {count - 1} more.")
    base = _split(table, str(config.get("of_split", "train")))
    if scheme == "all":
        if count > 1:
            raise InputError("All samples are one set; ask for it once.")
        return base[None, :]
    sets = np.arange(first, first + count)
    _approved(request, scheme, int(sets[-1]))
    if scheme == "halves":
        inside = _halves(table, int(config["of_seed"]), sets)
    elif scheme == "patients":
        inside = np.not_equal(_fold(table, int(config["of_seed"]), int(config["of_folds"])), sets[:, None])
    else:
        inside = np.repeat(np.not_equal(_group(table, request), sets)[:, None], table.rows, axis=1)
    return np.asarray(base & (~inside if held_out else inside))


def member(table: Table, request: Request) -> Members:
    """(rows,) which samples are in the request's only set.

    Raises:
        InputError: It asks for several, or see `members`.
    """
    found = members(table, request)
    if len(found) != 1:
        raise InputError(f"This query is about one set of samples, not {len(found)}.")
    return np.asarray(found[0])


def check_folds(request: Request, folds: int) -> None:
    """Folds that choose a penalty are as many as the approved run config says, or none, and of training samples.

    Of the samples held out of an outer fold, or of the test samples, an inner fold would have one patient or two.

    Raises:
        InputError: They are not.
    """
    if folds and (request.config.get("of_held_out", False) or request.config.get("of_split", "train") != "train"):
        raise InputError("Folds that choose a penalty are of training samples only.")
    if folds and folds != int(request.config.get("approved_folds", folds)):
        raise InputError("The message asks for another number of folds than the approved run config says.")


def _approved(request: Request, scheme: str, last: int) -> None:
    """Sums over parts of two divisions cross until they are about single patients: there is one division."""
    config = request.config
    of_seed = int(config.get("of_seed", 0))
    if scheme != "sites" and of_seed != int(config.get("approved_seed", of_seed)):
        raise InputError("The message divides patients by another seed than the approved run config says.")
    of_folds = int(config.get("of_folds", 0))
    if scheme == "patients" and of_folds != int(config.get("approved_outer-folds", of_folds)):
        raise InputError("The message asks for another number of folds than the approved run config says.")
    if scheme == "halves" and last >= int(config.get("approved_stability", last + 1)):
        raise InputError("The message asks for more halves of the patients than the approved run config says.")


def _split(table: Table, split: str) -> Members:
    if split not in SPLITS:
        raise InputError(f"There is no split {split!r}; choose one of {', '.join(SPLITS)}.")
    if split == "all":
        return np.ones(table.rows, dtype=np.bool_)
    if "split" not in table.codes:  # a store without the column is all for training
        return np.full(table.rows, split == "train")
    return np.asarray(table.code("split") == table.levels["split"].index(split))


def _fold(table: Table, seed: int, folds: int) -> npt.NDArray[np.int64]:
    if folds < 2:
        raise InputError(f"{folds} folds are too few for a cross-validation; take 2 or more.")
    hashes = (_hash(seed, "fold", patient) for patient in table.patients)
    return np.array([int.from_bytes(found, "big") % folds for found in hashes], dtype=np.int64)


def _halves(table: Table, seed: int, sets: npt.NDArray[np.int64]) -> Members:
    if int(sets[-1]) >= MOST_HALVES:
        raise InputError(f"At most {MOST_HALVES} halves of the patients are answered about; ask for fewer.")
    hashes = [np.frombuffer(_hash(seed, "half", patient), dtype=np.uint8) for patient in table.patients]
    bits = np.unpackbits(np.array(hashes, dtype=np.uint8).reshape(table.rows, 32), axis=1).T.astype(np.bool_)
    return np.asarray(bits[sets // 2] ^ (sets % 2 == 1)[:, None])


def _group(table: Table, request: Request) -> int:
    """This DIZ's group."""
    if request.config.get("approved_validation", "sites") != "sites":
        raise InputError("Groups of DIZ were not approved: the run config's 'validation' is not 'sites'.")
    nodes, groups = request.names("of_nodes"), [int(group) for group in request.config["of_groups"]]
    if len(nodes) != len(groups) or len(set(nodes)) < len(nodes):
        raise InputError("Every DIZ is in one group: name each once, with its group.")
    sizes = [groups.count(group) for group in sorted(set(groups))]
    if len(sizes) != int(request.config.get("approved_site-groups", len(sizes))):
        raise InputError("The message makes another number of groups of DIZ than the approved run config says.")
    if len(sizes) < 2 or min(sizes) < SMALLEST_GROUP:
        raise InputError(
            f"A group of DIZ has at least {SMALLEST_GROUP}, and there are at least 2 groups; else a sum would be that "
            "of one DIZ. Ask for fewer groups, or validate by patients."
        )
    if str(table.node) not in nodes:
        raise InputError("This DIZ is in none of the groups; begin the run again with those that take part.")
    return groups[nodes.index(str(table.node))]


def _hash(seed: int, purpose: str, patient: str) -> bytes:
    return hashlib.sha256(f"{seed}/{purpose}/{patient}".encode()).digest()
