"""The hub's half: what it asks, and how it takes the masks off. What it cannot do is in tests/security."""

import numpy as np
import pytest

from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.hub import remove_masks, requests
from flame_fl.secagg.messages import Shares
from tests.support.secagg import Federation, added, drawn


def test_each_is_asked_with_all_keys_and_what_was_sealed_for_it() -> None:
    federation = Federation(4, 1).set_up()
    asked = requests(federation.published)
    assert tuple(asked) == federation.parties
    for party, request in asked.items():
        assert [key.party for key in request.keys] == list(federation.parties)
        assert request.shares == {
            other: said.shares[party] for other, said in federation.published.items() if other != party
        }


def test_who_published_nothing_is_not_in_the_sum() -> None:
    federation = Federation(4, 1).set_up()
    missing, *others = federation.parties
    del federation.published[missing]
    for request in requests(federation.published).values():
        assert [key.party for key in request.keys] == others
        assert missing not in request.shares


def test_a_site_that_sealed_nothing_for_another_is_named() -> None:
    """One malicious site must not end the run by an exception of another kind."""
    federation = Federation(4, 1).set_up()
    bad, other, *_ = federation.parties
    said = federation.published[bad]
    shares = {party: text for party, text in said.shares.items() if party != other}
    federation.published[bad] = said.model_copy(update={"shares": shares})
    with pytest.raises(MaskError):
        requests(federation.published)


class Round:
    """Masked vectors of four sites and everybody's answers, one of them lost."""

    def __init__(self) -> None:
        self.federation = Federation(4, 1).set_up()
        self.keys = {party: said.key for party, said in self.federation.published.items()}
        self.vectors = drawn(self.federation.parties, 8, 1)
        self.lost, *rest = self.federation.parties
        self.survivors = tuple(rest)
        self.masked = self.federation.mask_all(self.vectors, [self.lost])
        signatures = {p: self.federation.sign(p, self.survivors, 1).signature for p in self.survivors}
        self.answers = {p: self.federation.unmask(p, self.survivors, 1, signatures) for p in self.survivors}

    def total(self, answers: dict[str, Shares]) -> np.ndarray:
        total = added(self.masked)
        remove_masks(
            total,
            self.federation.parties,
            self.federation.parameters.threshold,
            keys=self.keys,
            answers=answers,
            survivors=self.survivors,
        )
        return total


def test_the_masks_come_off_in_place() -> None:
    this = Round()
    expected = added({party: this.vectors[party] for party in this.survivors})
    assert (this.total(this.answers) == expected).all()


def test_an_answer_of_somebody_else_is_no_share() -> None:
    """T = 3 answers are there; a fourth, under a name that is in no set-up, changes nothing."""
    this = Round()
    stranger = Shares(party="SHA256:" + "A" * 43, seeds=dict.fromkeys(this.survivors, "ab" * 32), keys={})
    expected = added({party: this.vectors[party] for party in this.survivors})
    assert (this.total(this.answers | {stranger.party: stranger}) == expected).all()


def test_shares_of_strangers_are_ignored() -> None:
    this = Round()
    name = this.survivors[0]
    more = this.answers[name].model_copy(update={"seeds": this.answers[name].seeds | {"SHA256:" + "A" * 43: "ab" * 32}})
    expected = added({party: this.vectors[party] for party in this.survivors})
    assert (this.total(this.answers | {name: more}) == expected).all()


def test_a_refused_unmasking_leaves_the_total_as_it_was() -> None:
    this = Round()
    before = added(this.masked)
    total = before.copy()
    few = dict(list(this.answers.items())[1:])
    with pytest.raises(MaskError, match="2 sites sent a share that is needed, 3 must"):
        remove_masks(total, this.federation.parties, 3, keys=this.keys, answers=few, survivors=this.survivors)
    assert (total == before).all()
