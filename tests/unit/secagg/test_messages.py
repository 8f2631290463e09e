"""What travels: each message is read back as it was, and states only what it may."""

import json

import pytest

from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.messages import Advertisement, MaskedReply, MaskKey, Published, Strict, UnmaskRequest
from tests.support.secagg import Federation

FEDERATION = Federation(4, 1).set_up()
PARTY = FEDERATION.parties[0]
PUBLISHED = FEDERATION.published[PARTY]
MESSAGES: list[Strict] = [
    FEDERATION.advertised[PARTY],
    PUBLISHED,
    PUBLISHED.key,
    FEDERATION.requests()[PARTY],
    UnmaskRequest(epoch=1, index=1, survivors=FEDERATION.parties, signatures={PARTY: "ab" * 64}),
    MaskedReply(party=PARTY, epoch=1, index=1, layout="{}", published=PUBLISHED),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
class TestEach:
    def test_is_read_as_it_was_written(self, message: Strict) -> None:
        assert type(message).read(message.text()) == message

    def test_holds_nothing_unknown_and_misses_nothing(self, message: Strict) -> None:
        fields = json.loads(message.text())
        with pytest.raises(MaskError, match="extra_forbidden"):
            type(message).read(json.dumps(fields | {"more": 1}))
        for name in fields:
            if type(message).model_fields[name].is_required():
                with pytest.raises(MaskError, match="missing"):
                    type(message).read(json.dumps({key: value for key, value in fields.items() if key != name}))

    def test_cannot_be_changed(self, message: Strict) -> None:
        with pytest.raises(ValueError, match="frozen"):
            message.epoch = 7  # type: ignore[attr-defined]


def test_a_signature_is_64_bytes_and_a_key_32() -> None:
    assert len(bytes.fromhex(PUBLISHED.key.signature)) == 64
    for key in (PUBLISHED.key.mask, PUBLISHED.key.commitment, PUBLISHED.key.setup):
        assert len(bytes.fromhex(key)) == 32


def test_a_site_publishes_a_share_for_everybody_else() -> None:
    assert PUBLISHED.shares.keys() == set(FEDERATION.parties) - {PARTY}
    assert {len(bytes.fromhex(text)) for text in PUBLISHED.shares.values()} == {12 + 64 + 16}


def test_names_in_an_error_are_those_of_fields_only() -> None:
    for kind in (Advertisement, MaskKey, Published):
        with pytest.raises(MaskError, match=f"^a malformed {kind.__name__}: [a-z_]+$"):
            kind.read('{"party": 5}')
