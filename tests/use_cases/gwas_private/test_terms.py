"""What a DIZ approves: the committed terms, other variants, and that the noise is what the epsilon needs."""

import tomllib
from collections import Counter
from pathlib import Path

import pytest
from gwas_private import terms
from gwas_private.__main__ import main
from gwas_private.errors import InputError
from gwas_private.variants import Trait, Variant, parse, parse_trait, read_variants

from flame_fl.contract.fab import read_fab
from flame_fl.contract.manifest import parse_terms
from flame_fl.flower.bundle import build_fab
from flame_fl.gate.claims import event_of
from flame_fl.gate.cohort_check import EVENT
from flame_fl.node.scan import scan
from flame_fl.privacy.filters import filter_for, multiplier_for
from tests.use_cases.gwas_private.conftest import APP, STUDY

HEADER = "variant,chromosome,position,effect_allele,other_allele,frequency\n"


@pytest.mark.parametrize("epsilon", terms.EPSILONS)
def test_the_noise_is_the_least_that_fits(epsilon: float) -> None:
    """One release and one noised count of patients, by the gate's own accountant; the server is told the same."""
    said = tomllib.loads(terms.text(epsilon, STUDY))["tool"]
    stated = parse_terms(said["flame"])
    privacy, (message,) = stated.privacy, stated.messages.values()
    assert (privacy.epsilon_max, privacy.delta, stated.limits.runs) == (epsilon, 1e-5, 1)
    assert (privacy.unit, privacy.ground, stated.secure_aggregation.required) == ("patient", "vetted", True)

    def events(multiplier: float) -> Counter:
        event = event_of(privacy.model_copy(update={"noise_multiplier": multiplier}))
        return Counter({event: message.per_run}) + Counter({EVENT: 1})

    assert privacy.noise_multiplier == multiplier_for(filter_for(epsilon, 1e-5), events)
    assert said["flwr"]["app"]["config"]["noise-std"] == pytest.approx(
        privacy.noise_multiplier * privacy.clip_norm, rel=1e-9
    )


def test_the_app_is_at_epsilon_1() -> None:
    assert (APP / "pyproject.toml").read_text() == terms.text(1.0, STUDY)


def test_a_copy_with_other_variants_and_trait(tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.csv").write_text(HEADER + "rs1,7,1234,a,G,0.25\nrs2, 22 ,99,T,C,0.5\n")
    arguments = ["terms", "--epsilon", "4", "--variants", str(tmp_path / "mine.csv"), "--trait", "ldl:0:400:120:70"]
    assert main([*arguments, "--out", str(tmp_path / "app")]) == 0
    said = (tmp_path / "app" / "pyproject.toml").read_text()
    assert '{ names = ["rs1"], low = 0.0, high = 2.0, centre = 0.5,' in said
    assert 'names = ["ldl"], low = 0.0, high = 400.0, centre = 120.0, scale = 70.0' in said
    assert parse_terms(tomllib.loads(said)["tool"]["flame"]).privacy.epsilon_max == 4
    assert '["rs2", "22", 99, "T", "C", 0.5]' in (tmp_path / "app" / "gwas_private" / "variants.json").read_text()
    assert main([*arguments, "--out", str(tmp_path / "app")]) == 2
    assert "there already" in capsys.readouterr().err
    with pytest.raises(InputError, match="choose one of"):
        terms.text(3.0, STUDY)


def test_a_scale_is_two_standard_deviations() -> None:
    assert Variant("a", "1", 1, "A", "G", 0.5).scale == pytest.approx(2 * 0.5**0.5)
    assert Variant("a", "1", 1, "A", "G", 0.1).centre == 0.2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("variant,frequency\nA,1\n", "needs the columns"),
        ("", "needs the columns"),
        (HEADER + "rs1,7,x,A,G,0.2\n", "no number"),
        (HEADER + "rs1,7,1,A,G\n", "no number"),
        (HEADER + "rs1,7,1,A,G,0.2\nrs1,7,2,A,G,0.2\n", "twice"),
        (HEADER + '"rs""1",7,1,A,G,0.2\n', "plain name"),
        (HEADER + "rs1,7,1,A,A,0.2\n", "two different alleles"),
        (HEADER + "rs1,7,1,A,<DEL>,0.2\n", "two different alleles"),
        (HEADER + "rs1,X,1,A,G,0.2\n", "chromosome"),
        (HEADER + "rs1,7,0,A,G,0.2\n", "position"),
        (HEADER + "rs1,7,1,A,G,0.01\n", "frequency outside"),
        (HEADER + "rs1,7,1,A,G,nan\n", "frequency outside"),
        (HEADER + "".join(f"rs{k},7,1,A,G,0.2\n" for k in range(51)), "at most 50"),
    ],
)
def test_bad_lists_of_variants_are_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        parse(text, "mine.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_variants(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "text", ["ldl", "ldl:1:2:3", "ldl:a:2:1:1", "l d:0:9:1:1", "ldl:0:9:10:1", "ldl:0:9:1:0", "ldl:0:9:1:nan"]
)
def test_bad_traits_are_one_sentence(text: str) -> None:
    with pytest.raises(InputError):
        parse_trait(text)
    assert parse_trait("ldl:0:9:1:2") == Trait("ldl", 0.0, 9.0, 1.0, 2.0)


def test_a_steward_is_warned_of_nothing_in_the_code() -> None:
    """The automatic reading of the bundle finds nothing of high risk; what reads and writes files is of low."""
    found = scan(read_fab(build_fab(APP)).files)
    assert {finding.risk for finding in found.findings} == {"low"}
