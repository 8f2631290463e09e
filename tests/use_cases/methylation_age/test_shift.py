"""Semi-real shifts: what is corrupted and what is not, and the stores that hold them."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from methylation_age import packaged, prepare, shift
from methylation_age.__main__ import main
from methylation_age.errors import InputError

Float = npt.NDArray[np.float64]


def tissue(n: int, p: int, seed: int) -> tuple[Float, Float]:
    """Betas of which the first half goes with age, and the ages."""
    generator = np.random.default_rng(seed)
    age = generator.uniform(0, 90, n)
    slope = np.where(np.arange(p) < p // 2, 0.002, 0.0)
    return np.clip(0.4 + np.outer(age, slope) + generator.normal(0, 0.02, (n, p)), 0, 1), age


@pytest.mark.parametrize("kind", shift.KINDS)
def test_only_the_corrupted_cpgs_change(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intact CpGs keep every value, corrupted ones change as the kind says, and more of those that go with age."""
    monkeypatch.setattr(shift, "AGE_RELATED", 200)
    source, age = tissue(80, 400, seed=1)
    target = tissue(50, 400, seed=2)[0]
    source[3, 7], target[2, 9] = np.nan, np.nan
    before = target.copy()
    found = shift.corrupt(source, age, target, kind, seed=0)
    np.testing.assert_array_equal(target, before)
    changed = ~np.all((found.betas == target) | np.isnan(target), axis=0)
    np.testing.assert_array_equal(changed, found.corrupted)
    assert found.corrupted[:200].mean() == pytest.approx(0.3 + 0.7 * 0.2, abs=0.07)
    assert found.corrupted[200:].mean() == pytest.approx(0.2, abs=0.07)
    assert np.nanmin(found.betas) >= 0
    assert np.nanmax(found.betas) <= 1
    mean, inside = np.nanmean(source, axis=0), found.corrupted & ((found.betas > 0) & (found.betas < 1)).all(axis=0)
    assert inside.sum() > 20
    before, after = target[:, inside], found.betas[:, inside]
    if kind == "flipped":
        np.testing.assert_allclose(before + after, np.broadcast_to(2 * mean[inside], before.shape))
    else:
        if kind == "permuted":
            assert not np.allclose(np.argsort(before, axis=0), np.argsort(after, axis=0))
            before, after = np.sort(before, axis=0), np.sort(after, axis=0)
        offset = after - before
        np.testing.assert_allclose(offset, np.broadcast_to(offset[0], offset.shape), atol=1e-12)
        relative = offset[0] / np.nanstd(source[:, inside], axis=0)
        if kind == "permuted":
            assert relative.std() == pytest.approx(1.0, abs=0.3)
        else:
            centred = np.nan_to_num(source - mean, nan=0.0)[:, inside]
            np.testing.assert_array_equal(np.sign(relative), np.sign((age - age.mean()) @ centred))
            assert np.abs(relative).mean() == pytest.approx(0.8, abs=0.25)


def test_the_seed_says_all() -> None:
    """The same seed gives the same shift, another one another; a kind that is not known is refused."""
    (source, age), target = tissue(40, 60, seed=1), tissue(20, 60, seed=2)[0]
    first, same, other = (shift.corrupt(source, age, target, "permuted", seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.betas, same.betas)
    assert (first.corrupted != other.corrupted).any()
    with pytest.raises(InputError, match="permuted, flipped, mean"):
        shift.corrupt(source, age, target, "inverted", 0)


@pytest.fixture
def small_sets(made_up, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up tables in the packaged sets' place."""

    def table(n: int, seed: int, first_age: float) -> packaged.Table:
        betas, sheet = made_up(n, seed)
        betas.index = pd.Index([f"{seed}-{row}" for row in range(n)], name="sample_id")
        age = pd.Series(sheet["age"].to_numpy() + first_age, index=betas.index, name="age")
        return packaged.Table(betas, age)

    monkeypatch.setattr(packaged, "gp_age_blood", lambda: table(120, 1, 0.0))
    monkeypatch.setattr(packaged, "gse74193", lambda: (table(60, 2, -20.0), table(50, 3, -20.0)))


def stores(out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All DIZ's samples and betas."""
    folders = [folder / "methylation" for folder in sorted(out.glob("DIZ-*"))]
    samples, betas = (
        pd.concat([pd.read_parquet(folder / name) for folder in folders])
        for name in ("samples.parquet", "betas.parquet")
    )
    return samples.set_index("sample_id"), betas.set_index("sample_id")


def test_prepare_writes_a_semi_real_shift(small_sets: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Test samples become the target with their ages; training samples stay; the stamp calls the shift synthetic."""
    out, plain = tmp_path / "out", tmp_path / "plain"
    options = ["prepare", "--set", "blood", "--nodes", "3"]
    assert main([*options, "--out", str(out), "--shift", "flipped", "--shift-seed", "4"]) == 0
    assert "synthetic" in capsys.readouterr().out
    assert main([*options, "--out", str(plain)]) == 0
    (samples, betas), (samples_before, betas_before) = stores(out), stores(plain)
    samples, betas = samples.loc[samples_before.index], betas.loc[betas_before.index]
    assert samples["split"].tolist() == samples_before["split"].replace("test", "target").tolist()
    np.testing.assert_array_equal(samples["age"], samples_before["age"])
    target = (samples["split"] == "target").to_numpy()
    changed = (betas != betas_before).to_numpy()
    assert not changed[~target].any()
    assert 0.2 < changed[target].any(axis=0).mean() < 0.8
    stamp = json.loads((out / "prepared.json").read_text())
    assert "synthetic" in stamp["source"]["semi_real"]
    assert (stamp["source"]["shift"], stamp["source"]["shift_seed"]) == ("flipped", 4)
    assert sum(facts["target"] for facts in stamp["nodes"].values()) == target.sum() > 0
    assert all(facts["test"] == 0 for facts in stamp["nodes"].values())


@pytest.mark.parametrize("pair", ["blood-brain", "brain-blood"])
def test_prepare_writes_a_real_pair(
    small_sets: None, tmp_path: Path, pair: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tissue trains and tests, the other is the target, on the CpGs that both have, at every DIZ."""
    out = tmp_path / "out"
    assert main(["prepare", "--out", str(out), "--nodes", "2", "--pair", pair]) == 0
    samples, betas = stores(out)
    target = samples["split"] == "target"
    blood = samples["tissue"] == "whole blood"
    assert (target == (blood if pair == "brain-blood" else ~blood)).all()
    assert target.sum() == (120 if pair == "brain-blood" else 110)
    assert set(samples["split"]) == {"train", "test", "target"}
    assert betas.shape == (230, 19)
    stamp = json.loads((out / "prepared.json").read_text())
    assert stamp["source"]["pair"] == pair
    assert min(facts["target"] for facts in stamp["nodes"].values()) > 5
    monkeypatch.setattr(prepare, "_write", None)  # a second call does nothing
    assert main(["prepare", "--out", str(out), "--nodes", "2", "--pair", pair]) == 0


def test_foetal_samples_become_the_target(small_sets: None, tmp_path: Path) -> None:
    """Adults train and test, foetal samples are the target, children are left out."""
    out = tmp_path / "out"
    assert main(["prepare", "--out", str(out), "--nodes", "2", "--pair", "adult-foetal"]) == 0
    samples = stores(out)[0]
    assert (samples.loc[samples["split"] == "target", "age"] < 0).all()
    assert (samples.loc[samples["split"] != "target", "age"] >= 18).all()
    assert (samples["split"] == "target").sum() > 10


def test_one_kind_of_target_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pair and a shift together are refused in words."""
    assert main(["prepare", "--out", str(tmp_path), "--pair", "blood-brain", "--shift", "mean"]) == 2
    assert "exclude each other" in capsys.readouterr().err
