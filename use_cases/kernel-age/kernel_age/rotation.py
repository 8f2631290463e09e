"""The secret orthogonal matrix: rows x become (x, 0) Q, of which only inner products can be read.

Q (k x k, k = p + 1) is drawn uniformly (Haar) from a 256-bit seed, as a product of k - 1 Householder reflections of
normal vectors of falling length, then signs (Stewart, SIAM J. Numer. Anal. 17(3), 1980). For such a Q the distribution
of X Q depends on X only through X X': the encoded rows say the inner products of the rows and nothing else, which is
much (README.md, "What the hub learns"). Inner products are exact: X_a Q Q' X_b' = X_a X_b'.

The normal numbers are a stated function of the seed: ChaCha20's stream, 53 bits each as (u + 1/2) / 2^53, Box-Muller in
pairs. Logarithm, cosine and the matrix products may differ in the last digit between machines. Products of reflections
do not amplify that: with every normal number moved by one unit in its last place at one DIZ, inner products across DIZ
are off by 2e-15 of the largest (k = 257, k = 2,001), as they are by rounding alone. Against a QR factorisation of a
k x k matrix, n rows cost O(n k^2) and no k^3.

The extra dimension carries a public probe: every DIZ also encodes the row e_k, and the hub compares. It is orthogonal
to every patient's row, so the comparison says nothing of them; a public row among the patients' own dimensions would
tell the hub its inner product with each patient.
"""

import numpy as np
import numpy.typing as npt

from kernel_age.agreement import derive, stream

Float = npt.NDArray[np.float64]

_BLOCK = 32
_BITS = 2.0**-53


def normals(key: bytes, count: int) -> Float:
    """(count,) standard normal numbers from a key that is used for nothing else."""
    pairs = (count + 1) // 2
    words = np.frombuffer(stream(key, 16 * pairs), np.dtype("<u8"))
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * _BITS
    radius, angle = np.sqrt(-2.0 * np.log(uniform[:pairs])), 2.0 * np.pi * uniform[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def encode(rows: Float, seed: bytes) -> tuple[Float, Float]:
    """Apply the matrix of a seed.

    Args:
        rows: (n, p).
        seed: 32 bytes.

    Returns:
        The encoded rows (n, p + 1), and the encoded probe (1, p + 1).
    """
    n, p = rows.shape
    k = p + 1
    encoded = np.zeros((n + 1, k))
    encoded[:n, :p] = rows
    encoded[n, p] = 1.0
    signs = np.ones(k)
    for start in range(0, k, _BLOCK):
        width = min(_BLOCK, k - start)
        drawn = normals(derive(seed, b"kernel-age-1 reflections" + start.to_bytes(8, "big")), width * (k - start))
        vectors = np.triu(drawn.reshape(width, k - start)).T  # column i is zero above place i
        first = np.where(vectors.diagonal() < 0, -1.0, 1.0)
        signs[start : start + width] = -first
        if start + width == k:  # of one dimension there is a sign, and no reflection
            signs[-1] = first[-1]
        vectors[np.arange(width), np.arange(width)] += first * np.linalg.norm(vectors, axis=0)
        vectors /= np.linalg.norm(vectors, axis=0)
        if start + width == k:
            vectors = vectors[:, :-1]
        # H_1 ... H_b = I - V T V' with T^-1 = strict upper part of V'V, and 1/2 on the diagonal
        inner = np.triu(vectors.T @ vectors, 1) + 0.5 * np.eye(vectors.shape[1])
        part = encoded[:, start:]
        part -= (part @ vectors) @ np.linalg.solve(inner, vectors.T)
    encoded *= signs
    return encoded[:n], encoded[n:]
