"""Logistic models of a chunk's variants by sums over the DIZ, and Firth's where the likelihood has no maximum.

All variants of a chunk are fitted at once, from the coefficients of the model without any; each exchange asks for those
alone that have not converged (`flame_strategies.logistic_scan`). With ``firth = "fallback"`` Firth's method takes over
as it does in PLINK 2:

* where an allele has no copies among the cases, or among the controls, which the first exchange shows;
* where the fit does not end, or its carriers come to lie so far out that their sums are withheld.

It starts anew from the model without variants. Its tests have the code `FIRTH`; their standard errors are those of the
information at the maximum, as PLINK 2 prints them.
"""

import numpy as np
import numpy.typing as npt
from flame_strategies.errors import StrategyError
from flame_strategies.firth import fit_firth
from flame_strategies.logistic_scan import (
    CONVERGED,
    HIDDEN,
    SINGULAR,
    UNBOUNDED,
    Scanned,
    fit_logistic,
)
from flame_strategies.tails import log10_normal

from gwas.logistic_sums import LogisticSums
from gwas.results import CONSTANT, FEW_MISSING, FIRTH, LOGISTIC, NO_TEST, NOT_CONVERGED, NUMBERS, OK, RARE, Table

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

_STATUS = {CONVERGED: OK, HIDDEN: RARE, SINGULAR: CONSTANT, UNBOUNDED: NOT_CONVERGED}


def null_model(sums: LogisticSums) -> Float:
    """Fit the covariates and components alone; about seven exchanges.

    Args:
        sums: Of `LogisticSums.null`; it knows the number of samples afterwards.

    Returns:
        (q,) coefficients.

    Raises:
        StrategyError: There is no such model.
    """
    fit = fit_logistic(sums.evaluate, np.zeros((1, sums.settings.columns)))
    outcome, (samples, cases) = int(fit.outcome[0]), sums.counts[0].tolist()
    if outcome == HIDDEN:
        raise StrategyError("So few patients are analysed that their sums are withheld; look at the counts of samples.")
    if not sums.decided[0]:
        kind = "cases" if cases else "controls"
        raise StrategyError(f"All {samples} analysed patients are {kind}; check the keys 'phenotype' and 'cases'.")
    if outcome == SINGULAR:
        raise StrategyError("The covariates depend on each other; leave one of them out, or ask for fewer pcs.")
    if outcome != CONVERGED:
        raise StrategyError("The covariates foretell the disease without exception; leave out the one that does.")
    return np.asarray(fit.coefficients[0])


def chunk_tests(sums: LogisticSums, null: Float) -> Table:
    """Test the variants of a chunk.

    Args:
        sums: About m variants.
        null: (q,) coefficients of the model without any, where their fits begin.

    Returns:
        All of `results.COLUMNS` but ``sites``, (m,) each.
    """
    m, firth = len(sums.counts), sums.settings.firth
    start = np.tile(np.append(null, 0.0), (m, 1))
    if firth == "always":
        sums = sums.part(np.arange(m))
        return _table(sums, fit_firth(sums.evaluate, sums.modify, start), np.full(m, FIRTH))
    fit, test = fit_logistic(sums.evaluate, start), np.full(m, LOGISTIC)
    again = np.flatnonzero((fit.outcome == UNBOUNDED) & sums.decided)
    if firth == "fallback" and again.size:
        part = sums.part(again)
        second = fit_firth(part.evaluate, part.modify, start[again])
        fit.coefficients[again], fit.variances[again] = second.coefficients, second.variances
        fit.outcome[again], test[again] = second.outcome, FIRTH
    return _table(sums, fit, test)


def _table(sums: LogisticSums, fit: Scanned, test: Int) -> Table:
    status = np.array([_STATUS[outcome] for outcome in range(len(_STATUS))])[fit.outcome]
    seen = sums.counts[:, 0] > 0
    status[(status == RARE) & seen] = FEW_MISSING
    status[(status != RARE) & ~sums.decided] = CONSTANT
    tested = status == OK
    beta = np.where(tested, fit.coefficients[:, -1], np.nan)
    se = np.sqrt(np.where(tested, fit.variances[:, -1], np.nan))
    log10p = -log10_normal(beta / se)
    return {
        "index": np.arange(len(test)) if sums.index is None else sums.index,
        "n": sums.counts[:, 0],
        "alt_count": sums.counts[:, 2].astype(np.float64),
        **dict(zip(NUMBERS, (beta, se, beta / se, 10.0**-log10p, log10p), strict=True)),
        "status": status,
        "test": np.where(tested, test, NO_TEST),
    }
