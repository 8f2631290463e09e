"""Attacks on masked sums: by the hub, by sites that are one with it, and by a site that only means to disturb.

Where a check can be taken out, a control shows that the attack works without it: "opened" always means that the
attacker has the very numbers, worked out from what it was sent.
"""

import json
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.secagg import hub as hub_module
from flame_fl.secagg import node as node_module
from flame_fl.secagg.epoch import Epoch, channel_key, context_of, pair_stream, places, seed_stream
from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.hub import remove_masks, requests
from flame_fl.secagg.keys import new_secret, public_of, sign, unseal
from flame_fl.secagg.messages import (
    MAX_TEXT,
    Advertisement,
    MaskedReply,
    MaskKey,
    MaskRequest,
    Published,
    ShareRequest,
    Shares,
    SurvivorsRequest,
    UnmaskRequest,
)
from flame_fl.secagg.node import mask, open_sum, share, sign_survivors, unmask
from flame_fl.secagg.parameters import Parameters
from flame_fl.secagg.sharing import join
from flame_fl.secagg.streams import Words, add_streams
from tests.support.secagg import Federation, added, allowed, drawn
from tests.support.secagg_adversary import Adversary

SIZE = 16
SMALL_ORDER = [
    bytes(32),  # 0, of order 4
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),  # the two of order 8
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),  # p - 1
    (2**255 - 19).to_bytes(32, "little"),  # p and p + 1: 0 and 1, written otherwise
    (2**255 - 18).to_bytes(32, "little"),
]
SMALL_ORDER += [point[:31] + bytes([point[31] | 0x80]) for point in SMALL_ORDER]  # X25519 ignores the top bit
Forge = Callable[[Federation, MaskKey], MaskKey]


@cache
def ready(sites: int, dropouts: int = 0, colluding: int = 0) -> Federation:
    """Set up; to be copied before anything else is done with it."""
    return Federation(sites, dropouts, colluding).set_up()


def signed_key(federation: Federation, party: str, key: MaskKey, **changed: object) -> MaskKey:
    """What that site's own identity says: a hub cannot do this, a malicious site can of itself."""
    stated = key.model_copy(update={**changed, "party": party})
    signature = sign(federation.members[party].identity, "mask-key", stated.model_dump(exclude={"signature"}))
    return stated.model_copy(update={"signature": signature})


def with_key(request: MaskRequest, forged: MaskKey) -> MaskRequest:
    keys = tuple(forged if key.party == forged.party else key for key in request.keys)
    return request.model_copy(update={"keys": keys})


def no_check(*_: object) -> None:
    """In place of one that the control takes out."""


class TestSetUp:
    def test_a_hub_cannot_put_a_channel_key_of_its_own_in(self) -> None:
        federation = Federation(3).advertise()
        victim, other, _ = federation.parties
        forged = federation.advertised[other].model_copy(update={"channel": public_of(new_secret()).hex()})
        request = ShareRequest(epoch=1, advertisements=tuple((federation.advertised | {other: forged}).values()))
        with pytest.raises(MaskError, match="advertisement"):
            share(federation.members[victim], federation.states[victim], request)

    def test_control_without_the_signature_it_reads_every_share(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(node_module, "require_signature", no_check)
        federation = Federation(3).advertise()
        victim, *others = federation.parties
        secrets = {party: new_secret() for party in others}
        forged = {
            party: said.model_copy(update={"channel": public_of(secrets[party]).hex()}) if party in secrets else said
            for party, said in federation.advertised.items()
        }
        request = ShareRequest(epoch=1, advertisements=tuple(forged.values()))
        state, published = share(federation.members[victim], federation.states[victim], request)
        hub = Federation(3)
        hub.published[victim] = published
        shares = {}
        for place, party in enumerate(others, 2):
            box = channel_key(secrets[party], bytes.fromhex(forged[victim].channel), state.setup or "")
            about = node_module._about(state.setup or "", 1, victim, party)
            shares[place] = unseal(box, bytes.fromhex(published.shares[party]), about)[:32]
        assert state.next is not None
        assert join(shares, 2).hex() == state.next.seed

    @pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point.hex()[:6] + point.hex()[-2:])
    def test_a_point_of_small_order_is_no_channel_key(self, point: bytes) -> None:
        federation = Federation(3).advertise()
        bad, *honest = federation.parties
        member = federation.members[bad]
        said = {"context": member.context, "epoch": 1, "channel": point.hex()}
        signature = sign(member.identity, "advertisement", said)
        ad = Advertisement(party=bad, epoch=1, channel=point.hex(), signature=signature)
        request = ShareRequest(epoch=1, advertisements=tuple((federation.advertised | {bad: ad}).values()))
        for party in honest:
            with pytest.raises(MaskError, match="small order"):
                share(federation.members[party], federation.states[party], request)

    def test_a_party_that_is_on_no_roster_does_not_take_part(self) -> None:
        federation, larger = Federation(3).advertise(), Federation(4).advertise()
        stranger = next(party for party in larger.parties if party not in federation.parties)
        everybody = (*federation.advertised.values(), larger.advertised[stranger])
        for party in federation.parties:
            with pytest.raises(MaskError, match="roster"):
                share(
                    federation.members[party],
                    federation.states[party],
                    ShareRequest(epoch=1, advertisements=everybody),
                )

    def test_a_party_counts_once(self) -> None:
        federation = Federation(3, min_sites=3).advertise()
        one, two, _ = federation.parties
        ads = (federation.advertised[one], federation.advertised[two], federation.advertised[two])
        with pytest.raises(MaskError, match="twice"):
            share(federation.members[one], federation.states[one], ShareRequest(epoch=1, advertisements=ads))

    def test_a_set_up_below_the_terms_minimum_is_refused(self) -> None:
        federation = Federation(5, min_sites=5).advertise()
        ads = tuple(federation.advertised[party] for party in federation.parties[:4])
        request = ShareRequest(epoch=1, advertisements=ads)
        with pytest.raises(MaskError, match="4 sites are in the set-up, the terms ask for 5"):
            share(federation.members[federation.parties[0]], federation.states[federation.parties[0]], request)

    def test_a_minimum_below_what_the_threshold_allows_does_not_help(self) -> None:
        federation = Federation(4, dropouts=1, min_sites=1).advertise()  # sound for 4, not for 3
        ads = tuple(federation.advertised[party] for party in federation.parties[:3])
        request = ShareRequest(epoch=1, advertisements=ads)
        with pytest.raises(MaskError, match="fewest"):
            share(federation.members[federation.parties[0]], federation.states[federation.parties[0]], request)

    @pytest.mark.parametrize("how", ["left out", "older"])
    def test_a_site_takes_part_with_the_key_it_has_just_made(self, how: str) -> None:
        federation = Federation(4, 1, min_sites=3).advertise()
        older = federation.copy().advertised
        victim, *others = federation.advertise().parties
        ads = [federation.advertised[party] for party in others] + ([older[victim]] if how == "older" else [])
        request = ShareRequest(epoch=1, advertisements=tuple(ads))
        with pytest.raises(MaskError, match="own key"):
            share(federation.members[victim], federation.states[victim], request)

    def test_participants_are_settled_once(self) -> None:
        federation = ready(4, 1)
        ads = tuple(federation.advertised[party] for party in federation.parties[:3])
        with pytest.raises(MaskError, match="participants already"):
            share(
                federation.members[federation.parties[0]],
                federation.states[federation.parties[0]],
                ShareRequest(epoch=1, advertisements=ads),
            )

    @pytest.mark.parametrize("old", [{"epoch": 2}, {"context": "11" * 32}], ids=["epoch", "run"])
    def test_a_channel_key_of_another_epoch_or_run_is_refused(self, old: dict[str, Any]) -> None:
        federation = Federation(3).advertise()
        victim, other, _ = federation.parties
        before = Federation(3, context=old.get("context", "00" * 32)).advertise(old.get("epoch", 1))
        for epoch in {1, before.advertised[other].epoch}:  # as it is, and with the number that is asked for
            replayed = before.advertised[other].model_copy(update={"epoch": epoch})
            ads = tuple((federation.advertised | {other: replayed}).values())
            with pytest.raises(MaskError):
                share(federation.members[victim], federation.states[victim], ShareRequest(epoch=1, advertisements=ads))

    def test_halves_that_were_shown_different_set_ups_never_share_a_sum(self) -> None:
        federation = Federation(6, 0, 0, min_sites=4).advertise()
        first, second = federation.parties[:4], federation.parties[2:]
        published = {}
        for party in federation.parties:
            shown = first if party in federation.parties[:3] else second
            request = ShareRequest(
                epoch=1, advertisements=tuple(federation.advertised[shown_party] for shown_party in shown)
            )
            federation.states[party], published[party] = share(
                federation.members[party], federation.states[party], request
            )
        both = federation.parties[2:4]  # in both, but told of one each
        for names, party in ((first, federation.parties[0]), (second, federation.parties[5])):
            seen = {name: published[name].key for name in names}
            request_for_sum = MaskRequest(
                epoch=1,
                index=1,
                keys=tuple(seen[name] for name in sorted(seen)),
                shares={name: published[name].shares.get(party, "00") for name in names if name != party},
            )
            assert set(both) < set(names)
            with pytest.raises(MaskError, match="another set-up"):
                open_sum(federation.members[party], federation.states[party], request_for_sum)

    def test_a_colluder_cannot_pass_a_share_off_that_was_sealed_under_a_copied_channel_key(self) -> None:
        """It copies its victim's channel key: what the victim sealed then opens with the colluder's channel too."""
        opened, answer, victim, colluder = self.copied_channel()
        assert colluder not in answer.seeds
        assert colluder not in answer.keys
        assert victim in answer.seeds
        assert opened == 0

    def test_control_without_the_names_under_the_seal_it_gets_both_secrets(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(node_module, "_about", lambda *_: b"")
        opened, *_ = self.copied_channel()
        assert opened == 2

    def copied_channel(self) -> tuple[int, Shares, str, str]:
        """How many of the victim's shares each honest site gives away: of its key, as "the colluder's"."""
        federation = Federation(5, 1, 1).advertise()
        victim, colluder, *honest = federation.parties
        copied = federation.advertised[victim].channel
        member = federation.members[colluder]
        said = {"context": member.context, "epoch": 1, "channel": copied}
        federation.advertised[colluder] = Advertisement(
            party=colluder, epoch=1, channel=copied, signature=sign(member.identity, "advertisement", said)
        )
        ads = tuple(federation.advertised.values())
        for party in (victim, *honest):
            federation.states[party], federation.published[party] = share(
                federation.members[party], federation.states[party], ShareRequest(epoch=1, advertisements=ads)
            )
        stolen = federation.published[victim]
        key = signed_key(federation, colluder, stolen.key, mask=public_of(new_secret()).hex())
        federation.published[colluder] = Published(
            key=key, shares={p: stolen.shares.get(p, "00") for p in federation.parties}
        )
        kept = federation.states[victim].next
        assert kept is not None
        asked, survivors = federation.requests(), tuple(sorted((victim, *honest)))
        for party in survivors:
            federation.mask(party, asked[party], np.zeros(SIZE, np.uint32))
        signatures = {party: federation.sign(party, survivors, 1).signature for party in survivors}
        answers = [federation.unmask(party, survivors, 1, signatures) for party in honest]
        place = places(federation.parties)
        leaked = {place[a.party]: bytes.fromhex(a.keys[colluder]) for a in answers if colluder in a.keys}
        own = {place[victim]: bytes.fromhex(kept.own_shares[1])}  # T = 4: the colluder's own share would do as well
        if len(leaked) < len(honest):
            return 0, answers[0], victim, colluder
        key_opened = join(leaked | own, 4).hex() == kept.key
        seeds = {place[a.party]: bytes.fromhex(a.seeds[victim]) for a in answers} | {
            place[victim]: bytes.fromhex(kept.own_shares[0])
        }
        return key_opened + (join(seeds, 4).hex() == kept.seed), answers[0], victim, colluder


class TestKeysOfASum:
    def opened_by_swapping(self) -> bool:
        """The hub tells a victim keys of its own in place of the others', then asks the others as ever."""
        federation = ready(3).copy()
        victim, *others = federation.parties
        vectors = drawn(federation.parties, SIZE, 1)
        secrets = {party: new_secret() for party in others}
        asked = federation.requests()
        forged = asked[victim]
        for party, secret in secrets.items():
            key = federation.published[party].key.model_copy(update={"mask": public_of(secret).hex()})
            forged = with_key(forged, key)
        masked = {party: federation.mask(party, asked[party], vectors[party]) for party in others}
        masked[victim] = federation.mask(victim, forged, vectors[victim])
        answers = [federation.unmask(party, federation.parties, 1) for party in federation.parties]
        place = places(federation.parties)
        seed = join({place[a.party]: bytes.fromhex(a.seeds[victim]) for a in answers}, 2)
        context = context_of(forged.keys[0].setup, 1, forged.keys)
        own = bytes.fromhex(next(key.mask for key in forged.keys if key.party == victim))
        add, take = list[bytes](), [seed_stream(seed, context, victim)]
        for party, secret in secrets.items():
            (take if victim < party else add).append(pair_stream(secret, own, context, (victim, party)))
        add_streams(masked[victim], add, take)
        return bool((masked[victim] == vectors[victim]).all())

    def test_a_hub_cannot_put_mask_keys_of_its_own_in(self) -> None:
        with pytest.raises(MaskError, match="mask-key"):
            self.opened_by_swapping()

    def test_control_without_the_signature_it_opens_a_vector(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(node_module, "require_signature", no_check)
        assert self.opened_by_swapping()

    @pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point.hex()[:6] + point.hex()[-2:])
    def test_a_point_of_small_order_is_no_mask_key(self, point: bytes) -> None:
        federation = ready(3)
        bad, victim, _ = federation.parties
        forged = signed_key(federation, bad, federation.published[bad].key, mask=point.hex())
        request = with_key(requests(federation.published)[victim], forged)
        with pytest.raises(MaskError, match="small order"):
            open_sum(federation.members[victim], federation.states[victim], request)

    @pytest.mark.parametrize("field", ["party", "epoch", "index", "setup", "mask", "commitment", "signature"])
    def test_no_field_of_a_key_can_be_changed(self, field: str) -> None:
        federation = ready(4, 1)
        victim, other, third, _ = federation.parties
        key = federation.published[other].key
        changed = {"party": third, "epoch": 2, "index": 2}.get(field, "ab" * (64 if field == "signature" else 32))
        keys = tuple(
            key.model_copy(update={field: changed}) if one.party == other else one
            for one in requests(federation.published)[victim].keys
            if field != "party" or one.party != third
        )
        request = requests(federation.published)[victim].model_copy(update={"keys": keys})
        with pytest.raises(MaskError):
            open_sum(federation.members[victim], federation.states[victim], request)

    def test_keys_of_an_earlier_sum_are_refused(self) -> None:
        federation = ready(3).copy()
        before = requests(federation.published)
        federation.sum(drawn(federation.parties, SIZE, 1))
        victim, other, _ = federation.parties
        now = requests(federation.published)[victim]
        old = federation_key(before[victim], other)
        for forged in (old, old.model_copy(update={"index": 2})):
            with pytest.raises(MaskError):
                open_sum(federation.members[victim], federation.states[victim], with_key(now, forged))

    def test_a_whole_round_cannot_be_replayed(self) -> None:
        federation = ready(3).copy()
        asked = requests(federation.published)
        federation.sum(drawn(federation.parties, SIZE, 1))
        for party in federation.parties:
            with pytest.raises(MaskError, match="another sum"):
                open_sum(federation.members[party], federation.states[party], asked[party])

    @pytest.mark.parametrize("change", [{"epoch": 2}, {"context": "11" * 32}], ids=["epoch", "run"])
    def test_keys_of_another_epoch_or_run_are_refused(self, change: dict[str, Any]) -> None:
        federation = ready(3)
        victim, other, _ = federation.parties
        elsewhere = Federation(3, context=change.get("context", "00" * 32)).set_up(change.get("epoch", 1))
        old = elsewhere.published[other].key
        request = requests(federation.published)[victim]
        setup = federation.published[other].key.setup
        for forged in (old, old.model_copy(update={"epoch": 1}), old.model_copy(update={"epoch": 1, "setup": setup})):
            with pytest.raises(MaskError):
                open_sum(federation.members[victim], federation.states[victim], with_key(request, forged))

    def test_a_party_that_is_not_in_the_set_up_is_in_no_sum(self) -> None:
        larger = Federation(4, 1, min_sites=3).advertise()
        three = larger.parties[:3]
        smaller = Federation(4, 0, min_sites=3)
        smaller.advertise()
        smaller.advertised = {party: smaller.advertised[party] for party in three}
        request = ShareRequest(epoch=1, advertisements=tuple(smaller.advertised.values()))
        for party in three:
            smaller.states[party], smaller.published[party] = share(
                smaller.members[party], smaller.states[party], request
            )
        stranger = larger.parties[3]  # on the roster, not in this set-up
        asked = requests(smaller.published)[three[0]]
        key = signed_key(smaller, stranger, asked.keys[1], mask=public_of(new_secret()).hex())
        added_to = asked.model_copy(update={"keys": (*asked.keys, key), "shares": asked.shares | {stranger: "00"}})
        with pytest.raises(MaskError, match="not in its set-up"):
            open_sum(smaller.members[three[0]], smaller.states[three[0]], added_to)

    def test_a_party_stands_in_a_sum_once(self) -> None:
        federation = ready(4, 1)
        victim = federation.parties[0]
        asked = requests(federation.published)[victim]
        with pytest.raises(MaskError, match="twice"):
            open_sum(
                federation.members[victim],
                federation.states[victim],
                asked.model_copy(update={"keys": (*asked.keys[:3], asked.keys[2])}),
            )

    @pytest.mark.parametrize("how", ["missing", "more", "own"])
    def test_a_sum_comes_with_the_shares_of_the_sites_in_it(self, how: str) -> None:
        federation = ready(5, 2)
        victim, *others = federation.parties
        asked = requests({party: federation.published[party] for party in federation.parties[:4]})[victim]
        shares = dict(asked.shares)
        if how == "missing":
            del shares[others[0]]
        else:
            shares[others[3] if how == "more" else victim] = shares[others[0]]
        changed = asked.model_copy(update={"shares": shares})
        with pytest.raises(MaskError, match="shares are not those"):
            open_sum(federation.members[victim], federation.states[victim], changed)

    def test_masks_of_other_sites_are_other_masks(self) -> None:
        """So that sites which were told of different sums have no mask in common: none cancels."""
        federation = ready(5, 2)
        victim = federation.parties[0]
        seen: list[bytes] = []
        for shown in (federation.parties, federation.parties[:4], federation.parties[:3]):
            asked = requests({party: federation.published[party] for party in shown})[victim]
            opening = open_sum(federation.members[victim], federation.states[victim], asked)
            seen += [*opening.plus, *opening.minus]
        assert len(seen) == len(set(seen)) == 5 + 4 + 3

    def test_a_site_masks_for_no_sum_without_it(self) -> None:
        federation = ready(4, 1)
        victim, *others = federation.parties
        asked = requests({party: federation.published[party] for party in others})[others[0]]
        with pytest.raises(MaskError, match="own key"):
            open_sum(federation.members[victim], federation.states[victim], asked)


def federation_key(request: MaskRequest, party: str) -> MaskKey:
    return next(key for key in request.keys if key.party == party)


Plan = Mapping[str, tuple[Collection[str], Collection[str] | None]]
"""For each honest site: who is in the sum, as it is told, and the list of survivors that it is asked about, if any."""


def play(start: Federation, colluders: Collection[str], plan: Plan) -> Adversary:
    """A hub tells each site what it likes, has lists signed, asks for shares; it ignores every refusal."""
    federation = start.copy()
    adversary = Adversary(federation, colluders)
    vectors = drawn(federation.parties, SIZE, 5)
    published = dict(federation.published)
    index = federation.index
    pool: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
    for party, (shown, survivors) in plan.items():
        request = requests({other: published[other] for other in shown})[party]
        adversary.saw(party, request, federation.mask(party, request, vectors[party]))
        if survivors is not None:
            said = tuple(sorted(survivors))
            signatures = pool.setdefault((adversary.context(party), said), {})
            signatures |= adversary.signatures(adversary.context(party), said)
            signatures[party] = federation.sign(party, said, index).signature
    for party, (_, survivors) in plan.items():
        if survivors is not None:
            said = tuple(sorted(survivors))
            try:
                answer = federation.unmask(party, said, index, pool[adversary.context(party), said])
            except MaskError:
                continue
            adversary.hear(answer)
    for piece, total in adversary.learned().items():  # what the attacker says that it learned is really so
        assert (total == added({party: vectors[party] for party in piece})).all()
    return adversary


def harmful(adversary: Adversary, terms: Parameters) -> bool:
    """Whether it learned two sums, or one of too few, or both secrets of a site."""
    learned = list(adversary.learned())
    honest = adversary.keys.keys() - adversary.colluders
    both = any(adversary.seed(party) and adversary.key(party) for party in honest)
    return both or len(learned) > 1 or any(len(piece) < max(2, terms.honest) for piece in learned)


MODELLED = [p for n in range(3, 8) for p in allowed(n)]


class TestLists:
    """Who is alive, as a hub tells it."""

    @settings(max_examples=60)
    @given(data=st.data())
    def test_whatever_a_hub_shows_it_learns_one_sum_of_enough_at_most(self, data: st.DataObject) -> None:
        """Sums, lists, and signatures as it likes; with as many colluders as the terms expect."""
        terms = data.draw(st.sampled_from(MODELLED))
        start = ready(terms.sites, terms.dropouts, terms.colluding)
        order = data.draw(st.permutations(start.parties))
        colluders, honest = order[: terms.colluding], sorted(order[terms.colluding :])
        sums = [start.parties] if data.draw(st.booleans()) else []
        sums += data.draw(st.lists(self.sets(start.parties, terms.fewest), min_size=1, max_size=2))
        lists = [sums[0], *data.draw(st.lists(self.sets(sums[0], terms.fewest), min_size=1, max_size=3))]
        plan: dict[str, tuple[Collection[str], Collection[str] | None]] = {}
        for party in honest:
            shown = data.draw(st.sampled_from([one for one in sums if party in one] or [()]))
            if shown:
                fitting = [said for said in [*lists, shown] if party in said and set(said) <= set(shown)]
                plan[party] = shown, data.draw(st.sampled_from([*fitting, None]))
        assert not harmful(play(start, colluders, plan), terms)

    @staticmethod
    def sets(parties: Collection[str], fewest: int) -> st.SearchStrategy[tuple[str, ...]]:
        return st.permutations(sorted(parties)).flatmap(
            lambda order: st.integers(fewest, len(order)).map(lambda size: tuple(sorted(order[:size])))
        )

    def splitting(self) -> tuple[Federation, Plan]:
        """Of five, T = 3: three lists of three that have two sites in common."""
        start = ready(5, 2)
        one, two, *rest = start.parties
        lists = [(one, two, third) for third in rest]
        plan = {third: (start.parties, said) for third, said in zip(rest, lists, strict=True)}
        return start, plan | {one: (start.parties, lists[0]), two: (start.parties, lists[1])}

    def test_a_hub_that_splits_the_sites_into_lists_gets_nothing(self) -> None:
        start, plan = self.splitting()
        adversary = play(start, (), plan)
        assert adversary.learned() == {}
        assert all(shares == {} for shares in (*adversary.seed_shares.values(), *adversary.key_shares.values()))

    def test_control_without_the_signed_list_it_opens_the_sum_of_two(self, monkeypatch: pytest.MonkeyPatch) -> None:
        start, plan = self.splitting()
        start = start.copy()
        learned = self.without_signatures(monkeypatch, start, plan)
        assert [len(piece) for piece in learned] == [2]

    def without_signatures(
        self, monkeypatch: pytest.MonkeyPatch, start: Federation, plan: Plan
    ) -> Mapping[frozenset[str], Words]:
        real = node_module.unmask
        threshold = Parameters.threshold

        def lenient(*args: Any) -> Any:
            monkeypatch.setattr(Parameters, "threshold", 0)
            try:
                return real(*args)
            finally:
                monkeypatch.setattr(Parameters, "threshold", threshold)

        monkeypatch.setattr("tests.support.secagg.unmask", lenient)
        return play(start, (), plan).learned()

    def test_shares_of_both_secrets_of_a_peer_are_never_given(self) -> None:
        federation = ready(4, 1).copy()
        peer, *others = federation.parties
        federation.mask_all(drawn(federation.parties, SIZE, 1))
        answer = federation.unmask(others[0], federation.parties, 1)
        assert peer in answer.seeds
        signatures = {party: federation.sign(party, others, 1).signature for party in others[1:]}
        with pytest.raises(MaskError, match="another list"):
            federation.sign(others[0], others, 1)
        with pytest.raises(MaskError, match="another list"):
            federation.unmask(others[0], others, 1, signatures)

    def test_nor_the_other_way_round(self) -> None:
        federation = ready(4, 1).copy()
        federation.mask_all(drawn(federation.parties, SIZE, 1))
        survivors = federation.parties[1:]
        signatures = {party: federation.sign(party, survivors, 1).signature for party in survivors}
        assert federation.parties[0] in federation.unmask(survivors[0], survivors, 1, signatures).keys
        for party in survivors:  # one that only signed is bound as well
            with pytest.raises(MaskError, match="another list"):
                federation.unmask(party, federation.parties, 1)

    def test_control_sites_that_forget_what_they_answered_open_a_vector(self) -> None:
        """What a state that is stored too late, or restored from a backup, would cost."""
        start = ready(4, 1).copy()
        adversary = Adversary(start)
        vectors = drawn(start.parties, SIZE, 1)
        for party, request in start.requests().items():
            adversary.saw(party, request, start.mask(party, request, vectors[party]))
        forgetful = start.copy()
        for party in start.parties:
            adversary.hear(start.unmask(party, start.parties, 1))
        survivors = start.parties[1:]
        signatures = {party: forgetful.sign(party, survivors, 1).signature for party in survivors}
        for party in survivors:
            adversary.hear(forgetful.unmask(party, survivors, 1, signatures))
        assert frozenset(start.parties[:1]) in adversary.learned()

    @pytest.mark.parametrize("terms", [Parameters(4, 0, 2), Parameters(6, 1, 2), Parameters(7, 1, 3)], ids=str)
    def test_the_hub_and_its_colluders_learn_the_sum_of_the_honest_and_no_more(self, terms: Parameters) -> None:
        start = ready(terms.sites, terms.dropouts, terms.colluding)
        colluders, honest = start.parties[: terms.colluding], start.parties[terms.colluding :]
        adversary = play(start, colluders, dict.fromkeys(honest, (start.parties, start.parties)))
        assert adversary.learned().keys() == {frozenset(honest)}
        for party in honest:
            assert len(adversary.key_shares[party]) == terms.colluding < terms.threshold
            assert adversary.key(party) is None

    def test_two_colluders_of_four_see_the_same_whatever_the_honest_split_of_a_sum(self) -> None:
        """Two honest sites' residues are the vectors ± one stream that nobody else has: any split explains them."""
        start = ready(4, 0, 2).copy()
        one, two = start.parties[2:]
        vectors = drawn(start.parties, SIZE, 5)
        adversary = play(start, start.parties[:2], dict.fromkeys((one, two), (start.parties, start.parties)))
        mine, theirs = start.states[one].next, start.published[two].key
        assert mine is not None
        secret = pair_stream(
            bytes.fromhex(mine.key or ""), bytes.fromhex(theirs.mask), adversary.context(one), (one, two)
        )
        stream = np.zeros(SIZE, np.uint32)
        add_streams(stream, [secret])
        residue = adversary._stripped([one])
        assert (residue == vectors[one] + stream).all()
        assert (adversary._stripped([two]) == vectors[two] - stream).all()
        assert not (residue == vectors[one]).any()

    def test_control_terms_that_expect_no_colluders_fall_to_two_of_four(self) -> None:
        start = ready(4, 1, 0)
        *colluders, one, two = start.parties
        plan = {one: (start.parties, (*colluders, one)), two: (start.parties, (*colluders, two))}
        learned = play(start, colluders, plan).learned()
        assert learned.keys() == {frozenset([one]), frozenset([two])}

    def test_a_list_needs_the_signatures_of_a_threshold(self) -> None:
        federation = ready(5, 2).copy()
        survivors = federation.parties[:3]
        federation.mask_all(drawn(federation.parties, SIZE, 1))
        signatures = {party: federation.sign(party, survivors, 1).signature for party in survivors}
        for missing in survivors:
            few = {party: said for party, said in signatures.items() if party != missing}
            with pytest.raises(MaskError, match="2 sites signed who is alive, 3 must"):
                federation.unmask(survivors[0], survivors, 1, few)
        assert len(federation.unmask(survivors[0], survivors, 1, signatures).keys) == 2

    @pytest.mark.parametrize("how", ["sum", "list", "kind", "copied", "stranger"])
    def test_a_signature_that_was_made_for_something_else_does_not_count(self, how: str) -> None:
        federation = ready(5, 2).copy()
        survivors = federation.parties[:3]
        if how == "sum":
            earlier = federation.copy()
            earlier.mask_all(drawn(federation.parties, SIZE, 1))
            old = {party: earlier.sign(party, survivors, 1).signature for party in survivors}
            federation.sum(drawn(federation.parties, SIZE, 1))
        index = federation.index
        federation.mask_all(drawn(federation.parties, SIZE, 2))
        signatures = {party: federation.copy().sign(party, survivors, index).signature for party in survivors}
        one, two, three = survivors
        last = federation.states[three].last
        assert last is not None
        said = [last.context, list(survivors)]
        identity = federation.members[three].identity
        if how == "sum":
            signatures[three] = old[three]
        elif how == "list":
            signatures[three] = federation.copy().sign(three, federation.parties[1:4], index).signature
        elif how == "kind":
            signatures[three] = sign(identity, "mask-key", said)
        elif how == "copied":
            signatures[three] = signatures[two]
        else:
            stranger = Federation(6).parties
            outsider = next(party for party in stranger if party not in federation.parties)
            del signatures[three]
            signatures[outsider] = sign(Federation(6).members[outsider].identity, "survivors", said)
        with pytest.raises(MaskError, match=r"signature|signed"):
            federation.unmask(one, survivors, index, signatures)

    @pytest.mark.parametrize("how", ["without it", "unsorted", "twice", "stranger"])
    def test_a_list_that_is_none_is_neither_signed_nor_answered(self, how: str) -> None:
        federation = ready(5, 2).copy()
        federation.mask_all(drawn(federation.parties, SIZE, 1))
        victim, *others = federation.parties
        survivors = {
            "without it": tuple(others),
            "unsorted": tuple(reversed(federation.parties)),
            "twice": (victim, *others, others[-1]),
            "stranger": tuple(sorted((*federation.parties[:4], "SHA256:" + "A" * 43))),
        }[how]
        member, state = federation.members[victim], federation.states[victim]
        with pytest.raises(MaskError):
            sign_survivors(member, state, SurvivorsRequest(epoch=1, index=1, survivors=survivors))
        with pytest.raises(MaskError):
            unmask(member, state, UnmaskRequest(epoch=1, index=1, survivors=survivors))

    def test_nothing_is_answered_before_a_vector_was_masked(self) -> None:
        federation = ready(4, 1).copy()
        for party in federation.parties:
            with pytest.raises(MaskError, match="nothing was masked"):
                federation.unmask(party, federation.parties, 1)

    def test_a_hub_that_withholds_a_request_gets_no_answer_about_that_sum_later(self) -> None:
        federation = ready(4, 1).copy()
        federation.mask_all(drawn(federation.parties, SIZE, 1))
        federation.mask_all(drawn(federation.parties, SIZE, 2))
        for party in federation.parties:
            with pytest.raises(MaskError, match="another sum"):
                federation.unmask(party, federation.parties, 1)

    def test_every_part_of_a_sum_keeps_enough_of_the_sites_that_supply_it(self) -> None:
        names = Federation(5).parties
        federation = Federation(5, 2, supports=(frozenset(names[:3]),)).set_up()
        federation.mask_all(drawn(names, SIZE, 1))
        with pytest.raises(MaskError, match="supply a part"):
            federation.sign(names[0], (names[0], *names[2:]), 1)
        federation.sign(names[0], names[:4], 1)

    def test_a_site_that_was_left_out_of_a_sum_does_not_come_back_in_the_set_up(self) -> None:
        """Or a hub leaves each out in turn, and the differences of what should be one sum are single sites."""
        federation = ready(5, 1).copy()
        absent, *others = federation.parties
        late = federation.requests()[absent]
        federation.sum(drawn(federation.parties, SIZE, 1), never=[absent])
        federation.mask(absent, late, np.zeros(SIZE, np.uint32))  # it answers late, and has a key for the next sum
        assert absent in federation.published
        request = requests(federation.published)[others[0]]
        with pytest.raises(MaskError):
            open_sum(federation.members[others[0]], federation.states[others[0]], request)


class TestOneKeyOneVector:
    def test_a_site_masks_once_for_one_sum(self) -> None:
        federation = ready(3).copy()
        asked = federation.requests()
        for party in federation.parties:
            federation.mask(party, asked[party], np.zeros(SIZE, np.uint32))
            with pytest.raises(MaskError, match="another sum"):
                open_sum(federation.members[party], federation.states[party], asked[party])

    def test_an_opening_masks_one_vector(self) -> None:
        """The difference of two vectors under one mask is the difference of the data."""
        federation = ready(3).copy()
        party = federation.parties[0]
        member = federation.members[party]
        opening = open_sum(member, federation.states[party], federation.requests()[party])
        state, _ = mask(member, federation.states[party], opening, np.zeros(SIZE, np.uint32))
        with pytest.raises(MaskError):
            mask(member, state, opening, np.ones(SIZE, np.uint32))

    @pytest.mark.parametrize("colluding", [0, 2])
    def test_after_masking_the_state_holds_no_secret_of_that_sum(self, colluding: int) -> None:
        federation = ready(4, 0, colluding).copy()
        party = federation.parties[0]
        before = federation.states[party].next
        assert before is not None
        secrets = (before.seed, before.key)
        assert all(str(secret) in federation.states[party].model_dump_json() for secret in secrets)
        federation.mask_all(drawn(federation.parties, SIZE, 1))
        after = federation.states[party]
        assert all(str(secret) not in after.model_dump_json() for secret in secrets)
        assert after.last is not None
        assert (after.last.seed, after.last.key) == (None, None)
        assert after.next is not None
        assert not {after.next.seed, after.next.key} & set(secrets)
        federation.mask_all(drawn(federation.parties, SIZE, 2))  # what was sealed for the first sum is gone as well
        assert all(text not in federation.states[party].model_dump_json() for text in after.last.sealed.values())

    def test_a_state_survives_its_text(self) -> None:
        federation = ready(4, 1).copy()
        federation.mask_all(drawn(federation.parties, SIZE, 1))
        for state in federation.states.values():
            assert Epoch.read(state.text()) == state

    def test_every_mask_of_a_run_has_a_key_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        used: dict[str, list[bytes]] = {}
        federation = ready(5, 1).copy()

        def noted(vector: Words, plus: Collection[bytes], minus: Collection[bytes] = ()) -> None:
            used[current].extend([*plus, *minus])
            add_streams(vector, list(plus), list(minus))

        monkeypatch.setattr(node_module, "add_streams", noted)
        for _ in range(3):
            for party, request in federation.requests().items():
                current = party
                used.setdefault(party, [])
                federation.mask(party, request, np.zeros(SIZE, np.uint32))
        assert all(len(keys) == len(set(keys)) == 15 for keys in used.values())
        counted = [key for keys in used.values() for key in keys]
        assert sorted({counted.count(key) for key in set(counted)}) == [1, 2]  # own masks, and those of pairs

    def test_a_site_that_drops_out_of_a_sum_does_not_open_the_one_before(self) -> None:
        federation = ready(5, 2).copy()
        vectors = {number: drawn(federation.parties, SIZE, number) for number in (1, 2)}
        first = Adversary(federation)
        for party, request in federation.requests().items():
            first.saw(party, request, federation.mask(party, request, vectors[1][party]))
        for party in federation.parties:
            first.hear(federation.unmask(party, federation.parties, 1))
        dropped, *survivors = federation.parties
        second = Adversary(federation)
        for party, request in federation.requests().items():
            if party != dropped:
                second.saw(party, request, federation.mask(party, request, vectors[2][party]))
        signatures = {party: federation.sign(party, survivors, 2).signature for party in survivors}
        for party in survivors:
            second.hear(federation.unmask(party, survivors, 2, signatures))
        opened = second.key(dropped)
        assert opened is not None  # this is what the hub now has of it
        assert second.learned().keys() == {frozenset(survivors)}
        assert first.learned().keys() == {frozenset(federation.parties)}
        assert public_of(opened).hex() != first.keys[dropped].mask
        for shares in first.key_shares.values():
            assert shares == {}
        guess = first._stripped([dropped])  # its own mask is off; the pairs' of the first sum are not opened by it
        context = first.context(dropped)
        for party in survivors:
            stream = pair_stream(opened, bytes.fromhex(first.keys[party].mask), context, (dropped, party))
            add_streams(guess, [] if dropped < party else [stream], [stream] if dropped < party else [])
        assert not (guess == vectors[1][dropped]).any()
        for party in survivors:  # nor does anybody answer for the first sum any more
            with pytest.raises(MaskError):
                federation.unmask(party, survivors, 1, signatures)


class TestShares:
    def answered(
        self, change: Callable[[dict[str, MaskRequest], Federation], None]
    ) -> tuple[Federation, dict[str, Shares]]:
        """A round in which the hub changes what it passes on."""
        federation = ready(5, 2).copy()
        asked = requests(federation.published)
        change(asked, federation)
        for party in federation.parties:
            federation.mask(party, asked[party], np.zeros(SIZE, np.uint32))
        return federation, {party: federation.unmask(party, federation.parties, 1) for party in federation.parties}

    def test_shares_that_a_hub_swaps_between_receivers_open_for_nobody(self) -> None:
        def swap(asked: dict[str, MaskRequest], federation: Federation) -> None:
            sender, one, two, *_ = federation.parties
            ours, theirs = asked[one].shares[sender], asked[two].shares[sender]
            asked[one] = asked[one].model_copy(update={"shares": asked[one].shares | {sender: theirs}})
            asked[two] = asked[two].model_copy(update={"shares": asked[two].shares | {sender: ours}})

        federation, answers = self.answered(swap)
        sender, one, two, *rest = federation.parties
        assert all(sender not in answers[party].seeds for party in (one, two))
        assert all(sender in answers[party].seeds for party in rest)
        assert one in answers[two].seeds  # the others' are as they were

    def test_nor_between_senders(self) -> None:
        def swap(asked: dict[str, MaskRequest], federation: Federation) -> None:
            one, two, receiver, *_ = federation.parties
            shares = asked[receiver].shares
            swapped = shares | {one: shares[two], two: shares[one]}
            asked[receiver] = asked[receiver].model_copy(update={"shares": swapped})

        federation, answers = self.answered(swap)
        one, two, receiver, other, _ = federation.parties
        assert not {one, two} & answers[receiver].seeds.keys()
        assert {one, two} < answers[other].seeds.keys()

    def test_nor_those_of_an_earlier_sum(self) -> None:
        federation = ready(5, 2).copy()
        old = requests(federation.published)
        federation.sum(drawn(federation.parties, SIZE, 1))
        asked = requests(federation.published)
        sender, receiver, *_ = federation.parties
        stale = asked[receiver].shares | {sender: old[receiver].shares[sender]}
        asked[receiver] = asked[receiver].model_copy(update={"shares": stale})
        for party in federation.parties:
            federation.mask(party, asked[party], np.zeros(SIZE, np.uint32))
        assert sender not in federation.unmask(receiver, federation.parties, 2).seeds

    def total(
        self, federation: Federation, change: Callable[[dict[str, Shares]], None], **how: Any
    ) -> tuple[Words, Words]:
        """What the hub has, and what it should have, after some site answered otherwise."""
        keys = {party: said.key for party, said in federation.published.items()}
        vectors = drawn(federation.parties, SIZE, 3)
        came = federation.mask_all(vectors, how.get("lost", ()))
        survivors = sorted(came)
        signatures = {party: federation.sign(party, survivors, 1).signature for party in survivors}
        answers = {party: federation.unmask(party, survivors, 1, signatures) for party in survivors}
        change(answers)
        total = added(came)
        terms = federation.parameters
        remove_masks(total, federation.parties, terms.threshold, keys=keys, answers=answers, survivors=survivors)
        return total, added({party: vectors[party] for party in survivors})

    @pytest.mark.parametrize("liar", [0, 2, 4])
    @pytest.mark.parametrize("lost", [0, 1])
    def test_a_wrong_share_is_noticed_and_the_others_do(self, liar: int, lost: int) -> None:
        federation = ready(5, 2).copy()
        gone = [party for place, party in enumerate(federation.parties) if place != liar][:lost]
        name = federation.parties[liar]

        def lie(answers: dict[str, Shares]) -> None:
            said = answers[name]
            wrong = {"seeds": dict.fromkeys(said.seeds, "ab" * 32), "keys": dict.fromkeys(said.keys, "cd" * 32)}
            answers[name] = said.model_copy(update=wrong)

        total, expected = self.total(federation, lie, lost=gone)
        assert (total == expected).all()

    @pytest.mark.parametrize("liar", [0, 13])
    def test_one_wrong_share_among_fourteen_is_noticed_and_the_others_do(self, liar: int) -> None:
        federation = ready(14).copy()
        name = federation.parties[liar]

        def lie(answers: dict[str, Shares]) -> None:
            answers[name] = answers[name].model_copy(update={"seeds": dict.fromkeys(federation.parties, "ab" * 32)})

        total, expected = self.total(federation, lie)
        assert (total == expected).all()

    def test_a_share_that_is_sent_again_as_another_sites_does_not_count(self) -> None:
        federation = ready(4, 1).copy()  # T = 3
        _, two, three, four = federation.parties

        def copy(answers: dict[str, Shares]) -> None:
            del answers[four]
            answers[three] = answers[three].model_copy(update={"seeds": answers[two].seeds})

        with pytest.raises(MaskError, match="wrong"):
            self.total(federation, copy)

    def test_fewer_shares_than_the_threshold_give_nothing(self) -> None:
        federation = ready(4, 1).copy()

        def withhold(answers: dict[str, Shares]) -> None:
            for party in federation.parties[:2]:
                del answers[party]

        with pytest.raises(MaskError, match="2 sites sent a share that is needed, 3 must"):
            self.total(federation, withhold)


class TestTexts:
    """What a hub may write into a message."""

    REQUESTS = (ShareRequest, MaskRequest, SurvivorsRequest, UnmaskRequest, Published, MaskedReply, Shares)

    @pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
    @pytest.mark.parametrize(
        "text",
        [
            None,
            7,
            b"{}",
            "",
            "{",
            "[]",
            "null",
            "{}",
            '{"epoch": NaN}',
            "[" * 100_000,
            '{"epoch":1,"more":2}',
            "\ud800",
        ],
        ids=lambda text: repr(text)[:14],
    )
    def test_what_is_no_such_message_is_refused(self, kind: type[ShareRequest], text: object) -> None:
        with pytest.raises(MaskError):
            kind.read(text)

    def test_a_text_beyond_the_limit_is_not_parsed(self) -> None:
        request = requests(ready(3).published)[ready(3).parties[0]]
        text = request.text()
        assert MaskRequest.read(text + " " * (MAX_TEXT - len(text))) == request
        with pytest.raises(MaskError, match="there is no MaskRequest"):
            MaskRequest.read(text + " " * (MAX_TEXT + 1 - len(text)))

    @pytest.mark.parametrize(
        ("field", "wrong"),
        [
            ("party", "SHA256:short"),
            ("party", "SHA256:" + "A" * 43 + "\n"),
            ("mask", "AB" * 32),
            ("mask", "ab" * 31),
            ("mask", "ab" * 33),
            ("signature", "zz" * 64),
            ("epoch", 0),
            ("epoch", -1),
            ("epoch", 2**53),
            ("index", 1.5),
            ("index", None),
            ("setup", ["ab" * 32]),
        ],
    )
    def test_a_key_with_a_wrong_field_is_refused(self, field: str, wrong: object) -> None:
        key = next(iter(ready(3).published.values())).key
        fields = json.loads(key.text())
        assert MaskKey.read(json.dumps(fields)) == key
        with pytest.raises(MaskError, match="malformed MaskKey"):
            MaskKey.read(json.dumps(fields | {field: wrong}))

    def test_more_parties_than_a_set_up_may_have_are_refused(self) -> None:
        names = tuple(f"SHA256:{number:043d}" for number in range(1001))
        texts = [
            SurvivorsRequest.model_construct(epoch=1, index=1, survivors=names[:count]).text() for count in (1000, 1001)
        ]
        assert len(SurvivorsRequest.read(texts[0]).survivors) == 1000
        with pytest.raises(MaskError, match="too_long"):
            SurvivorsRequest.read(texts[1])

    def test_no_refusal_repeats_what_was_sent(self) -> None:
        with pytest.raises(MaskError) as caught:
            MaskKey.read('{"party": "a patient\'s name", "epoch": 1}')
        assert "patient" not in str(caught.value)


def pieces(vector: Words) -> list[bytes]:
    """What a transcript must not hold of a plain vector: it whole, and pieces of eight numbers."""
    return [vector.tobytes(), *(vector[start : start + 8].tobytes() for start in range(0, len(vector), 8))]


class TestTranscript:
    def transcript(self, make: Callable[[Federation], dict[str, Words]]) -> tuple[bytes, dict[str, Words]]:
        """Every byte that passes the hub in two rounds, one of them with a loss."""
        federation = Federation(5, 1).set_up()
        vectors = make(federation)
        federation.sum(vectors)
        federation.sum(vectors, never=federation.parties[:1])
        return b"\n".join(federation.transcript), vectors

    @staticmethod
    def found(transcript: bytes, vectors: dict[str, Words]) -> bool:
        return any(
            piece in transcript or piece.hex().encode() in transcript for v in vectors.values() for piece in pieces(v)
        )

    @pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
    @pytest.mark.parametrize("zero", [False, True])
    def test_no_update_passes_the_hub_in_the_clear(self, zero: bool, dtype: type[np.uint32 | np.uint64]) -> None:
        def make(federation: Federation) -> dict[str, Words]:
            if zero:
                return {party: np.zeros(64, dtype) for party in federation.parties}
            return drawn(federation.parties, 64, 1, dtype)

        assert not self.found(*self.transcript(make))

    @pytest.mark.parametrize("zero", [False, True])
    def test_control_without_masks_the_search_finds_them(self, zero: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(node_module, "add_streams", no_check)
        monkeypatch.setattr(hub_module, "add_streams", no_check)

        def make(federation: Federation) -> dict[str, Words]:
            return (
                {party: np.zeros(64, np.uint32) for party in federation.parties}
                if zero
                else drawn(federation.parties, 64, 1)
            )

        assert self.found(*self.transcript(make))

    def test_no_secret_passes_the_hub_in_the_clear(self) -> None:
        federation = ready(4, 1).copy()
        secrets = []
        for state in federation.states.values():
            assert state.next is not None
            secrets += [state.channel, state.next.seed, state.next.key, *state.next.own_shares]
        federation.mask_all(drawn(federation.parties, SIZE, 1))
        transcript = b"".join(federation.transcript)
        assert not any(str(secret).encode() in transcript for secret in secrets)

    def test_nothing_secret_is_printed(self) -> None:
        federation = ready(3)
        party = federation.parties[0]
        opening = open_sum(federation.members[party], federation.states[party], requests(federation.published)[party])
        assert not any(repr(key) in repr(opening) for key in (*opening.plus, *opening.minus))
        assert "Ed25519PrivateKey" not in repr(federation.members[party])
        state = federation.states[party]
        assert state.next is not None
        assert not any(str(secret) in repr(state) for secret in (state.channel, state.next.seed, state.next.key))
