"""A whole run against four DIZ: equal to scikit-learn on the pooled rows, and what passes the hub."""

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flame_strategies.errors import NotEnoughNodes, UnusableReply
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from kernel_age import client_app, kernel, server_app
from kernel_age.__main__ import main
from kernel_age.cohort import inverse, load_store, transform
from kernel_age.compare import ridge
from kernel_age.errors import InputError
from kernel_age.exchange import Federation
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from tests.use_cases.kernel_age.conftest import SIZES, ClientGrid, make_grid

APP = Path(client_app.__file__).parents[1]


@pytest.fixture
def federation(grid: ClientGrid) -> Federation:
    """Agreed, and all rows encoded."""
    federation = Federation(grid, tuple(SIZES), 5.0)
    federation.agree_and_encode()
    return federation


@pytest.fixture(scope="module")
def finished(stores: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClientGrid]:
    """The folder of a finished run, and the grid that carried it."""
    grid, folder = make_grid(stores), tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAME_OUT", str(folder))
        server_app.app(grid, Context(7, 1, {}, RecordDict(), dict(grid.run_config)))
    return folder, grid


def rows_and_ages(grid: ClientGrid, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The pooled rows of a split, in the order in which the DIZ encode them."""
    parts = []
    for node, store in grid.stores.items():
        config = {"data-methylation": str(store)}
        context = Context(7, node, config, grid.states[node], dict(grid.run_config))
        member = client_app._member(next(m for m in grid.sent if "circle" in m.content), context)
        parts.append(client_app._cohorts(context, member)[("train", "test").index(split)])
    return np.concatenate([part.z for part in parts]), np.concatenate([part.age for part in parts])


def test_gram_and_kernel_are_those_of_the_pooled_rows(grid: ClientGrid, federation: Federation) -> None:
    z = np.concatenate([rows_and_ages(grid, split)[0] for split in ("train", "test")])
    encoded = np.concatenate([federation.rows("train"), federation.rows("test")])
    assert np.abs(encoded @ encoded.T - z @ z.T).max() <= 1e-10
    assert np.abs(kernel.rbf(encoded, encoded, 0.004) - rbf_kernel(z, gamma=0.004)).max() <= 1e-10
    assert federation.probe_difference <= 1e-14


def test_predictions_and_leave_one_out_are_scikit_learns(grid: ClientGrid, federation: Federation) -> None:
    """Each DIZ's predictions, which it alone sees, against KernelRidge on the pooled rows: 1e-8 at most."""
    seen: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    original, split = client_app.error_sums, "train"

    def spy(age: np.ndarray, value: np.ndarray) -> np.ndarray:
        seen[split].append(value)
        return original(age, value)

    gamma, penalty = 0.004, 0.01
    train, test = federation.rows("train"), federation.rows("test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_app, "error_sums", spy)
        federation.evaluate(kernel.leave_one_out(kernel.regulariser(train, gamma, penalty)), "train")
        split = "test"
        federation.evaluate(kernel.smoother_for(test, train, gamma, penalty), "test")
    z, age = rows_and_ages(grid, "train")
    model = KernelRidge(kernel="rbf", gamma=gamma, alpha=penalty)
    expected = model.fit(z, transform(age)).predict(rows_and_ages(grid, "test")[0])
    assert np.abs(np.concatenate(seen["test"]) - expected).max() <= 1e-8
    left_out = cross_val_predict(model, z, transform(age), cv=LeaveOneOut())
    assert np.abs(np.concatenate(seen["train"]) - left_out).max() <= 1e-8


def test_a_run_reports_the_pooled_accuracy_of_the_kernel_it_chose(finished: tuple[Path, ClientGrid]) -> None:
    run, grid = finished
    result = json.loads((run / "kernel.json").read_text())
    best = min(result["tried"], key=lambda one: one["error"])
    assert (result["gamma"], result["lambda"]) == (best["gamma"], best["lambda"])
    stores = [load_store(str(store)) for store in grid.stores.values()]
    train, test = client_app.Cohort, [s[1] for s in stores if len(s[1].age) >= 5]  # the others send no sums
    pooled = train(np.concatenate([s[0].z for s in stores]), np.concatenate([s[0].age for s in stores]))
    tested = train(np.concatenate([t.z for t in test]), np.concatenate([t.age for t in test]))
    error = inverse(ridge(pooled, tested, result["gamma"], result["lambda"])) - tested.age
    assert result["test"]["n"] == len(tested.age) < sum(test for _, test in SIZES.values())
    assert result["test"]["mae"] == pytest.approx(np.abs(error).mean(), abs=1e-8)
    assert result["test"]["rmse"] == pytest.approx(np.sqrt((error**2).mean()), abs=1e-8)
    predicted = tested.age + error
    assert result["test"]["r"] == pytest.approx(np.corrcoef(predicted, tested.age)[0, 1], abs=1e-8)


def test_every_answer_has_the_form_of_the_release_contract(finished: tuple[Path, ClientGrid]) -> None:
    """Names, types, shapes and bounds, of all answers; no metric and no text leaves."""
    grid = finished[1]
    terms = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flame"]["messages"]
    kinds = {"train": 0} | {reply.metadata.message_type: 0 for reply in grid.replies}
    for reply in grid.replies:
        kinds[reply.metadata.message_type] += 1
        stated = terms[reply.metadata.message_type]["arrays"]
        records = reply.content.array_records
        assert list(reply.content) == [stated[0]["record"]]
        assert {(r, name) for r in records for name in records[r]} == {(s["record"], s["name"]) for s in stated}
        for one in stated:
            array = records[one["record"]][one["name"]].numpy()
            assert array.dtype == one["dtype"]
            assert len(array.shape) == len(one["shape"])
            for size, limit in zip(array.shape, one["shape"], strict=True):
                assert size <= int(limit[2:]) if isinstance(limit, str) else size == limit
            assert np.abs(array.astype(np.float64)).max() <= one.get("max_abs", np.inf)
    assert {kind: count / len(SIZES) for kind, count in kinds.items() if count} == {
        kind: terms[kind]["per_run"] / (len(SIZES) if kind == "query.seed" else 1) for kind in terms
    }


def test_no_row_no_age_and_no_prediction_passes_the_hub(finished: tuple[Path, ClientGrid]) -> None:
    """None of them is among the numbers of an answer; what is hidden for another DIZ reads as noise."""
    grid = finished[1]
    ages = np.concatenate([rows_and_ages(grid, split)[1] for split in ("train", "test")])
    z = rows_and_ages(grid, "train")[0]
    known = np.unique(np.concatenate([z.ravel(), ages, transform(ages)]).round(12))
    known = known[np.abs(known) > 1e-3]  # missing values are 0, and small numbers are in every float by chance
    for reply in grid.replies:
        for record in reply.content.array_records.values():
            for array in record.values():
                numbers = array.numpy()
                if numbers.dtype == np.float64:
                    assert not np.isin(numbers.round(12), known).any()
                if numbers.dtype == np.uint64:  # read as the fixed point that it would be without a pad
                    plain = numbers.view(np.int64) / 2.0**40
                    assert (np.abs(plain) > 100).sum() > 0.9 * (plain != 0).sum()


def test_artefacts_hold_nothing_of_one_patient(finished: tuple[Path, ClientGrid]) -> None:
    """No list in what the run leaves is as long as a DIZ's samples are many, but for the twelve kernels tried."""
    lengths: set[int] = set()

    def walk(value: Any) -> None:
        if isinstance(value, list):
            lengths.add(len(value))
        for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(one)

    for file in finished[0].glob("*.json"):
        walk(json.loads(file.read_text()))
    assert max(lengths) == 12


def encoded_of(grid: ClientGrid) -> list[np.ndarray]:
    return [r.content["encoded"]["train"].numpy() for r in grid.replies if "encoded" in r.content]


def test_each_run_has_another_seed_and_another_order(stores: dict[int, Path], grid: ClientGrid) -> None:
    encoded = []
    for _ in range(2):
        again = ClientGrid(dict(stores), dict(grid.run_config))
        Federation(again, tuple(SIZES), 5.0).agree_and_encode()
        encoded.append(encoded_of(again))
    one, two = encoded
    assert all(np.abs(a - b).max() > 0.1 for a, b in zip(one, two, strict=True))
    norms = [[np.linalg.norm(x, axis=1) for x in run] for run in encoded]
    for a, b in zip(*norms, strict=True):  # the same samples, in another order
        assert np.abs(a - b).max() > 1e-3
        np.testing.assert_allclose(np.sort(a), np.sort(b))


def swap_keys(node: int, kinds: set[str]) -> Callable[[Message], None]:
    """A hub that shows one DIZ a key of its own in another's place."""

    def meddle(message: Message) -> None:
        if message.metadata.dst_node_id == node and message.metadata.message_type in kinds:
            record = message.content.array_records["circle"]
            keys = record["keys"].numpy().copy()
            keys[(list(SIZES).index(node) + 1) % len(SIZES)] = 9
            message.content["circle"] = ArrayRecord({**dict(record.items()), "keys": Array(keys)})

    return meddle


@pytest.mark.parametrize("node", [11, 13])
def test_a_site_that_is_shown_another_key_encodes_nothing(grid: ClientGrid, node: int) -> None:
    grid.meddle = swap_keys(node, {"query.seed", "query.encode"})
    with pytest.raises(InputError, match="Compare the fingerprints"):
        Federation(grid, tuple(SIZES), 5.0).agree_and_encode()
    assert len(encoded_of(grid)) <= list(SIZES).index(13)


@pytest.mark.parametrize("kind", ["query.share", "evaluate"])
def test_keys_that_change_after_the_rows_left_are_refused(grid: ClientGrid, federation: Federation, kind: str) -> None:
    grid.meddle = swap_keys(12, {kind})
    train = len(federation.rows("train"))
    with pytest.raises(InputError, match="not the keys under which"):
        federation.evaluate(np.zeros((train, train)), "train")


def test_keys_are_made_once_in_a_run(grid: ClientGrid, federation: Federation) -> None:
    with pytest.raises(InputError, match="made already"):
        federation.agree_and_encode()


def test_a_session_without_its_keys_refuses(grid: ClientGrid, federation: Federation) -> None:
    grid.states.clear()
    with pytest.raises(InputError, match="no keys in this session"):
        federation.evaluate(np.zeros((1, len(federation.rows("train")))), "train")


@pytest.mark.parametrize("part", ["probe", "fingerprint"])
def test_sites_that_do_not_encode_alike_end_the_run(grid: ClientGrid, part: str) -> None:
    """Whatever made one DIZ's matrix another one: the hub forms no inner product."""
    original = grid._answer

    def answer(message: Message) -> Message:
        reply = original(message)
        if message.metadata.message_type == "query.encode" and message.metadata.dst_node_id == 14:
            record = reply.content.array_records["encoded"]
            changed = np.roll(record[part].numpy(), 1)
            reply.content["encoded"] = ArrayRecord({**dict(record.items()), part: Array(changed)})
        return reply

    grid._answer = answer  # type: ignore[method-assign]
    with pytest.raises(UnusableReply, match="do not encode alike"):
        Federation(grid, tuple(SIZES), 5.0).agree_and_encode()


def test_a_site_that_is_lost_ends_the_run(grid: ClientGrid, federation: Federation) -> None:
    grid.denied = frozenset({13})
    train = len(federation.rows("train"))
    with pytest.raises(NotEnoughNodes, match="needs all of them"):
        federation.evaluate(np.zeros((train, train)), "train")


@pytest.mark.parametrize("shape", [(2, 3), (109, 30), (108, 31)])
def test_a_smoother_of_another_shape_is_refused(
    grid: ClientGrid, federation: Federation, shape: tuple[int, int]
) -> None:
    content = federation._content(targets=[str(train) for train, _ in SIZES.values()])
    content["smoother"] = {"columns": np.zeros(shape)}
    with pytest.raises(InputError, match="does not fit"):
        federation._ask("query.share", {11: content}, "shares")


def test_sites_with_the_projects_pairing_key_work_as_without(
    write_store: Callable[..., Path], grid: ClientGrid, tmp_path: Path
) -> None:
    for node, size in SIZES.items():
        grid.stores[node] = write_store(tmp_path / str(node), *size, seed=node, pairing="5a" * 32)
    grid.run_config["pairing"] = "required"
    federation = Federation(grid, tuple(SIZES), 5.0)
    federation.agree_and_encode()
    assert len(federation.rows("train")) == sum(train for train, _ in SIZES.values())


@pytest.mark.parametrize(
    ("pairing", "sentence"), [(None, "openssl rand"), ("5b" * 32, "different pairing keys"), ("x", "openssl rand")]
)
def test_a_site_with_another_pairing_key_or_none_does_not_take_part(
    write_store: Callable[..., Path], grid: ClientGrid, tmp_path: Path, pairing: str | None, sentence: str
) -> None:
    for node, size in SIZES.items():
        key = pairing if node == 12 else "5a" * 32
        grid.stores[node] = write_store(tmp_path / str(node), *size, seed=node, pairing=key)
    grid.run_config["pairing"] = "required"
    with pytest.raises(InputError, match=sentence):
        Federation(grid, tuple(SIZES), 5.0).agree_and_encode()


def test_no_run_may_choose_to_go_without_the_pairing_key() -> None:
    """What a submission may override without a new approval does not hold the word that turns pairing off."""
    assert set(tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flame"]["run_config"]) == {
        "min-nodes",
        "timeout",
    }


def test_compare_finds_the_pooled_answer(finished: tuple[Path, ClientGrid], tmp_path: Path, capsys: Any) -> None:
    """Over the DIZ whose sums left; a second call changes nothing."""
    run, grid = shutil.copytree(finished[0], tmp_path / "run"), finished[1]
    for node, store in grid.stores.items():
        if node != 14:
            (tmp_path / "data" / str(node)).mkdir(parents=True)
            (tmp_path / "data" / str(node) / "methylation").symlink_to(store)
    arguments = ["compare", "--run", str(run), "--data", str(tmp_path / "data")]
    assert main(arguments) == 0
    first = (run / "report.json").read_bytes()
    assert len(json.loads(first)["tables"]) == 2
    assert main(arguments) == 0
    assert (run / "report.json").read_bytes() == first
    assert "pooled MAE" in capsys.readouterr().out


@pytest.mark.parametrize("there", ["run", "data"])
def test_compare_says_what_is_missing(there: str, tmp_path: Path, capsys: Any) -> None:
    if there == "data":
        (tmp_path / "kernel.json").write_text("{}")
    arguments = ["compare", "--run", str(tmp_path), "--data", str(tmp_path)]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert ("kernel.json" if there == "run" else "methylation") in said
    assert said.count("\n") == 1
    with pytest.raises(InputError):
        main([*arguments, "--debug"])
