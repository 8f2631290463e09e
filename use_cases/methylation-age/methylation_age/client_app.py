"""What runs at a DIZ: one handler per message type, each reading its data store and answering with sums or an update.

| message         | receives                                       | answers                                        |
|-----------------|------------------------------------------------|------------------------------------------------|
| query.moments   | nothing                                        | sums per CpG and of the transformed age        |
| query.target    | pooled centre and scale, number of folds       | first moments with the target, by fold         |
| query.columns   | the same, and which columns                    | columns of the second moment, by fold          |
| train           | MLP weights, which columns, centre and scale   | new weights                                    |
| evaluate        | a clock                                        | sums of its errors on the test samples         |

The answers' names, shapes and types are the release contract in ``pyproject.toml``; what is not listed there does not
leave. This module runs in a sandbox at the hospital: it imports neither flame_fl nor flame_strategies, and torch only
where the MLP is used.
"""

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from methylation_age import evaluation, horvath, sums
from methylation_age.cohort import Cohort, Store, load_store

DATA_STORE = "methylation"

app = ClientApp()

_standardised: dict[tuple[int, bytes, int], tuple[Cohort, sums.Folds]] = {}
"""The last standardised cohort, because a fit asks for columns of the same one again and again."""


@app.query("moments")
def moments(message: Message, context: Context) -> Message:
    """Sums per CpG, from which the hub forms the pooled means and standard deviations."""
    cohort = _store(context).train
    return _reply(message, "sums", sums.moments(cohort), len(cohort))


@app.query("target")
def target(message: Message, context: Context) -> Message:
    """First moments of the standardised CpGs with the standardised target, by fold."""
    cohort = _store(context).train
    return _reply(message, "sums", sums.target(_folds(message, cohort)), len(cohort))


@app.query("columns")
def columns(message: Message, context: Context) -> Message:
    """The asked columns of the second-moment matrix, by fold."""
    cohort = _store(context).train
    chosen = _arrays(message, "reference")["columns"].astype(np.int64)
    return _reply(message, "sums", sums.columns(_folds(message, cohort), chosen), len(cohort))


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of the MLP on this DIZ's training samples."""
    from methylation_age import mlp  # noqa: PLC0415 -- torch, only for the MLP

    cohort = _store(context).train
    config = message.content.config_records["config"]
    reference = _reference(config)
    z = reference.standardise(cohort.betas[:, config["columns"]])
    y = (cohort.target - reference.y_centre) / reference.y_scale
    weights, loss = mlp.train(_arrays(message, "arrays"), z, y, mlp.Recipe.from_config(context.run_config))
    return _reply(message, "arrays", weights, len(cohort), {"train-loss": loss})


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Sums of a clock's errors on this DIZ's test samples; no prediction leaves."""
    cohort = _store(context).test
    weights = _arrays(message, "arrays")
    config = message.content.config_records["config"]
    betas = cohort.betas[:, config["columns"]]
    if config["model"] == "mlp":
        from methylation_age import mlp  # noqa: PLC0415 -- torch, only for the MLP

        reference = _reference(config)
        value = mlp.predict(weights, reference.standardise(betas), mlp.Recipe.from_config(context.run_config))
        value = value * reference.y_scale + reference.y_centre
    else:
        filled = np.where(np.isnan(betas), np.array(config["centre"]), betas)
        value = filled @ weights["coef"] + weights["intercept"][0]
    arrays = evaluation.evaluate(cohort.age, horvath.inverse(value))
    mae = evaluation.accuracy(arrays).mae if len(cohort) else 0.0  # weighs nothing in a mean by number of examples
    return _reply(message, "evaluation", arrays, len(cohort), {"mae": mae})


def _store(context: Context) -> Store:
    return load_store(str(context.node_config[f"data-{DATA_STORE}"]), str(context.run_config["panel"]))


def _folds(message: Message, cohort: Cohort) -> sums.Folds:
    reference = sums.Reference.from_arrays(_arrays(message, "reference"))
    folds = int(message.content.config_records["folds"]["folds"])
    key = (id(cohort), reference.digest(), folds)
    if key not in _standardised:
        _standardised.clear()
        _standardised[key] = (cohort, sums.split_folds(cohort, reference, folds))  # keeps the cohort, and so its id
    return _standardised[key][1]


def _reference(config: ConfigRecord) -> sums.Reference:
    """How the MLP's inputs and target are standardised."""
    return sums.Reference(
        centre=np.array(config["centre"]),
        scale=np.array(config["scale"]),
        y_centre=float(config["y-centre"]),
        y_scale=float(config["y-scale"]),
    )


def _arrays(message: Message, record: str) -> dict[str, npt.NDArray[np.generic]]:
    return {name: array.numpy() for name, array in message.content.array_records[record].items()}


def _reply(
    message: Message,
    record: str,
    arrays: dict[str, npt.NDArray[np.generic]],
    examples: int,
    metrics: dict[str, float] | None = None,
) -> Message:
    content = RecordDict(
        {
            record: ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()}),
            "metrics": MetricRecord({"num-examples": examples, **(metrics or {})}),
        }
    )
    return Message(content, reply_to=message)
