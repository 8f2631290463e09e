"""Messages by which a hub would read one patient's genotypes from masked sums are refused at the DIZ.

Each attack is first shown to work on the sums alone; then that a DIZ refuses it, or that the guard has no such row.
"""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from gwas import client_app
from gwas.approved import check
from gwas.errors import InputError
from gwas.site import Request
from gwas.site_counts import gwas_counts
from gwas.site_linear import gwas_linear

from tests.use_cases.gwas.made import cut, panel, site

CARRIER = 17
"""Of 200 patients, the only one with the variant 0."""


@pytest.fixture
def sites():
    """Five DIZ, 300 variants."""
    generator = np.random.default_rng(3)
    calls = generator.binomial(2, 0.4, (200, 300)).astype(np.int8)
    calls[:, 0] = 0
    calls[CARRIER, 0] = 1
    numbers = {"trait": generator.normal(size=200), "age": generator.normal(size=200)}
    whole = site(calls, of=panel([1] * 300), numbers=numbers, sex=generator.integers(1, 3, 200))
    return whole, cut(whole, np.array_split(np.arange(200), 5))


def test_a_component_that_is_a_rare_variant_is_its_carrier(sites, settings):
    """One column of the design is then one patient's indicator: its products are that patient's genome and trait."""
    whole, parts = sites
    chosen = settings(covariates="age", levels="", min_carriers=1, mind=1.0)
    loadings = np.zeros((300, 4))
    loadings[0] = 1.0
    arrays = {
        "centre": np.zeros(2),
        "scale": np.ones(2),
        "pc_index": np.arange(300),
        "pc_mean": np.zeros(300),
        "pc_scale": np.ones(300),
        "loadings": loadings,
        "pc_spread": np.ones(4),
    }
    asked = Request({"start": 0, "stop": 300}, arrays)
    found = sum(gwas_linear(part, asked, chosen)["zg"][:, 1] for part in parts)
    np.testing.assert_allclose(found, whole.genotypes.calls[CARRIER])  # the whole genome, in one answer

    with pytest.raises(InputError, match="that variant's genotypes"):
        check("gwas_linear", asked, chosen, whole.panel)


def test_loadings_on_rare_variants_say_nothing(sites, settings):
    """Spread over many variants that one patient of a DIZ carries, they pass; the DIZ keeps these at their mean."""
    _, parts = sites
    part = parts[0]
    calls = part.genotypes.calls.copy()
    calls[:, :150] = 0
    calls[5, :150] = 1
    lone = site(calls, of=part.panel, numbers=dict(part.numbers), sex=part.sex)
    chosen = settings(covariates="age", levels="", min_carriers=10, mind=1.0)
    loadings = np.zeros((300, 4))
    loadings[:150] = 1.0
    arrays = {
        "centre": np.zeros(2),
        "scale": np.ones(2),
        "pc_index": np.arange(300),
        "pc_mean": np.zeros(300),
        "pc_scale": np.ones(300),
        "loadings": loadings,
        "pc_spread": np.ones(4),
    }
    asked = Request({"start": 150, "stop": 300}, arrays)
    check("gwas_linear", asked, chosen, lone.panel)
    unguarded = gwas_linear(lone, asked, settings(covariates="age", levels="", min_carriers=1, mind=1.0))["zg"][:, 1]
    np.testing.assert_allclose(unguarded, 150.0 * calls[5, 150:].astype(float))
    assert not gwas_linear(lone, asked, chosen)["zg"][:, 1].any()


def test_a_rare_variant_s_row_is_guarded(sites, settings):
    """What a row about one carrier would tell is theirs; the contract lets it out with its count of carriers alone."""
    whole, parts = sites
    chosen = settings(pcs=0, covariates="age", levels="")
    asked = Request({"start": 0, "stop": 3}, {"centre": np.zeros(2), "scale": np.ones(2)})
    answers = [gwas_linear(part, asked, chosen) for part in parts]
    found = sum(answer["gy"][0] for answer in answers)
    np.testing.assert_allclose(found, whole.numbers["trait"][CARRIER])

    carriers = sum(answer["carriers"] for answer in answers)
    assert carriers[0].tolist() == [1, 200]
    assert (carriers[1:] >= 10).all()
    counts = sum(gwas_counts(part, asked, chosen)["carriers"] for part in parts)
    np.testing.assert_array_equal(counts, carriers)


def test_a_message_is_checked_before_it_is_answered(prepared, defaults, identity):
    """Whatever handler: the ClientApp refuses a range beyond the panel, and another analysis's query."""
    config = {"data-genotypes": str(prepared() / "DIZ-1" / "genotypes")}

    def send(query: str, stop: int) -> Message:
        content = RecordDict(
            {
                "span": ConfigRecord({"start": 0, "stop": stop}),
                "design": ArrayRecord({"centre": Array(np.zeros(2)), "scale": Array(np.ones(2))}),
            }
        )
        message = Message(content, message_type=f"query.{query}", dst_node_id=1)
        return client_app.app(message, Context(1, 1, config, RecordDict(), {**defaults, "pcs": 0}))

    assert send("gwas_variants", 300).content.array_records["sums"]["harmony"].numpy().shape == (300, 8)
    for query, stop, text in (("gwas_variants", 5000, "not a chunk"), ("gwas_logistic", 300, "does not ask")):
        with pytest.raises(InputError, match=text):
            send(query, stop)
