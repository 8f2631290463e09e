"""Secure aggregation, against Flower's SecAgg+ helpers.

    python benchmarks/secagg.py [--pairs 5] [--parameters 10000000] [--sites 10] [--json]

Mask: seconds of processor time for what one of ten sites does to a vector of ten million numbers modulo 2^32, keys
agreed on and streams added: ours with 256-bit keys, shares of the next keys and all signatures, against Flower's
helpers in the order in which its SecAgg+ mod calls them (`pseudo_rand_gen`, whose seed is 32 bits). A row is written
only if ours comes off again.

Round: seconds of wall time for a whole round of ten sites with a million parameters, three of them lost after the keys
were out, everything that ten sites and the hub do, one after the other in one process. The right sum is checked.

Upload: bytes of a masked vector of a million parameters with the text beside it, over those of plain float32.

Ours and the peer's runs alternate.
"""

import argparse
import base64
import hashlib
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.secagg.encoding import Layout, Part
from flame_fl.secagg.epoch import Epoch
from flame_fl.secagg.hub import remove_masks, requests
from flame_fl.secagg.messages import (
    MaskedReply,
    MaskRequest,
    Published,
    ShareRequest,
    SurvivorsRequest,
    UnmaskRequest,
)
from flame_fl.secagg.node import Member, advertise, mask, open_sum, share, sign_survivors, unmask
from flame_fl.secagg.streams import add_streams

Vector = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Row:
    """What was measured: one number of ours per run, or pairs with a peer's."""

    work: str
    ours: Sequence[float]
    unit: str
    aim: float
    peer: Sequence[float] | None = None
    """With a peer the aim is one of the ratios peer ÷ ours, of which more is better; else of ours, less is."""

    @property
    def ratios(self) -> list[float]:
        return [p / o for o, p in zip(self.ours, self.peer or self.ours, strict=True)]

    def as_json(self) -> dict[str, object]:
        found: dict[str, object] = {"work": self.work, "ours": statistics.median(self.ours), "unit": self.unit}
        if self.peer:
            found |= {"peer": statistics.median(self.peer), "ratio": statistics.median(self.ratios)}
        spread = self.ratios if self.peer else self.ours
        return found | {"spread": [min(spread), max(spread)], "aim": self.aim}

    def __str__(self) -> str:
        ours = f"{self.work}: ours {statistics.median(self.ours):.3g} {self.unit}"
        if not self.peer:
            return f"{ours} (aim ≤ {self.aim:g}; {min(self.ours):.3g} to {max(self.ours):.3g})"
        ratio = f"{statistics.median(self.ratios):.3g} (peer ÷ ours, aim ≥ {self.aim:g}"
        spread = f"{min(self.ratios):.3g} to {max(self.ratios):.3g})"
        return f"{ours}, peer {statistics.median(self.peer):.3g} {self.unit}, ratio {ratio}; {spread}"


class Sites:
    """Ten sites, or so many, with keys for a first sum."""

    def __init__(self, count: int, dropouts: int, colluding: int) -> None:
        identities = [Ed25519PrivateKey.generate() for _ in range(count)]
        named = {_fingerprint(identity): identity for identity in identities}
        roster = {party: identity.public_key() for party, identity in named.items()}
        self.members = {
            party: Member(identity, party, roster, "00" * 32, dropouts, colluding, count)
            for party, identity in named.items()
        }
        begun = {party: advertise(member, 1) for party, member in self.members.items()}
        ads = ShareRequest(epoch=1, advertisements=tuple(said for _, said in begun.values()))
        self.states: dict[str, Epoch] = {}
        self.published: dict[str, Published] = {}
        for party, member in self.members.items():
            self.states[party], self.published[party] = share(member, begun[party][0], ads)

    def mask(self, party: str, request: MaskRequest, vector: Vector) -> Published:
        """One site's work; its state is the next one."""
        opening = open_sum(self.members[party], self.states[party], request)
        self.states[party], said = mask(self.members[party], self.states[party], opening, vector)
        return said


def _fingerprint(identity: Ed25519PrivateKey) -> str:
    hashed = hashlib.sha256(identity.public_key().public_bytes_raw()).digest()
    return "SHA256:" + base64.b64encode(hashed).decode().rstrip("=")


def our_mask(sites: Sites, vector: Vector) -> float:
    """Seconds of one site; the vector comes back as it was.

    Raises:
        RuntimeError: It does not.
    """
    party, request = next(iter(requests(sites.published).items()))
    before, state = vector[:1000].copy(), sites.states[party]
    opening = open_sum(sites.members[party], state, request)
    started = time.thread_time()
    sites.mask(party, request, vector)
    seconds = time.thread_time() - started
    sites.states[party] = state  # the same keys once more: a benchmark may, its vectors are nobody's
    if (vector[:1000] == before).mean() > 0.01:
        raise RuntimeError("the vector was not masked")
    add_streams(vector, opening.minus, opening.plus)
    if not (vector[:1000] == before).all():
        raise RuntimeError("the masks did not come off again")
    return seconds


def flowers_mask(vector: npt.NDArray[np.int64], neighbours: int) -> float:
    """Seconds of one client, after Flower's own SecAgg+ mod; its vectors are int64."""
    from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
    from flwr.common.secure_aggregation.ndarrays_arithmetic import (
        parameters_addition,
        parameters_mod,
        parameters_subtraction,
    )
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
    from flwr.supercore.primitives.asymmetric import generate_key_pairs

    private, _ = generate_key_pairs()
    others = [generate_key_pairs()[1] for _ in range(neighbours)]
    shapes, span = [vector.shape], 1 << 32
    started = time.thread_time()
    found = parameters_addition([vector], pseudo_rand_gen(bytes(range(32)), span, shapes))
    for place, public in enumerate(others):
        stream = pseudo_rand_gen(generate_shared_key(private, public), span, shapes)
        found = (parameters_subtraction if place % 2 else parameters_addition)(found, stream)
    parameters_mod(found, span)
    return time.thread_time() - started


def masks(parameters: int, count: int, pairs: int) -> Row:
    """The first row."""
    sites = Sites(count, 0, 0)
    vector = np.random.default_rng(0).integers(0, 1 << 32, parameters, np.uint32)
    wide = vector.astype(np.int64)
    our_mask(sites, vector[:100_000])
    times = [(our_mask(sites, vector), flowers_mask(wide, count - 1)) for _ in range(pairs)]
    ours, peer = zip(*times, strict=True)
    return Row(f"masks of one of {count} sites over {parameters:,} parameters", ours, "s", 8.0, peer)


def one_round(parameters: int, count: int, lost: int) -> float:
    """Seconds of a whole round; making the vectors and the set-up are not counted.

    Raises:
        RuntimeError: The sum is wrong.
    """
    sites = Sites(count, lost, 3)
    source = np.random.default_rng(0)
    vectors = {party: source.integers(0, 1 << 32, parameters, np.uint32) for party in sites.members}
    survivors = tuple(sorted(sites.members))[lost:]
    expected = np.zeros(parameters, np.uint32)
    for party in survivors:
        expected += vectors[party]
    keys = {party: said.key for party, said in sites.published.items()}
    threshold = next(iter(sites.states.values())).parameters.threshold
    started = time.perf_counter()
    asked = requests(sites.published)
    total = np.zeros(parameters, np.uint32)
    for party in survivors:
        sites.mask(party, asked[party], vectors[party])
        total += vectors[party]
    signatures, answers = {}, {}
    for party in survivors:
        listed = SurvivorsRequest(epoch=1, index=1, survivors=survivors)
        sites.states[party], signed = sign_survivors(sites.members[party], sites.states[party], listed)
        signatures[party] = signed.signature
    for party in survivors:
        opened = UnmaskRequest(epoch=1, index=1, survivors=survivors, signatures=signatures)
        _, answers[party] = unmask(sites.members[party], sites.states[party], opened)
    remove_masks(total, tuple(sites.members), threshold, keys=keys, answers=answers, survivors=survivors)
    seconds = time.perf_counter() - started
    if not (total == expected).all():
        raise RuntimeError("the sum is wrong")
    return seconds


def upload(parameters: int, count: int) -> float:
    """Bytes of a masked reply over those of float32: the vector, and the text beside it."""
    sites = Sites(count, 0, 0)
    party, request = next(iter(requests(sites.published).items()))
    part: Mapping[str, Any] = {
        "record": "arrays", "name": "weights", "where": "array", "dtype": "float32", "shape": (parameters,),
        "how": "mean", "scale": 2.0**20,
    }  # fmt: skip
    layout = Layout(bits=32, update="delta", parts=(Part(**part),))
    vector = np.zeros(layout.size, np.uint32)
    published = sites.mask(party, request, vector)
    reply = MaskedReply(party=party, epoch=1, index=1, layout=layout.text(), published=published)
    return (vector.nbytes + len(reply.text().encode())) / (4 * parameters)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--parameters", type=int, default=10_000_000)
    parser.add_argument("--sites", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    one_round(10_000, 10, 3)
    rounds = [one_round(1_000_000, 10, 3) for _ in range(args.pairs)]
    rows = [
        masks(args.parameters, args.sites, args.pairs),
        Row("a round of 10 sites with 1,000,000 parameters, 3 of them lost", rounds, "s", 2.0),
        Row("upload of 1,000,000 parameters at 10 sites ÷ float32", [upload(1_000_000, 10)], "times", 1.05),
    ]
    if args.json:
        print(json.dumps({"rows": [row.as_json() for row in rows]}, ensure_ascii=False, indent=1))
        return
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
