"""What the run report says of an adaptation to a target tissue, from what reached the hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from methylation_age import plots
from methylation_age.clock import ADAPTED, ELASTIC_NET
from methylation_age.evaluation import Accuracy
from methylation_age.evaluation_run import Evaluation
from methylation_age.report_text import number

NAMES = {ADAPTED: "Adapted elastic net", ELASTIC_NET: "Plain elastic net"}

OnTarget = Mapping[str, Evaluation]


def figures(folder: Path, training: Mapping[str, Any]) -> list[plots.Entry]:
    """The distribution of the CpGs' mean confidences."""
    return [plots.confidences(folder, training["confidence_histogram"], training["median_confidence"])]


def headline(training: Mapping[str, Any], on_target: OnTarget) -> list[dict[str, str]]:
    """Error of the adapted clock on the target, and of the plain one in the note."""
    adapted, plain = _both(on_target)
    if adapted is None or plain is None:
        return []
    note = f"mean absolute error on {adapted.n} samples whose age only scores; plain elastic net: {number(plain.mae)}"
    kind = "adapted" if training["adapted"] else "not adapted"
    return [{"label": f"Target tissue, {kind}", "value": f"{number(adapted.mae)} years", "note": note}]


def tables(on_target: OnTarget) -> list[dict[str, Any]]:
    """Both clocks on the target."""
    overall = [(NAMES[name], found.overall) for name, found in on_target.items()]
    rows = [[name, a.n, number(a.mae), number(a.bias), number(a.r, 3)] for name, a in overall if a is not None and a.n]
    if not rows:
        return []
    caption = "Years, from sums of errors over the target's samples of known age, whose ages took part in nothing else."
    columns = ["clock", "samples", "MAE", "bias", "r"]
    return [{"title": "The target tissue", "caption": caption, "columns": columns, "rows": rows}]


def notes(training: Mapping[str, Any], on_target: OnTarget) -> list[str]:
    """What was found, whether it helped, and what the hub has learned for it."""
    n, rank = training["training_samples"], training["rank"]
    learned = (
        f"For the adaptation the hub learned the second-moment matrix of the CpGs over all {n} training samples "
        f"({rank} eigenvalues that are not zero, in {training['sketch_messages']} messages). With fewer samples than "
        "CpGs it determines the samples' values up to a rotation of the samples among each other. The matrix alone "
        "gives no sample's values; whoever knows some of the samples narrows the rotation for the rest. Of the target "
        f"it learned mean confidences over {training['target_samples']} samples, one for each CpG."
    )
    return [f"Adaptation: {training['verdict']} {_effect(training, on_target)}".strip(), learned]


def _effect(training: Mapping[str, Any], on_target: OnTarget) -> str:
    """Whether it helped, where the target's ages can say."""
    adapted, plain = _both(on_target)
    if not training["adapted"] or adapted is None or plain is None:
        return ""
    ratio = adapted.mae / plain.mae
    if ratio <= 1.0:
        return f"The error on the target is {ratio:.2f} of the plain elastic net's."
    return f"It did not help: the error on the target is {ratio:.2f} times the plain elastic net's."


def _both(on_target: OnTarget) -> tuple[Accuracy | None, Accuracy | None]:
    """Adapted and plain on the target; None where no age is known."""
    found = (on_target[name].overall if name in on_target else None for name in (ADAPTED, ELASTIC_NET))
    adapted, plain = (accuracy if accuracy is not None and accuracy.n else None for accuracy in found)
    return adapted, plain
