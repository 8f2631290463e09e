"""What a researcher reads when gates refuse.

In a simulation the gates' details are the researcher's own, and are shown; a DIZ keeps them in its log.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.gate.workflow import Event
from flame_fl.simulation.settings import Standing

_TAIL_BYTES = 4096
_MOST_CHARS = 300
_MENDS = {
    RefusalCode.NOT_APPROVED: "Their stewards rejected it: see --deny and --policy.",
    RefusalCode.PENDING_APPROVAL: (
        "They have approved another version of this app, or approve nothing: undo the change, choose another --state, "
        "or use --policy stated-terms."
    ),
    RefusalCode.WITHDRAWN_OR_EXPIRED: "See [tool.flame.validity] of the app.",
    RefusalCode.TERMS_VIOLATED: (
        "`flame app check` shows the terms. What -c may change stands in [tool.flame.run_config]; the rest is fixed."
    ),
}


class RefusedWithoutTermsError(RefusedError):
    """An app that states no terms: nothing is approved, and nothing was run."""

    def __init__(self, app: str) -> None:
        super().__init__(RefusalCode.NOT_APPROVED, "no terms")
        self.message = f"{app} states no [tool.flame], so no virtual DIZ approves it: what is not stated is refused."
        self.mend = (
            "Add terms to its pyproject.toml (`flame app check` says which). Or run it with --policy open-simulation: "
            "then everything it sends leaves unchecked, without limits and without a privacy claim. That is only for "
            "data that are yours, on this machine; no DIZ has such a policy."
        )


class EveryDizRefusedError(RefusedError):
    """Fewer virtual DIZ let the analysis run than it needs. The code is the smallest of those that did not."""

    def __init__(self, standings: Sequence[Standing], details: Sequence[Event], folder: Path, needed: int = 1) -> None:
        against = [standing for standing in standings if standing.code]
        super().__init__(RefusalCode(min(s.code for s in against)) if against else RefusalCode.TERMS_VIOLATED)
        why = {event.node: event.detail for event in details if event.code}
        groups: dict[tuple[int, str], list[str]] = {}
        for standing in against:
            groups.setdefault((standing.code, why.get(standing.node, "")), []).append(standing.node)
        said = "; ".join(
            f"{code} {RefusalCode(code).name} at {_names(nodes)}" + (f" ({detail})" if detail else "")
            for (code, detail), nodes in groups.items()
        )
        approved = len(standings) - len(against)
        self.message = (
            f"{approved} of {len(standings)} virtual DIZ approved, and the app needs {needed}: {said or 'no others'}."
            if approved and against
            else f"{approved} virtual DIZ approved, and the app needs {needed} (min_sites)."
            if approved
            else f"Every virtual DIZ refused: {said}."
        )
        mend = _MENDS.get(self.code, "") if against else f"Add --nodes {needed}, or more folders to --data."
        self.mend = f"{mend} Nothing was run; the folder {folder} says so.".strip()


def with_last_words(details: Sequence[Event], logs: Path) -> tuple[Event, ...]:
    """The gates' details by node, and with a failed app's the last line of its own log."""
    told = []
    for event in sorted(details, key=lambda e: (len(e.node), e.node)):
        words = ""
        if event.code == RefusalCode.SANDBOX_FAILED:
            words = _last_line(logs / f"{event.node}-{event.run_id}.log")
        told.append(replace(event, detail=f"{event.detail} It ended with: {words}") if words else event)
    return tuple(told)


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = stream.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:_MOST_CHARS] for line in reversed(lines) if line.strip()), "")


def _names(nodes: Sequence[str]) -> str:
    return ", ".join(nodes) if len(nodes) <= 5 else f"{', '.join(nodes[:4])} and {len(nodes) - 4} more"
