"""Late fusion, as the hub runs it: a model of each modality, and one on their scores (`late_fit`).

Both rules are measured on the same test patients, the run config's ``late`` first; so is each modality's own model, on
those who have it, and the chosen rule with one modality taken away at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flame_strategies.sums import Exchange
from flwr.serverapp import Grid

from multimodal_imaging import fusion_fit, fusion_run, late_fit
from multimodal_imaging.fusion_model import Scores, total
from multimodal_imaging.hub import Hub
from multimodal_imaging.late_fit import MEAN, STACK, Late
from multimodal_imaging.results import Outcome
from multimodal_imaging.settings import Settings
from multimodal_imaging.steps import Steps
from multimodal_imaging.validation import TEST, TRAIN, Population


@dataclass(frozen=True, eq=False)
class LateResult:
    """What late fusion found.

    Attributes:
        settings: What was asked.
        model: Of all training patients, by the rule of the run config.
        test: By rule, scores of the test patients; empty without test patients.
        ablation: By modality, scores without it.
        alone: By modality, scores of its own model.
        validation: Scores of those held out, summed; None without.
        by_set: The same by fold, group or DIZ.
        exchanges: How many messages each DIZ answered.
    """

    settings: Settings
    model: Late
    test: Mapping[str, Scores] = field(default_factory=dict)
    ablation: Mapping[str, Scores] = field(default_factory=dict)
    alone: Mapping[str, Scores] = field(default_factory=dict)
    validation: Scores | None = None
    by_set: tuple[Scores, ...] = ()
    exchanges: int = 0


def run(hub: Hub) -> Outcome:
    """The whole analysis."""
    found, sites = hub.fit(lambda exchange: run_late(exchange, hub.settings, grid=hub.grid))
    fusion_run.save(hub.folder, found.model.fused, hub.settings)
    models: dict[str, Scores] = {f"late, {rule}": scores for rule, scores in found.test.items()}
    models |= {f"without {name}": scores for name, scores in found.ablation.items()}
    models |= {f"{name} alone": scores for name, scores in found.alone.items()}
    return fusion_run.tell(
        hub.folder,
        hub.settings,
        models,
        found.validation,
        found.by_set,
        title="A model of each modality, and one on their scores",
        notes=fusion_run.division_note(hub.settings),
        sites=sites,
        exchanges=found.exchanges,
        details={"penalties": {name: model.penalty for name, model in found.model.own.items()}},
    )


def run_late(
    exchange: Exchange, settings: Settings, sites: Sequence[int] = (), *, grid: Grid | None = None
) -> LateResult:
    """Fit, measure, compare, validate; arguments as of `fusion_run.run_fusion`."""
    steps = Steps(grid)
    counter = fusion_fit.Counter(exchange)
    model = late_fit.fit_late(counter, settings, TRAIN, settings.late)
    first = fusion_run.some(late_fit.measure(counter, settings, model, TEST))
    test: dict[str, Scores] = {}
    ablation: dict[str, Scores] = {}
    alone: dict[str, Scores] = {}
    nodes = tuple(sites) or tuple(getattr(exchange, "sites", ()))
    steps.expect(1 + (first is not None) + fusion_run.sets_of(settings, nodes))
    steps.done(settings.late)
    if first is not None:
        test[settings.late] = first
        other = MEAN if settings.late == STACK else STACK
        records = {name: record for name, record in model.fused.records.items() if name != "late"}
        second = late_fit.fuse(counter, settings, TRAIN, model.own, records=records, rule=other)
        test[other] = late_fit.measure(counter, settings, second, TEST)
        for name, own in model.own.items():
            ablation[name] = late_fit.measure(counter, settings, model, TEST, drop=(name,))
            alone[name] = fusion_fit.measure(counter, settings, own, TEST)
        steps.done(other)

    def fit(training: Population) -> Late:
        return late_fit.fit_late(counter, settings, training, settings.late)

    def measure(fitted: Late, held_out: Population) -> Scores:
        return late_fit.measure(counter, settings, fitted, held_out)

    by_set = fusion_run.validate(settings, nodes, fit, measure, steps)
    return LateResult(settings, model, test, ablation, alone, total(by_set), by_set, counter.count)
