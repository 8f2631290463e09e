"""A DIZ's part in the quality control: numbers of samples, and of genotypes variant by variant.

| query        | asks                            | answers                                                    |
|--------------|---------------------------------|------------------------------------------------------------|
| gwas_samples | nothing more                    | samples (r,): how many for each of `REASONS`               |
| gwas_counts  | start, stop                     | counts (m, 4): analysed samples with no copy of ``alt``,   |
|              |                                 | with one, with two, without a call; males (m, 3): of the   |
|              |                                 | haploid ones no copy, one, no call; controls (m, 3): of    |
|              |                                 | those without the disease none, one, two; carriers (m, c): |
|              |                                 | samples with ``alt``, with ``ref``, and of `site_classes`  |
| gwas_sex     | x_index, x_frequency (x,): some | sex (3, 3): samples by the store's sex (unknown, male,     |
|              | of the panel's X, and their     | female) and by what X speaks for                           |
|              | pooled frequencies of ``alt``   |                                                            |

A variant that the DIZ lacks is 0 throughout: calls are missing only where there could be some. Haploid ones are males
on X and Y and everyone's mitochondria; they are in ``males`` and not in ``counts``, nor is anybody but a male on Y in
either. ``males`` is 0 throughout on other chromosomes.

F is 1 less the heterozygous calls of X over those that the frequencies foretell: about 1 with one X, about 0 with two.
Frequencies come from the hub, so that samples are counted by F and never left out by it: who is analysed would be the
hub's choice.
"""

import numpy as np

from gwas.errors import InputError
from gwas.panel import MT, X, Y
from gwas.settings import Settings
from gwas.site import FEMALE, MALE, UNKNOWN, Answer, Arrays, Bool, Float, Int, Request, Site
from gwas.site_calls import Calls, chromosome_of, read_calls, tally
from gwas.site_classes import by_site, with_a_call
from gwas.site_design import REASONS, analysed, phenotype, why

MALE_ABOVE, FEMALE_BELOW = 0.8, 0.2
"""F of X that speaks for one X, and for two."""

_WIDTH = 2_000


def gwas_samples(site: Site, request: Request, settings: Settings) -> Arrays:
    """How many samples are analysed, and why the others are not."""
    return {"samples": np.bincount(why(site, settings), minlength=len(REASONS)).astype(np.int64)}


def gwas_counts(site: Site, request: Request, settings: Settings) -> Arrays:
    """Genotypes of the analysed samples."""
    start, stop = request.span
    keep = analysed(site, settings)
    calls = read_calls(site, start, stop, keep)
    chromosome, male = chromosome_of(site, start, stop), site.sex[keep] == MALE
    haploid = {X: male, Y: male, MT: np.ones(len(male), dtype=np.bool_)}.get(chromosome)
    diploid = np.ones(len(male), dtype=np.bool_) if haploid is None else ~haploid
    if chromosome == Y:
        diploid[:] = False
    males = np.zeros((stop - start, 3), dtype=np.int64)
    if haploid is not None:
        none, _, two, missing = _genotypes(calls, haploid)
        males = np.column_stack([none, two, missing])
    controls = np.zeros((stop - start, 3), dtype=np.int64)
    people = np.ones((len(male), 1))
    if settings.hwe_in == "controls":
        healthy = phenotype(site, settings)[keep] == 0
        controls = np.column_stack(_genotypes(calls, diploid & healthy)[:3])
        people = np.column_stack([people, healthy, ~healthy])
    called = with_a_call(calls, people)
    counts = np.column_stack(_genotypes(calls, diploid, last=True))
    absent = ~site.genotypes.present[start:stop]
    counts[absent, 3] = males[absent, 2] = 0
    carriers = np.column_stack([counts[:, 1:3].sum(axis=1) + males[:, 1], counts[:, :2].sum(axis=1) + males[:, 0]])
    carriers = np.column_stack([carriers, called[:, 1:], by_site(called[:, 0], settings)])
    return {"counts": counts, "males": males, "controls": controls, "carriers": carriers}


def gwas_sex(site: Site, request: Request, settings: Settings) -> Arrays:
    """How the samples' X chromosomes agree with their sex."""
    del settings  # everyone is looked at, analysed or not
    index, frequency = request.arrays["x_index"], request.arrays["x_frequency"]
    if frequency.shape != index.shape or index.ndim != 1 or not ((frequency > 0) & (frequency < 1)).all():
        raise InputError("The frequencies of X must be between 0 and 1, one for each variant.")
    if (np.diff(index, prepend=-1) <= 0).any() or (len(index) and index[-1] >= site.panel.size):
        raise InputError("The variants of X must be the panel's, named once each and in order.")
    if not (site.panel.chromosome[index] == X).all():
        raise InputError("The message asks for variants as X's that are not.")
    found = sex_of_x(inbreeding(site, index, np.asarray(frequency, dtype=np.float64)))
    table = np.zeros((3, 3), dtype=np.int64)
    np.add.at(table, (site.sex, found), 1)
    return {"sex": table}


ANSWERS: dict[str, Answer] = {"gwas_samples": gwas_samples, "gwas_counts": gwas_counts, "gwas_sex": gwas_sex}
"""By the query's name without ``query.``."""


def inbreeding(site: Site, index: Int, frequency: Float) -> Float:
    """(n,) F over variants (x,) whose pooled frequencies are (x,); NaN for a sample without a call."""
    expected, observed, calls_of = np.zeros((3, site.samples))
    for start in range(0, len(index), _WIDTH):
        calls = site.genotypes.pick(index[start : start + _WIDTH])
        p = frequency[start : start + _WIDTH]
        there = calls >= 0
        expected += there @ (2 * p * (1 - p))
        observed += (calls == 1).sum(axis=1)
        calls_of += there.sum(axis=1)
    return np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1.0), np.nan)


def sex_of_x(f: Float) -> Int:
    """(n,) the sex that each F speaks for; `UNKNOWN` between the thresholds."""
    found = np.where(f > MALE_ABOVE, MALE, np.where(f < FEMALE_BELOW, FEMALE, UNKNOWN))
    return np.asarray(found, dtype=np.int64)


def _genotypes(calls: Calls, of: Bool, *, last: bool = False) -> tuple[Int, Int, Int, Int]:
    """(m,) samples with no copy, one, two, and no call, among some of them; the `last` time may spoil `calls`."""
    chosen = calls if last and of.all() else np.ascontiguousarray(calls.T[:, of]).T
    found = tally(chosen)
    return *found.genotypes(len(chosen)), found.missing
