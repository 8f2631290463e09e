"""What travels between gates and hub, as strict models: one JSON text in the record "flame" of a message.

Every list is bounded, every number is, and nothing unknown passes: the texts come from the hub, and through it from
other DIZ.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.parameters import MOST_SITES

KEY = "secure_aggregation"
"""The entry of the record "flame" that these texts travel in."""
ADVERTISE, SHARE = "query.flame_sa_keys", "query.flame_sa_shares"
SURVIVORS, UNMASK = "query.flame_sa_survivors", "query.flame_sa_unmask"
TEST = "query.flame_sa_test"
MASKED_RECORD, MASKED_ARRAY = "flame_masked", "vector"
"""Where a masked vector travels."""
TEST_RECORD = "flame_test"
"""Where the sealed bytes of a minimum-count test travel: one array of bytes for each DIZ, by its fingerprint."""
MAX_TEXT = 1 << 22

Party = Annotated[str, StringConstraints(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]
"""A DIZ, by the fingerprint of its identity key."""
Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
Sealed = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){1,256}$")]
Number = Annotated[int, Field(ge=1, le=1 << 40)]


class Strict(BaseModel):
    """Base of all messages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def read(cls, text: object) -> Self:
        """Parse a text.

        Raises:
            MaskError: It is no such message.
        """
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            raise MaskError(f"there is no {cls.__name__} in the message")
        try:
            return cls.model_validate_json(text)
        except ValidationError as err:
            raise MaskError(f"a malformed {cls.__name__}: {err.errors(include_input=False)[0]['type']}") from None

    def text(self) -> str:
        """The message as text."""
        return self.model_dump_json()


class AdvertiseRequest(Strict):
    """Begin a set-up: its number is one that the run did not have before."""

    epoch: Number


class Advertisement(Strict):
    """A DIZ's key for sealed messages of one set-up."""

    party: Party
    epoch: Number
    channel: Hex32
    signature: Signature


class ShareRequest(Strict):
    """All keys of a set-up: who takes part is decided by this."""

    epoch: Number
    advertisements: Annotated[tuple[Advertisement, ...], Field(max_length=MOST_SITES)]


class MaskKey(Strict):
    """A DIZ's public key for one sum, and a commitment to its own mask's seed."""

    party: Party
    epoch: Number
    index: Number
    setup: Hex32
    mask: Hex32
    commitment: Hex32
    signature: Signature


class Published(Strict):
    """What a DIZ says one sum ahead: its key, and for each DIZ of the set-up its sealed shares of both secrets."""

    key: MaskKey
    shares: Annotated[dict[Party, Sealed], Field(max_length=MOST_SITES)]


class MaskRequest(Strict):
    """Who is in a sum: their keys, and what they sealed for the receiver."""

    epoch: Number
    index: Number
    keys: Annotated[tuple[MaskKey, ...], Field(max_length=MOST_SITES)]
    shares: Annotated[dict[Party, Sealed], Field(max_length=MOST_SITES)]


class SurvivorsRequest(Strict):
    """Whose masked vectors came: to be signed, if somebody's did not."""

    epoch: Number
    index: Number
    survivors: Annotated[tuple[Party, ...], Field(max_length=MOST_SITES)]


class UnmaskRequest(Strict):
    """The same list, with the signatures of those that saw it."""

    epoch: Number
    index: Number
    survivors: Annotated[tuple[Party, ...], Field(max_length=MOST_SITES)]
    signatures: Annotated[dict[Party, Signature], Field(max_length=MOST_SITES)] = Field(default_factory=dict)


class Signed(Strict):
    """A DIZ's signature under a list of survivors."""

    party: Party
    signature: Signature


class Shares(Strict):
    """A DIZ's shares: of the seed of those that are in the sum, of the key of those that are not."""

    party: Party
    seeds: Annotated[dict[Party, Hex32], Field(max_length=MOST_SITES)]
    keys: Annotated[dict[Party, Hex32], Field(max_length=MOST_SITES)]


class MaskedReply(Strict):
    """What comes beside a masked vector: how it is to be read, and the next sum's key."""

    party: Party
    epoch: Number
    index: Number
    layout: str
    published: Published
    context: Hex32 | None = None
    """What the sum is bound to: sites that name different ones were asked different things."""


class TestStep(Strict):
    """One exchange of a minimum-count test, whose sealed bytes travel beside it as arrays."""

    party: Party | None = None
    epoch: Number
    index: Number
    exchange: Annotated[int, Field(ge=1, le=64)]
