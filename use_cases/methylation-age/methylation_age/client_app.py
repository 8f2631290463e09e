"""What runs at a DIZ: one handler per message type, each reading its data store and answering with sums or an update.

| message         | receives                                       | answers                                        |
|-----------------|------------------------------------------------|------------------------------------------------|
| query.moments   | nothing                                        | sums per CpG and of the transformed age        |
| query.target    | pooled centre and scale, number of folds       | first moments with the target, by fold         |
| query.columns   | the same, and which columns                    | columns of the second moment, by fold          |
| query.sketch    | the same, seed and range of the sketch         | columns of the sketched second moment          |
| query.confidences | spectrum and models of the CpGs              | how well each CpG of the target is predicted   |
| query.path_errors | several clocks                               | sums of their errors on the target             |
| train           | MLP weights, which columns, centre and scale   | new weights                                    |
| evaluate        | a clock                                        | sums of its errors on test or target samples   |

The answers' names, shapes and types are the release contract in ``pyproject.toml``; what is not listed there does not
leave. This module runs in a sandbox at the hospital: it imports neither flame_fl nor flame_strategies, and torch only
where the MLP is used.
"""

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from methylation_age import evaluation, feature_models, horvath, similarity, site_adaptation, sums
from methylation_age.cohort import Cohort, Store, load_store
from methylation_age.errors import InputError
from methylation_age.spectrum import Spectrum

DATA_STORE = "methylation"

MOST_REFERENCES = 6
"""In a session: as many as there may be ``query.moments``, of which each comes."""

app = ClientApp()

_standardised: dict[tuple[object, ...], tuple[Cohort, sums.Folds]] = {}
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
    return _reply(message, "sums", sums.target(_folds(message, context, cohort)), len(cohort))


@app.query("columns")
def columns(message: Message, context: Context) -> Message:
    """The asked columns of the second-moment matrix, by fold."""
    cohort = _store(context).train
    chosen = _arrays(message, "reference")["columns"].astype(np.int64)
    return _reply(message, "sums", sums.columns(_folds(message, context, cohort), chosen), len(cohort))


@app.query("sketch")
def sketch(message: Message, context: Context) -> Message:
    """Some columns of the sketched second-moment matrix."""
    cohort = _store(context).train
    reference = _few(context, sums.Reference.from_arrays(_arrays(message, "reference")))
    asked = message.content.config_records["sketch"]
    columns = (int(asked["start"]), int(asked["stop"]))
    arrays = site_adaptation.sketch(cohort, reference, int(asked["seed"]), int(asked["rows"]), columns)
    return _reply(message, "sums", arrays, len(cohort))


@app.query("confidences")
def confidences(message: Message, context: Context) -> Message:
    """How well each CpG of the target is predicted from the others, summed over the target's samples."""
    store = _store(context)
    target = _target(store, message.content.config_records["target"], context)
    reference = _few(context, sums.Reference.from_arrays(_arrays(message, "reference")))
    given = {name: np.asarray(array, dtype=np.float64) for name, array in _arrays(message, "models").items()}
    of = Spectrum(given["values"], given["vectors"], int(message.content.config_records["target"]["rows"]))
    models = feature_models.FeatureModels(given["signal"], given["noise"])
    return _reply(message, "sums", site_adaptation.confidences(target, reference, of, models), len(store.train))


@app.query("path_errors")
def path_errors(message: Message, context: Context) -> Message:
    """Sums of the errors of several clocks on the target's samples of known age."""
    store = _store(context)
    if context.run_config["penalty-rule"] != "similarity":
        raise InputError(
            "Errors of other clocks are for penalty-rule = 'similarity', which the run config does not say."
        )
    target = _target(store, message.content.config_records["target"], context)
    path = _arrays(message, "path")
    columns = path["columns"].astype(np.int64)
    centre, coef, intercept = (np.asarray(path[name], dtype=np.float64) for name in ("centre", "coef", "intercept"))
    arrays = site_adaptation.path_errors(target, columns, centre, coef, intercept)
    return _reply(message, "sums", arrays, len(store.train))


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
    """Sums of a clock's errors on this DIZ's test or target samples; no prediction leaves."""
    weights = _arrays(message, "arrays")
    config = message.content.config_records["config"]
    store = _store(context)
    cohort = store.test
    if config.get("split") == "target":
        cohort = _target(store, config, context).with_age()
    betas = cohort.betas[:, config["columns"]]
    if config["model"] == "mlp":
        from methylation_age import mlp  # noqa: PLC0415 -- torch, only for the MLP

        reference = _reference(config)
        value = mlp.predict(weights, reference.standardise(betas), mlp.Recipe.from_config(context.run_config))
        value = value * reference.y_scale + reference.y_centre
    else:
        filled = np.where(np.isnan(betas), site_adaptation.checked_centre(np.array(config["centre"])), betas)
        value = filled @ weights["coef"] + weights["intercept"][0]
    arrays = evaluation.evaluate(cohort.age, horvath.inverse(value))
    mae = evaluation.accuracy(arrays).mae if len(cohort) else 0.0  # weighs nothing in a mean by number of examples
    return _reply(message, "evaluation", arrays, len(cohort), {"mae": mae})


def _store(context: Context) -> Store:
    return load_store(str(context.node_config[f"data-{DATA_STORE}"]), str(context.run_config["panel"]))


def _target(store: Store, asked: ConfigRecord, context: Context) -> Cohort:
    """The target's samples of the message's tissue, which is one that the approved run config names.

    Sums over all tissues less those over all but one are about that one's samples, of which there may be a single one.

    Raises:
        InputError: The run config does not name the tissue.
    """
    config, tissue = context.run_config, str(asked["tissue"])
    named = {str(config["target-tissue"])}
    if config["penalty-rule"] == "similarity":
        named |= set(similarity.parse(str(config["similarity"])))
    if tissue not in named:
        raise InputError("The message asks about another tissue than the run config names.")
    return store.target.of_tissue(tissue)


def _few(context: Context, reference: sums.Reference) -> sums.Reference:
    """The reference itself, if it can be one, and the hub has not sent too many different ones in this session.

    Two centres of one CpG show who has a value of it. A fit has one reference, and a new one where a DIZ was lost.

    Raises:
        InputError: It cannot, or is one too many.
    """
    digest = reference.checked().digest().hex()
    known = context.state.config_records.setdefault("references", ConfigRecord({"digests": []}))
    before = [str(found) for found in known["digests"]]
    if digest not in before:
        if len(before) >= MOST_REFERENCES:
            raise InputError(f"The message has another centre or scale than {MOST_REFERENCES} before; start a new run.")
        known["digests"] = [*before, digest]
    return reference


def _folds(message: Message, context: Context, cohort: Cohort) -> sums.Folds:
    reference = _few(context, sums.Reference.from_arrays(_arrays(message, "reference")))
    asked = message.content.config_records["folds"]
    folds, members, sizes = int(asked["folds"]), list(asked.get("sites", [])), list(asked.get("sizes", []))
    _check_folds(context, folds, members, sizes)
    ends = np.cumsum(sizes, dtype=np.int64).tolist()
    groups = tuple(tuple(members[end - size : end]) for end, size in zip(ends, sizes, strict=True))
    key = (id(cohort), reference.digest(), folds, groups)
    if key not in _standardised:
        _standardised.clear()
        parted = sums.split_folds(cohort, reference, folds, groups, context.node_id)
        _standardised[key] = (cohort, parted)  # keeps the cohort, and so its id
    return _standardised[key][1]


def _check_folds(context: Context, folds: int, members: list[int], sizes: list[int]) -> None:
    """Folds are what the approved run config says, and the same throughout a session.

    Sums over two different partitions into folds can be crossed, until they are about single patients or DIZ.

    Raises:
        InputError: They are not.
    """
    if not members:
        if folds != int(context.run_config["folds"]):
            raise InputError("The message asks for another number of folds than the run config says.")
        return
    if context.run_config.get("folds-by") != "sites":
        raise InputError("Folds of DIZ show the hub sums of fewer DIZ; they need folds-by = 'sites' in the run config.")
    if len(sizes) != folds or sum(sizes) != len(members):
        raise InputError("The groups of DIZ in the message are not as many as the folds.")
    before = context.state.config_records.setdefault("folds", ConfigRecord({"sites": members, "sizes": sizes}))
    if list(before["sites"]) != members or list(before["sizes"]) != sizes:
        raise InputError("The groups of DIZ changed within the run; start a new one.")


def _reference(config: ConfigRecord) -> sums.Reference:
    """How the MLP's inputs and target are standardised."""
    return sums.Reference(
        centre=np.array(config["centre"]),
        scale=np.array(config["scale"]),
        y_centre=float(config["y-centre"]),
        y_scale=float(config["y-scale"]),
    ).checked()


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
