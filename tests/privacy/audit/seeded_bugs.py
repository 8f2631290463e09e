"""Seeded bugs: ways in which the gate's privacy could be broken, each as a small change of one function.

Each bug names the audits that must find it. docs/seeded-bugs.md is the same table, and a test compares the two.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.privacy.audit.bugs_of_releases import (
    absolute_noise,
    bit_exact,
    count_exact,
    doubled_noise,
    every_share_whole,
    failure_not_counted,
    failure_refused,
    float_noise,
    halved_noise,
    infinity_norm,
    last_coordinate_bare,
    metrics_apart,
    metrics_exact,
    no_clipping,
    noise_before_clipping,
    noise_by_size,
    noise_of_the_mean,
    one_draw_for_all,
    patients_in_the_reply,
    reference_ignored,
    reused_noise,
    rounding_up,
)
from tests.privacy.audit.bugs_of_the_gate import (
    balanced,
    by_record,
    cap_not_asked,
    cohort_exact,
    cohort_free,
    cohort_noise_small,
    cohort_redrawn,
    debited_when_it_leaves,
    half_sensitivity,
    keyed_by_size,
    patients_not_debited,
    resent_anew,
    retry_free,
    row_order,
    size_in_the_view,
    two_blocks_each,
    two_for_one,
)

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Bug:
    """One of them.

    Attributes:
        name: Short.
        what: What the gate does wrong.
        caught_by: Names of audits (`audits.audits`), each of which must raise a finding.
        seed: Breaks the product for as long as the patch holds.
    """

    name: str
    what: str
    caught_by: tuple[str, ...]
    seed: Callable[[Patch], None]


def _mechanism(name: str) -> str:
    return f"mechanism, {name}"


HUGE = _mechanism("site: far outside the ball, one side against the other")
TOGETHER = _mechanism("site: arrays and metric at their ends together")
METRIC = _mechanism("site: the metric alone")
NEIGHBOUR = _mechanism("site: one coordinate, read against its neighbour")
ADAPTIVE = _mechanism("site: adaptive clipping, its bit and the arrays together")
SHARES = _mechanism("site: arrays clipped apart, each at its share")
DELTA = _mechanism("site: a delta to what was sent")
BLOCK = _mechanism("patient: one block turned round")


BUGS: Sequence[Bug] = (
    Bug("no clipping", "An update of any length is summed as it is.", (HUGE, BLOCK, DELTA), no_clipping),
    Bug("clipped by infinity norm", "Each coordinate is bounded, not the vector.", (HUGE, BLOCK), infinity_norm),
    Bug("metrics clipped apart", "Arrays and metrics have a ball each.", (TOGETHER, ADAPTIVE), metrics_apart),
    Bug("every share is the whole", "Arrays clipped apart each get all of clip_norm.", (SHARES,), every_share_whole),
    Bug("rounding away from zero", "Rounding leaves the ball.", ("sensitivity",), rounding_up),
    Bug("noise before clipping", "Noise is added first, and clipped away.", (HUGE, BLOCK), noise_before_clipping),
    Bug("delta reference ignored", "What was sent is clipped with the change.", ("delta",), reference_ignored),
    Bug("halved noise", "Half of sigma.", (HUGE, BLOCK), halved_noise),
    Bug("noise of the mean", "Sigma of one block's share on the sum of all.", (BLOCK,), noise_of_the_mean),
    Bug("doubled noise", "Twice sigma: no leak, but not what was promised.", (HUGE, BLOCK), doubled_noise),
    Bug("reused noise", "Two releases under one key.", ("two releases",), reused_noise),
    Bug("one draw for all", "All coordinates of a release share one draw.", (NEIGHBOUR,), one_draw_for_all),
    Bug("last coordinate bare", "One draw too few, the last is zero.", (METRIC, ADAPTIVE), last_coordinate_bare),
    Bug("one-sided noise", "Noise is never negative.", (HUGE,), absolute_noise),
    Bug("float noise", "Noise from floating point: low bits show the raw value.", ("grid of integers",), float_noise),
    Bug("noise by size", "The noise shrinks with the update.", ("noise knows no data",), noise_by_size),
    Bug("metrics exact", "A metric leaves outside the vector.", (METRIC, TOGETHER), metrics_exact),
    Bug("num-examples exact", "The app's count leaves.", ("form",), count_exact),
    Bug("clip bit exact", "Adaptive clipping's bit leaves without noise.", (ADAPTIVE,), bit_exact),
    Bug("cohort size in the reply", "The gate's own record tells it.", ("reply says nothing",), patients_in_the_reply),
    Bug(
        "failure refused",
        "A failing block turns the answer into a refusal.",
        ("a failure is zero", "a failing block does not show"),
        failure_refused,
    ),
    Bug(
        "failure not counted",
        "A failing or empty block is left out of the divisor.",
        ("a failure is zero", "a failing block does not show"),
        failure_not_counted,
    ),
    Bug("blocks by row order", "Whoever stands before a patient decides.", ("one block changes",), row_order),
    Bug("blocks balanced", "Blocks are made equally large.", ("one block changes",), balanced),
    Bug("blocks keyed by cohort", "The key depends on how many there are.", ("one block changes",), keyed_by_size),
    Bug("blocks by record", "A patient's records are spread.", ("one block changes",), by_record),
    Bug("a patient in two blocks", "Blocks overlap.", ("one block changes",), two_blocks_each),
    Bug(
        "cohort size in the view",
        "A block's view tells the size of the whole.",
        ("one block changes",),
        size_in_the_view,
    ),
    Bug(
        "two releases for one debit",
        "Every second debit is missing.",
        ("ledger covers releases", "through the gate"),
        two_for_one,
    ),
    Bug("no debit on retry", "Only a leg's first attempt is paid.", ("ledger covers releases",), retry_free),
    Bug("debited when it leaves", "What dies is not paid.", ("ledger covers releases",), debited_when_it_leaves),
    Bug(
        "half the sensitivity",
        "The event is that of clip_norm, not of twice that.",
        (HUGE, BLOCK, "ledger covers releases"),
        half_sensitivity,
    ),
    Bug(
        "patients not debited",
        "A release of unit site is not debited from its patients.",
        ("ledger covers releases",),
        patients_not_debited,
    ),
    Bug("cap not asked", "Releases go on after the cap.", ("cap",), cap_not_asked),
    Bug("answered anew", "The same message gets fresh noise.", ("ledger covers releases",), resent_anew),
    Bug("cohort count exact", "The minimum is compared without noise.", ("count at the threshold",), cohort_exact),
    Bug("cohort noise small", "A tenth of the announced noise.", ("count at the threshold",), cohort_noise_small),
    Bug("cohort count redrawn", "Each message counts again.", ("count is made once",), cohort_redrawn),
    Bug("cohort count free", "The count is not debited.", ("count is made once",), cohort_free),
)


DOCUMENT = Path(__file__).parents[3] / "docs" / "seeded-bugs.md"
_TABLE = re.compile(r"^\| Seeded bug \|.*?\n(?=\n|\Z)", re.MULTILINE | re.DOTALL)


def as_table() -> str:
    """The table of docs/seeded-bugs.md."""
    lines = ["| Seeded bug | What the gate would do | Found by |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {b.name} | {b.what} | {'; '.join(b.caught_by)} |" for b in BUGS)]) + "\n"


def documented() -> str:
    """The document as it should be."""
    return _TABLE.sub(lambda _: as_table(), DOCUMENT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    DOCUMENT.write_text(documented(), encoding="utf-8")
