"""Refusal codes: decisions not to run or not to release, as they reach the researcher.

The code travels as Flower's `Error.code`, the reason is one of the fixed texts below: never a word of the app's, never
a value of a patient's. Details stay in the node's audit log.
"""

from dataclasses import dataclass
from enum import IntEnum

from flame_fl.contract.errors import FlameError


class RefusalCode(IntEnum):
    """The eight reasons a gate gives. Flower itself uses 0 to 8."""

    NOT_APPROVED = 901
    PENDING_APPROVAL = 902
    BUDGET_EXHAUSTED = 903
    RELEASE_REJECTED = 904
    SANDBOX_FAILED = 905
    SANDBOX_TIMEOUT = 906
    WITHDRAWN_OR_EXPIRED = 907
    TERMS_VIOLATED = 908

    @property
    def reason(self) -> str:
        """The fixed text that leaves the node."""
        return _REASONS[self]


_REASONS = {
    RefusalCode.NOT_APPROVED: "this DIZ has rejected the analysis or does not take requests",
    RefusalCode.PENDING_APPROVAL: "this DIZ has not approved the analysis yet; it is filed for the steward",
    RefusalCode.BUDGET_EXHAUSTED: "the privacy budget of this DIZ does not cover this release",
    RefusalCode.RELEASE_REJECTED: "the update does not fit the release contract",
    RefusalCode.SANDBOX_FAILED: "the app failed in its sandbox; details stay at the node",
    RefusalCode.SANDBOX_TIMEOUT: "the app did not answer before its deadline",
    RefusalCode.WITHDRAWN_OR_EXPIRED: "the approval was withdrawn or has expired",
    RefusalCode.TERMS_VIOLATED: "the request is outside the approved terms",
}


@dataclass(frozen=True)
class Refusal:
    """What leaves instead of a release."""

    code: RefusalCode

    @property
    def reason(self) -> str:
        """The fixed text that leaves the node."""
        return self.code.reason


class RefusedError(FlameError):
    """A gate's decision against running or releasing.

    Args:
        code: Which of the eight.
        detail: For the node's audit log only: names, shapes, counts. Never sent.
    """

    exit_code = 3
    fault = "decision"

    def __init__(self, code: RefusalCode, detail: str = "") -> None:
        super().__init__(f"{int(code)} {code.name}: {code.reason}.")
        self.code = code
        self.detail = detail
