"""What runs at a DIZ: one handler per message type.

| message      | receives                                           | answers                                          |
|--------------|----------------------------------------------------|--------------------------------------------------|
| query.key    | nothing                                            | a fresh public key                               |
| query.seed   | everybody's keys; one DIZ, the leader, receives it | a fresh seed, sealed for each DIZ                |
| query.encode | keys and sealed seeds                              | **every patient's row, encoded**, and a probe    |
| query.share  | this DIZ's columns of a smoother                   | its part of each prediction, hidden from the hub |
| evaluate     | the sum of the others' parts, and its own block    | sums of errors over its samples                  |

The answers' names, shapes and types are the release contract in ``pyproject.toml``; nothing else leaves. Ages and
predictions leave only as sums of errors. Keys live in the session and end with it. This module runs in a sandbox at the
hospital: it imports neither flame_fl nor flame_strategies.
"""

import hmac
import secrets
import sys

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from kernel_age import agreement, rotation
from kernel_age.agreement import Circle, Member, in_words, pairing_key
from kernel_age.cohort import SPLITS, Cohort, inverse, load_store, transform
from kernel_age.errors import InputError

DATA_STORE = "methylation"
FEWEST_SAMPLES = 5
"""Over fewer samples no sum of errors leaves."""

app = ClientApp()


@app.query("key")
def key(message: Message, context: Context) -> Message:
    """A fresh key pair; the private half stays in the session's state."""
    if "agreement" in context.state:
        raise InputError("This run's keys are made already; start another run.")
    private = secrets.token_bytes(32)
    context.state["agreement"] = ConfigRecord({"private": private})
    return _reply(message, "keys", {"public": _bytes(agreement.public_of(private))})


@app.query("seed")
def seed(message: Message, context: Context) -> Message:
    """As the leader: draw the seed, and seal it for each DIZ, itself included."""
    member = _member(message, context)
    drawn = secrets.token_bytes(32)
    return _reply(message, "seeds", {"sealed": np.stack([_bytes(member.seal(drawn, n)) for n in member.circle.nodes])})


@app.query("encode")
def encode(message: Message, context: Context) -> Message:
    """Every sample's encoded row, in an order that says nothing; once in a run, and bound to the keys shown."""
    member, config = _member(message, context), message.content.config_records["config"]
    sealed = _arrays(message, "circle")["sealed"][member.circle.nodes.index(member.node)].tobytes()
    drawn = member.unseal(sealed, int(str(config["leader"])))
    context.state["agreement"]["fingerprint"] = member.circle.fingerprint
    sys.stderr.write(f"fingerprint of the DIZ's keys: {in_words(member.circle.fingerprint)}\n")
    cohorts = _cohorts(context, member)
    rows, probe = rotation.encode(np.concatenate([cohort.z for cohort in cohorts]), drawn)
    train = len(cohorts[0].age)
    encoded = {"train": rows[:train], "test": rows[train:], "probe": probe}
    return _reply(message, "encoded", {**encoded, "fingerprint": _bytes(member.circle.fingerprint)})


@app.query("share")
def share(message: Message, context: Context) -> Message:
    """This DIZ's part of everybody's predictions: (smoother columns) x (its transformed ages), hidden for each DIZ."""
    member = _agreed(message, context)
    train = _cohorts(context, member)[0]
    smoother = np.asarray(_arrays(message, "smoother")["columns"], dtype=np.float64)
    counts = [int(str(count)) for count in message.content.config_records["config"]["targets"]]
    if smoother.shape != (sum(counts), len(train.age)) or len(counts) != len(member.circle.nodes):
        raise InputError("The smoother does not fit this DIZ's samples; start the run again.")
    salt = secrets.token_bytes(32)
    parts = smoother @ transform(train.age)
    hidden = np.zeros(sum(counts), dtype=np.uint64)
    for node, place in zip(member.circle.nodes, _slices(counts), strict=True):
        if node != member.node:  # its own part needs no message
            hidden[place] = member.hide(parts[place], node, salt)
    return _reply(message, "shares", {"hidden": hidden, "salt": _bytes(salt)})


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Complete the predictions of this DIZ's samples, and answer with sums of their errors."""
    member = _agreed(message, context)
    cohorts = dict(zip(SPLITS, _cohorts(context, member), strict=True))
    cohort = cohorts[str(message.content.config_records["config"]["split"])]
    arrays = _arrays(message, "prediction")
    others = [node for node in member.circle.nodes if node != member.node]
    if arrays["own"].shape != (len(cohort.age), len(cohorts["train"].age)) or len(arrays["salts"]) != len(others):
        raise InputError("The prediction does not fit this DIZ's samples; start the run again.")
    salts = {node: salt.tobytes() for node, salt in zip(others, arrays["salts"], strict=True)}
    value = member.reveal(arrays["hidden"].astype(np.uint64), salts)
    value += arrays["own"].astype(np.float64) @ transform(cohorts["train"].age)
    sums = error_sums(cohort.age, value)
    return _reply(message, "evaluation", {"n": np.array([len(cohort.age)] if sums.any() else [0]), "sums": sums})


def error_sums(age: npt.NDArray[np.float64], value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sums over samples, (8,): |e|, e^2, (F e)^2, a, a^2, p, p^2, a p; zeros for fewer than five samples.

    Args:
        age: (n,) a, in years.
        value: (n,) predicted transformed ages; p is their inverse, e = p - a, and F e the error before that.
    """
    if len(age) < FEWEST_SAMPLES:
        return np.zeros(8)
    p = inverse(value)
    e, f = p - age, value - transform(age)
    return np.array([np.abs(e).sum(), e @ e, f @ f, age.sum(), age @ age, p.sum(), p @ p, age @ p])


def _member(message: Message, context: Context) -> Member:
    """This DIZ among those that the message shows."""
    state, config = context.state.config_records.get("agreement"), message.content.config_records["config"]
    if state is None:
        raise InputError("This DIZ has no keys in this session; start the run again.")
    nodes = tuple(int(str(node)) for node in config["nodes"])
    keys = tuple(row.tobytes() for row in _arrays(message, "circle")["keys"].astype(np.uint8))
    pairing = pairing_key(_store(context)[2], required=str(context.run_config["pairing"]) == "required")
    return Member(Circle(context.run_id, nodes, keys), context.node_id, bytes(state["private"]), pairing)


def _agreed(message: Message, context: Context) -> Member:
    """The same, once rows are encoded; other keys than those are refused."""
    member = _member(message, context)
    agreed = bytes(context.state["agreement"].get("fingerprint", b""))
    if not hmac.compare_digest(agreed, member.circle.fingerprint):
        raise InputError("These are not the keys under which this DIZ encoded its rows; start the run again.")
    return member


def _cohorts(context: Context, member: Member) -> list[Cohort]:
    """Training and test samples, each in an order that only this DIZ can know."""
    drawn = np.random.default_rng(int.from_bytes(agreement.derive(member.private, b"kernel-age-1 order"), "big"))
    return [cohort.ordered(drawn.permutation(len(cohort.age))) for cohort in _store(context)[:2]]


def _store(context: Context) -> tuple[Cohort, Cohort, str | None]:
    return load_store(str(context.node_config[f"data-{DATA_STORE}"]))


def _slices(counts: list[int]) -> list[slice]:
    ends = np.cumsum(counts)
    return [slice(int(end) - count, int(end)) for end, count in zip(ends, counts, strict=True)]


def _bytes(text: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text, dtype=np.uint8)


def _arrays(message: Message, record: str) -> dict[str, npt.NDArray[np.generic]]:
    return {name: array.numpy() for name, array in message.content.array_records[record].items()}


def _reply(message: Message, record: str, arrays: dict[str, npt.NDArray[np.generic]]) -> Message:
    content = {name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()}
    return Message(RecordDict({record: ArrayRecord(content)}), reply_to=message)
