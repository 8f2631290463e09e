"""`flame run`: what its options mean."""

import pytest

from flame_fl.cli.main import run
from flame_fl.cli.run import _wish
from flame_fl.contract.errors import InputError


def test_the_wish_is_what_the_options_say() -> None:
    """Not to wait is a wish, too: a hub need not hold the run until one comes."""
    assert _wish(None, min_only=False).seconds == 0
    assert (_wish("2d", min_only=True).seconds, _wish("2d", min_only=True).min_only) == (172_800, True)


@pytest.mark.parametrize("wait", ["2", "tomorrow", "0s", "-1d"])
def test_what_is_no_time_is_refused(wait: str) -> None:
    """Before anything is submitted."""
    with pytest.raises(InputError, match="no span of time"):
        _wish(wait, min_only=False)


def test_when_to_stop_waiting_needs_waiting(tmp_path, capsys) -> None:
    """`--min-only` alone would do nothing: exit code 2, before the app is looked at."""
    assert run(["run", str(tmp_path / "none"), "--hub", "x", "--min-only"]) == 2
    assert "--wait 2d --min-only" in capsys.readouterr().err
