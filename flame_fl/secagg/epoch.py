"""What a DIZ remembers of one set-up, and the digests that bind everything in it together.

The state is small (keys, no vectors) and goes to the gate's database between messages. A DIZ's own secrets of a sum
are dropped with the transaction that stores its masked vector; what others sealed for it, once the next sum is masked.
"""

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import Field

from flame_fl.contract.canonical import digest, sha256_hex
from flame_fl.secagg.keys import agree
from flame_fl.secagg.messages import Hex32, MaskKey, Number, Party, Sealed, Strict
from flame_fl.secagg.parameters import MOST_SITES, Parameters
from flame_fl.secagg.streams import derive


class Sum(Strict):
    """One sum, from the key that was published for it to its unmasking."""

    index: Number
    seed: Hex32 | None = Field(repr=False)
    """Of the own mask; None once the vector is masked."""
    key: Hex32 | None = Field(repr=False)
    """The private X25519 key; None likewise."""
    own_shares: tuple[Hex32, Hex32] = Field(repr=False)
    """The DIZ's own share of its seed and of its key."""
    context: Hex32 | None = None
    """What the sum is bound to; None before the vector is masked."""
    sealed: dict[Party, Sealed] = Field(default_factory=dict)
    """Who is in the sum, and what each sealed for this DIZ; for itself nothing."""
    whole: bool = False
    """Its counts were tested over all its sites: it is unmasked for all of them, or not at all."""
    listed: tuple[Party, ...] | None = None
    """The list of survivors that was signed or answered."""

    @property
    def masked(self) -> bool:
        """Whether the vector was masked."""
        return self.context is not None


class Epoch(Strict):
    """One set-up of one run at one DIZ."""

    epoch: Number
    channel: Hex32 = Field(repr=False)
    """Private key for sealed messages."""
    dropouts: int
    colluding: int
    holders: Annotated[dict[Party, Hex32], Field(max_length=MOST_SITES)] = Field(default_factory=dict)
    """Who takes part, with their public keys for sealed messages; empty before the second message."""
    setup: Hex32 | None = None
    sums: tuple[Sum, ...] = ()
    """The sum masked last, if any, and the next one."""

    @property
    def parameters(self) -> Parameters:
        """Of this set-up."""
        return Parameters(len(self.holders), self.dropouts, self.colluding)

    @property
    def next(self) -> Sum | None:
        """The sum that is not masked yet."""
        return self.sums[-1] if self.sums and not self.sums[-1].masked else None

    @property
    def last(self) -> Sum | None:
        """The sum that was masked last."""
        return next((one for one in reversed(self.sums) if one.masked), None)


def setup_of(context: str, epoch: int, parameters: Parameters, channels: Mapping[str, str]) -> str:
    """The digest of a set-up: the run, who takes part, and on what terms."""
    return digest(
        {
            "context": context,
            "epoch": epoch,
            "dropouts": parameters.dropouts,
            "colluding": parameters.colluding,
            "channels": dict(channels),
        }
    )


def context_of(setup: str, index: int, keys: Collection[MaskKey], asked: str = "") -> str:
    """The digest of a sum: who is in it, with which keys, and what was asked. Every mask is bound to it.

    Sites that are asked different things (a histogram with other edges, a model that answers nothing) would else add
    up, and the sum of one real answer and of trivial ones is that answer.
    """
    stated = {key.party: [key.mask, key.commitment] for key in keys}
    return digest({"setup": setup, "index": index, "keys": stated, "asked": asked})


def places(holders: Collection[str]) -> dict[str, int]:
    """Each DIZ's place in the sharing, from 1."""
    return {party: place for place, party in enumerate(sorted(holders), 1)}


def commitment_of(seed: bytes) -> str:
    """What is published of a seed beforehand, so that a wrong share is noticed."""
    return sha256_hex(b"flame-secure-aggregation-1 seed\n", seed)


def seed_stream(seed: bytes, context: str, party: str) -> bytes:
    """Key of a DIZ's own mask."""
    return derive(seed, salt=bytes.fromhex(context), info=f"own\n{party}".encode())


def pair_stream(private: bytes, public: bytes, context: str, parties: tuple[str, str]) -> bytes:
    """Key of the mask that two DIZ share; the one that sorts first adds it, the other subtracts it."""
    first, second = sorted(parties)
    return derive(agree(private, public), salt=bytes.fromhex(context), info=f"pair\n{first}\n{second}".encode())


def channel_key(private: bytes, public: bytes, setup: str) -> bytes:
    """Key of the sealed messages between two DIZ. Who seals for whom is in what each is bound to."""
    return derive(agree(private, public), salt=bytes.fromhex(setup), info=b"channel")
