"""Only a Flower that was tested is worked with: its private API changes from week to week."""

import re
from importlib import metadata
from pathlib import Path

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.flower.versions import TESTED, require_tested_flower

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("version", ["1.41.0", "1.41.7", "1.42.0", "1.42.0rc1", "1.42"])
def test_a_tested_one(version: str) -> None:
    assert require_tested_flower(version) == version


@pytest.mark.parametrize("version", ["1.40.9", "1.43.0", "1.4", "1.410.0", "2.41.0", "0.1.41", "", "nightly"])
def test_any_other_stops_with_what_to_do(version: str) -> None:
    """Which is installed, which were tested, and the command."""
    with pytest.raises(InputError, match=re.escape(f"Flower {version} is installed")) as err:
        require_tested_flower(version)
    assert all(tested in err.value.message for tested in TESTED)
    assert err.value.mend == 'Install one of them: pip install "flwr>=1.41,<1.43".'
    assert err.value.exit_code == 2


def test_the_installed_one_is_tested() -> None:
    """Else no other test here says anything."""
    assert require_tested_flower() == metadata.version("flwr")


def test_packaging_says_the_same() -> None:
    """pip installs no other."""
    assert '"flwr>=1.41,<1.43"' in (ROOT / "pyproject.toml").read_text()
