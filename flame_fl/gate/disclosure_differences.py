"""Differencing: an answer about a cohort, laid beside an earlier answer about nearly the same one. Pure.

Every earlier cohort is compared, not only the last: whoever asks about A, then about A without ten, then about A
without one, has the first answer still. Combinations of three or more answers are not looked at (docs/disclosure.md).
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from flame_fl.contract.refusal import RefusalCode, RefusedError

Members = npt.NDArray[np.uint64]

_FIRST_STRIDE = 64


def differing(ours: Members, theirs: Members, most: int) -> int:
    """How many patients are in one of two cohorts and not in the other, counted up to `most`.

    The two are walked along together from one difference to the next, so it ends after `most` of them: cohorts that
    have little in common cost next to nothing, equal ones one comparison.

    Args:
        ours: (n,) sorted and without repetitions.
        theirs: (m,) likewise.
        most: Where counting ends.
    """
    if abs(len(ours) - len(theirs)) >= most:
        return most
    i = j = found = 0
    while found < most:
        same = _common_start(ours[i:], theirs[j:])
        i, j = i + same, j + same
        left, right = len(ours) - i, len(theirs) - j
        if not left or not right:
            return min(most, found + left + right)
        if ours[i] < theirs[j]:
            i += 1
        else:
            j += 1
        found += 1
    return found


def _common_start(ours: Members, theirs: Members) -> int:
    """Length of the longest common start; strides grow, so a long one costs few steps."""
    length, at, stride = min(len(ours), len(theirs)), 0, _FIRST_STRIDE
    while at < length:
        end = min(at + stride, length)
        unequal = ours[at:end] != theirs[at:end]
        if unequal.any():
            return at + int(unequal.argmax())
        at, stride = end, 4 * stride
    return length


def small_difference(members: Members, earlier: Iterable[Members], least: int) -> int:
    """The first difference to an earlier cohort that is neither nothing nor `least` patients; 0 if there is none.

    Args:
        members: (n,) sorted hashes of the cohort's patients.
        earlier: The same of each cohort that something was released about.
        least: Fewest patients by which two cohorts may differ.
    """
    for cohort in earlier:
        if 0 < (found := differing(members, cohort, least)) < least:
            return found
    return 0


def require_apart(name: str, members: Members, earlier: Iterable[Members], least: int) -> None:
    """Check that an answer, laid beside an earlier one, does not show what a few patients contributed.

    Args:
        name: The data store's, for the node's log.
        members: As `small_difference`.
        earlier: As `small_difference`: of every analysis about the same patients, or of one.
        least: As `small_difference`.

    Raises:
        RefusedError: 907: some patients went or came since something left about an earlier cohort, but fewer than
            `least`. Whoever has both answers would have the difference.
    """
    if found := small_difference(members, earlier, least):
        raise RefusedError(
            RefusalCode.WITHDRAWN_OR_EXPIRED,
            f"the cohort of data store {name!r} differs by {found} patients from one that something was released"
            f" about; nothing leaves until {least} differ",
        )
