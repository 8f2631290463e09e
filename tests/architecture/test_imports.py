"""Who may know whom. The contracts in pyproject.toml hold, they bite, and they name everything that there is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.tree import CORE, PACKAGES, ROOT, USE_CASES, imports, pyproject, short, sources

PUBLIC_FLOWER = ("flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy")
PICKLES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
CONTRACTS: list[dict[str, Any]] = pyproject()["tool"]["importlinter"]["contracts"]
LAYERS, GATE, NO_ML, NO_CORE, STRATEGIES, SECAGG, FLOWER, VETTED, STATED, VETTED_LAYERS, SANDBOX = (
    c["name"] for c in CONTRACTS
)
# (file, line put at its end, contract that must report it)
VIOLATIONS = [
    ("flame_fl/contract/terms.py", "import flame_fl.gate.store", LAYERS),
    ("flame_fl/privacy/clipping.py", "import flame_fl.data.folder", LAYERS),
    ("flame_fl/gate/workflow.py", "import flame_fl.sandbox.subprocess", LAYERS),
    ("flame_fl/simulation/run.py", "import flame_fl.cli.console", LAYERS),
    ("flame_fl/report/facts.py", "import flame_fl.flower.translate", LAYERS),
    ("flame_fl/undeclared/__init__.py", '"""A package that no layer names."""', LAYERS),
    ("flame_fl/gate/approval.py", "import flame_fl.gate.store", GATE),
    ("flame_fl/gate/verify.py", "import flame_fl.gate.workflow", GATE),
    ("flame_fl/gate/release.py", "import torch", NO_ML),
    ("flame_fl/gate/release.py", "def late():\n    import sklearn.linear_model", NO_ML),
    ("flame_fl/sandbox/pipes.py", "import pickle", NO_ML),
    ("flame_fl/simulation/run.py", "import flame_strategies.fedavg", NO_ML),
    ("flame_fl/cli/app.py", "import methylation_age", NO_ML),
    ("strategies/flame_strategies/fedavg.py", "import flame_fl.contract.refusal", STRATEGIES),
    ("strategies/flame_strategies/secure_grid.py", "import flame_fl.gate.masks", STRATEGIES),
    ("flame_fl/secagg/node.py", "import flame_fl.privacy.randomness", SECAGG),
    ("use_cases/methylation-age/methylation_age/sums.py", "import flame_fl", NO_CORE),
    ("use_cases/federated-statistics/federated_statistics/site_statistics.py", "import flame_fl", NO_CORE),
    ("use_cases/federated-statistics/federated_statistics/client_app.py", "import flame_strategies", SANDBOX),
    ("flame_fl/gate/store.py", "import flwr.app", FLOWER),
    ("flame_fl/cli/app.py", "from flwr.cli import build", FLOWER),
    ("vetted/flame_vetted/views.py", "import flame_fl.gate.store", VETTED),
    ("vetted/flame_vetted/client.py", "import torch", STATED),
    ("vetted/flame_vetted/sums.py", "import flame_vetted.client", VETTED_LAYERS),
    ("use_cases/methylation-age/methylation_age/client_app.py", "import flame_strategies", SANDBOX),
    ("use_cases/methylation-age/methylation_age/cohort.py", "import flame_strategies.fista", SANDBOX),
    ("use_cases/gene-expression/gene_expression/site_limma.py", "import flame_strategies.limma", SANDBOX),
    ("use_cases/kernel-age/kernel_age/agreement.py", "import flame_fl", NO_CORE),
    ("use_cases/gwas/gwas/scan.py", "import flame_fl", NO_CORE),
    ("use_cases/gwas/gwas/site_linear.py", "import flame_strategies.association", SANDBOX),
    ("use_cases/multimodal-imaging/multimodal_imaging/report.py", "import flame_fl", NO_CORE),
    ("use_cases/multimodal-imaging/multimodal_imaging/site_block.py", "import flame_strategies.combat", SANDBOX),
]


def own_client(folder: Path) -> bool:
    """Whether an app's own code runs in a sandbox; under a vetted claim flame_fl's does."""
    client: str = pyproject(folder)["tool"]["flwr"]["app"]["components"]["clientapp"]
    return not client.startswith("flame_vetted.")


def lint(tree: Path) -> tuple[int, dict[str, str], str]:
    """Run `lint-imports` on a tree: exit code, verdict by contract, and everything it said."""
    folders = [str(tree / folder.relative_to(ROOT)) for folder in PACKAGES]
    program = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [program, "--no-cache"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    said = done.stdout + done.stderr
    verdicts = {
        c["name"]: line[len(c["name"]) :].strip()
        for c in CONTRACTS
        for line in said.splitlines()
        if line.startswith(c["name"]) and line.endswith(("KEPT", "BROKEN"))
    }
    return done.returncode, verdicts, said


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and the contracts, to break them."""
    for folder, package in PACKAGES.items():
        inner = folder.relative_to(ROOT) / package
        shutil.copytree(ROOT / inner, tmp_path / inner, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


class TestTheContracts:
    def test_are_kept(self) -> None:
        """All of them, in this tree."""
        code, verdicts, said = lint(ROOT)
        assert (code, verdicts) == (0, {c["name"]: "KEPT" for c in CONTRACTS}), said

    def test_are_kept_in_a_copy(self, copy: Path) -> None:
        """So that a broken one below is broken by what was put into it."""
        code, verdicts, said = lint(copy)
        assert (code, set(verdicts.values())) == (0, {"KEPT"}), said

    @pytest.mark.parametrize(("file", "line", "contract"), VIOLATIONS, ids=[f"{f}: {x}" for f, x, _ in VIOLATIONS])
    def test_bite(self, file: str, line: str, contract: str, copy: Path) -> None:
        """One forbidden import, and the contract that is about it is reported broken, with the file's module."""
        (copy / file).parent.mkdir(exist_ok=True)
        with (copy / file).open("a") as source:
            source.write(f"\n\n{line}\n")
        code, verdicts, said = lint(copy)
        assert code == 1, said
        assert verdicts[contract] == "BROKEN"
        assert Path(file).stem.replace("__init__", "undeclared") in said

    def test_every_one_is_bitten(self) -> None:
        """A new contract needs a violation above."""
        assert {contract for *_, contract in VIOLATIONS} == {c["name"] for c in CONTRACTS}


class TestTheyNameEverything:
    @pytest.mark.parametrize("package", PACKAGES.values())
    def test_every_package_is_a_root(self, package: str) -> None:
        """What is no root is looked at by no contract."""
        assert package in pyproject()["tool"]["importlinter"]["root_packages"]

    @pytest.mark.parametrize("folder", sorted(p for p in (ROOT / "use_cases").iterdir() if p.is_dir()), ids=short)
    def test_every_folder_of_use_cases_is_an_app_of_the_one_shape(self, folder: Path) -> None:
        """kebab-case folder, pyproject.toml, snake_case package."""
        assert (folder / "pyproject.toml").is_file()
        assert (folder / folder.name.replace("-", "_") / "__init__.py").is_file()

    @pytest.mark.parametrize("package", [p for p in PACKAGES.values() if p != CORE])
    def test_the_core_may_not_import_it(self, package: str) -> None:
        """Apps and strategies, each by name."""
        (contract,) = [c for c in CONTRACTS if c["name"] == NO_ML]
        assert package in contract["forbidden_modules"]

    @pytest.mark.parametrize("package", [p for p in PACKAGES.values() if p not in {CORE, "flame_vetted"}])
    def test_it_may_not_import_the_core(self, package: str) -> None:
        """Apps and strategies, each by name; vetted code has a contract of its own."""
        named = {m for c in CONTRACTS if c["name"] in {NO_CORE, STRATEGIES} for m in c["source_modules"]}
        assert package in named

    @pytest.mark.parametrize("package", [package for folder, package in USE_CASES.items() if own_client(folder)])
    def test_what_of_it_runs_in_a_sandbox_may_not_import_strategies(self, package: str) -> None:
        """Each app's client_app."""
        (contract,) = [c for c in CONTRACTS if c["name"] == SANDBOX]
        assert f"{package}.client_app" in contract["source_modules"]

    @pytest.mark.parametrize("folder", [folder for folder in USE_CASES if not own_client(folder)], ids=short)
    def test_an_app_without_a_client_claims_vetted(self, folder: Path) -> None:
        """Nothing of it runs in a sandbox."""
        assert pyproject(folder)["tool"]["flame"]["privacy"]["ground"] == "vetted"
        assert not (folder / USE_CASES[folder] / "client_app.py").exists()

    @pytest.mark.parametrize("layer", sorted(p.parent.name for p in (ROOT / CORE).glob("*/__init__.py")))
    def test_every_package_of_the_core_either_may_know_flower_or_is_named_as_one_that_may_not(self, layer: str) -> None:
        """Simulation has Flower's public API; flower has the rest."""
        (contract,) = [c for c in CONTRACTS if c["name"] == FLOWER]
        assert (f"{CORE}.{layer}" in contract["source_modules"]) != (layer in {"flower", "simulation"})

    @pytest.mark.parametrize("framework", ["torch", "sklearn", "opacus", "tensorflow", "jax", "pickle"])
    def test_every_framework_is_forbidden_to_the_core(self, framework: str) -> None:
        """Those that decisions.md names (22), and pickle."""
        (contract,) = [c for c in CONTRACTS if c["name"] == NO_ML]
        assert framework in contract["forbidden_modules"]


def test_the_core_imports_no_pickle() -> None:
    """Nor anything else that runs what it reads; inside functions too."""
    found = {short(f): {n.partition(".")[0] for n in imports(f)} & PICKLES for f in sources()}
    assert {file: names for file, names in found.items() if names} == {}


def test_numpy_files_are_read_without_pickle() -> None:
    """Wherever NumPy's own reader is called, in words."""
    texts = {short(f): f.read_text() for f in sources()}
    assert [f for f, t in texts.items() if t.count("np.load(") != t.count("allow_pickle=False")] == []
    assert [f for f, t in texts.items() if "allow_pickle=True" in t] == []


def test_flowers_private_api_is_known_to_flame_fl_flower_only() -> None:
    """Everywhere else `flwr.app`, `flwr.clientapp`, `flwr.serverapp` and its strategies have to do."""
    files = [f for package in PACKAGES.values() for f in sources(package) if ROOT / CORE / "flower" not in f.parents]
    assert {short(f): names for f in files if (names := private(f))} == {}


def private(file: Path) -> list[str]:
    """What a module imports of Flower that is not in its public modules."""
    flower = [name for name in imports(file) if name.partition(".")[0] == "flwr"]
    return [name for name in flower if name not in PUBLIC_FLOWER and name.rpartition(".")[0] not in PUBLIC_FLOWER]


def test_there_is_private_api_to_be_fenced() -> None:
    """The test above looks for something that exists."""
    assert any(private(file) for file in (ROOT / CORE / "flower").glob("*.py"))
