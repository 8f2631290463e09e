"""What the sheet says of budgets is what the gate's own filters do."""

from dataclasses import replace
from typing import Any

import pytest

from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.claims import SITE, Account, event_of
from flame_fl.gate.workflow import NodeLimits
from flame_fl.node.accounts import AccountNow
from flame_fl.node.sheet_risk import accounts_for, budget_of, claim_of
from flame_fl.privacy.accounting import Events, PrivacyEvent, Relation
from flame_fl.privacy.filters import filter_for
from tests.support.gates import ENFORCED, TRAIN, World, make_fab, make_terms, terms_table

LIMITS = NodeLimits(epsilon_cap=20.0, delta=1e-5, min_patients=5)
PATIENTS = Account("patient", "patients")
SUMS = ENFORCED | {"unit": "patient", "ground": "reviewed", "mechanism": "sums"}
SGD = SUMS | {"mechanism": "dp-sgd", "noise_multiplier": 1.2, "sample_rate": 0.025, "steps": 1200}
GAUSSIAN = PrivacyEvent(0.5, Relation.REPLACE_ONE_SITE)


def now(account: Account = SITE, cap: float = 20.0, **changes: Any) -> AccountNow:
    return AccountNow(account, filter_for(cap, 1e-5), **changes)


def refuses(world: World, terms: dict[str, Any]) -> tuple[int, str, str, list[RefusalCode | None]]:
    """What the sheet says; and what the gate answers to so many messages and one more."""
    fab = make_fab(terms)
    manifest = world.decide(fab)
    assert manifest.terms is not None
    claim = claim_of(manifest.terms, [], accounts_for(world.gate, manifest.terms, manifest.digest))
    assert claim is not None
    codes = [world.code(fab, leg=str(leg)) for leg in range(claim.admitted + 1)]
    return claim.admitted, claim.refused_by, claim.refused_in, codes


@pytest.mark.parametrize("cap", [12.0, 20.0])
def test_the_gate_refuses_where_the_sheet_says(cap: float, make_world) -> None:
    """Message by message, through the gate. The patients' account ends first: their count was debited there, too."""
    world: World = make_world(limits=replace(LIMITS, epsilon_cap=cap))
    terms = terms_table(privacy=ENFORCED | {"epsilon_max": 60.0}, messages={"train": TRAIN | {"per_run": 50}})
    admitted, by, where, codes = refuses(world, terms)
    assert (by, admitted > 0) == ("account", True)
    assert where in {"site", "patient:patients"}
    assert codes == [None] * admitted + [RefusalCode.BUDGET_EXHAUSTED]


def test_a_projects_cap_ends_it_where_the_sheet_says(make_world) -> None:
    """Set for one account; it is smaller than all others."""
    world: World = make_world(limits=replace(LIMITS, epsilon_cap=50.0))
    world.store.lifetime(SITE, 50.0, 1e-5)
    world.store.set_cap(SITE, 12.0, by="ada", project="a-project")
    terms = terms_table(privacy=ENFORCED | {"epsilon_max": 60.0}, messages={"train": TRAIN | {"per_run": 50}})
    admitted, by, where, codes = refuses(world, terms)
    assert (by, where, admitted > 0) == ("project", "site", True)
    assert codes == [None] * admitted + [RefusalCode.BUDGET_EXHAUSTED]


def test_the_analysis_own_limit_may_come_first() -> None:
    """A small epsilon_max."""
    claim = claim_of(make_terms(privacy=ENFORCED | {"epsilon_max": 12.0}), [], [now(), now(PATIENTS)])
    assert claim is not None
    assert (claim.refused_by, claim.refused_in) == ("analysis", "site")
    assert 0 < claim.epsilon <= 12.0


def test_without_a_claim_the_budget_is_untouched() -> None:
    """Before and after are the same."""
    terms, accounts = make_terms(), [now(spent={GAUSSIAN: 1})]
    assert claim_of(terms, [], accounts) is None
    (budget,) = budget_of(terms, None, accounts)
    assert budget.spent == budget.after > 0


@pytest.mark.parametrize("privacy", [ENFORCED, SUMS, SGD], ids=["site", "sums", "dp-sgd"])
@pytest.mark.parametrize("spent", [{}, {GAUSSIAN: 1}], ids=["fresh", "used"])
def test_after_is_never_above_the_cap(privacy: dict[str, Any], spent: Events) -> None:
    """What the filters admit fits, and one more would not."""
    terms = make_terms(privacy=privacy, limits={"runs": 1000})
    event = event_of(terms.privacy)
    assert event is not None
    accounts = [now(PATIENTS, spent=spent)]
    claim = claim_of(terms, [], accounts)
    assert claim is not None
    (budget,) = budget_of(terms, claim, accounts)
    assert budget.spent < budget.after <= budget.cap == 20.0
    assert (
        budget.used
        < budget.used_after
        <= 1.0
        < accounts[0].lifetime.share(accounts[0].after(event, claim.admitted + 1).spent)
    )
    assert budget.risk_spent.tpr < budget.risk_after.tpr


def test_the_figures_are_of_the_claims_own_unit() -> None:
    """What else the patients' account holds is not the site's risk."""
    count = PrivacyEvent(5.0, Relation.ADD_OR_REMOVE_ONE_PATIENT)
    accounts = [now(), now(PATIENTS, of_analysis={count: 1}, spent={count: 1})]
    terms = make_terms(
        privacy=ENFORCED | {"noise_multiplier": 2.0}, messages={"train": TRAIN | {"per_run": 1}}, limits={"runs": 1}
    )
    claim = claim_of(terms, [], accounts)
    assert claim is not None
    assert claim.admitted == 1
    assert claim.risk.tpr == pytest.approx(0.0924, abs=1e-4)


class TestAccountsFor:
    def test_of_a_site(self, world: World) -> None:
        """The site's and its patients', whose count is to come."""
        site, patients = accounts_for(world.gate, make_terms(privacy=ENFORCED), "d")
        assert (site.account, patients.account) == (SITE, PATIENTS)
        assert (dict(site.spent), sum(patients.spent.values())) == ({}, 1)

    def test_of_patients(self, world: World) -> None:
        """Theirs alone."""
        (patients,) = accounts_for(world.gate, make_terms(privacy=SUMS), "d")
        assert patients.account == PATIENTS

    def test_without_a_claim_all_are_shown(self, world: World) -> None:
        """The site's is always there."""
        assert [a.account for a in accounts_for(world.gate, make_terms(), "d")] == [SITE]

    def test_looking_opens_no_account(self, world: World) -> None:
        """No row, no audit entry: the order is fixed by the first debit."""
        before = world.store.verify_audit()
        accounts_for(world.gate, make_terms(privacy=ENFORCED), "d")
        assert world.store.accounts() == []
        assert world.store.verify_audit() == before
