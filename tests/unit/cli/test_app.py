"""`flame app new|check|build`: a researcher's side, before anybody is asked."""

import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from flame_fl.cli.masked import COARSE, masks, print_masks
from flame_fl.cli.sheet import privacy_in_words
from flame_fl.cli.usefulness import signal_to_noise
from flame_fl.contract.fab import read_fab
from flame_fl.contract.manifest import Manifest, manifest_of
from flame_fl.contract.terms import Terms
from flame_fl.flower.bundle import build_fab
from flame_fl.privacy.clipping import CLIP_INT
from tests.support.gates import BLOCKS, ENFORCED, TRAIN, make_terms
from tests.support.masked_gates import MASKED_TRAIN
from tests.unit.cli.conftest import Flame, edit

ONE_ARRAY = {"train": {"per_run": 1, "arrays": [{"record": "r", "name": "a", "dtype": "float64", "shape": [100]}]}}
CLAIM = """unit = "site"
ground = "enforced"
mechanism = "discrete-gaussian"
clip_norm = 1.0
noise_multiplier = {noise}
epsilon_max = 1000.0
delta = 1e-5
"""
NO_CLAIM = 'unit = "none"\nground = "none"\nmechanism = "none"\n'


def manifest_at(app: Path) -> Manifest:
    return manifest_of(read_fab(build_fab(app)))


@pytest.fixture
def tomorrow_here() -> Iterator[None]:
    """A place whose calendar is always a day ahead of UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "AHEAD-24"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


class TestNew:
    def test_makes_an_app_that_check_passes(self, app: Path, flame: Flame) -> None:
        """Terms and all, without an edit."""
        assert flame("app", "check", app).code == 0

    def test_makes_an_app_that_simulates(self, app: Path, tmp_path: Path) -> None:
        """By the installed program: every virtual DIZ approves, and all that was asked for leaves."""
        program = Path(sys.executable).parent / "flame"
        options = ["--nodes", "2", "--out", "run", "--json"]
        done = subprocess.run(
            [program, "simulate", app, *options], cwd=tmp_path, capture_output=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        nodes = json.loads(done.stdout)["nodes"]
        assert [(n["name"], n["messages"], n["refusals"]) for n in nodes] == [("DIZ-1", 3, []), ("DIZ-2", 3, [])]

    def test_says_what_to_do_next(self, flame: Flame) -> None:
        """With the folder in the commands."""
        said = flame("app", "new", "my-app")
        assert "flame simulate my-app" in said.out
        assert "flame app check my-app" in said.out

    def test_names_everything_after_the_folder(self, flame: Flame, tmp_path: Path) -> None:
        """A hyphen in the app's name is an underscore in the package's."""
        flame("app", "new", tmp_path / "sub" / "my-2nd-app")
        told = tomllib.loads((tmp_path / "sub" / "my-2nd-app" / "pyproject.toml").read_text())
        assert told["project"]["name"] == told["tool"]["flame"]["project"]["id"] == "my-2nd-app"
        assert told["tool"]["flwr"]["app"]["components"]["clientapp"] == "my_2nd_app.client_app:app"

    def test_fills_an_empty_folder(self, flame: Flame, tmp_path: Path) -> None:
        """One that was just made."""
        (tmp_path / "my-app").mkdir()
        assert flame("app", "new", "my-app").code == 0

    def test_refuses_a_folder_that_holds_something(self, app: Path, flame: Flame) -> None:
        """Nothing in it is changed."""
        edit(app, "rounds = 3", "rounds = 4")
        before = {p: p.read_bytes() for p in app.rglob("*") if p.is_file()}
        said = flame("app", "new", app)
        assert (said.code, "not empty" in said.err) == (2, True)
        assert {p: p.read_bytes() for p in app.rglob("*") if p.is_file()} == before

    def test_refuses_a_file(self, flame: Flame, tmp_path: Path) -> None:
        """And leaves it."""
        (tmp_path / "my-app").write_text("mine")
        assert flame("app", "new", "my-app").code == 2
        assert (tmp_path / "my-app").read_text() == "mine"

    @pytest.mark.parametrize("name", ["My-App", "my_app", "1-app", "-app", "app-", "a--b", "ä", "a b", "a.b", "a" * 33])
    def test_refuses_a_name_that_no_app_can_have(self, name: str, flame: Flame, tmp_path: Path) -> None:
        """Flower would not bundle it; an example of a good one is shown, and no folder is made."""
        said = flame("app", "new", tmp_path / name)
        assert (said.code, "blood-age" in said.err) == (2, True)
        assert not (tmp_path / name).exists()

    @pytest.mark.parametrize("name", ["a", "a1", "blood-age-2", "a" * 32])
    def test_every_name_it_takes_flower_takes_too(self, name: str, flame: Flame, tmp_path: Path) -> None:
        """The bundle can be built."""
        assert flame("app", "new", tmp_path / name).code == 0
        assert flame("app", "build", tmp_path / name).code == 0

    @pytest.mark.parametrize("name", ["numpy", "flwr", "json"])
    def test_refuses_a_name_that_hides_what_the_app_imports(self, name: str, flame: Flame) -> None:
        """An app called numpy finds itself where it imports NumPy."""
        assert flame("app", "new", name).code == 2

    @pytest.mark.usefixtures("tomorrow_here")
    def test_makes_terms_that_hold_at_once(self, flame: Flame, tmp_path: Path) -> None:
        """Also in the first hours of a day east of Greenwich: a gate's days are UTC's."""
        assert date.today() > datetime.now(UTC).date()  # noqa: DTZ011
        flame("app", "new", "my-app")
        terms = manifest_at(tmp_path / "my-app").terms
        assert terms is not None
        assert terms.validity.from_ <= datetime.now(UTC).date() <= terms.validity.until


class TestCheck:
    def test_shows_the_digest_that_is_approved(self, app: Path, flame: Flame) -> None:
        """Whole, and the one that a gate computes from the bundle."""
        assert manifest_at(app).digest in flame("app", "check", app).out

    def test_with_json_prints_digest_bundle_and_manifest(self, app: Path, flame: Flame) -> None:
        """One object and nothing else."""
        fab = read_fab(build_fab(app))
        manifest = manifest_of(fab)
        assert json.loads(flame("app", "check", app, "--json").out) == {
            "digest": manifest.digest,
            "fab_sha256": fab.sha256,
            "manifest": manifest.as_json(),
            "signal_to_noise": {},
        }

    def test_one_changed_byte_shows_another_digest(self, app: Path, flame: Flame) -> None:
        """Of code, not only of terms."""
        before = json.loads(flame("app", "check", app, "--json").out)["digest"]
        with (app / "first_app" / "client_app.py").open("a") as file:
            file.write("#")
        assert json.loads(flame("app", "check", app, "--json").out)["digest"] != before

    def test_shows_what_a_steward_decides_about(self, app: Path, flame: Flame) -> None:
        """Project, purpose, basis, vote, person, validity, privacy."""
        terms = manifest_at(app).terms
        assert terms is not None
        project, shown = terms.project, flame("app", "check", app).out
        wanted = [project.title, project.purpose, project.legal_basis, project.ethics_reference]
        wanted += [project.responsible_person, str(terms.validity.until), "No bound is claimed"]
        assert [text for text in wanted if text not in shown] == []

    def test_lists_everything_that_may_leave(self, app: Path, flame: Flame) -> None:
        """Every array with dtype and shape, every metric with its kind."""
        rows = [" ".join(line.replace("│", " ").split()) for line in flame("app", "check", app).out.splitlines()]
        assert "train 20 arrays/mean float64 4" in rows
        assert "train 20 metrics/num-examples count" in rows

    def test_lists_the_data_that_are_read(self, app: Path, flame: Flame) -> None:
        """Each store with what the app sees of it, and its least number of patients."""
        edit(app, "[tool.flame.messages.train]", STORE + "[tool.flame.messages.train]")
        said = " ".join(flame("app", "check", app).out.replace("│", " ").split())
        assert "data store cohort: table samples.parquet, ids p; every column; at least 25" in said

    def test_of_an_app_without_terms_says_what_to_do(self, app: Path, flame: Flame) -> None:
        """Exit code 2: no DIZ could approve it."""
        text = (app / "pyproject.toml").read_text()
        (app / "pyproject.toml").write_text(text[: text.index("[tool.flame]")])
        said = flame("app", "check", app)
        assert (said.code, said.out) == (2, "")
        assert "Add [tool.flame]" in said.err

    def test_of_malformed_terms_names_the_field(self, app: Path, flame: Flame) -> None:
        """A misspelt limit is an error and no missing limit."""
        edit(app, "per_run = 20", "per_runs = 20")
        said = flame("app", "check", app)
        assert (said.code, "per_runs" in said.err) == (2, True)

    @pytest.mark.parametrize("kind", ["clientapp", "serverapp"])
    def test_of_an_app_without_a_component_names_it(self, kind: str, app: Path, flame: Flame) -> None:
        """What could not run is not offered."""
        edit(app, f"{kind} = ", f"not-{kind} = ")
        said = flame("app", "check", app)
        assert (said.code, kind in said.err) == (2, True)

    def test_of_a_component_without_an_object_says_how_to_write_it(self, app: Path, flame: Flame) -> None:
        """A module alone could not run."""
        edit(app, "first_app.client_app:app", "first_app.client_app")
        said = flame("app", "check", app)
        assert said.code == 2
        assert "first_app.client_app" in said.err
        assert "<module>:<attribute>" in said.err

    def test_writes_nothing(self, app: Path, flame: Flame, tmp_path: Path) -> None:
        """It only looks."""
        before = sorted(tmp_path.rglob("*"))
        flame("app", "check", app)
        assert sorted(tmp_path.rglob("*")) == before

    @pytest.mark.parametrize(("noise", "verdict"), [(0.4, "usable"), (0.6, "unusable")])
    def test_says_whether_the_noise_leaves_anything(self, noise: float, verdict: str, app: Path, flame: Flame) -> None:
        """Four numbers: the signal is at most 1/(2 noise) of it; below 1 it is unusable."""
        edit(app, NO_CLAIM, CLAIM.format(noise=noise))
        said = flame("app", "check", app)
        assert said.code == 0, said.err
        assert (" unusable" in said.out) == (verdict == "unusable")
        assert "What the noise leaves" in said.out


STORE = '[tool.flame.data.cohort]\ntable = "samples.parquet"\npatient_id = "p"\ncolumns = ["*"]\nmin_patients = 25\n\n'


class TestUsefulness:
    @pytest.mark.parametrize(("noise", "ratio"), [(0.1, 1.0), (0.2, 0.5), (10.0, 0.01)])
    def test_is_a_matter_of_one_over_noise_times_the_root_of_the_size(self, noise: float, ratio: float) -> None:
        """100 numbers, clip_norm 1: the whole update is at most 1, the noise on it about 10·noise."""
        terms = make_terms(messages=ONE_ARRAY, privacy={**ENFORCED, "noise_multiplier": noise})
        assert signal_to_noise(terms) == {"train": (100, pytest.approx(ratio))}

    def test_blocks_and_sites_help(self) -> None:
        """16 blocks divide the noise by 16, four sites by 2; a metric with noise is one more number."""
        blocked = {**ENFORCED, "unit": "patient", "blocks": 16, "slot_seconds": 1.0}
        terms = make_terms(messages=ONE_ARRAY, privacy=blocked, federation={"min_sites": 4})
        assert signal_to_noise(terms)["train"] == (100, pytest.approx(16 * 2 / 10))

    def test_is_not_said_where_there_is_no_noise(self) -> None:
        """Nothing to predict."""
        assert signal_to_noise(make_terms()) == {}


class TestPrivacyInWords:
    def test_an_enforced_claim_is_told_with_its_numbers(self) -> None:
        """Clip norm, noise, ε, δ, and whose data it is about."""
        text = privacy_in_words(make_terms(privacy={**ENFORCED, "clip_norm": 2.5, "epsilon_max": 8.0}))
        assert [word for word in ("2.5", "ε = 8", "δ = 1e-05", "unit: site") if word not in text] == []

    @pytest.mark.parametrize("ground", ["none", "reviewed"])
    def test_no_other_ground_claims_a_bound(self, ground: str) -> None:
        """Review is review."""
        text = privacy_in_words(make_terms(privacy={"unit": "none", "ground": ground, "mechanism": "none"}))
        assert text.startswith("No bound is claimed.")
        assert "ε" not in text

    def test_clipping_alone_is_told_as_what_it_is(self) -> None:
        """Less influence, same disclosure."""
        terms = make_terms(privacy={"unit": "none", "ground": "none", "mechanism": "clip", "clip_norm": 3.0})
        text = privacy_in_words(terms)
        assert "No bound is claimed." in text
        assert "clips each update to 3" in text


MASKED = """per_run = 20
update = "value"
arrays = [{ record = "arrays", name = "mean", dtype = "float32", shape = [4], max_abs = 16.0 }]
metrics = [{ record = "metrics", name = "num-examples", kind = "count", max = 1000 }]

[tool.flame.federation]
min_sites = 5

[tool.flame.secure_aggregation]
required = true
dropouts = 2
weight = "num-examples"
"""
SECURE = {"required": True, "dropouts": 1, "colluding": 1}


def masked_terms(**changes: Any) -> Terms:
    """Terms of five sites; `secure` on top of one that may be lost and one that may collude."""
    secure = SECURE | changes.pop("secure", {})
    return make_terms(secure_aggregation=secure, federation={"min_sites": 5}, **changes)


def large_terms(weight: int, dtype: str = "float32", least: int = 1) -> Terms:
    """A weighted mean of numbers up to 1000, by weights up to `weight`."""
    array = {"record": "r", "name": "w", "dtype": dtype, "shape": [4], "max_abs": 1000.0}
    count = {"record": "m", "name": "n", "kind": "count", "max": weight}
    store = {"table": "t.csv", "patient_id": "p", "columns": [], "min_patients": least}
    train = {"per_run": 1, "arrays": [array], "metrics": [count]}
    return masked_terms(messages={"train": train}, data={"cohort": store}, secure={"weight": "n"})


class TestMasks:
    def test_of_an_app_that_masks_nothing_nothing_is_printed(self, app: Path, flame: Flame) -> None:
        """Neither in words nor with --json."""
        assert masks(make_terms()) is None
        assert "masked" not in flame("app", "check", app).out
        assert "secure_aggregation" not in json.loads(flame("app", "check", app, "--json").out)

    def test_who_must_answer_and_how_fine_the_sums_are_is_printed(self, app: Path, flame: Flame) -> None:
        """n, T, d, c; for each array the bits, the scale, and how far a sum and a mean may be off."""
        text = (app / "pyproject.toml").read_text()
        start = text.index("[tool.flame.messages.train]\n") + len("[tool.flame.messages.train]\n")
        edit(app, text[start : text.index("[tool.flame.run_config]")], MASKED)
        rows = [" ".join(line.replace("│", " ").split()) for line in flame("app", "check", app).out.splitlines()]
        wanted = {
            "the hub reads sums over at least 3 DIZ", "sites in a set-up (n) 5 (min_sites)",
            "must answer (T) 3", "may be lost (d) 2",
            "may collude with the hub (c) 0", "train 32 metrics/num-examples sum 2^0 0",
            "train 32 arrays/mean weighted mean 2^14 0.00015 3.1e-05",
        }  # fmt: skip
        assert wanted - set(rows) == set()

    def test_the_same_with_json(self, app: Path, flame: Flame) -> None:
        """As numbers; the scale is that of the gates."""
        text = (app / "pyproject.toml").read_text()
        start = text.index("[tool.flame.messages.train]\n") + len("[tool.flame.messages.train]\n")
        edit(app, text[start : text.index("[tool.flame.run_config]")], MASKED)
        told = json.loads(flame("app", "check", app, "--json").out)["secure_aggregation"]
        parts = told["messages"]["train"].pop("parts")
        assert told == {
            "sites": 5, "threshold": 3, "dropouts": 2, "colluding": 0, "fewest": 3, "messages": {"train": {"bits": 32}},
        }  # fmt: skip
        assert parts["arrays/mean"] == {
            "how": "weighted", "scale": 2**14, "sum": 5 / 2**15, "mean": 5 / 2**15 / 5, "coarse": False,
        }  # fmt: skip
        assert parts["metrics/num-examples"] == {"how": "sum", "scale": 1, "sum": 0}

    @pytest.mark.parametrize(
        ("weight", "dtype", "least", "coarse"),
        [
            (100, "float32", 1, False), (1_000_000, "float32", 1, True), (1_000_000, "float32", 10_000, False),
            (1_000_000, "float64", 1, False),
        ],
    )  # fmt: skip
    def test_a_coarse_mean_is_warned_of(
        self, weight: int, dtype: str, least: int, coarse: bool, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Off by more than 1e-4 of the bound where every site weighs as little as its data store allows."""
        terms = large_terms(weight, dtype, least)
        found = masks(terms)
        assert found is not None
        part = found["messages"]["train"]["parts"]["r/w"]
        assert part["coarse"] == coarse == (part["mean"] > COARSE * 1000.0)
        assert part["mean"] == pytest.approx(5 / (2 * part["scale"]) / (5 * least))
        print_masks(terms)
        assert ("Coarse:" in capfd.readouterr().out) == coarse

    def test_sums_that_do_not_fit_are_said(self, capfd: pytest.CaptureFixture[str]) -> None:
        """As the gates would refuse them."""
        array = {"record": "r", "name": "c", "dtype": "int32", "shape": [4], "kind": "sum", "max_abs": 1e9}
        terms = masked_terms(messages={"train": {"per_run": 1, "arrays": [array]}})
        found = masks(terms)
        assert found is not None
        assert "do not fit 32 bits" in found["messages"]["train"]["problem"]
        print_masks(terms)
        assert "train: sums of 5 numbers" in capfd.readouterr().out

    def test_a_mean_without_weight_is_off_by_half_a_unit(self) -> None:
        """Whatever the number of sites."""
        found = masks(masked_terms(messages={"train": MASKED_TRAIN}))
        assert found is not None
        part = found["messages"]["train"]["parts"]["arrays/w"]
        assert (part["how"], part["mean"]) == ("mean", pytest.approx(1 / (2 * part["scale"])))
        assert "coarse" not in part

    @pytest.mark.parametrize(("privacy", "blocks"), [(ENFORCED, 1), (BLOCKS, 4)])
    @pytest.mark.parametrize(("trust", "shares"), [("local", 1), ("distributed", 3)])
    def test_noise_is_said_as_each_sites_share(
        self, trust: str, shares: int, privacy: dict[str, Any], blocks: int, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Its standard deviation in the answer's units and as an integer; nothing is rounded beside the clip."""
        noisy = privacy | {"trust": trust, "noise_multiplier": 3.0, "clip_norm": 2.0}
        terms = masked_terms(messages={"train": TRAIN}, privacy=noisy)
        found = masks(terms)
        assert found is not None
        assert found["messages"]["train"] == {"bits": 32, "scale": CLIP_INT * blocks / 2.0}
        print_masks(terms)
        said = capfd.readouterr().out
        if trust == "local":
            assert "noise_share" not in found
            assert "shares" not in said
            return
        share = found["noise_share"]
        assert share["shares"] == shares
        assert share["sigma"] == pytest.approx(2.0 * 3.0 / shares**0.5)
        assert share["sigma_as_integer"] == pytest.approx(3.0 * CLIP_INT / shares**0.5)
        assert "1 of 3 shares: standard deviation 3.464" in said

    def test_shares_that_are_too_small_are_said(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Of very little noise and very many sites: the gates would refuse."""
        noisy = ENFORCED | {"trust": "distributed", "noise_multiplier": 1e-4, "epsilon_max": 1e6}
        terms = make_terms(
            messages={"train": TRAIN},
            privacy=noisy,
            secure_aggregation={"required": True},
            federation={"min_sites": 999},
        )
        found = masks(terms)
        assert found is not None
        assert found["noise_share"]["sigma_as_integer"] < 4
        print_masks(terms)
        assert "The gates would refuse" in capfd.readouterr().out


class TestBuild:
    def test_writes_the_bundle_that_flower_would_send(self, app: Path, flame: Flame, tmp_path: Path) -> None:
        """Byte for byte."""
        assert flame("app", "build", app, "--out", "out").code == 0
        (fab,) = (tmp_path / "out").glob("*.fab")
        assert fab.read_bytes() == build_fab(app)

    def test_writes_the_manifest_beside_it(self, app: Path, flame: Flame, tmp_path: Path) -> None:
        """The same object that `app check --json` prints, without what it foretells."""
        flame("app", "build", app, "--out", "out")
        (file,) = (tmp_path / "out").glob("*.manifest.json")
        checked = json.loads(flame("app", "check", app, "--json").out)
        assert json.loads(file.read_text()) == {name: checked[name] for name in ("digest", "fab_sha256", "manifest")}

    def test_names_both_after_the_digest(self, app: Path, flame: Flame, tmp_path: Path) -> None:
        """App and first digits; the whole digest is printed."""
        said = flame("app", "build", app, "--out", "out")
        digest = manifest_at(app).digest
        stem = f"first-app-{digest[:8]}"
        assert {p.name for p in (tmp_path / "out").iterdir()} == {f"{stem}.fab", f"{stem}.manifest.json"}
        assert digest in said.out

    def test_writes_the_same_bytes_twice(self, app: Path, flame: Flame, tmp_path: Path) -> None:
        """Over what was there, or elsewhere."""
        for out in ("one", "two", "one"):
            assert flame("app", "build", app, "--out", out).code == 0
        one, two = ({p.name: p.read_bytes() for p in (tmp_path / o).iterdir()} for o in ("one", "two"))
        assert one == two

    def test_writes_into_dist_unless_told_otherwise(self, app: Path, flame: Flame, tmp_path: Path) -> None:
        """In the folder where it was called, not in the app's."""
        assert flame("app", "build", app).code == 0
        assert len(list((tmp_path / "dist").iterdir())) == 2
        assert not (app / "dist").exists()

    def test_bundles_an_app_without_terms(self, app: Path, flame: Flame) -> None:
        """Any Flower app has a digest; a steward may supply terms."""
        text = (app / "pyproject.toml").read_text()
        (app / "pyproject.toml").write_text(text[: text.index("[tool.flame]")])
        assert flame("app", "build", app).code == 0

    @pytest.mark.parametrize(
        ("old", "new"),
        [("per_run = 20", "per_runs = 20"), ('name = "first-app"', "name = 3"), ("rounds = 3", "rounds = [3]")],
    )
    def test_of_a_malformed_app_writes_nothing(
        self, old: str, new: str, app: Path, flame: Flame, tmp_path: Path
    ) -> None:
        """Terms, name or run config: not even the folder is made."""
        edit(app, old, new)
        assert flame("app", "build", app, "--out", "out").code == 2
        assert not (tmp_path / "out").exists()

    def test_that_fails_in_the_middle_leaves_no_half(self, app: Path, flame: Flame, tmp_path: Path) -> None:
        """A bundle without its manifest is not left behind."""
        stem = f"first-app-{manifest_at(app).digest[:8]}"
        (tmp_path / "out" / f"{stem}.manifest.json").mkdir(parents=True)
        assert flame("app", "build", app, "--out", "out").code != 0
        assert list((tmp_path / "out").glob("*.fab")) == []

    def test_into_a_file_is_a_bad_argument(self, app: Path, flame: Flame, tmp_path: Path) -> None:
        """--out names it."""
        (tmp_path / "out").write_text("mine")
        said = flame("app", "build", app, "--out", "out")
        assert (said.code, "None" in said.err) == (2, False)
        assert (tmp_path / "out").read_text() == "mine"


class TestTextFromElsewhere:
    def test_markup_in_terms_is_shown_as_it_is(self, app: Path, flame: Flame) -> None:
        """A title cannot colour, link or hide what a steward reads."""
        title = "[bold red]APPROVED[/] [link=file:///x]here[/link] \\\\[x]"
        edit(app, "TODO: title", title)
        terms = manifest_at(app).terms
        assert terms is not None
        assert terms.project.title in flame("app", "check", app).out

    def test_markup_in_the_names_of_what_leaves_is_shown_as_it_is(self, app: Path, flame: Flame) -> None:
        """An item's name too."""
        edit(app, 'name = "mean"', 'name = "[bold]mean"')
        assert "arrays/[bold]mean" in flame("app", "check", app).out

    @pytest.mark.parametrize("character", ["\x1b", "\x07", "\x00", "\u202e", "\u200b", "\x9b"])
    @pytest.mark.parametrize("where", ["title", "app", "publisher", "array", "message"])
    def test_control_characters_of_an_app_never_reach_the_terminal(
        self, where: str, character: str, app: Path, flame: Flame
    ) -> None:
        """Neither shown nor in an error; nor in JSON, where they are escaped."""
        escaped = f"\\u{ord(character):04x}"
        old = {
            "title": "TODO: title",
            "app": 'name = "first-app"',
            "publisher": "your-institute",
            "array": 'name = "mean"',
            "message": "[tool.flame.messages.train]",
        }[where]
        new = '[tool.flame.messages."train.x{}"]' if where == "message" else old[:-1] + "{}" + old[-1]
        edit(app, old, new.replace("{}", escaped))
        for arguments in (["check", app], ["check", app, "--json"], ["build", app]):
            said = flame("app", *arguments)
            assert character not in said.out + said.err

    def test_control_characters_of_a_path_are_escaped(self, flame: Flame, tmp_path: Path) -> None:
        """The folder may come out of somebody's archive."""
        said = flame("app", "check", tmp_path / "a\x1b[31mb")
        assert "\x1b" not in said.err
        assert r"a\x1b[31mb" in said.err

    @pytest.mark.parametrize("text", ["\x1b[2J", "x = [[[[\x1b", "\x1b = 1"])
    def test_control_characters_of_a_malformed_file_are_escaped(self, text: str, app: Path, flame: Flame) -> None:
        """TOML's own error quotes what it did not understand."""
        (app / "pyproject.toml").write_text(text)
        said = flame("app", "check", app)
        assert said.code == 2
        assert "\x1b" not in said.err
