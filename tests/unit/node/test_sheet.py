"""The steward's sheet: what it gathers, what it warns of, and that it says so for every state a request can be in."""

import json
import string
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.task import Run
from flame_fl.contract.terms import Terms
from flame_fl.gate.approval import ApprovalRecord, ProjectRecord, Status
from flame_fl.gate.cohort_check import EVENT as COUNT
from flame_fl.gate.signatures import public_text
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Gate, NodeLimits
from flame_fl.node.config import NodeConfig, config_text, parse_config
from flame_fl.node.dry_run_outcome import DryMessage, DryRunOutcome, MadeUp
from flame_fl.node.sheet import Sheet, build_sheet, previous_approved, sections
from flame_fl.node.sheet_model import LEVELS, Caution
from flame_fl.node.sheet_sections import caution_text
from flame_fl.node.sheet_words import WORDS, Say
from flame_fl.node.shown import visible
from flame_fl.node.wiring import Node
from flame_fl.privacy.accounting import PrivacyEvent, Relation, epsilon_of
from flame_fl.privacy.risk import risk_of
from tests.support.gates import BLOCKS, ENFORCED, TRAIN, World, make_fab, make_terms, manifest_from, terms_table
from tests.support.masked_gates import MASKED_TRAIN, masked_table
from tests.support.stewards import decide
from tests.unit.node.decisions import fab_of

LANGUAGES = ("en", "de")
SGD = ENFORCED | {"unit": "patient", "ground": "reviewed", "mechanism": "dp-sgd", "sample_rate": 0.025, "steps": 1200}
OUTCOME = DryRunOutcome(
    at="2026-06-01T10:00:00+00:00",
    analysis="a" * 64,
    sandbox="fake",
    stores={"cohort": MadeUp(records=50, patients=40, schema_of="drafted")},
    messages=(
        DryMessage(message_type="train", outcome="refused", code=905, detail="The app failed", said="KeyError: 'x'"),
        DryMessage(message_type="evaluate", outcome="released", bytes_out=8, items=("a/b float64 1",)),
        DryMessage(message_type="query", outcome="zero", detail="why"),
        DryMessage(message_type="query.b", outcome="stopped"),
        DryMessage(message_type="query.c", outcome="skipped"),
    ),
    output=("a line",),
    seconds=1.5,
)


@pytest.fixture
def config() -> NodeConfig:
    return parse_config(config_text(node_id="a" * 12, name="DIZ-1", hub="localhost:1", port=9094, image=""))


def filed(world: World | Gate, fab: bytes, submitter: str = "alice") -> ApprovalRecord:
    gate = world.gate if isinstance(world, World) else world
    return gate.file(manifest_from(fab), Run(7, fab, submitter=submitter))


def sheet_of(world: World, config: NodeConfig, fab: bytes, **changes: Any) -> Sheet:
    return build_sheet(world.gate, config, replace(filed(world, fab), **changes))


def keys(sheet: Sheet) -> set[str]:
    return {caution.key for caution in sheet.cautions}


def text_of(sheet: Sheet, language: str = "en") -> str:
    """Everything that a page would show."""
    parts: list[str] = []
    for section in sections(sheet, language):  # type: ignore[arg-type]
        parts += [section.title, *section.notes, *section.lines, *(warned.text for warned in section.warnings)]
        parts += [word for row in section.rows for word in row]
        parts += [word for row in (section.table.rows if section.table else ()) for word in row]
    return "\n".join(parts)


class TestState:
    def test_same_state_same_bytes(self, world: World, config: NodeConfig) -> None:
        """Also after the sheet went through JSON."""
        record = filed(world, make_fab())
        one, two = build_sheet(world.gate, config, record), build_sheet(world.gate, config, record)
        again = Sheet.model_validate_json(one.text)
        assert one.text == two.text == again.text
        assert one.sha256 == two.sha256 == again.sha256

    def test_building_it_changes_nothing(self, world: World, config: NodeConfig) -> None:
        """No audit entry, no decision."""
        record = filed(world, make_fab())
        before = list(world.store.audit_rows())
        build_sheet(world.gate, config, record)
        assert list(world.store.audit_rows()) == before

    def test_a_project_decision_makes_another_sheet(self, world: World, config: NodeConfig) -> None:
        """What is signed names what was seen."""
        fab = make_fab()
        before = sheet_of(world, config, fab)
        world.decide(fab)
        assert sheet_of(world, config, fab).sha256 != before.sha256

    def test_who_asks_and_what_for(self, world: World, config: NodeConfig) -> None:
        """The researcher's statements and who the hub says sent it."""
        text = text_of(sheet_of(world, config, make_fab()))
        for word in (
            "A title",
            "A purpose",
            "A basis",
            "A vote",
            "A person",
            "alice",
            "not verified",
            "someone/an-app",
        ):
            assert word in text

    def test_counts_of_patients_are_shown(self, world: World, config: NodeConfig) -> None:
        """As the node's own lists have them today."""
        sheet = sheet_of(world, config, make_fab())
        assert (sheet.stores[0].patients, sheet.stores[0].records) == (100, 100)
        assert "100 patients" in text_of(sheet)

    def test_a_bundle_that_is_gone(self, world: World, config: NodeConfig) -> None:
        """The rest is shown."""
        sheet = sheet_of(world, config, make_fab(), fab_sha256="")
        assert sheet.code.problem == "gone"
        assert "code_gone" in keys(sheet)
        assert "A purpose" in text_of(sheet)

    def test_a_bundle_of_another_analysis(self, world: World, config: NodeConfig) -> None:
        """It is never shown as this one's code."""
        other = filed(world, make_fab(name="other"))
        sheet = sheet_of(world, config, make_fab(), fab_sha256=other.fab_sha256)
        assert (sheet.code.problem, sheet.code.files) == ("other", ())
        assert "code_other" in keys(sheet)

    def test_an_app_without_terms(self, world: World, config: NodeConfig) -> None:
        """It says that nothing of it can run; its code is shown all the same."""
        sheet = sheet_of(world, config, make_fab({}))
        assert (sheet.terms, sheet.project) == (None, None)
        assert sheet.cautions[0].key == "no_terms"
        assert "app/client.py" in text_of(sheet)

    def test_terms_of_the_steward(self, world: World, config: NodeConfig) -> None:
        """They are the ones shown, and marked."""
        terms: Terms = make_terms(limits={"runs": 3})
        sheet = sheet_of(world, config, make_fab({}), steward_terms=terms)
        assert sheet.terms == terms
        assert "steward_wrote" in keys(sheet)

    def test_a_rejected_one(self, world: World, config: NodeConfig) -> None:
        """Its history is on it."""
        fab = make_fab()
        record = filed(world, fab)
        from flame_fl.gate.decisions import close_analysis

        closed = close_analysis(world.store, record, by="ada", comment="too much")
        sheet = build_sheet(world.gate, config, closed)
        assert (sheet.status, "rejected" in keys(sheet)) == ("rejected", True)
        assert "too much" in text_of(sheet)

    def test_nothing_of_it_is_there_without_the_node_offering_it(self, world: World, config: NodeConfig) -> None:
        """A data store that is missing is said to be missing."""
        assert world.data is not None
        del world.data["cohort"]
        sheet = sheet_of(world, config, make_fab())
        assert (sheet.stores[0].offered, "cannot_run" in keys(sheet)) == (False, True)


class TestCautions:
    def test_the_gravest_come_first(self, world: World, config: NodeConfig) -> None:
        """In three levels."""
        fab = make_fab(files={"app/evil.py": b"import socket\nexec('x')\n"})
        levels = [LEVELS.index(caution.level) for caution in sheet_of(world, config, fab).cautions]
        assert levels == sorted(levels)
        assert len(set(levels)) > 1

    @pytest.mark.parametrize(
        ("key", "changes"),
        [
            ("no_claim", {}),
            ("every_column", {}),
            ("project_open", {}),
            ("first_version", {}),
            ("gpu", {"resources": {"gpus": 1}}),
            ("over", {"validity": {"from": date(2020, 1, 1), "until": date(2020, 1, 2)}}),
            ("not_yet", {"validity": {"from": date(2026, 8, 1), "until": date(2026, 12, 2)}}),
            ("over_soon", {"validity": {"from": date(2026, 1, 1), "until": date(2026, 6, 2)}}),
            ("refused_by_account", {"privacy": ENFORCED, "limits": {"runs": 100_000}}),
            ("weak_claim", {"privacy": ENFORCED}),
        ],
    )
    def test_of_terms(
        self, key: str, changes: dict[str, Any], make_world: Callable[..., World], config: NodeConfig
    ) -> None:
        """Each from the terms that call for it, and none from harmless ones."""
        world = make_world(limits=NodeLimits(epsilon_cap=20.0, delta=1e-5, min_patients=5))
        assert key in keys(sheet_of(world, config, make_fab(terms_table(**changes))))

    def test_harmless_terms_raise_few(self, world: World, config: NodeConfig) -> None:
        """Named columns, a strong claim, an approved project."""
        store = {"table": "samples.parquet", "patient_id": "patient_id", "columns": ["age"], "min_patients": 10}
        strong = ENFORCED | {"noise_multiplier": 500.0, "epsilon_max": 1.0}
        fab = make_fab(terms_table(privacy=strong, data={"cohort": store}))
        world.decide(fab)
        found = keys(build_sheet(world.gate, config, world.store.approvals()[0]))
        unwanted = {
            "no_claim",
            "no_claim_large",
            "every_column",
            "project_open",
            "weak_claim",
            "looser",
            "refused_by_account",
            "refused_by_project",
        }
        assert found & unwanted == set()

    def test_a_large_model_without_a_claim(self, world: World, config: NodeConfig) -> None:
        """More numbers in one answer than patients in the cohort."""
        big = TRAIN | {"arrays": [{"record": "arrays", "name": "w", "dtype": "float32", "shape": [1000, 2]}]}
        sheet = sheet_of(world, config, make_fab(terms_table(messages={"train": big})))
        (found,) = [caution for caution in sheet.cautions if caution.key == "no_claim_large"]
        assert (found.level, found.values) == ("high", {"numbers": 2002, "patients": 100, "ratio": 20.02})

    def test_too_few_patients(self, world: World, config: NodeConfig) -> None:
        """Fewer than the terms ask for."""
        assert world.data is not None
        world.data["cohort"].people = range(7)
        assert "too_few" in keys(sheet_of(world, config, make_fab()))

    def test_linkable_pseudonyms(self, world: World, config: NodeConfig) -> None:
        """Another project with the same id and another purpose: same pseudonyms."""
        fab = make_fab()
        filed(world, fab)
        assert "linkable" not in keys(sheet_of(world, config, fab))
        project = make_terms().project.model_copy(update={"purpose": "Another purpose"})
        world.store.put_project(ProjectRecord(project, Status.PENDING))
        assert "linkable" in keys(sheet_of(world, config, fab))

    def test_high_findings_of_the_scan(self, world: World, config: NodeConfig) -> None:
        """With their number, and the place in the table."""
        sheet = sheet_of(world, config, make_fab(files={"app/evil.py": b"import socket\n"}))
        assert "findings_high" in keys(sheet)
        assert "app/evil.py:1" in text_of(sheet)

    def test_every_caution_has_its_sentence(self, world: World, config: NodeConfig) -> None:
        """In both languages, with all that it fills in."""
        for key in [name.partition(".")[2] for name in WORDS if name.startswith("caution.")]:
            fields = {name for _, name, _, _ in string.Formatter().parse(WORDS[f"caution.{key}"][0]) if name}
            values: dict[str, str | int | float] = dict.fromkeys(fields, 1)
            values |= {"what": "cpus"} if key == "resources" else {}
            for language in LANGUAGES:
                assert caution_text(Caution(level="low", key=key, values=values), Say(language))  # type: ignore[arg-type]


def enrolled(world: World, sites: int, *, own: bool = True) -> dict[str, str]:
    """A roster of so many sites; this one's own key is the first's."""
    keys = [
        public_text(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32).public_key()) for n in range(1, sites + 1)
    ]
    keys[:1] = [world.trust.node_key] if own else keys[:1]
    roster = {f"DIZ-{n}": key for n, key in enumerate(keys, 1)}
    world.store.put_project(ProjectRecord(make_terms().project, Status.PENDING, roster=roster))
    return roster


NOISY_TRAIN = TRAIN | {"metrics": []}
SHARES = ENFORCED | {"noise_multiplier": 8.0, "epsilon_max": 5.0, "trust": "distributed"}


def noisy_table(**how: Any) -> dict[str, Any]:
    """Terms with noise in shares."""
    table = masked_table(privacy=SHARES, messages={"train": NOISY_TRAIN}, limits={"runs": 1}, **how)
    del table["secure_aggregation"]["weight"]
    return table


class TestMasks:
    def test_an_analysis_that_masks_nothing_says_nothing_of_it(self, world: World, config: NodeConfig) -> None:
        """No section, no caution, whatever its other terms of it say."""
        table = terms_table(secure_aggregation={"dropouts": 2})
        sheet = sheet_of(world, config, make_fab(table))
        assert sheet.masks is None
        assert "masks" not in {section.key for section in sections(sheet, "en")}
        assert {key for key in keys(sheet) if key.startswith("masks")} == set()
        assert "roster_empty" in keys(sheet)

    @pytest.mark.parametrize(
        ("language", "words"),
        [
            (
                "en",
                ("sums over at least 4 sites", "at least 6 of them: DIZ-1, DIZ-2, DIZ-3, DIZ-4, DIZ-5, DIZ-6",
                 "2; if more are lost", "1: what these tell the hub", "the answers of 4 sites, if 6 take part",
                 "its count num-examples", "arrays/b: by DIZ-1, DIZ-2, DIZ-3", "no more"),
            ),
            (
                "de",
                ("Summen über mindestens 4 Standorte", "davon mindestens 6: DIZ-1, DIZ-2, DIZ-3, DIZ-4, DIZ-5, DIZ-6",
                 "2; fallen mehr aus", "1: Was sie dem Hub mitteilen", "Antworten von 4 Standorten, wenn 6 teilnehmen",
                 "seine Anzahl num-examples", "arrays/b: von DIZ-1, DIZ-2, DIZ-3", "mehr nicht"),
            ),
        ],
    )  # fmt: skip
    def test_what_the_hub_reads_is_said(
        self, language: str, words: tuple[str, ...], world: World, config: NodeConfig
    ) -> None:
        """Who takes part, who may be lost or collude, how many must answer, and by what means are weighted."""
        enrolled(world, 6)
        secure = {"dropouts": 2, "colluding": 1, "support": {"arrays/b": ["DIZ-1", "DIZ-2", "DIZ-3"]}}
        sheet = sheet_of(world, config, make_fab(masked_table(sites=6, secure=secure)))
        text = text_of(sheet, language)
        assert [word for word in words if word not in text] == []
        assert {key for key in keys(sheet) if key.startswith(("masks", "roster", "not_in"))} == set()

    def test_counts_that_are_tested_among_the_sites_are_said(self, world: World, config: NodeConfig) -> None:
        """What takes the place of this site's own rule."""
        counts = {"record": "r", "name": "c", "dtype": "int64", "shape": [3], "kind": "count", "max_abs": 1e6}
        train = MASKED_TRAIN | {"arrays": [counts]}
        secure = {"min_total": 17, "min_total_of": ["r/c"]}
        text = text_of(sheet_of(world, config, make_fab(masked_table(messages={"train": train}, secure=secure))))
        assert "of r/c, only what reaches 17 over all sites" in text

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_who_has_to_be_honest_is_said(self, language: str, world: World, config: NodeConfig) -> None:
        """Noise in shares, or all of it here."""
        enrolled(world, 5)
        table = noisy_table(sites=5, secure={"dropouts": 1, "colluding": 1})
        text = text_of(sheet_of(world, config, make_fab(table)), language)
        assert ("3 of 5 sites together" if language == "en" else "3 von 5 Standorten fügen zusammen") in text
        table["privacy"] = SHARES | {"trust": "local"}
        text = text_of(sheet_of(world, config, make_fab(table)), language)
        assert ("this site adds all of it" if language == "en" else "fügt es vollständig hinzu") in text

    @pytest.mark.parametrize("roster", [0, 5, 9])
    def test_what_is_left_if_all_others_collude_is_in_figures(
        self, roster: int, world: World, config: NodeConfig
    ) -> None:
        """Three messages at a multiplier smaller by the root of the shares, of the largest set-up that may be."""
        if roster:
            enrolled(world, roster)
        sheet = sheet_of(world, config, make_fab(noisy_table(sites=5, secure={"dropouts": 1, "colluding": 1})))
        assert sheet.masks is not None
        assert sheet.claim is not None
        assert sheet.claim.admitted == 3
        shares = max(roster, 5) - 2
        event = PrivacyEvent(8.0 / 2 / shares**0.5, Relation.REPLACE_ONE_SITE)
        alone = sheet.masks.alone
        assert alone is not None
        assert (sheet.masks.shares, alone.delta) == (shares, 1e-5)
        assert alone.epsilon == pytest.approx(epsilon_of({event: 3}, 1e-5))
        assert alone.risk.tpr == pytest.approx(risk_of({event: 3}).tpr)
        assert alone.epsilon > sheet.claim.epsilon
        assert f"ε = {Say('en').value(alone.epsilon)} at δ = 1e-05" in text_of(sheet)

    def test_of_patients_the_count_of_the_cohort_is_no_share(self, world: World, config: NodeConfig) -> None:
        """Its noise is this site's own: only the answers' is smaller."""
        table = noisy_table(sites=5, secure={"dropouts": 1, "colluding": 1})
        table["privacy"] = BLOCKS | {"noise_multiplier": 8.0, "trust": "distributed"}
        sheet = sheet_of(world, config, make_fab(table))
        assert sheet.masks is not None
        assert sheet.masks.alone is not None
        event = PrivacyEvent(8.0 / 2 / 3**0.5, Relation.ADD_OR_REMOVE_ONE_PATIENT)
        assert sheet.masks.alone.epsilon == pytest.approx(epsilon_of({event: 3, COUNT: 1}, 1e-5))

    @pytest.mark.parametrize("trust", ["local", "distributed"])
    def test_masks_alone_are_no_figure(self, trust: str, world: World, config: NodeConfig) -> None:
        """Without shares there is nothing that rests on others."""
        table = noisy_table(sites=3)
        table["privacy"] = SHARES | {"trust": trust}
        sheet = sheet_of(world, config, make_fab(table))
        assert sheet.masks is not None
        assert (sheet.masks.alone is None) == (trust == "local")

    @pytest.mark.parametrize(
        ("key", "level", "roster", "own", "secure"),
        [
            ("masks_no_roster", "high", 0, True, {}),
            ("masks_not_in_roster", "high", 5, False, {}),
            ("masks_few", "high", 4, True, {}),
            ("masks_unknown", "high", 5, True, {"support": {"arrays/b": ["DIZ-1", "DIZ-2", "DIZ-8"]}}),
            ("masks_trust", "low", 5, True, {}),
        ],
    )
    def test_what_could_not_run_or_rests_on_everybody_is_warned_of(
        self, key: str, level: str, roster: int, own: bool, secure: dict[str, Any], world: World, config: NodeConfig
    ) -> None:
        """Each where it holds, and not beside the milder caution of the same."""
        if roster:
            enrolled(world, roster, own=own)
        sheet = sheet_of(world, config, make_fab(masked_table(sites=5, secure=secure)))
        found = {caution.key: caution.level for caution in sheet.cautions}
        assert found[key] == level
        expected = {key, "masks_trust"}
        assert {name for name in found if name.startswith(("masks", "roster", "not_in"))} == expected

    def test_nobody_is_trusted_where_one_may_collude(self, world: World, config: NodeConfig) -> None:
        """Then nothing is warned of; with noise in shares it weighs more."""
        enrolled(world, 5)
        assert "masks_trust" not in keys(
            sheet_of(world, config, make_fab(masked_table(sites=5, secure={"colluding": 1})))
        )
        sheet = sheet_of(world, config, make_fab(noisy_table(sites=5)))
        assert {c.key: c.level for c in sheet.cautions}["masks_trust"] == "medium"

    def test_a_weak_share_is_warned_of(self, world: World, config: NodeConfig) -> None:
        """The claim itself may be strong."""
        enrolled(world, 50)
        table = noisy_table(sites=5)
        sheet = sheet_of(world, config, make_fab(table))
        assert sheet.claim is not None
        assert sheet.claim.risk.tpr < 0.1
        assert ("weak_claim" in keys(sheet), "masks_alone" in keys(sheet)) == (False, True)
        enrolled(world, 5)
        table["privacy"] = SHARES | {"noise_multiplier": 300.0, "epsilon_max": 1.0}
        assert "masks_alone" not in keys(sheet_of(world, config, make_fab(table)))

    def test_sums_that_do_not_fit_are_warned_of(self, world: World, config: NodeConfig) -> None:
        """Only with as many sites as are on the roster."""
        rule = {"record": "r", "name": "c", "dtype": "int32", "shape": [3], "kind": "sum", "max_abs": 5e8}
        fab = make_fab(masked_table(messages={"train": MASKED_TRAIN | {"arrays": [rule]}}))
        enrolled(world, 3)
        assert "masks_range" not in keys(sheet_of(world, config, fab))
        enrolled(world, 5)
        assert "masks_range" in keys(sheet_of(world, config, fab))

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_it_stands_before_the_figures_that_rest_on_it(
        self, language: str, world: World, config: NodeConfig
    ) -> None:
        """One section more, each named once; and it passes through JSON."""
        sheet = sheet_of(world, config, make_fab(noisy_table()))
        found = [section.key for section in sections(sheet, language)]  # type: ignore[arg-type]
        assert len(set(found)) == len(found) == 13
        assert found.index("masks") == found.index("privacy") - 1
        assert Sheet.model_validate_json(sheet.text).text == sheet.text

    def test_a_dry_run_of_it_says_that_nothing_was_masked(self, world: World, config: NodeConfig) -> None:
        """And others do not."""
        record = filed(world, make_fab(masked_table()))
        for unmasked in (True, False):
            outcome = OUTCOME.model_copy(update={"unmasked": unmasked})
            sheet = build_sheet(world.gate, config, record, dry_run=outcome)
            assert ("before they are masked" in text_of(sheet)) == unmasked
            assert ("vor dem Maskieren" in text_of(sheet, "de")) == unmasked


class TestEarlier:
    def test_the_last_approved_version_is_compared(self, world: World, config: NodeConfig) -> None:
        """Files and terms; looser ones are warned of."""
        old, new = make_fab(), make_fab(terms_table(limits={"runs": 9}), files={"app/new.py": b"x = 1\n"})
        first = filed(world, old)
        world.store.put_approval(replace(first, status=Status.APPROVED, at="2026-05-01T00:00:00+00:00"))
        sheet = sheet_of(world, config, new)
        assert sheet.earlier is not None
        assert sheet.earlier.digest == first.analysis_digest
        assert "looser" in keys(sheet)
        text = text_of(sheet)
        assert "app/new.py (new file" in text
        assert "limits.runs" in text

    @pytest.mark.parametrize("status", [Status.PENDING, Status.REJECTED, Status.WITHDRAWN])
    def test_what_is_not_approved_is_no_comparison(self, status: Status, world: World) -> None:
        """Nobody vouched for it, or not any more."""
        first = filed(world, make_fab())
        world.store.put_approval(replace(first, status=status))
        assert previous_approved(world.store, filed(world, make_fab(config={"rounds": 1}))) is None

    def test_only_earlier_ones_of_the_same_app(self, world: World) -> None:
        """Not itself, not a later one, not another app's."""
        first, second = filed(world, make_fab()), filed(world, make_fab(config={"rounds": 1}))
        other = filed(world, make_fab(name="other"))
        for record in (first, second, other):
            world.store.put_approval(replace(record, status=Status.APPROVED))
        assert previous_approved(world.store, first) is None
        found = previous_approved(world.store, second)
        assert found is not None
        assert found.analysis_digest == first.analysis_digest


class TestWords:
    def test_every_sentence_is_there_in_both_languages(self) -> None:
        """With the same things filled in."""
        for key, (english, german) in WORDS.items():
            assert english.strip(), key
            assert german.strip(), key
            fields = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in (english, german)]
            assert fields[0] == fields[1], key

    def test_what_no_figure_bounds_is_said_plainly(self, world: World, config: NodeConfig) -> None:
        """In both languages."""
        sheet = sheet_of(world, config, make_fab())
        assert "No figure bounds what may be learnt about patients" in text_of(sheet)
        assert "Keine Zahl begrenzt, was sich aus dem Gesendeten" in text_of(sheet, "de")

    def test_a_claim_is_said_as_risk(self, world: World, config: NodeConfig) -> None:
        """One release of noise 2: mu = 1, so TPR 9.3 % at 1 % and an advantage of 38.3 %."""
        privacy = ENFORCED | {"noise_multiplier": 2.0, "epsilon_max": 40.0}
        terms = terms_table(privacy=privacy, limits={"runs": 1}, messages={"train": TRAIN | {"per_run": 1}})
        sheet = sheet_of(world, config, make_fab(terms))
        assert sheet.claim is not None
        assert sheet.claim.admitted == 1
        text = text_of(sheet)
        assert "right in at most 9.3 of 100 cases" in text
        assert "38.3 of 100" in text
        assert "whole site (not the single patient)" in text
        assert "höchstens 9,3 von 100 Fällen" in text_of(sheet, "de")

    @pytest.mark.parametrize(
        ("privacy", "english", "german"),
        [
            (
                BLOCKS | {"blocks": 20, "slot_seconds": 30.0},
                ("each single patient", "20, disjoint and drawn", "30 seconds each, 600 seconds for one answer"),
                ("jede einzelne Person", "20, überschneidungsfrei", "jeweils 30 Sekunden, 600 Sekunden"),
            ),
            (
                SGD,
                ("each single patient", "1,200 step(s) per message", "a chance of 2.5 in 100", "on a person's review"),
                ("jede einzelne Person", "1.200 Schritt(e) je Anfrage", "Wahrscheinlichkeit von 2,5 zu 100"),
            ),
        ],
        ids=["blocks", "dp-sgd"],
    )
    def test_a_claim_of_patients_says_how(
        self,
        privacy: dict[str, Any],
        english: tuple[str, ...],
        german: tuple[str, ...],
        world: World,
        config: NodeConfig,
    ) -> None:
        """Unit, blocks and their slots, steps and sampling; and whose budgets pay."""
        sheet = sheet_of(world, config, make_fab(terms_table(privacy=privacy)))
        assert [account.unit for account in sheet.budget] == ["patient"]
        text, german_text = text_of(sheet), text_of(sheet, "de")
        assert [words for words in (*english, "each patient (patients)") if words not in text] == []
        assert [words for words in (*german, "jede Person (patients)") if words not in german_text] == []

    @pytest.mark.parametrize("by", ["analysis", "project", "account"])
    @pytest.mark.parametrize("language", LANGUAGES)
    def test_which_budget_ends_it_is_said(self, language: str, by: str, world: World, config: NodeConfig) -> None:
        """Each in words of its own, with the account's name."""
        sheet = sheet_of(world, config, make_fab(terms_table(privacy=ENFORCED)))
        assert sheet.claim is not None
        said = sheet.model_copy(
            update={"claim": sheet.claim.model_copy(update={"refused_by": by, "refused_in": "site"})}
        )
        words = {
            "en": {
                "analysis": "spent its own limit",
                "project": "the project has",
                "account": "lifetime limit is then",
            },
            "de": {
                "analysis": "eigene Limit der Analyse",
                "project": "Limit des Projekts",
                "account": "lebenslange Limit",
            },
        }[language][by]
        text = text_of(said, language)
        assert words in text
        assert ("(the site as a whole)" if language == "en" else "(der Standort als Ganzes)") in text

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_no_character_of_an_app_can_steer_a_screen(self, language: str, world: World, config: NodeConfig) -> None:
        """Bidirectional, control and invisible ones in code, names and comments."""
        nasty = "import socket  # \u202e\u200b\x1b[2J\n".encode()
        fab = make_fab(files={"app/evil.py": nasty})
        record = filed(world, fab, submitter="ali\u202ece\x1b")
        world.store.put_approval(replace(record, comment="\x1b"))
        outcome = OUTCOME.model_copy(update={"output": ("\u202e\x1b[2J",)})
        sheet = build_sheet(world.gate, config, replace(record, submitter="a\u202e\x1b"), dry_run=outcome)
        assert [c for c in text_of(sheet, language) if c != "\n" and not visible(c)] == []

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_every_state_can_be_said(self, language: str, world: World, config: NodeConfig) -> None:
        """With and without terms, claim, bundle, dry run; every row as wide as its table."""
        where = [{"column": "age", "op": "missing"}, {"column": "age", "op": ">", "value": 3}]
        image = {"kind": "images", "table": "m.csv", "patient_id": "p", "columns": [], "modalities": ["*"]}
        image |= {"files": ["a/b"], "where": where}
        listed = {"table": "m.csv", "patient_id": "p", "columns": ["a"], "features_file": "app/f.txt"}
        open_ = TRAIN | {
            "arrays": [
                {"record": "r", "name": n, "dtype": d, "shape": ["<=3", 2]} for n, d in (("a", "bool"), ("b", "int8"))
            ],
            "metrics": [{"record": "m", "name": "x", "kind": "score", "length": 4}],
        }
        fabs = [
            make_fab(),
            make_fab({}),
            make_fab(terms_table(privacy=ENFORCED)),
            make_fab(terms_table(data={"images": image, "listed": listed}, messages={"query.x": open_})),
            make_fab(terms_table(data={})),
        ]
        for fab in fabs:
            record = filed(world, fab)
            for changed in (record, replace(record, fab_sha256="")):
                for outcome in (None, OUTCOME):
                    sheet = build_sheet(world.gate, config, changed, dry_run=outcome)
                    found = sections(sheet, language)  # type: ignore[arg-type]
                    assert found[0].key == "cautions"
                    assert len({s.key for s in found}) == len(found) == 12
                    for section in found:
                        if section.table is not None:
                            assert {len(row) for row in section.table.rows} <= {len(section.table.columns)}

    def test_numbers_in_the_language(self) -> None:
        """Thousands and decimals; shares behind "at most" are rounded up."""
        assert (Say("en").value(12345), Say("de").value(12345)) == ("12,345", "12.345")
        assert (Say("en").value(0.25), Say("de").value(0.25)) == ("0.25", "0,25")
        assert (Say("en").of_hundred(0.0924), Say("de").of_hundred(0.0924)) == ("9.3", "9,3")


class TestNode:
    def test_of_an_analysis_that_could_run(self, node: Node, gate: Gate, store: Store) -> None:
        """A real node with mock data: no problem, patients counted, and the sheet of the approved one says approved."""
        fab = fab_of()
        record = filed(gate, fab)
        sheet = build_sheet(gate, node.config, record)
        assert (sheet.problem, sheet.stores[0].patients, sheet.stores[0].records) == ("", 30, 60)
        decide(node.files, gate, record.manifest)
        after = store.approval(record.analysis_digest)
        assert after is not None
        sheet = build_sheet(gate, node.config, after)
        assert (sheet.status, sheet.project is not None and sheet.project.approved) == ("approved", True)
        assert "project_open" not in keys(sheet)
        assert sheet.decisions[-1].act == "approve"

    def test_of_one_that_could_not(self, node: Node, gate: Gate) -> None:
        """The column that is not there is named."""
        data = {"cohort": {"table": "samples.parquet", "patient_id": "patient_id", "columns": ["weight"]}}
        sheet = build_sheet(gate, node.config, filed(gate, fab_of(data=data)))
        assert "weight" in sheet.problem
        assert "cannot_run" in keys(sheet)

    def test_no_machine_path_and_no_value_is_on_it(self, node: Node, gate: Gate, tmp_path: Path) -> None:
        """A sheet is printed and sent on: it holds no folder of the node's, and no patient's id."""
        text = json.dumps(json.loads(build_sheet(gate, node.config, filed(gate, fab_of())).text))
        assert str(tmp_path) not in text
        assert '"p1"' not in text
