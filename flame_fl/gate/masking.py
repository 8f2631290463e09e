"""Secure aggregation within the workflow's steps: what a message's answer is masked for, decided before it is made.

`open_sum` stands before step 2, `distance_of` in it; `release_noised` and `to_mask` end step 4; `leaving` is in step
5's transaction.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from flame_fl.contract.canonical import digest, sha256_hex
from flame_fl.contract.content import EMPTY, Content
from flame_fl.contract.frames import encode
from flame_fl.contract.ports import NoiseSource
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.release_contract import MessageTerms
from flame_fl.contract.task import OWN_RECORD
from flame_fl.gate.cohorts import StoreUse, fingerprints
from flame_fl.gate.disclosure_cells import Counts
from flame_fl.gate.masked import Ranges, encoded, ranges_of
from flame_fl.gate.masks import Masks, OpenSum
from flame_fl.gate.noised import NoisedSum, draws_of, sigma_of
from flame_fl.gate.release import Released
from flame_fl.gate.verify import Verified
from flame_fl.privacy.distributed import distance_of_sum, share_of
from flame_fl.secagg.counted import Guard, Rows
from flame_fl.secagg.encoding import Layout
from flame_fl.secagg.messages import KEY


@dataclass(frozen=True)
class Masking:
    """What a message's answer is masked for.

    Attributes:
        sum: Which sum.
        ranges: The scales of its numbers; None where noise is added, in integers of its own.
        honest: Of how many shares the noise consists; 1 where every DIZ adds all of it.
    """

    sum: OpenSum
    ranges: Ranges | None
    honest: int


def open_sum(masks: Masks, verified: Verified) -> Masking | None:
    """The sum that the answer is for, where the terms want it masked; None where they do not.

    Raises:
        RefusedError: 908, it must not be masked for this sum, or would not fit it.
    """
    terms, rules = verified.terms, verified.rules
    if terms is None or rules is None or not terms.secure_aggregation.required:
        return None
    opened = masks.open(terms, verified.approved.digest, verified.run_id, verified.task.content, asked_of(verified))
    ranges = None if verified.enforced else ranges_of(rules, terms, opened.parameters.sites)
    return Masking(opened, ranges, opened.parameters.honest if terms.privacy.trust == "distributed" else 1)


def asked_of(verified: Verified) -> str:
    """Digest of what a message asks: its type and content, and the run config. Not who else is asked."""
    task = verified.task
    own = {name: value for name, value in task.content.configs.get(OWN_RECORD, EMPTY).items() if name != KEY}
    bare = replace(task.content, configs={**task.content.configs, OWN_RECORD: own})
    return digest(
        {"type": task.message_type, "config": dict(verified.run_config), "content": sha256_hex(*encode(bare))}
    )


def same_of(verified: Verified, uses: Mapping[str, StoreUse]) -> str:
    """Digest of whom an answer is about, and of the approval that it stands on."""
    return digest({"cohorts": fingerprints(uses), "binding": verified.approved.record.binding_digest})


def distance_of(noise: NoiseSource, verified: Verified, masking: Masking | None) -> float:
    """How far, at most, the noise of one release is from the stated one; known before the data are seen.

    Raises:
        RefusedError: 908, the noise cannot be made in shares that small.
    """
    terms, rules = verified.terms, verified.rules
    if terms is None or rules is None or not terms.privacy.claims:
        return 0.0
    sigma, draws = sigma_of(terms.privacy), draws_of(rules, terms.privacy)
    if masking is None or masking.honest == 1:
        return noise.distance(sigma, draws)
    try:
        share = share_of(sigma, masking.honest)
    except ValueError as err:
        raise RefusedError(RefusalCode.TERMS_VIOLATED, f"secure aggregation: {err}") from err
    return distance_of_sum(share, masking.honest, draws, noise.distance(share, draws))


def release_noised(total: NoisedSum, noise: NoiseSource, masking: Masking | None) -> Released:
    """The noised sum: as numbers, or as integers to be masked."""
    if masking is None:
        return total.release(noise)
    return total.masked(noise, masking.sum.parameters.sites, masking.honest)


def to_mask(verified: Verified, released: Released, masking: Masking | None) -> Released:
    """What would leave, as integers to be masked; without masks, as it is.

    Raises:
        RefusedError: 904, a number is missing, or beyond its range.
    """
    if masking is None or masking.ranges is None:
        return released
    assert verified.terms is not None  # noqa: S101  (`open_sum` checks both)
    assert verified.rules is not None  # noqa: S101
    masked = encoded(
        released.content,
        verified.reference,
        verified.rules,
        verified.terms,
        ranges=masking.ranges,
        absent=masking.sum.absent,
    )
    return replace(released, content=Content(), masked=masked)


def guards_of(
    rules: MessageTerms, layout: Layout, counts: Mapping[tuple[str, str], Counts], absent: Collection[str]
) -> tuple[Guard, ...]:
    """Where in the vector the rows are that each guard's totals decide about; of an absent array it counts nobody."""
    starts: dict[tuple[str, str], tuple[int, int]] = {}
    offset = 0
    for part in layout.parts:
        starts[part.record, part.name] = offset, part.size
        offset += part.size
    guards = []
    for (record, name), found in counts.items():
        if not found.size:  # no row, so nothing to judge
            continue
        for zero in (False, True):
            mine = [
                rule
                for rule in rules.arrays
                if (rule.record, rule.guard_zero if zero else rule.guard) == (record, name)
            ]
            supplied = any(f"{rule.record}/{rule.name}" not in absent for rule in mine)
            places = tuple(
                Rows(start=start, elements=size // len(found) ** rule.guard_axes, axes=rule.guard_axes)
                for rule in mine
                for start, size in [starts[rule.record, rule.name]]
            )
            if places:
                guards.append(Guard.of(found if supplied else np.zeros_like(found), places, zero=zero))
    return tuple(guards)


def leaving(
    masks: Masks, verified: Verified, released: Released, masking: Masking | None
) -> tuple[Content, dict[str, object]]:
    """The content that leaves, and what the audit entry says of the sum it is for.

    Raises:
        RefusedError: 908, the sum's key was used meanwhile.
    """
    if masking is None or released.masked is None:
        return released.content, {}
    layout, vector = released.masked
    guards = guards_of(verified.rules, layout, released.guards, masking.sum.absent) if verified.rules else ()
    same = same_of(verified, verified.uses)
    left = masks.leave(masking.sum, verified.run_id, layout, vector, guards=guards, same=same)
    audited: dict[str, object] = {
        "epoch": masking.sum.state.epoch,
        "index": masking.sum.index,
        "context": masking.sum.opening.context,
        "sites": len(masking.sum.opening.sealed),
        "least_sites": masking.sum.parameters.fewest,
        "noise_shares": masking.honest,
    }
    return replace(released.content, arrays=left.arrays, configs=left.configs), audited
