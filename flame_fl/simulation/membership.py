"""The membership-inference report: what attacks achieve on a run's model, beside what its privacy claim allows.

The scores come from the app's own tool, which needs the patients' rows: in a simulation they are the user's own; at a
DIZ it is the steward's own people who run the tool, and table and report stay there. Neither is ever sent.

The table is CSV or Parquet with one row per patient: `member` (1 if the model was trained on the patient, 0 if the
patient was held out) and one column per attack, in which higher means likelier a member. Other columns of text, such as
the site's name, are not read; no id belongs into it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flame_fl.contract.errors import InputError
from flame_fl.privacy.membership import LEAST, Attack, Floats, measure, roc
from flame_fl.privacy.risk import FALSE_ALARMS, Risk, bound_risk
from flame_fl.simulation.folder import FINISHED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEMBER = "member"
REPORT, TEXT, PLOT = "membership.json", "membership.txt", "membership-roc.svg"
_MOST_ATTACKS = 8
_FORM = f"Give CSV or Parquet with a column {MEMBER!r} of 0 and 1 and one column of numbers per attack."


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores by attack: those of members, shape (n,), and of the patients held out, shape (m,)."""

    attacks: Mapping[str, tuple[Floats, Floats]]


@dataclass(frozen=True)
class Claim:
    """What a run's ledgers say that any attack on one patient can achieve: the weakest of its DIZ.

    Attributes:
        epsilon: Of the account that spent most.
        delta: Its.
        risk: Advantage, and TPR at an FPR of `FALSE_ALARMS`.
    """

    epsilon: float
    delta: float
    risk: Risk


def read_scores(path: Path) -> Scores:
    """Read a table of scores.

    Raises:
        InputError: It is no such table, or has too few patients.
    """
    import pyarrow as pa  # noqa: PLC0415 -- paid only where a table is read
    from pyarrow import csv, parquet  # noqa: PLC0415

    try:
        table = parquet.ParquetFile(path).read() if path.suffix == ".parquet" else csv.read_csv(path)
    except (OSError, pa.ArrowException) as err:
        raise InputError(f"{path} cannot be read as a table of scores.", mend=_FORM) from err
    numeric = {
        field.name: table[field.name].to_numpy().astype(np.float64)
        for field in table.schema
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_boolean(field.type)
    }
    member = numeric.pop(MEMBER, None)
    if member is None or not np.isin(member, (0.0, 1.0)).all():
        raise InputError(f"{path} says of no patient, or not of every one, who was a member.", mend=_FORM)
    if not 0 < len(numeric) <= _MOST_ATTACKS:
        raise InputError(f"{path} has {len(numeric)} columns of scores; 1 to {_MOST_ATTACKS} are read.", mend=_FORM)
    if broken := sorted(name for name, values in numeric.items() if not np.isfinite(values).all()):
        raise InputError(f"Column {broken[0]!r} of {path} has missing or infinite scores.", mend=_FORM)
    if min(int(member.sum()), len(member) - int(member.sum())) < LEAST:
        raise InputError(f"{path} has fewer than {LEAST} members or patients held out.", mend="Score more patients.")
    inside = member == 1.0
    return Scores({name: (values[inside], values[~inside]) for name, values in numeric.items()})


def claim_of(run: Path) -> Claim | None:
    """What the facts of a finished run say; None if some DIZ claims nothing.

    Raises:
        InputError: `run` is no folder of a finished run.
    """
    try:
        nodes = json.loads((run / FINISHED).read_text(encoding="utf-8"))["run"]["nodes"]
        claims = [_claim_at(node) for node in nodes if node.get("messages")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise InputError(f"{run} is no folder of a finished run.", mend="Give the folder that the run wrote.") from err
    known = [claim for claim in claims if claim is not None]
    return None if not known or len(known) < len(claims) else max(known, key=lambda claim: claim.risk.tpr)


def _claim_at(node: Mapping[str, Any]) -> Claim | None:
    """Of one DIZ: its patients' account, which a release of unit site is debited from as well."""
    accounts = [account for account in node.get("accounts", ()) if account["unit"] == "patient"]
    if accounts:
        spent = max(accounts, key=lambda account: float(account["tpr"]))
        risk = Risk(float(spent["advantage"]), float(spent["tpr"]))
        return Claim(float(spent["epsilon_spent"]), float(spent["delta"]), risk)
    epsilon, delta = node.get("epsilon_spent"), node.get("delta")
    if epsilon is None or delta is None:
        return None
    return Claim(float(epsilon), float(delta), bound_risk(float(epsilon), float(delta)))


def write_report(scores: Scores, claim: Claim | None, out: Path) -> str:
    """Write `membership.json`, `membership.txt` and `membership-roc.svg`, and return the text.

    Args:
        scores: Of every attack.
        claim: What the run claims; None if nothing.
        out: A folder, made if it is not there.

    Raises:
        FlameError: The library that draws is not installed (extra `report`).
        InputError: `out` cannot be written.
    """
    attacks = {name: measure(*both) for name, both in scores.attacks.items()}
    text, plot = _text(attacks, claim), _plot(scores, claim)
    said = {
        "false_alarms": FALSE_ALARMS,
        "attacks": {name: asdict(attack) for name, attack in attacks.items()},
        "claim": None if claim is None else asdict(claim),
        "exceeded": sorted(name for name, attack in attacks.items() if exceeds(attack, claim)),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / REPORT).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        (out / TEXT).write_text(text, encoding="utf-8")
        (out / PLOT).write_text(plot, encoding="utf-8")
    except OSError as err:
        raise InputError(f"{out} cannot be written ({err.strerror}).", mend="Choose another folder.") from err
    return text


def exceeds(attack: Attack, claim: Claim | None) -> bool:
    """Whether the attack achieves more than the claim allows, beyond what chance explains: then something is wrong.

    The lower end of the TPR's interval is held against the most that the claim allows at the upper end of the FPR's.
    """
    if claim is None or attack.fpr_interval[1] >= 1:
        return False
    return attack.tpr_interval[0] > bound_risk(claim.epsilon, claim.delta, attack.fpr_interval[1]).tpr


def _text(attacks: Mapping[str, Attack], claim: Claim | None) -> str:
    first = next(iter(attacks.values()))
    lines = [
        "Membership inference: can the model's losses tell on whose records it was trained?",
        f"{first.members} members, {first.held_out} patients held out. 50 % AUROC is guessing.",
        "",
    ]
    for name, attack in attacks.items():
        lines += [
            f"{name}",
            f"  AUROC                  {_share(attack.auroc, attack.auroc_interval)}",
            f"  TPR at {FALSE_ALARMS:.0%} FPR          {_share(attack.tpr, attack.tpr_interval)}",
            f"  FPR of that threshold  {_share(attack.fpr, attack.fpr_interval)}",
            f"  largest TPR - FPR      {attack.advantage:.1%}",
        ]
    lines.append("")
    if claim is None:
        lines.append("No bound is claimed for this run: another attack may achieve more, up to certainty.")
    else:
        lines.append(
            f"The claim bounds every attack on a patient: epsilon {claim.epsilon:.3g} at delta {claim.delta:.0e}, "
            f"so TPR at {FALSE_ALARMS:.0%} FPR is at most {claim.risk.tpr:.1%} and TPR - FPR at most "
            f"{claim.risk.advantage:.1%}."
        )
        if over := [name for name, attack in attacks.items() if exceeds(attack, claim)]:
            lines.append(
                f"ALARM: {', '.join(over)} achieves more than the claim allows. Either the patients held out are not "
                "drawn like the members, or the claim does not hold: stop, and find out which."
            )
    lines += [
        "An attack that finds little proves little. These figures are about the patients scored here; they stay here.",
        "",
    ]
    return "\n".join(lines)


def _share(value: float, interval: Sequence[float]) -> str:
    return f"{value:6.1%}  [{interval[0]:.1%}, {interval[1]:.1%}]"


def _plot(scores: Scores, claim: Claim | None) -> str:
    """ROC curves on logarithmic axes, where few false alarms can be seen, and the bound."""
    from flame_fl.report import plots  # noqa: PLC0415 -- the extra `report` is not needed for the figures

    least = 0.5 / max(len(both[kind]) for both in scores.attacks.values() for kind in (0, 1))

    def paint(axes: "Axes") -> None:
        grid = np.geomspace(least, 1.0, 200)
        axes.plot(grid, grid, color=plots.LIGHT.muted, linestyle=":", label="guessing")
        for position, (name, both) in enumerate(scores.attacks.items()):
            false, true = roc(*both)
            colour = plots.LIGHT.series[position % len(plots.LIGHT.series)]
            axes.step(_above(false, least), _above(true, least), where="post", color=colour, label=plots.label(name))
        if claim is not None:
            most = [bound_risk(claim.epsilon, claim.delta, min(fpr, 1 - 1e-12)).tpr for fpr in grid]
            axes.plot(grid, most, color=plots.LIGHT.alarm, linestyle="--", label="the claim's bound")
        axes.set(xscale="log", yscale="log", xlim=(least, 1), ylim=(least, 1.05))
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        plots.legend(axes)

    return plots.draw(440, 400, paint)


def _above(rates: Floats, least: float) -> npt.NDArray[np.float64]:
    """Rates, with 0 where a logarithmic axis begins."""
    return np.where(rates > 0, rates, least)


def membership(table: Path, run: Path | None, out: Path | None) -> str:
    """Read, judge, write: the command.

    Args:
        table: The scores.
        run: The run's folder, for its claim; None: nothing is said of a claim.
        out: Where the report goes; None: beside the table.

    Raises:
        InputError: As `read_scores`, `claim_of`, `write_report`.
        FlameError: As `write_report`.
    """
    scores = read_scores(table)
    return write_report(scores, claim_of(run) if run is not None else None, out or table.parent)
