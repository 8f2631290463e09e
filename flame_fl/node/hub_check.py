"""`flame node flame-hub check`: whether the FLAME Hub answers this node, and what it says of what is mapped, now.

It asks; it stores nothing, and reports nothing to the Hub.
"""

from collections.abc import Callable, Iterator

from flame_fl.contract.errors import FlameError
from flame_fl.node.check import Finding
from flame_fl.node.external import FlameHubSection, HubStatus
from flame_fl.node.external_files import HubFiles, read_ids
from flame_fl.node.flame_hub import HubApi, Seen

_SKEW_SECONDS = 60.0
_UNDECIDED = "Somebody with authority over this node decides in the Hub's own pages."


def check_hub(section: FlameHubSection, files: HubFiles) -> Iterator[Finding]:
    """Every check, as it is made: client and secret, login and node, clock, each mapped project and analysis."""
    try:
        api = HubApi(section, files)
    except FlameError as err:
        yield Finding("client", holds=False, said=err.message, mend=err.mend)
        return
    yield Finding("client", holds=True, said="the Hub's client is installed, its secret is this node's own")
    try:
        yield _tried("node", lambda: _node(api, section))
        yield _tried("clock", lambda: _clock(api))
        yield from _mapped(api, files)
    finally:
        api.close()


def _tried(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, holds=True, said=look())
    except FlameError as err:
        return Finding(name, holds=False, said=err.message, mend=err.mend)


def _node(api: HubApi, section: FlameHubSection) -> str:
    found = api.node()
    if found is None:
        raise FlameError(
            f"The FLAME Hub knows no node {section.node_id}.", mend="See node_id in [flame_hub] of node.toml."
        )
    if found.ours is False:
        raise FlameError(
            f"Node {section.node_id} belongs to another client at the FLAME Hub.",
            mend="See client_id and node_id in [flame_hub] of node.toml: one of them is another DIZ's.",
        )
    if found.aggregator:
        raise FlameError(
            f"Node {section.node_id} is an aggregator: the FLAME Hub approves everything for those by itself.",
            mend="Ask the Hub's administrator for a node of type default.",
        )
    compared = "belongs to this client" if found.ours else "exists; whose client it is could not be compared"
    return f"the token is accepted; node {section.node_id} {compared}"


def _clock(api: HubApi) -> str:
    skew = api.clock_skew()
    if skew is None:
        return "the Hub did not say what time it is"
    if abs(skew) > _SKEW_SECONDS:
        raise FlameError(
            f"This machine's clock and the Hub's differ by {abs(skew):.0f} s.", mend="Set the clock (NTP)."
        )
    return f"agrees with the Hub's to {max(1.0, abs(skew)):.0f} s"


def _mapped(api: HubApi, files: HubFiles) -> Iterator[Finding]:
    try:
        ids = read_ids(files)
    except FlameError as err:
        yield Finding("mapping", holds=False, said=err.message, mend=err.mend)
        return
    projects = set(ids.projects.values())
    for project, hub_id in ids.projects.items():
        yield _tried(f"project {project}", lambda: _approved(api.project_node(hub_id), None))  # noqa: B023
    for digest, hub_id in ids.analyses.items():
        yield _tried(f"analysis {digest[:12]}", lambda: _approved(api.analysis_node(hub_id), projects))  # noqa: B023


def _approved(seen: Seen, projects: set[str] | None) -> str:
    if seen.status is HubStatus.GONE:
        raise FlameError("The FLAME Hub has not assigned it to this node.", mend="See the UUID that it is mapped to.")
    if seen.status is not HubStatus.APPROVED:
        raise FlameError(f"It is {seen.status} at the FLAME Hub for this node.", mend=_UNDECIDED)
    if projects is not None and seen.project and seen.project not in projects:
        raise FlameError(
            "It belongs to a project of the FLAME Hub that is not mapped.",
            mend="flame node flame-hub map --project ID UUID",
        )
    return "approved at the FLAME Hub for this node"
