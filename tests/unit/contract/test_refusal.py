"""Codes, their fixed texts, and errors that say what to do."""

import pytest

from flame_fl.contract.errors import FlameError, InputError, SandboxError, SandboxTimeoutError, VerificationError
from flame_fl.contract.refusal import Refusal, RefusalCode, RefusedError


def test_the_codes_are_901_to_908() -> None:
    assert [int(code) for code in RefusalCode] == list(range(901, 909))


def test_every_code_has_a_text_of_its_own() -> None:
    assert len({code.reason for code in RefusalCode}) == len(RefusalCode)
    assert all(Refusal(code).reason == code.reason for code in RefusalCode)


def test_a_refusals_text_never_holds_its_detail() -> None:
    error = RefusedError(RefusalCode.RELEASE_REJECTED, "array 'Erika' is not listed")
    assert "Erika" not in str(error)
    assert error.detail == "array 'Erika' is not listed"


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (FlameError, 1),
        (SandboxError, 1),
        (SandboxTimeoutError, 1),
        (InputError, 2),
        (VerificationError, 5),
    ],
)
def test_an_error_says_what_is_wrong_and_what_to_do(error: type[FlameError], exit_code: int) -> None:
    assert str(error("This is wrong.", mend="Do that.")) == "This is wrong. Do that."
    assert str(error("This is wrong.")) == "This is wrong."
    assert error.exit_code == exit_code
