"""What a release costs and whom: the sensitivities of each claim, and its accounts."""

import math
from typing import Any

import pytest

from flame_fl.contract.terms import Privacy
from flame_fl.gate.claims import PATIENTS, SITE, Account, accounts_of, event_of
from flame_fl.privacy.accounting import PrivacyEvent, Relation
from tests.support.gates import BLOCKS, DP_SGD, ENFORCED, SUMS

PATIENT = Relation.ADD_OR_REMOVE_ONE_PATIENT


def claim(table: dict[str, Any], **changes: Any) -> Privacy:
    return Privacy.model_validate({**table, **changes})


class TestEvents:
    @pytest.mark.parametrize("table", [{}, {"mechanism": "clip", "clip_norm": 1.0}, {"ground": "reviewed"}])
    def test_what_claims_nothing_costs_nothing(self, table: dict[str, Any]) -> None:
        assert event_of(claim(table)) is None

    @pytest.mark.parametrize("multiplier", [0.1, 1.0, 7.5])
    @pytest.mark.parametrize("table", [ENFORCED, BLOCKS], ids=["site", "blocks"])
    def test_an_arbitrary_update_pays_for_the_diameter_of_the_ball(
        self, table: dict[str, Any], multiplier: float
    ) -> None:
        """rho = (2C)² / (2 (mC)²) = 2 / m²: of one site, and of the one block that a patient is in."""
        event = event_of(claim(table, noise_multiplier=multiplier))
        assert event is not None
        assert math.isclose(event.rho, 2 / multiplier**2)

    def test_the_number_of_blocks_is_no_part_of_the_cost(self) -> None:
        """The noise is of the sum."""
        assert event_of(claim(BLOCKS, blocks=2)) == event_of(claim(BLOCKS, blocks=1000))

    def test_units_say_what_neighbours_differ_in(self) -> None:
        events = [event_of(claim(table)) for table in (ENFORCED, BLOCKS)]
        assert [event and event.relation for event in events] == [Relation.REPLACE_ONE_SITE, PATIENT]

    def test_a_patient_s_own_contribution_pays_for_the_radius(self) -> None:
        assert event_of(claim(SUMS)) == PrivacyEvent(1.5, PATIENT)

    def test_dp_sgd_pays_for_every_step_of_its_terms(self) -> None:
        assert event_of(claim(DP_SGD)) == PrivacyEvent(1.5, PATIENT, 0.1, 30)

    @pytest.mark.parametrize("table", [SUMS, DP_SGD])
    def test_a_reviewed_claim_costs_what_a_vetted_one_does(self, table: dict[str, Any]) -> None:
        assert event_of(claim(table, ground="reviewed")) == event_of(claim(table))


class TestAccounts:
    def test_a_release_of_a_site_is_one_of_all_its_patients(self) -> None:
        """Whatever changes only one patient changes no more than whatever changes the whole site."""
        found = accounts_of(claim(ENFORCED), ["b", "a", "b"])
        assert found == (SITE, Account("patient", "a"), Account("patient", "b"))

    @pytest.mark.parametrize("table", [BLOCKS, SUMS, DP_SGD])
    def test_a_release_of_patients_is_none_of_the_site(self, table: dict[str, Any]) -> None:
        assert accounts_of(claim(table), ["a"]) == (Account("patient", "a"),)

    def test_without_a_store_somebody_pays_all_the_same(self) -> None:
        assert accounts_of(claim(ENFORCED), []) == (SITE,)
        assert accounts_of(claim(BLOCKS), []) == (Account("patient", PATIENTS),)

    def test_what_claims_nothing_has_no_account(self) -> None:
        assert accounts_of(Privacy(), ["a"]) == ()

    def test_accounts_have_names(self) -> None:
        assert [str(SITE), str(Account("patient", "a"))] == ["site", "patient:a"]
