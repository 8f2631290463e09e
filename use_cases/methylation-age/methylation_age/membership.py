"""`membership`: scores from which somebody could tell on whose samples the MLP clock was trained.

For simulations, and for a steward's own people at one DIZ: it needs the rows of the patients who were trained on
("train") and of those held out ("test"). It writes a table and judges nothing; `flame app membership` reads the table.

Two attacks, one column each, higher for likelier members:

- ``loss``: minus the logarithm of the patient's squared error on the transformed scale;
- ``likelihood-ratio``: the same score held against shadow networks (Carlini et al., IEEE S&P 2022), each trained by
  the run's own recipe, federated averaging over the DIZ, on a random half of all patients.

The packaged sets name no hospital and their test samples are another part of the same study; where members and held-out
patients are not drawn alike, ``loss`` measures that difference too.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from methylation_age.clock import MLP, MlpClock, load_clocks
from methylation_age.cohort import Store, load_store
from methylation_age.errors import InputError
from methylation_age.prepare import STAMP, STORE

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

TABLE = "membership.csv"
SHADOWS = 16
"""Shadow networks, unless more are asked for: half of them know a patient, on average."""
_LEAST_LOSS = 1e-12


@dataclass(frozen=True, eq=False)
class Rows:
    """All samples of all DIZ, as the network reads them.

    Attributes:
        z: (n, q) standardised betas.
        y: (n,) standardised transformed ages.
        site: (n,) index of the DIZ.
        patient: (n,) index of the patient.
        member: (n,) whether the sample was trained on.
    """

    z: Float
    y: Float
    site: npt.NDArray[np.intp]
    patient: npt.NDArray[np.intp]
    member: Bool


def membership(
    run: Path,
    data: Path,
    *,
    out: Path | None = None,
    shadows: int = SHADOWS,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Score every patient and write the table.

    Args:
        run: The run's folder.
        data: The folder that `prepare` wrote.
        out: The table; None is ``membership.csv`` in the run's folder.
        shadows: Shadow networks, an even number; 0 leaves the likelihood ratio out.
        seed: Of the shadow networks.
        say: Told of progress.

    Returns:
        Where the table is.

    Raises:
        InputError: One of the folders is not what it should be, the run has no MLP, or `shadows` is odd or negative.
    """
    if shadows < 0 or shadows % 2:
        raise InputError(f"{shadows} shadow networks cannot be two halves; give an even number.")
    clocks, metadata = load_clocks(run)
    clock = clocks.get(MLP)
    if not isinstance(clock, MlpClock):
        raise InputError(f"{run} has no MLP, whose losses this is about; run with model = 'mlp' or 'both'.")
    rows, sites = _rows(data, metadata["panel"], clock)
    patients = int(rows.patient.max()) + 1
    observed = _by_patient(rows, _score(clock.arrays, rows, clock), patients)
    columns: dict[str, Sequence[object]] = {}
    member = _by_patient(rows, rows.member.astype(np.float64), patients) > 0.5
    home = _by_patient(rows, rows.site.astype(np.float64), patients).round().astype(int)
    columns["site"] = [sites[index] for index in home]
    columns["member"] = member.astype(int).tolist()
    columns["loss"] = observed.tolist()
    if shadows:
        rounds = int(metadata["clocks"][MLP]["training"]["rounds"])
        columns["likelihood-ratio"] = _ratios(
            rows, clock, observed, rounds=rounds, shadows=shadows, seed=seed, say=say
        ).tolist()
    return _write(out or run / TABLE, columns)


def _rows(data: Path, panel: str, clock: MlpClock) -> tuple[Rows, list[str]]:
    """Every sample of every DIZ; a patient with samples in both splits counts as a member."""
    betas, target, site, member, named = [], [], [], [], []
    stores = _stores(data, panel)
    for index, (name, store) in enumerate(stores.items()):
        for cohort, trained in ((store.train, True), (store.test, False)):
            betas.append(cohort.betas[:, clock.columns])
            target.append(cohort.target)
            site += [index] * len(cohort)
            member += [trained] * len(cohort)
            named += [(name, patient) for patient in cohort.patient_ids]
    numbers = {who: number for number, who in enumerate(dict.fromkeys(named))}
    patient = np.array([numbers[who] for who in named], dtype=np.intp)
    known = np.zeros(len(numbers), dtype=np.bool_)
    known[patient[np.array(member)]] = True
    z = np.nan_to_num((np.concatenate(betas) - clock.centre) / clock.scale, nan=0.0)
    y = (np.concatenate(target) - clock.y_centre) / clock.y_scale
    if known.all() or not known.any():
        raise InputError(f"{data} holds no patient out of training, so nobody can be told from anybody.")
    return Rows(z, y, np.array(site, dtype=np.intp), patient, known[patient]), list(stores)


def _stores(data: Path, panel: str) -> dict[str, Store]:
    try:
        nodes = json.loads((data / STAMP).read_text(encoding="utf-8"))["nodes"]
    except (OSError, ValueError, KeyError):
        raise InputError(f"{data} was not written by prepare; give the folder the run was simulated on.") from None
    return {node: load_store(data / node / STORE, panel) for node in nodes}


def _score(arrays: Mapping[str, npt.NDArray[np.generic]], rows: Rows, clock: MlpClock) -> Float:
    """(n,) minus the logarithm of each sample's squared error: about Gaussian, and higher the better it fits."""
    from methylation_age import mlp  # noqa: PLC0415 -- torch

    error = mlp.predict(arrays, rows.z, mlp.Recipe(**clock.recipe)) - rows.y
    score: Float = -np.log(np.maximum(error**2, _LEAST_LOSS))
    return score


def _by_patient(rows: Rows, values: Float, patients: int) -> Float:
    """The mean over each patient's samples, shape (patients,)."""
    sums = np.bincount(rows.patient, values, minlength=patients)
    mean: Float = sums / np.bincount(rows.patient, minlength=patients)
    return mean


def _ratios(
    rows: Rows, clock: MlpClock, observed: Float, *, rounds: int, shadows: int, seed: int, say: Callable[[str], None]
) -> Float:
    """Log density of the observed score if trained on, minus that if not; two variances shared by all patients."""
    generator = np.random.default_rng(seed)
    patients = len(observed)
    inside, scores = np.zeros((shadows, patients), dtype=np.bool_), np.zeros((shadows, patients))
    for number in range(0, shadows, 2):  # in pairs of halves: so every patient is in exactly half of the shadows
        half = generator.permutation(patients) < patients // 2
        for which, chosen in enumerate((half, ~half)):
            arrays = _federated(rows, chosen[rows.patient], clock, rounds, seed + number + which)
            inside[number + which] = chosen
            scores[number + which] = _by_patient(rows, _score(arrays, rows, clock), patients)
        say(f"{number + 2} of {shadows} shadow networks")
    ratio = np.zeros(patients)
    for sign, chosen in ((1.0, inside), (-1.0, ~inside)):
        mean = np.where(chosen, scores, 0.0).sum(axis=0) / chosen.sum(axis=0)
        spread = np.where(chosen, (scores - mean) ** 2, 0.0).sum() / max(1, (shadows // 2 - 1) * patients)
        spread = max(float(spread), _LEAST_LOSS)
        ratio -= sign * ((observed - mean) ** 2 / spread + np.log(spread)) / 2
    return ratio


def _federated(rows: Rows, chosen: Bool, clock: MlpClock, rounds: int, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """A network by the run's recipe: each DIZ trains from the average, which weighs by samples."""
    import torch  # noqa: PLC0415 -- seconds to import

    from methylation_age import mlp  # noqa: PLC0415 -- torch

    recipe = mlp.Recipe(**clock.recipe)
    arrays = mlp.initial_weights(rows.z.shape[1], recipe, seed)
    sites = [at for site in range(int(rows.site.max()) + 1) if len(at := np.flatnonzero(chosen & (rows.site == site)))]
    total, threads = sum(len(at) for at in sites), torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(1)  # so small a network is slower on several
        for _ in range(rounds):
            trained = [(len(at) / total, mlp.train(arrays, rows.z[at], rows.y[at], recipe)[0]) for at in sites]
            arrays = {name: _average([(share, one[name]) for share, one in trained]) for name in arrays}
        torch.set_num_threads(threads)
    return arrays


def _average(parts: Sequence[tuple[float, npt.NDArray[np.float32]]]) -> npt.NDArray[np.float32]:
    return np.sum([share * array.astype(np.float64) for share, array in parts], axis=0).astype(np.float32)


def _write(path: Path, columns: Mapping[str, Sequence[object]]) -> Path:
    """CSV; no id is in it."""
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another --out.") from None
    return path
