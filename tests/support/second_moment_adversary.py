"""What a hub is sent by the exact methylation adaptation, and how it may try to get patients' values out of it.

Let Z (n x p, n < p) be the standardised rows of all sites. Of the labelled sites the hub is sent sums: the sketch
A Omega of A = Z'Z with public signs Omega (p x r), from which A follows where r is at least the rank of Z; and for
each fold, a group of at least two sites, the number of rows, the sum of the rows, Z_k'y_k, and some columns of
Z_k'Z_k. Of the target it is sent each feature's mean confidence.

A guess of the rows is worth something if a guessed column, a feature over the samples, goes along with the true one.
Every matrix with the same A is Q Z for an orthogonal Q, so an attack on A alone is a way to choose Q.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Transcript:
    """What the hub holds.

    Attributes:
        signs: Omega, (p, r).
        sketch: A Omega, (p, r).
        counts: Rows of each fold.
        sums: (K, p) sums of rows.
        xty: (K, p).
        chosen: The m features whose columns were asked for.
        columns: (K, p, m).
    """

    signs: Float
    sketch: Float
    counts: tuple[int, ...]
    sums: Float
    xty: Float
    chosen: npt.NDArray[np.intp]
    columns: Float


def transcript(
    sites: Sequence[Float], ages: Sequence[Float], folds: Sequence[Sequence[int]], *, columns: int, rank: int
) -> Transcript:
    """Sums over sites, as secure aggregation shows them.

    Args:
        sites: Rows (n_s, p) of each site.
        ages: (n_s,) of each.
        folds: Which sites are in each fold.
        columns: How many columns of the second moment are asked for.
        rank: Width of the sketch.
    """
    p = sites[0].shape[1]
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (p, rank))
    score = np.abs(sum(z.T @ y for z, y in zip(sites, ages, strict=True)))
    chosen = np.argsort(-score)[:columns]
    z, y = ([np.concatenate([part[s] for s in fold]) for fold in folds] for part in (sites, ages))
    return Transcript(
        signs,
        sum(site.T @ (site @ signs) for site in sites),
        tuple(len(part) for part in z),
        np.stack([part.sum(axis=0) for part in z]),
        np.stack([one.T @ two for one, two in zip(z, y, strict=True)]),
        chosen,
        np.stack([part.T @ part[:, chosen] for part in z]),
    )


def second_moment(seen: Transcript) -> Float:
    """A (p, p) from its sketch: Y (Omega'Y)^+ Y'."""
    return seen.sketch @ np.linalg.pinv(seen.signs.T @ seen.sketch, rcond=1e-10, hermitian=False) @ seen.sketch.T


def spectral(moment: Float, n: int) -> Float:
    """Some rows (n, p) with this second moment: the square roots of its eigenvalues times its eigenvectors."""
    values, vectors = np.linalg.eigh(moment)
    return np.sqrt(np.maximum(values[::-1][:n], 0.0))[:, None] * vectors[:, ::-1][:, :n].T


def rotation(n: int, seed: int) -> Float:
    """A random orthogonal matrix."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    return np.asarray(q * np.sign(r.diagonal()))


def independent(rows: Float, iterations: int = 40) -> Float:
    """The rotation under which rows are as independent and unlike normal as they can be, over features: FastICA.

    Patients' rows are mixed by an unknown rotation; if they were independent of each other and far from normal, this
    would find them, but for order and sign (Hyvarinen, IEEE Trans. Neural Networks 10(3), 1999; cubic contrast).
    """
    p = rows.shape[1]
    centred = rows - rows.mean(axis=1, keepdims=True)
    u, s, white = np.linalg.svd(centred, full_matrices=False)
    rank = int((s > 1e-9 * s[0]).sum())
    white = white[:rank] * np.sqrt(p)
    w = rotation(rank, 1)
    for _ in range(iterations):
        found = w @ white
        w = (found**3) @ white.T / p - 3.0 * w
        left, _, right = np.linalg.svd(w)
        w = left @ right
    mixing = (u[:, :rank] * s[:rank] / np.sqrt(p)) @ w.T  # rows = mixing @ sources
    return np.asarray((w @ white) * np.linalg.norm(mixing, axis=0)[:, None])


def toward(rows: Float, known: Float) -> Float:
    """The rotation that brings rows closest to rows of other, public samples (orthogonal Procrustes)."""
    left, _, right = np.linalg.svd(known[: len(rows)] @ rows.T)
    return np.asarray((left @ right) @ rows)


def fold_moments(seen: Transcript) -> list[Float]:
    """Z_k'Z_k (p, p) of each fold as far as the asked columns C = Z_k'Z_k[:, J] show it: C (C[J])^+ C'."""
    return [gram @ np.linalg.pinv(gram[seen.chosen], rcond=1e-10, hermitian=True) @ gram.T for gram in seen.columns]


def attacks(seen: Transcript, public: Float) -> Iterator[tuple[str, Float]]:
    """Guesses of all rows, by name.

    Args:
        seen: What the hub holds.
        public: (n, p) rows of other samples of the same kind.
    """
    n, counts = sum(seen.counts), seen.counts
    whole, parts = second_moment(seen), fold_moments(seen)
    rows = spectral(whole, n)
    yield "spectral", rows
    signs = np.where(rows.sum(axis=1) < 0, -1.0, 1.0)
    yield "spectral, rows of positive sum", rows * signs[:, None]
    yield "spectral, signs by skewness", rows * np.sign((rows**3).sum(axis=1))[:, None]
    yield "spectral, order reversed", rows[::-1]
    for seed in range(3):
        yield f"rotated at random, {seed}", rotation(n, seed) @ rows
    yield "rotated to a square root", square_root(rows)
    yield "rotated to public samples", toward(rows, public)
    yield "independent components", independent(rows)
    folds = [spectral(part, count) for part, count in zip(parts, counts, strict=True)]
    yield "fold by fold", np.concatenate(folds)
    near = zip(folds, np.split(public, np.cumsum(counts)[:-1]), strict=True)
    yield "fold by fold, rotated to public samples", np.concatenate([toward(fold, known) for fold, known in near])
    # of two folds, the whole less one is the other: by the sketch, not by the columns
    left = [spectral(whole - part, n - count) for part, count in zip(parts, counts, strict=True)]
    yield "leave one fold out", np.concatenate(left[::-1])


def square_root(rows: Float) -> Float:
    """The rotation that makes the first n features' block symmetric, as it is in a symmetric square root."""
    left, _, right = np.linalg.svd(rows[:, : len(rows)])
    return np.asarray((left @ right).T @ rows)


def correlations(guess: Float, truth: Float) -> Float:
    """|r| of each guessed column with the true one, (p,)."""
    a, b = guess - guess.mean(axis=0), truth - truth.mean(axis=0)
    norm = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.asarray(np.abs((a * b).sum(axis=0)) / np.where(norm > 0, norm, np.inf))


def by_chance(guess: Float, truth: Float, draws: int = 60) -> float:
    """The largest best |r| over orders of the samples drawn at random: what the guess has without knowing anything."""
    drawn = np.random.default_rng(3)
    a, b = (x - x.mean(axis=0) for x in (guess, truth))
    a, b = (x / np.maximum(np.linalg.norm(x, axis=0), 1e-300) for x in (a, b))
    orders = [drawn.permutation(len(b)) for _ in range(draws)]
    return max(float(np.abs(np.einsum("ij,ij->j", a, b[order])).max()) for order in orders)


def common(first: Float, second: Float, p_of_first: Float) -> Float:
    """The second moment of the rows that two sums share, if all rows together are linearly independent.

    Rows spaces meet in the space of the shared rows, W; and of A = S'S + T'T with independent rows the part of S is
    W (W'A^+W)^-1 W' (the shorted operator: Anderson and Trapp, SIAM J. Appl. Math. 28(1), 1975).

    Args:
        first: Orthonormal rows that span those of one sum, (a, p).
        second: The same of the other, (b, p).
        p_of_first: The first sum, (p, p).
    """
    left, cosines, _ = np.linalg.svd(first @ second.T)
    w = first.T @ left[:, : int((cosines > 1 - 1e-7).sum())]
    return np.asarray(w @ np.linalg.inv(w.T @ np.linalg.pinv(p_of_first, rcond=1e-10, hermitian=True) @ w) @ w.T)


def confidences(source: Float, target: Float, ridge: float) -> Float:
    """Each target sample's confidence in each feature, (t, p), under linear-kernel Gaussian processes on all others.

    With M = (A + ridge I)^-1, ridge the ratio of noise to prior variance, the prediction of feature j is off by
    (M x)_j / M_jj, with variance v_j (1 + x'Mx - (M x)_j^2 / M_jj); v_j is taken from the sites' own residuals. The
    confidence is 2 (1 - Phi(|z|)).
    """
    m = np.linalg.inv(source.T @ source + ridge * np.eye(source.shape[1]))
    mx = target @ m
    noise = ((source @ m / m.diagonal()) ** 2).mean(axis=0)
    variance = noise * (1.0 + (mx * target).sum(axis=1)[:, None] - mx**2 / m.diagonal())
    return np.asarray(2.0 * ndtr(-np.abs(mx / m.diagonal()) / np.sqrt(variance)))
