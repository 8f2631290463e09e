"""What can be said of a run whose gates did not let it."""

from flame_fl.contract.errors import FlameError


class WaitingForApprovalError(FlameError):
    """Nobody has refused, and nobody has decided: the request is filed at every DIZ that was asked."""

    exit_code = 4
    fault = "decision"
