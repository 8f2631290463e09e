"""How stable a choice of genes is: how often a gene is chosen on halves of the patients.

A choice that changes with the patients says little about biology, however well it predicts. The halves are those of
`validation.Population`: a patient's place in half b follows from seed, b and patient id alone, so all DIZ split alike,
and what leaves them are sums over a half (Meinshausen and Buehlmann, J. R. Stat. Soc. B 72, 2010).

`index` is the stability of Nogueira, Sechidis and Brown, J. Mach. Learn. Res. 18(174), 2018: with B choices among d
genes, p_f the share that has gene f and k the mean number of genes chosen,

    1 - mean over f of B / (B - 1) p_f (1 - p_f)  /  (k / d (1 - k / d)),

1 if all choices are one, 0 on average if each is drawn by chance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stability:
    """How often each gene was chosen.

    Attributes:
        genes: d ids.
        frequency: (d,) share of the choices that have the gene.
        choices: B.
        index: See the module; NaN for fewer than two choices, or if none or all are chosen.
    """

    genes: tuple[str, ...]
    frequency: Float
    choices: int
    index: float

    def table(self, most: int = 50) -> list[tuple[str, float]]:
        """Rows of gene and frequency, the most frequent first, of genes that were chosen at all."""
        order = np.argsort(-self.frequency, kind="stable")[:most].tolist()
        return [(self.genes[place], float(self.frequency[place])) for place in order if self.frequency[place] > 0]


def stability(genes: Sequence[str], choices: Sequence[Sequence[str]]) -> Stability:
    """From the choices of B halves.

    Args:
        genes: All d that there were to choose from.
        choices: B lists of some of them.
    """
    place = {gene: index for index, gene in enumerate(genes)}
    chosen = np.zeros((len(choices), len(genes)))
    for row, choice in enumerate(choices):
        chosen[row, [place[gene] for gene in choice]] = 1.0
    B, share = len(choices), chosen.mean(axis=0) if choices else np.zeros(len(genes))
    k = float(share.mean()) if len(genes) else 0.0  # as a share of d
    index = math.nan
    if B > 1 and 0 < k < 1:
        index = 1 - float((B / (B - 1) * share * (1 - share)).mean()) / (k * (1 - k))
    return Stability(tuple(genes), np.asarray(share), B, index)
