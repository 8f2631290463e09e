"""What a DIZ approves: the committed terms, other genes, and that the noise is what the epsilon needs."""

import tomllib
from collections import Counter
from pathlib import Path

import pytest
from gene_expression_private import terms
from gene_expression_private.__main__ import main
from gene_expression_private.errors import InputError
from gene_expression_private.genes import Gene, parse, read_genes

from flame_fl.contract.fab import read_fab
from flame_fl.contract.manifest import parse_terms
from flame_fl.flower.bundle import build_fab
from flame_fl.gate.claims import event_of
from flame_fl.gate.cohort_check import EVENT
from flame_fl.node.scan import scan
from flame_fl.privacy.filters import filter_for, multiplier_for
from tests.use_cases.gene_expression_private.conftest import APP, GENES

ALL = [(analysis, epsilon) for analysis in terms.RELEASES for epsilon in terms.EPSILONS]


@pytest.mark.parametrize(("analysis", "epsilon"), ALL)
def test_the_noise_is_the_least_that_fits(analysis: str, epsilon: float) -> None:
    """All releases and one noised count of patients, by the gate's own accountant; the server is told the same."""
    said = tomllib.loads(terms.text(analysis, epsilon, GENES))["tool"]
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


def test_the_app_is_fold_changes_at_epsilon_1() -> None:
    assert (APP / "pyproject.toml").read_text() == terms.text(terms.EXPRESSION, 1.0, GENES)


def test_a_copy_with_other_genes(tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.csv").write_text("gene,centre,scale\nBRCA1,7.5,2\nESR1, 9,3\n")
    arguments = ["terms", "--analysis", "classifier", "--epsilon", "4", "--genes", str(tmp_path / "mine.csv")]
    assert main([*arguments, "--out", str(tmp_path / "app")]) == 0
    genes = (Gene("BRCA1", 7.5, 2.0), Gene("ESR1", 9.0, 3.0))
    assert (tmp_path / "app" / "pyproject.toml").read_text() == terms.text(terms.CLASSIFIER, 4.0, genes)
    assert '["ESR1", 9.0, 3.0]' in (tmp_path / "app" / "gene_expression_private" / "genes.json").read_text()
    assert main([*arguments, "--out", str(tmp_path / "app")]) == 2
    assert "there already" in capsys.readouterr().err
    with pytest.raises(InputError, match="choose one of"):
        terms.text(terms.EXPRESSION, 3.0, genes)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("gene,centre\nA,1\n", "needs the columns"),
        ("", "needs the columns"),
        ("gene,centre,scale\nA,1,x\n", "no number"),
        ("gene,centre,scale\nA,1\n", "no number"),
        ("gene,centre,scale\nA,1,1\nA,2,1\n", "twice"),
        ('gene,centre,scale\n"A""",1,1\n', "quotes"),
        ("gene,centre,scale\nA,1,0\n", "scales above 0"),
        ("gene,centre,scale\nA,300,1\n", "log2"),
        ("gene,centre,scale\n" + "".join(f"G{k},8,2\n" for k in range(31)), "at most 30"),
    ],
)
def test_bad_lists_of_genes_are_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        parse(text, "mine.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_genes(tmp_path / "none.csv")


def test_a_steward_is_warned_of_nothing_in_the_code() -> None:
    """The automatic reading of the bundle finds nothing of high risk; what reads and writes files is of low."""
    found = scan(read_fab(build_fab(APP)).files)
    assert {finding.risk for finding in found.findings} == {"low"}
