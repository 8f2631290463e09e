"""`apply`: ages of one's own samples by a trained clock."""

from pathlib import Path

import numpy as np
import pandas as pd
from flame_strategies.output import write_atomically

from methylation_age import quality
from methylation_age.clock import load_clocks
from methylation_age.errors import InputError
from methylation_age.panel import load_panel


def apply(model: Path, betas_file: Path, out: Path, clock_name: str | None = None) -> str:
    """Predict ages and write them as CSV with the columns ``sample_id`` and ``predicted_age``.

    Args:
        model: ``model.json`` of a run.
        betas_file: Beta matrix (see `quality`); values may be missing.
        out: The CSV to write.
        clock_name: Which of the model's clocks, by default its main one.

    Returns:
        A sentence that says how many samples and CpGs were there.

    Raises:
        InputError: The model or the betas cannot be used.
    """
    clocks, metadata = load_clocks(model)
    name = clock_name or next(iter(clocks))
    if name not in clocks:
        raise InputError(f"The model has no clock {name!r}; choose one of {', '.join(clocks)}.")
    clock = clocks[name]
    panel = load_panel(metadata["panel"]).cpgs
    wanted = [panel[column] for column in clock.columns]
    betas = quality.check_betas(quality.read_betas(betas_file))
    present = sum(cpg in betas.columns for cpg in wanted)
    if not present:
        raise InputError(f"{betas_file.name} has none of the clock's {len(wanted)} CpGs; check the probe ids.")
    values = betas.reindex(columns=wanted).to_numpy(dtype=np.float64)
    ages = pd.DataFrame({"sample_id": betas.index, "predicted_age": clock.predict(values)})
    try:
        write_atomically(out, ages.to_csv(index=False, float_format="%.4f").encode())
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}); choose another --out.") from None
    filled = int(np.isnan(values[:, [cpg in betas.columns for cpg in wanted]]).sum())
    return (
        f"{len(ages)} ages by the {name} clock in {out}; {present} of its {len(wanted)} CpGs are in {betas_file.name}, "
        f"the others and {filled} missing values were filled with the training mean"
    )
