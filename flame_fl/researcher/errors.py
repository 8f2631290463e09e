"""What can be said of a run that has no result yet."""

from flame_fl.contract.errors import FlameError


class WaitingForApprovalError(FlameError):
    """Nobody has refused, and nobody has decided: the request is filed at every DIZ that was asked."""

    exit_code = 4
    fault = "decision"


class DetachedError(FlameError):
    """Its researcher looked away: the run goes on at the hub."""

    exit_code = 130
    fault = "user"
