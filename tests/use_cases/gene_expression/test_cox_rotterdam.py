"""Federated Cox regression against R's coxph: on synthetic times always, and on rotterdam where R is.

rotterdam (Foekens et al. 2000; Royston and Altman 2013) is 2,982 patients with breast cancer, from R's survival, dealt
out to five sites.
"""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flame_strategies.cox import fit_cox
from flame_strategies.glm_design import Design
from flame_strategies.sums import Content, Sums, add_up
from gene_expression.site_cox import ANSWERS
from gene_expression.table import LOG2, Request, Table
from numpy.testing import assert_allclose

from tests.use_cases.gene_expression.oracles import FROZEN, HERE, rscript

TIES = ("breslow", "efron")
EXACT = 1e-9


class Sites:
    """An `Exchange` over the rows of five sites."""

    def __init__(self, data: pd.DataFrame) -> None:
        homes = np.random.default_rng(0).choice(5, len(data), p=[0.4, 0.25, 0.15, 0.1, 0.1])
        self._tables = [_table(data[homes == home]) for home in range(5)]
        self.sites = tuple(range(5))

    def __call__(self, message_type: str, content: Content) -> Sums:
        """Ask every site, and sum."""
        config = {k: v for part in content.values() for k, v in part.items() if not isinstance(v, np.ndarray)}
        arrays = {k: v for part in content.values() for k, v in part.items() if isinstance(v, np.ndarray)}
        answer = ANSWERS[message_type.removeprefix("query.")]
        return add_up({site: answer(table, Request(config, arrays)) for site, table in enumerate(self._tables)})


def _table(data: pd.DataFrame) -> Table:
    numbers = {name: column.to_numpy(np.float64) for name, column in data.items()}
    return Table(np.empty((len(data), 0)), LOG2, numbers, {}, {}, tuple(f"P{row}" for row in data.index), ())


def must_equal(data: pd.DataFrame, expected: pd.DataFrame, ties: str) -> None:
    """Coefficients, standard errors and likelihood are R's."""
    own = expected[expected["ties"] == ties]
    design = Design("time", tuple(own["column"]))
    fit = fit_cox(Sites(data), design, "event", grid=np.unique(data["time"].to_numpy(np.float64)), ties=ties)
    assert (fit.n, fit.events, fit.off_grid) == (len(data), data["event"].sum(), 0)
    assert_allclose(fit.coefficients.estimate, own["estimate"], rtol=EXACT)
    assert_allclose(fit.coefficients.standard_error, own["standard_error"], rtol=EXACT)
    assert fit.loglik == pytest.approx(own["loglik"].iloc[0], rel=EXACT)


@pytest.mark.parametrize("ties", TIES)
def test_equals_r_on_frozen_synthetic_times(ties):
    """200 rows, most times tied."""
    data = pd.read_csv(FROZEN / "survival.tsv", sep="\t")
    assert data["time"].nunique() < len(data) / 3
    must_equal(data, pd.read_csv(FROZEN / "survival_coxph.tsv", sep="\t"), ties)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("ties", TIES)
def test_equals_r_on_rotterdam(tmp_path: Path, ties: str) -> None:
    """Nine columns; R's answer now, and the frozen one of R 4.2.2 with survival 3.5."""
    result, data = tmp_path / "coxph.tsv", tmp_path / "rotterdam.tsv"
    subprocess.run([rscript("survival"), str(HERE / "coxph.R"), str(result), str(data)], check=True)
    rows = pd.read_csv(data, sep="\t")
    assert len(rows) == 2982
    now, frozen = pd.read_csv(result, sep="\t"), pd.read_csv(FROZEN / "rotterdam_coxph.tsv", sep="\t")
    must_equal(rows, now, ties)
    assert_allclose(now["estimate"], frozen["estimate"], rtol=EXACT)
