"""Noise that is correlated over the rounds (DP-FTRL, matrix factorisation), where every site takes part in every round.

    python benchmarks/matrix_factorisation.py [--json]

A run of T rounds is linear in the sites' clipped contributions x_1..x_T (vectors): what a person looks at is A x. With
A = B C the gate releases C x + z, z independent Gaussian of deviation s on each coordinate, and B is post-processing:
the error is s² |B|_F² for each coordinate. Its cost is zCDP rho = sens(C)² / (2 s²), with sens(C) the largest change of
C x when the unit changes: its contributions change in *each* round, by vectors g_t of norm at most 1 (times 2 clip_norm
or what the relation says), so that

    sens(C)² = max over |g_t| <= 1 of sum_st (C'C)_st <g_s, g_t>        = 1' C'C 1 where C'C has no negative entry

All figures are at equal rho, as the ratio of the error to that of independent noise, the same in each round.

Workloads A: `sums` all T prefix sums (every iterate of SGD), `last` the last of them, `momentum` and `momentum, last`
the iterates of SGD with heavy-ball momentum 0.9.

Mechanisms: `schedule` independent noise, each round with its own deviation (the best: s_t² ∝ 1/|column t of A|);
`root` the square root of A as a lower triangular Toeplitz matrix; `banded` the same cut to 4 bands; `tree` sums over
the nodes of a binary tree, estimated by least squares; `single` the factorisation that is best where a unit takes part
once; `descent` what gradient descent over C >= 0 finds, started at the square root and looking at every round.

Each is shown where units take part in every round and, for comparison, where each takes part in one round only
(sens(C)² = the largest squared column norm of C).

Kairouz et al., ICML 2021 (arXiv:2103.00039); Denisov et al., NeurIPS 2022 (2202.08312); Choquette-Choo et al., ICML
2023 (2211.06530); Choquette-Choo et al., NeurIPS 2023 (2306.08153: bands). docs/dp-strategies.md has the theorem that
this table illustrates.
"""

import argparse
import json

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

ROUNDS = (8, 16, 32, 64)
MOMENTUM, BANDS = 0.9, 4
DESCENT_STEPS, RESTARTS = 3000, 5


def workloads(T: int) -> dict[str, Matrix]:
    sums = np.tril(np.ones((T, T)))
    lag = np.maximum(np.subtract.outer(np.arange(T), np.arange(T)), 0)
    momentum = np.tril((1 - MOMENTUM ** (lag + 1)) / (1 - MOMENTUM))
    return {"sums": sums, "last": sums[-1:], "momentum": momentum, "momentum, last": momentum[-1:]}


def every_round(C: Matrix, rng: np.random.Generator) -> float:
    """sens(C)² where the unit takes part in every round.

    Where C'C has negative entries, the worst contributions found by coordinate ascent over vectors of length T: a lower
    bound, which flatters C.
    """
    M = C.T @ C
    if M.min() >= 0:
        return float(M.sum())
    worst = 0.0
    for _ in range(RESTARTS):
        g = rng.normal(size=M.shape)
        g /= np.linalg.norm(g, axis=1, keepdims=True)
        for _ in range(200):
            for t in range(len(M)):
                pull = M[t] @ g - M[t, t] * g[t]
                if (length := np.linalg.norm(pull)) > 0:
                    g[t] = pull / length
        worst = max(worst, float(np.sum(M * (g @ g.T))))
    return worst


def one_round(C: Matrix) -> float:
    """sens(C)² where the unit takes part in one round, whichever."""
    return float((C**2).sum(axis=0).max())


def error(A: Matrix, C: Matrix) -> float:
    """|B|_F² for the best B with B C = A."""
    return float(np.sum((A @ np.linalg.pinv(C)) ** 2))


def schedule(A: Matrix) -> Matrix:
    return np.diag(np.sum(A**2, axis=0) ** 0.25)


def toeplitz_root(T: int) -> Matrix:
    """The square root of the prefix sums: coefficients of (1 - x)^(-1/2)."""
    c = np.cumprod(np.r_[1.0, (2 * np.arange(1, T) - 1) / (2 * np.arange(1, T))])
    lag = np.subtract.outer(np.arange(T), np.arange(T))
    return np.where(lag >= 0, c[np.abs(lag)], 0.0)


def banded(C: Matrix, bands: int) -> Matrix:
    lag = np.subtract.outer(np.arange(len(C)), np.arange(len(C)))
    return np.where(lag < bands, C, 0.0)


def tree(T: int) -> Matrix:
    """One row for each node of a binary tree over T leaves (T a power of two)."""
    rows, width = [], 1
    while width <= T:
        rows += [np.repeat(np.eye(T // width)[i], width) for i in range(T // width)]
        width *= 2
    return np.array(rows)


def best_for_one_round(A: Matrix) -> Matrix:
    """The optimum for single participation (Denisov et al.): a fixed point v; of one row, the row itself."""
    if len(A) == 1:
        return A
    W, v = A.T @ A, np.ones(A.shape[1])
    for _ in range(2000):
        root = symmetric_root(np.sqrt(np.outer(v, v)) * W)
        v = np.diag(root).copy()
    return symmetric_root(root / np.sqrt(np.outer(v, v)))


def symmetric_root(M: Matrix) -> Matrix:
    values, vectors = np.linalg.eigh(M)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def descend(A: Matrix, start: Matrix) -> Matrix:
    """Adam on the logarithms of a lower triangular C > 0, of error times sensitivity in every round."""
    T = A.shape[1]
    W = A.T @ A + 1e-9 * np.trace(A.T @ A) / T * np.eye(T)
    mask = np.tril(np.ones((T, T))) > 0
    logs = np.where(mask, np.log(np.maximum(start, 1e-6)), 0.0)
    m, v = np.zeros_like(logs), np.zeros_like(logs)
    best, best_value = start, np.inf
    for step in range(1, DESCENT_STEPS + 1):
        C = np.where(mask, np.exp(logs), 0.0)
        inverse = np.linalg.inv(C)
        bad = float(np.sum((inverse.T @ W) * inverse.T))  # trace(C^-T W C^-1)
        ones = C.sum(axis=1)
        sens = float(ones @ ones)
        if bad * sens < best_value:
            best, best_value = C, bad * sens
        slope = -2 * inverse.T @ W @ inverse @ inverse.T / bad + 2 * np.outer(ones, np.ones(T)) / sens
        slope = np.where(mask, slope * C, 0.0)
        m = 0.9 * m + 0.1 * slope
        v = 0.99 * v + 0.01 * slope**2
        rate = 0.1 * (1 - step / (DESCENT_STEPS + 1))
        logs = logs - rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.99**step)) + 1e-12)
    return best


def compare(T: int) -> dict[str, dict[str, dict[str, float]]]:
    """Ratios by workload, mechanism and participation."""
    rng = np.random.default_rng(0)
    root = toeplitz_root(T)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, A in workloads(T).items():
        mechanisms = {
            "schedule": schedule(A),
            "root": root,
            "banded": banded(root, BANDS),
            "tree": tree(T),
            "single": best_for_one_round(A),
            "descent": descend(A, root),
        }
        independent = error(A, np.eye(T))
        found[name] = {}
        for mechanism, C in mechanisms.items():
            ratios = {
                "every_round": error(A, C) * every_round(C, rng) / (independent * T),
                "one_round": error(A, C) * one_round(C) / independent,
            }
            found[name][mechanism] = ratios
            # the theorem: no factorisation beats the best schedule where every unit is in every round
            assert ratios["every_round"] >= found[name]["schedule"]["every_round"] * (1 - 1e-6)
    return found


def check_random(T: int = 8, matrices: int = 40) -> None:
    """The theorem on factorisations of mixed signs, drawn at random."""
    rng = np.random.default_rng(1)
    for A in workloads(T).values():
        best = error(A, schedule(A)) * every_round(schedule(A), rng)
        for _ in range(matrices):
            C = np.eye(T) + rng.uniform(0, 1) * rng.normal(size=(T, T))
            assert error(A, C) * every_round(C, rng) >= best * (1 - 1e-6)


def main() -> None:
    parser = argparse.ArgumentParser(description="Correlated noise against independent noise at equal zCDP.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    check_random()
    found = {T: compare(T) for T in ROUNDS}
    if as_json:
        print(json.dumps(found, indent=1))
        return
    names = list(found[ROUNDS[0]]["sums"])
    for participation in ("every_round", "one_round"):
        print(f"\nerror at equal zCDP over that of independent noise; a unit takes part in {participation}\n")
        print("| workload | T | " + " | ".join(names) + " |")
        print("|---|---|" + "---|" * len(names))
        for workload in found[ROUNDS[0]]:
            for T in ROUNDS:
                row = " | ".join(f"{found[T][workload][name][participation]:.3f}" for name in names)
                print(f"| {workload} | {T} | {row} |")


if __name__ == "__main__":
    main()
