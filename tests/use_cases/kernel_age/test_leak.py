"""What encoded rows do not hide: attacks that succeed, so that nobody claims otherwise."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message
from kernel_age import client_app
from kernel_age.cohort import inverse
from kernel_age.exchange import Federation
from kernel_age.rotation import encode

from tests.use_cases.kernel_age.conftest import SIZES, ClientGrid

SEED = bytes(range(32))


def drawn(n: int, seed: int, p: int = 40) -> np.ndarray:
    """Made-up rows with a few strong, skewed directions, as tissues have; the directions are the same for all."""
    directions = np.random.default_rng(0).normal(size=(4, p)) * np.array([[4.0], [2.0], [1.0], [0.5]])
    generator = np.random.default_rng(seed)
    return generator.exponential(size=(n, 4)) @ directions + 0.3 * generator.normal(size=(n, p))


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|r| of the columns of `a` with those of `b`."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return np.abs((a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0)))


def test_public_rows_of_the_same_kind_give_the_patients_away() -> None:
    """The hub matches principal axes, and their signs by skewness: every CpG of every patient, nearly."""
    public, own = drawn(400, 1), drawn(300, 2)
    seen = encode(own, SEED)[0]
    (_, _, known), (u, s, _) = (np.linalg.svd(x - x.mean(axis=0), full_matrices=False) for x in (public, seen))
    scores, theirs = (u * s)[:, :4], (public - public.mean(axis=0)) @ known[:4].T
    signs = np.sign((scores**3).sum(axis=0) * (theirs**3).sum(axis=0))
    guess = public.mean(axis=0) + (scores * signs) @ known[:4]
    assert np.median(correlations(guess, own)) > 0.9
    assert np.median(correlations(guess.T, own.T)) > 0.9


@pytest.mark.parametrize(("rows", "error"), [(39, 0.01), (40, 1e-9)])
def test_as_many_known_rows_as_cpgs_open_everything(rows: int, error: float) -> None:
    """Patients whose values the hub knows, with their encodings: with p of them the secret matrix is solved for."""
    own = drawn(300, 2)
    seen = encode(own, SEED)[0]
    mix = np.linalg.lstsq(seen[:rows].T, seen.T, rcond=None)[0]
    guess = mix.T @ own[:rows]
    assert (np.abs(guess - own).max() < error) == (rows == 40)
    assert np.median(correlations(guess.T, own.T)) > 0.99


def test_with_one_site_the_hub_has_every_row(grid: ClientGrid) -> None:
    """Any DIZ knows the seed; so a DIZ must never be handed another's encoded rows, and the hub never a seed."""
    seeds: list[bytes] = []
    original = client_app.rotation.encode

    def spy(rows: np.ndarray, seed: bytes) -> tuple[np.ndarray, np.ndarray]:
        seeds.append(seed)
        return original(rows, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_app.rotation, "encode", spy)
        federation = Federation(grid, tuple(SIZES), 5.0)
        federation.agree_and_encode()
    q = np.concatenate(encode(np.eye(256), seeds[0]))
    opened = federation.train[13] @ q.T
    stored = client_app.load_store(str(grid.stores[13]))[0].z
    nearest = np.abs(opened[:, None, :256] - stored[None]).max(axis=2).min(axis=1)
    assert nearest.max() < 1e-10


def test_no_site_is_sent_anothers_encoded_row(grid: ClientGrid) -> None:
    federation = Federation(grid, tuple(SIZES), 5.0)
    federation.agree_and_encode()
    train = federation.rows("train")
    federation.evaluate(np.eye(len(train)), "train")
    for message in grid.sent:
        for record in message.content.array_records.values():
            assert not any(257 in array.numpy().shape for array in record.values())


def test_a_hub_with_a_smoother_of_its_own_learns_one_age_with_each_evaluation(grid: ClientGrid) -> None:
    """It has each sample of one DIZ predicted by the age of one patient of another: the sum of predictions tells it."""
    federation = Federation(grid, tuple(SIZES), 5.0)
    federation.agree_and_encode()
    train = federation.rows("train")
    smoother = np.zeros((len(train), len(train)))
    victim = SIZES[11][0] + 4  # of the second DIZ, asked through the first
    smoother[: SIZES[11][0], victim] = 1.0
    predicted = federation.evaluate(smoother, "train")[11]["sums"][5] / SIZES[11][0]
    ages = client_app.load_store(str(grid.stores[12]))[0].age
    assert np.abs(ages - predicted).min() < 1e-8
    assert inverse(np.array([0.0]))[0] == 20  # what a smoother of zeros predicts


def test_a_hub_that_asks_twice_with_one_changed_weight_learns_no_part(grid: ClientGrid) -> None:
    """Pads are fresh for every answer: the difference of two hidden answers is noise."""
    federation = Federation(grid, tuple(SIZES), 5.0)
    federation.agree_and_encode()
    train = len(federation.rows("train"))
    for smoother in (np.zeros((train, train)), np.eye(train)):
        federation.evaluate(smoother, "train")
    first, second = ([r for r in grid.replies if "shares" in r.content][i * len(SIZES)] for i in (0, 1))
    difference = (second.content["shares"]["hidden"].numpy() - first.content["shares"]["hidden"].numpy()).view(np.int64)
    others = slice(SIZES[11][0], None)  # both smoothers are zero there: without pads the difference would be, too
    assert (np.abs(difference[others] / 2.0**40) > 100).mean() > 0.9


def test_control_with_one_salt_for_both_the_difference_is_plain(
    grid: ClientGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = Federation(grid, tuple(SIZES), 5.0)
    federation.agree_and_encode()
    monkeypatch.setattr(client_app.secrets, "token_bytes", bytes)
    train = len(federation.rows("train"))
    for smoother in (np.zeros((train, train)), np.eye(train)[::-1]):
        federation.evaluate(smoother, "train")
    first, second = ([r for r in grid.replies if "shares" in r.content][i * len(SIZES)] for i in (0, 1))
    difference = (second.content["shares"]["hidden"].numpy() - first.content["shares"]["hidden"].numpy()).view(np.int64)
    plain = np.abs(difference[-SIZES[11][0] :] / 2.0**40)
    assert plain.max() < 10  # transformed ages


def test_a_changed_sum_changes_predictions_and_tells_nobody(grid: ClientGrid) -> None:
    """Pads hide and do not authenticate: a hub can falsify predictions. It computes them anyway."""
    federation = Federation(grid, tuple(SIZES), 5.0)
    federation.agree_and_encode()

    def meddle(message: Message) -> None:
        if message.metadata.message_type == "evaluate":
            record = message.content.array_records["prediction"]
            changed = record["hidden"].numpy() + np.uint64(2**40)
            message.content["prediction"] = ArrayRecord({**dict(record.items()), "hidden": Array(changed)})

    train = len(federation.rows("train"))
    plain = federation.evaluate(np.zeros((train, train)), "train")
    grid.meddle = meddle
    moved = federation.evaluate(np.zeros((train, train)), "train")
    assert moved[11]["sums"][5] == pytest.approx(plain[11]["sums"][5] + 21 * SIZES[11][0])
