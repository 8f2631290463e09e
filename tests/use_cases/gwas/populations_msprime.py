"""A program of its own: synthetic genotypes of three populations from a coalescent, written as a numpy file.

Usage: populations_msprime.py OUT SEED SAMPLES CHROMOSOMES

Needs msprime (GPL), which nothing of this repository imports. Population 0 split from the ancestor of 1 and 2 2,000
generations ago, these from each other 400. Chromosomes are short, and recombine and mutate often: neighbouring variants
are in linkage disequilibrium, but there are thousands of unlinked ones, which a measure of inflation needs. OUT holds
``calls`` (samples, variants) int8 copies of the derived allele of variants with a frequency of 5 % to 95 %,
``population`` (samples,) and ``chromosome`` (variants,) from 1.
"""

import sys

import msprime
import numpy as np

LENGTH = 100_000

out, seed, samples, chromosomes = sys.argv[1], *(int(word) for word in sys.argv[2:5])
history = msprime.Demography()
for name in ("P0", "P1", "P2", "P12", "A"):
    history.add_population(name=name, initial_size=10_000)
history.add_population_split(time=400, derived=["P1", "P2"], ancestral="P12")
history.add_population_split(time=2_000, derived=["P0", "P12"], ancestral="A")
sizes = [samples // 2, samples // 4, samples - samples // 2 - samples // 4]
trees = msprime.sim_ancestry(
    samples={f"P{number}": size for number, size in enumerate(sizes)},
    demography=history,
    sequence_length=LENGTH,
    recombination_rate=1e-6,
    num_replicates=chromosomes,
    random_seed=seed,
)
calls, chromosome = [], []
for number, tree in enumerate(trees):
    mutated = msprime.sim_mutations(tree, rate=1e-7, random_seed=seed * chromosomes + number + 1, model="binary")
    haplotypes = mutated.genotype_matrix().reshape(-1, samples, 2).astype(np.int8)
    copies = haplotypes.sum(axis=2, dtype=np.int8)
    frequency = copies.mean(axis=1) / 2
    common = copies[(frequency >= 0.05) & (frequency <= 0.95) & (copies.max(axis=1) <= 2)]
    calls.append(common)
    chromosome.append(np.full(len(common), number + 1))
np.savez_compressed(
    out, calls=np.concatenate(calls).T, population=np.repeat(np.arange(3), sizes), chromosome=np.concatenate(chromosome)
)
