"""Audits through the whole gate: its ledger, its blocks of real patients, its replies."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.ports import Envelope
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.task import Reply
from flame_fl.gate import claims
from flame_fl.gate.claims import Account
from flame_fl.privacy.accounting import epsilon_of, total_rdp
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import ExactNoise
from tests.privacy.audit.attacks import HUGE
from tests.privacy.audit.worlds import (
    BLOCKS,
    DELTA,
    PEOPLE,
    ReadingSandbox,
    Recorded,
    V,
    a_world,
    answer_of,
    real_world,
    terms_of,
    view_bytes,
)
from tests.support.auditing import found, require_claim
from tests.support.gates import (
    NoNoise,
    enforced,
    make_fab,
)


def audit_through_the_gate(size: int, multiplier: float = 0.1) -> tuple[float, float]:
    """Messages in pairs; what the ledger holds afterwards is what the two of a pair may show together."""
    sign = 1.0
    sandbox = ReadingSandbox(lambda data, message: answer_of(sign * HUGE * V))
    app = make_fab(terms_of(noise_multiplier=multiplier, epsilon_max=1e6))
    shown: dict[float, list[float]] = {1.0: [], -1.0: []}
    with a_world(sandbox, cap=1e6) as world:
        world.decide(app)
        for pair in range(2 * size):
            sign = 1.0 if pair < size else -1.0
            left = [world.released(app, leg=f"{pair}{leg}").arrays["arrays"]["w"] for leg in "ab"]
            shown[sign].append(float(V @ (left[0] + left[1])) / math.sqrt(2))
        spent = world.store.spent(Account("site"))
    return require_claim(
        np.array(shown[1.0]),
        np.array(shown[-1.0]),
        mu=math.sqrt(sum(count * event.rho for event, count in spent.items()) / size),
        epsilon=epsilon_of({event: math.ceil(count / (2 * size)) for event, count in spent.items()}, DELTA),
        delta=DELTA,
        tight=True,
    )


def audit_ledger_covers() -> None:
    """Every time the sandbox saw data is debited, from the site and from its patients, at the right price.

    Among them: a leg that died between its noise and its commit and was asked again, and one that was sent twice.
    """
    multiplier, noise = 2.0, Recorded()
    sandbox = ReadingSandbox(lambda data, message: answer_of(V))
    app = make_fab(terms_of(noise_multiplier=multiplier))
    with a_world(sandbox, noise) as world:
        world.decide(app)
        for leg in ("1", "2", "3"):
            world.released(app, leg=leg)
        whole = world.store.end_leg
        world.store.end_leg = _dies
        with suppress(KeyboardInterrupt):
            world.ask(app, leg="4")
        world.store.end_leg = whole
        replies = [world.ask(app, leg=leg) for leg in ("4", "4", "1")]
        if not all(isinstance(reply, Reply) for reply in replies):
            found("a leg that died cannot be asked again")
        rho = (2 * CLIP_INT) ** 2 / (2 * (multiplier * CLIP_INT) ** 2)
        due = max(sandbox.heard, sum(count == 4 for _, count in noise.asked)) * rho
        for account in (Account("site"), Account("patient", "patients")):
            spent = total_rdp(world.store.spent(account), 1.0)
            if spent < due * (1 - 1e-9):
                found(f"{account}: rho {spent:.3g} was debited for {due:.3g}")
        if not np.array_equal(replies[0].content.arrays["arrays"]["w"], replies[1].content.arrays["arrays"]["w"]):
            found("one message has two answers")


def _dies(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def audit_cap() -> None:
    """What is admitted never costs more than the cap, by an accountant that the gate does not ask."""
    sandbox = ReadingSandbox(lambda data, message: answer_of(V))
    app = make_fab(terms_of(noise_multiplier=6.0))
    cap, most = 8.0, 40
    with a_world(sandbox, cap=cap) as world:
        world.decide(app)
        codes = [world.code(app, leg=str(leg)) for leg in range(most)]
    admitted = sum(code is None for code in codes)
    event = claims.event_of(enforced(noise_multiplier=6.0))
    assert event is not None
    if epsilon_of({event: admitted}, DELTA) > cap or codes[-1] is not RefusalCode.BUDGET_EXHAUSTED:
        found(f"{admitted} releases were admitted, and the cap is {cap}")
    if not admitted:
        found("nothing was admitted, so nothing was audited")


def audit_failing_block() -> None:
    """Through the gate: an app that dies in one block, and one that answers zero there, leave the same bits."""
    left = []
    for dies in (False, True):

        def answer(data: Mapping[str, Path], message: Envelope, dies: bool = dies) -> Content:
            if "p3" not in pq.read_table(data["cohort"] / "samples.parquet")["patient_id"].to_pylist():
                return answer_of(V)
            if dies:
                raise SandboxError("it died of p3")
            return answer_of(0 * V)

        with real_world(PEOPLE, answer, ExactNoise(seed_for_tests=5)) as (world, app):
            reply = world.ask(app)
            if isinstance(reply, Refusal):
                found(f"one patient makes a refusal ({int(reply.code)})")
            said = {k: v for k, v in reply.content.configs["flame"].items() if k != "audit_head"}
            left.append((reply.content.arrays["arrays"]["w"].tobytes(), str(reply.content.metrics), said))
    if left[0] != left[1]:
        found("a failure shows")


def seen_by_blocks(people: Sequence[str]) -> list[bytes]:
    """Through the gate: what the session of each block that has a patient finds in its view."""
    seen: list[bytes] = []

    def answer(data: Mapping[str, Path], message: Envelope) -> Content:
        seen.append(view_bytes(data["cohort"]))
        return answer_of(V)

    with real_world(people, answer, NoNoise()) as (world, app):
        world.released(app)
    return seen


def audit_one_block_changes() -> None:
    """One patient less: what leaves moves by at most the sensitivity, whatever the app; here, the worst one there is.

    The app knows both stores. It answers v in a view that it knows from the first and -v in any other, so that every
    view that changes moves the sum by 2 clip_norm.
    """
    known = set(seen_by_blocks(PEOPLE))

    def answer(data: Mapping[str, Path], message: Envelope) -> Content:
        return answer_of(HUGE * V if view_bytes(data["cohort"]) in known else -HUGE * V)

    def sums(people: Sequence[str]) -> npt.NDArray[np.float64]:
        with real_world(people, answer, NoNoise()) as (world, app):
            released: npt.NDArray[np.float64] = world.released(app).arrays["arrays"]["w"] * BLOCKS
        return released

    whole = sums(PEOPLE)
    for gone in (0, 3, 10, len(PEOPLE) - 1):
        moved = float(np.linalg.norm(whole - sums([name for name in PEOPLE if name != f"p{gone}"])))
        if moved > 2.0 + 1e-9:
            found(f"without one patient the sum of clipped updates moves by {moved:.3g} clip norms, not by 2 at most")


def audit_reply_says_nothing() -> None:
    """An app that looks at nothing: with and without one patient the reply is the same, but for the chain's head."""
    said = []
    for people in (PEOPLE, PEOPLE[:-1]):
        with real_world(people, lambda data, message: answer_of(V), ExactNoise(seed_for_tests=2)) as (world, app):
            content = world.released(app)
            own = {key: value for key, value in content.configs["flame"].items() if key != "audit_head"}
            said.append((own, content.arrays["arrays"]["w"].tobytes(), dict(content.metrics)))
    if said[0] != said[1]:
        found("the reply tells that a patient is missing")
