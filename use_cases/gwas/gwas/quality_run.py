"""The quality control at the hub: ask for the numbers of genotypes chunk by chunk, and judge every variant.

Files in the run's folder: ``quality/``, a small one per chunk, so that an interrupted run goes on (`gwas.scan`).
"""

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.output import write_atomically
from flame_strategies.sums import GridExchange

from gwas.hub import Hub
from gwas.panel import X
from gwas.quality_rules import Quality, judge, samples_of
from gwas.scan import begin, through

Table = dict[str, npt.NDArray[Any]]

MOST_OF_X = 20_000
"""Variants of X that the sex check looks at; these are plenty, and one message."""

_PREFIX = "quality-"


@dataclass(frozen=True)
class QualityParts:
    """A chunk's judgements in one file each; what `gwas.scan.through` needs."""

    folder: Path

    @property
    def done(self) -> frozenset[int]:
        """Starts of the chunks that are there."""
        return frozenset(int(path.stem.removeprefix(_PREFIX)) for path in self.folder.glob(f"{_PREFIX}*.npz"))

    def append(self, start: int, table: Table) -> None:
        """Write a chunk's file, whole or not at all."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **table)
        write_atomically(self.folder / f"{_PREFIX}{start:09d}.npz", buffer.getvalue())

    def read(self, start: int) -> Table:
        """A chunk's file."""
        with np.load(self.folder / f"{_PREFIX}{start:09d}.npz", allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


def run(hub: Hub) -> Quality:
    """Judge every variant, count the samples, and look at their sex if the run config wants that."""
    found, nodes = hub.fit(lambda exchange: _all(hub, exchange))
    return replace(found, nodes=nodes)


def _all(hub: Hub, exchange: GridExchange) -> Quality:
    settings, panel = hub.settings, hub.panel
    samples = samples_of(exchange("query.gwas_samples", {"ask": {"of": "samples"}})["samples"])
    stamp = {"nodes": list(exchange.sites), "samples": samples}
    parts = QualityParts(begin(hub, "quality", stamp, f"{_PREFIX}*.npz"))

    def work(start: int, stop: int) -> Table:
        span = {"span": {"start": start, "stop": stop}}
        harmony = exchange("query.gwas_variants", span)["harmony"]
        judged = judge(
            {**exchange("query.gwas_counts", span), "harmony": harmony}, int(panel.chromosome[start]), settings
        )
        return {**judged, "harmony": harmony.sum(axis=0)}

    through(hub, parts, "quality control", work)
    whole = Quality(
        reason=np.zeros(panel.size, dtype=np.int8),
        alt_frequency=np.full(panel.size, np.nan),
        missing=np.full(panel.size, np.nan),
        hwe=np.full(panel.size, np.nan),
        sites=np.zeros(panel.size, dtype=np.int16),
        rarest=np.zeros(panel.size, dtype=np.int64),
        harmony=np.zeros(8, dtype=np.int64),
        samples=samples,
    )
    for start, stop in panel.chunks(settings.chunk):
        part = parts.read(start)
        for name in ("reason", "alt_frequency", "missing", "hwe", "sites", "rarest"):
            getattr(whole, name)[start:stop] = part[name]
        whole.harmony[:] += part["harmony"]
    return replace(whole, sex=_sex(hub, exchange, whole)) if settings.sex_check else whole


def _sex(hub: Hub, exchange: GridExchange, found: Quality) -> npt.NDArray[np.int64] | None:
    """What X says of the samples' sex, at the variants that passed; none where the panel has no X."""
    frequency = found.alt_frequency
    chosen = np.flatnonzero((hub.panel.chromosome == X) & found.passed & (frequency > 0) & (frequency < 1))
    if not len(chosen):
        return None
    chosen = chosen[:: -(-len(chosen) // MOST_OF_X)].astype(np.int64)
    message = {"x_index": chosen, "x_frequency": frequency[chosen]}
    return np.asarray(exchange("query.gwas_sex", {"x": message})["sex"], dtype=np.int64)
