"""Example runs for the report's tests; `python conftest.py FOLDER` writes their reports to look at."""

import json
import math
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flame_fl.report import NodeFacts, RefusalFacts, RoundFacts, RunFacts, TermsFacts, write_report

START = datetime(2026, 3, 2, 14, 5, 9, tzinfo=UTC)
PLAIN_SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20"><path d="M0 0L40 20" stroke="#000"/></svg>'
REJECTED = RefusalFacts(code=901, name="NOT_APPROVED", count=1, reason="The DIZ has not approved this analysis.")
PENDING = RefusalFacts(code=902, name="PENDING_APPROVAL", count=1, reason="The DIZ has not decided yet.")
EXHAUSTED = RefusalFacts(code=903, name="BUDGET_EXHAUSTED", count=4, reason="The privacy budget of the DIZ is spent.")

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "DIZ-\u202egnol yrev\u202c \u200b\u2066end",
    "</style><style>body{display:none}",
    "{{ 7 * 7 }} {% raw %} $x^2$ \\frac",
    "&lt;already&gt; &amp; so on",
    "javascript:alert(1)//http://evil.example/",
    "long-" * 60,
    "nul\x00bell\x07esc\x1b[31m",
    "שלום عالم 漢字 🙂",
)


def node(number: int, **changes: object) -> NodeFacts:
    values = {
        "name": f"DIZ-{number}",
        "status": "approved",
        "approved_by": "simulation-policy",
        "patients": 96 + 17 * number,
        "messages": 27,
        "bytes_in": 1_840_000 + 1_000 * number,
        "bytes_out": 22_300_000 + 811_000 * number,
        "seconds_sandbox": 8.4 + 0.7 * number,
        "seconds_gate": 1.21 + 0.05 * number,
        "epsilon_spent": 5.3 + 0.37 * (number % 3),
        "epsilon_cap": 8.0,
        "delta": 1e-5,
        "unit": "site",
        "ground": "enforced",
        "audit_entries": 61,
        "audit_head": f"{number:x}" * 4 + "9c41d07be2a85f36" * 3 + "77d0e1f2c3b4",
        "audit_verified": True,
    }
    return NodeFacts.model_validate({**values, **changes})


def refusing(number: int, **changes: object) -> NodeFacts:
    nothing = {"messages": 0, "bytes_in": 812, "bytes_out": 640, "seconds_sandbox": 0.0, "seconds_gate": 0.02}
    spent = {"epsilon_spent": None, "epsilon_cap": None, "delta": None, "audit_entries": 3, "ground": "none"}
    status = {"status": "rejected", "refusals": (REJECTED,), "unit": "none"}
    return node(number, **{**nothing, **spent, **status, **changes})


def legs(count: int, nodes: int) -> tuple[RoundFacts, ...]:
    made: list[RoundFacts] = []
    for index in range(1, count + 1):
        wobble = math.sin(index * 1.7)
        common = {"index": index, "started": START + timedelta(seconds=5 * index), "replied": nodes, "refused": 0}
        train = {"train_loss": 0.9 * math.exp(-index / 7) + 0.08 + 0.01 * wobble}
        made.append(
            RoundFacts(
                **common,
                message_type="train",
                seconds=4.1 + 0.6 * wobble,
                bytes_in=610_000 * nodes,
                bytes_out=602_000 * nodes,
                metrics=train,
            )
        )
        error = 2.4 + 14 * math.exp(-index / 4) + 0.1 * wobble
        score = {"mae_years": error, "pearson_r": 0.985 - 0.4 * math.exp(-index / 5)}
        made.append(
            RoundFacts(
                **common,
                message_type="evaluate",
                seconds=0.8 + 0.1 * wobble,
                bytes_in=610_000 * nodes,
                bytes_out=900 * nodes,
                metrics=score,
            )
        )
    return tuple(made)


def run_facts(**changes: object) -> RunFacts:
    values = {
        "app": "methylation-age",
        "analysis_digest": "4f3c9a1e" * 8,
        "fab_sha256": "b70d2e55" * 8,
        "started": START,
        "ended": START + timedelta(seconds=151),
        "status": "finished",
        "seed": 7,
        "sandbox": "subprocess",
        "policy": "approve-all-but:DIZ-3",
        "simulated": True,
        "noise_seeded": False,
        "command": "flame simulate use_cases/methylation-age --nodes 5 --seed 7 --deny DIZ-3",
        "run_config": {"model": "elastic-net", "lambda-count": 50, "num-server-rounds": 26, "standardise": True},
        "terms": TermsFacts(
            unit="site",
            ground="enforced",
            mechanism="discrete-gaussian",
            clip_norm=1.0,
            noise_multiplier=1.0,
            epsilon_max=8.0,
            delta=1e-5,
        ),
        "nodes": tuple(refusing(n) if n == 3 else node(n) for n in range(1, 6)),
        "rounds": legs(26, 4),
        "versions": {"flame-fl": "0.1.0", "flwr": "1.41.0", "numpy": "2.3.1", "python": "3.11.7"},
    }
    return RunFacts.model_validate({**values, **changes})


def hostile_facts() -> RunFacts:
    names = HOSTILE
    nodes = tuple(
        node(
            i,
            name=text,
            approved_by=text,
            audit_head=text,
            refusals=(RefusalFacts(code=904, name=text, count=2, reason=text),),
        )
        for i, text in enumerate(names)
    )
    rounds = tuple(leg.model_copy(update={"message_type": f"query.{names[leg.index]}"}) for leg in legs(8, 12))
    rounds += (rounds[0].model_copy(update={"metrics": dict.fromkeys(names, 1.5) | {"nan": math.nan}}),)
    return run_facts(
        app=names[0],
        reason=names[1],
        status="failed",
        command=names[2],
        sandbox=names[3],
        policy=names[4],
        analysis_digest=names[5],
        fab_sha256=names[6],
        nodes=nodes,
        rounds=rounds,
        run_config={text: text for text in names},
        versions={text: text for text in names},
        terms=TermsFacts(mechanism=names[0]),
    )


def hostile_app_report() -> dict[str, object]:
    texts = [text[:200] for text in HOSTILE]
    return {
        "title": texts[0],
        "data_note": texts[1],
        "headline": [{"label": text, "value": text[:40], "note": text} for text in texts],
        "figures": [{"file": "plots/a.svg", "title": text, "caption": text} for text in texts],
        "tables": [{"title": texts[0], "caption": texts[1], "columns": texts, "rows": [texts, texts]}],
        "notes": texts,
    }


def leave(run_dir: Path, report: object, pictures: dict[str, str | bytes] | None = None) -> Path:
    """What an app leaves in its run's folder."""
    (run_dir / "plots").mkdir(parents=True, exist_ok=True)
    (run_dir / "report.json").write_text(json.dumps(report), "utf-8")
    for name, content in (pictures or {}).items():
        (run_dir / "plots" / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return run_dir


@pytest.fixture
def facts() -> RunFacts:
    return run_facts()


@pytest.fixture
def hostile() -> RunFacts:
    return hostile_facts()


@pytest.fixture
def make_facts():
    return run_facts


@pytest.fixture
def make_node():
    return node


@pytest.fixture
def make_refusing_node():
    return refusing


@pytest.fixture
def app_leaves():
    return leave


@pytest.fixture
def hostile_report() -> dict[str, object]:
    return hostile_app_report()


@pytest.fixture
def hostile_texts() -> tuple[str, ...]:
    return HOSTILE


def _write_examples(folder: Path) -> None:
    import numpy as np
    from matplotlib.figure import Figure

    random = np.random.default_rng(7)
    scatter = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = scatter.add_subplot()
    for name, colour, marker in zip("1245", ("#0072b2", "#e69f00", "#009e73", "#cc79a7"), "osD^", strict=True):
        age = random.uniform(18, 88, 40)
        axes.scatter(age, age + random.normal(0, 2.9, 40), s=14, c=colour, marker=marker, label=f"DIZ-{name}")
    axes.plot([15, 90], [15, 90], c="#555", lw=0.8)
    axes.set(xlabel="chronological age, years", ylabel="predicted age, years")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    bars = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = bars.add_subplot()
    axes.barh(["local only", "FedAvg-SGD", "federated", "pooled"], [5.1, 3.3, 2.52, 2.52], color="#0072b2")
    axes.set(xlabel="mean absolute error on held-out samples, years")
    axes.spines[["top", "right"]].set_visible(False)
    report = {
        "title": "Age from DNA methylation",
        "data_note": "Example with synthetic numbers, made to show the page; no result of a study.",
        "headline": [
            {"label": "Mean absolute error", "value": "2.52 years", "note": "held-out samples of 4 DIZ"},
            {"label": "Correlation", "value": "0.985", "note": "predicted against chronological age"},
            {"label": "Against pooled training", "value": "equal", "note": "largest difference 4 × 10⁻⁷ years"},
            {"label": "CpG sites used", "value": "312 of 7,503"},
        ],
        "figures": [
            {
                "file": "plots/age.svg",
                "title": "Predicted against chronological age",
                "caption": "One mark per held-out sample; the line is equality.",
            },
            {"file": "plots/bars.svg", "title": "Federated against pooled and local", "caption": "Shorter is better."},
        ],
        "tables": [
            {
                "title": "Error by DIZ",
                "caption": "Held-out samples.",
                "columns": ["DIZ", "Samples", "MAE, years", "r", "Local only, years"],
                "rows": [
                    ["DIZ-1", 41, 2.41, 0.987, 4.92],
                    ["DIZ-2", 38, 2.6, 0.981, 5.47],
                    ["DIZ-4", 44, 2.55, 0.984, 5.03],
                    ["DIZ-5", 40, 2.52, 0.986, 4.98],
                ],
            }
        ],
        "notes": ["The published clock was trained on blood and is shown for comparison only."],
    }
    for name, facts in {
        "finished": run_facts(),
        "twelve": run_facts(
            nodes=(
                *(node(n, patients=None, approved_by="m.steward") for n in range(1, 11)),
                refusing(11, status="pending", patients=None, approved_by="", refusals=(PENDING,)),
                node(12, patients=None, approved_by="k.steward", refusals=(EXHAUSTED,), epsilon_spent=8.0),
            ),
            simulated=False,
            rounds=legs(60, 11),
        ),
        "interrupted": run_facts(
            status="interrupted",
            reason="Ctrl-C in round 9; the ledgers are kept and the same command resumes.",
            rounds=legs(9, 4),
            noise_seeded=True,
        ),
        "noise-off": run_facts(
            terms=TermsFacts(),
            nodes=tuple(
                node(n, unit="none", ground="none", epsilon_spent=None, epsilon_cap=None, delta=None)
                for n in range(1, 4)
            ),
        ),
        "empty": run_facts(
            nodes=(), rounds=(), status="failed", ended=None, reason="No DIZ answered within 60 seconds."
        ),
        "hostile": hostile_facts(),
    }.items():
        run_dir = folder / name
        if name == "hostile":
            leave(run_dir, hostile_app_report(), {"a.svg": PLAIN_SVG})
        elif name != "empty":
            leave(run_dir, report)
            scatter.savefig(run_dir / "plots" / "age.svg", metadata={"Date": None})
            bars.savefig(run_dir / "plots" / "bars.svg", metadata={"Date": None})
        run_dir.mkdir(parents=True, exist_ok=True)
        print(write_report(run_dir, facts))


if __name__ == "__main__":
    _write_examples(Path(sys.argv[1]))
