"""Who counts: the patients of a fit, and those held out of it, named the same at every DIZ.

A `Population` is a few words in a message:

* ``all``: every patient of a split, "train" or "test";
* ``patients``: set k leaves out the training patients of fold k (`Site.fold`);
* ``sites``: set k leaves out the DIZ of group k, `groups` saying for each id in `nodes` which that is;
* ``leave-one-out``: set k leaves out the DIZ that is k-th among `nodes`.

Which of the last three there is, and how many folds, the approved run config says. Folds of patients are one division
for everything: the penalty is chosen on it too, within what an outer fold leaves. So from all sums of a run together a
hub gets sums over a fold's patients of all DIZ, and nothing finer, as far as patients are divided.

What the hub can subtract where DIZ are left out. From sums over all DIZ and over a set's it has the sums over those
left out: a group's, which has at least two DIZ; with ``leave-one-out`` **each DIZ's own sums**, whatever the masks.
That scheme measures best how a model does at a DIZ that it has never seen, and is therefore an option: a steward who
approves a run config with it approves that sums over the DIZ's patients alone (means, second moments, gradients) can be
computed at the hub. Without it a DIZ answers no such question. In either scheme a set's training sums are over at least
three DIZ, or over a whole group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from multimodal_imaging.errors import InputError
from multimodal_imaging.site import Bool, Int, Request, Site, group_of

SCHEMES = ("all", "patients", "sites", "leave-one-out")
SPLITS = ("train", "test")
SMALLEST_GROUP, FEWEST_LEFT = 2, 3

ASKED = ("scheme", "split", "set", "held_out", "nodes", "groups")
"""Config keys of a message that names a population."""


@dataclass(frozen=True)
class Population:
    """Some of the patients.

    Attributes:
        scheme: One of `SCHEMES`.
        split: One of `SPLITS`.
        set: Which fold, group or DIZ is left out.
        held_out: Whether what is left out is meant, instead of the rest.
        nodes: Flower's ids of the DIZ, for the last two schemes.
        groups: The group of each; for ``sites``.
        count: How many sets there are.
    """

    scheme: str = "all"
    split: str = "train"
    set: int = 0
    held_out: bool = False
    nodes: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    count: int = 1

    def one(self, index: int, *, held_out: bool = False) -> "Population":
        """Set `index`."""
        return replace(self, set=index, held_out=held_out)

    def content(self) -> dict[str, Any]:
        """As a message's config record."""
        return {
            "scheme": self.scheme,
            "split": self.split,
            "set": self.set,
            "held_out": self.held_out,
            "nodes": [str(node) for node in self.nodes],  # ids have 64 bits, a record's numbers 63
            "groups": list(self.groups),
        }


TRAIN, TEST = Population(), Population(split="test")


def outer_sets(scheme: str, nodes: Sequence[int], *, folds: int, site_groups: int) -> Population | None:
    """The training sets of a run's outer cross-validation; None where the DIZ's test patients measure the model.

    Args:
        scheme: The run config's ``validation``.
        nodes: Flower's ids of the DIZ that take part.
        folds: Of patients.
        site_groups: Of DIZ.

    Raises:
        InputError: There are too few DIZ.
    """
    ordered = tuple(sorted(set(nodes)))
    if scheme == "patients":
        return Population(scheme, count=folds)
    if scheme == "sites":
        if len(ordered) < SMALLEST_GROUP * site_groups:
            raise InputError(
                f"{len(ordered)} DIZ do not make {site_groups} groups of at least {SMALLEST_GROUP}; ask for fewer "
                "groups, or validate by patients."
            )
        groups = tuple(place % site_groups for place in range(len(ordered)))
        return Population(scheme, nodes=ordered, groups=groups, count=site_groups)
    if scheme == "leave-one-out":
        if len(ordered) <= FEWEST_LEFT:
            raise InputError(f"Leaving one DIZ out needs more than {FEWEST_LEFT} of them, not {len(ordered)}.")
        return Population(scheme, nodes=ordered, count=len(ordered))
    return None


def fitted(site: Site, request: Request) -> Bool:
    """(n,) who is in the training set that a message names; sums for a fit are of no others.

    Raises:
        InputError: It names something else, or a division that was not approved.
    """
    if request.config.get("held_out", False) or request.config.get("split", "train") != "train":
        raise InputError("A model is fitted to training patients, and not to those held out.")
    return training_set(site, request)


def training_set(site: Site, request: Request) -> Bool:
    """(n,) the training patients that are not left out."""
    return np.asarray(site.train & ~_left_out(site, request))


def measured(site: Site, request: Request) -> Bool:
    """(n,) on whom a model is measured: test patients, or those held out.

    Raises:
        InputError: They would be patients that the model was fitted to.
    """
    split, held_out = str(request.config.get("split", "train")), bool(request.config.get("held_out", False))
    scheme = str(request.config.get("scheme", "all"))
    if split not in SPLITS or held_out in {split == "test", scheme == "all"}:
        raise InputError("A model is measured on test patients, or on those held out of its training set.")
    return np.asarray(site.train & _left_out(site, request) if held_out else ~site.train)


def folds(site: Site, request: Request) -> Int:
    """(n,) each patient's fold of the approved run config."""
    return site.fold(request.settings.folds, request.settings.seed)


def _left_out(site: Site, request: Request) -> Bool:
    settings, scheme = request.settings, str(request.config.get("scheme", "all"))
    index = int(request.config.get("set", 0))
    if scheme == "all":
        return np.zeros(site.rows, dtype=np.bool_)
    if scheme not in SCHEMES or scheme != settings.validation:
        raise InputError(f"Sets by {scheme!r} were not approved: the run config's 'validation' is another.")
    if scheme == "patients":
        _within(index, settings.folds)
        return np.asarray(folds(site, request) == index)
    if scheme == "sites":
        _within(index, settings.site_groups)
        return np.full(site.rows, group_of(site, request) == index)
    nodes = [str(node) for node in request.config.get("nodes", [])]
    if len(nodes) <= FEWEST_LEFT or len(set(nodes)) < len(nodes) or str(site.node) not in nodes:
        raise InputError(
            f"Leaving one DIZ out needs more than {FEWEST_LEFT} of them, each named once, this one among them."
        )
    _within(index, len(nodes))
    return np.full(site.rows, nodes[index] == str(site.node))


def _within(index: int, count: int) -> None:
    if not 0 <= index < count:
        raise InputError(f"There are sets 0 to {count - 1}, and none of number {index}.")
