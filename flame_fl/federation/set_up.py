"""Makes the parts of a federation: the hub with its researcher, each node with its keys and data, and the image."""

import shutil
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import read_fab
from flame_fl.contract.manifest import Manifest, manifest_of
from flame_fl.data.files import PRIVATE, PUBLIC, replace, write_new
from flame_fl.data.layout import layout_of
from flame_fl.data.spec import FolderSource, LayoutSpec, StoreSpec
from flame_fl.federation.plan import HUB_NAME, USER, Home, Plan, free_ports, node_names
from flame_fl.flower.bundle import build_fab
from flame_fl.gate.approval import ProjectRecord, Status
from flame_fl.gate.signatures import read_public_key
from flame_fl.hub.config import HubFiles
from flame_fl.hub.init import init_hub
from flame_fl.hub.registry import add_node, add_user
from flame_fl.node.data import Adding, add
from flame_fl.node.image import build_image
from flame_fl.node.init import NewNode, init_node
from flame_fl.node.wiring import open_node, open_store
from flame_fl.sandbox.docker import connect
from flame_fl.simulation.demo import run_app_tool

_LOCAL = "127.0.0.1"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What was asked for.

    `image` is an image on the engine, in the place of one that is built for the app; `data` holds a folder for each
    node, in the place of data that the app's own tool makes.
    """

    nodes: int
    project: str | None = None
    demo: Path | None = None
    image: str | None = None
    constraints: Path | None = None
    seed: int = 1
    data: Path | None = None


def set_up(home: Home, wish: Wish, say: Say) -> Plan:
    """Make a federation.

    Raises:
        InputError: One is there already with other parts, or the app cannot be demonstrated.
        FlameError: A part could not be made.
    """
    if home.file.exists():
        return _same(home, wish)
    manifest = None if wish.demo is None else manifest_of(read_fab(build_fab(wish.demo)))
    project = wish.project or _project_of(manifest)
    names = node_names(wish.nodes)
    _check_data(wish, names, manifest)
    ports = free_ports(wish.nodes + 1)
    image = _image(wish, say)
    if wish.demo is not None and manifest is not None:
        _make_data(home, wish, manifest, say)
    say(f"hub at {_LOCAL}:{ports[0]}, its own authority, researcher {USER!r} of project {project!r}")
    init_hub(home.hub, (_LOCAL, "localhost"), _LOCAL, ports[0])
    _set(home.hub.config, "images", {"default": image or ""})
    hub_files = HubFiles(home.hub.state)
    write_new(home.token, add_user(hub_files, USER, project).encode(), PRIVATE)
    for name, port in zip(names, ports[1:], strict=True):
        places = home.node(name)
        made = init_node(places, NewNode(name, f"{_LOCAL}:{ports[0]}", hub_files.ca, port, image or ""))
        add_node(hub_files, name, made.flower_key.with_suffix(".pub"), project)
        if manifest is not None:
            _set(places.config, "demo", {"approve_content": [manifest.fab_content_sha256]})
            _offer(home, name, manifest)
        say(f"node {name}: keys, settings, {_LOCAL}:{port} for its gate")
    if manifest is not None:
        _enter_roster(home, names, manifest)
    plan = Plan(
        nodes=names,
        hub_port=ports[0],
        node_ports=tuple(ports[1:]),
        project=project,
        demo=None if wish.demo is None else str(wish.demo.resolve()),
        image=image,
    )
    home.write(plan)
    return plan


def _same(home: Home, wish: Wish) -> Plan:
    plan = home.read()
    demo = None if wish.demo is None else str(wish.demo.resolve())
    if len(plan.nodes) != wish.nodes or plan.demo != demo:
        raise InputError(
            f"{home.path} holds another federation ({len(plan.nodes)} nodes, demo {plan.demo or 'none'}).",
            mend="Remove it with `flame federation down --purge`, or choose another --home.",
        )
    return plan


def _project_of(manifest: Manifest | None) -> str:
    if manifest is None:
        return "demo"
    if manifest.terms is None or manifest.terms.simulation is None:
        raise InputError(
            f"{manifest.app} names no [tool.flame.simulation], so no data can be made for it.",
            mend="Leave --demo out, and register data yourself.",
        )
    return manifest.terms.project.id


def _image(wish: Wish, say: Say) -> str | None:
    if wish.image is not None:
        return str(connect().images.get(wish.image).id)
    if wish.demo is None:
        return None
    say("image of the app's requirements (without network; the first time some minutes)")
    client = connect(timeout_seconds=1800)
    return build_image(wish.demo, client=client, constraints=wish.constraints, say=say).id


def _check_data(wish: Wish, names: tuple[str, ...], manifest: Manifest | None) -> None:
    """Whether the given data are there for every node and store."""
    if wish.data is None:
        return
    if manifest is None or manifest.terms is None:
        raise InputError("--data belongs to --demo; without it, register data at each node.")
    for name in names:
        for store, stated in manifest.terms.data.items():
            if not stated.optional and not (wish.data / name / store).is_dir():
                raise InputError(
                    f"{wish.data} has no folder {name}/{store}.",
                    mend=f"It needs one for each of {names[0]} to {names[-1]}; the app's prepare writes such a folder.",
                )


def _make_data(home: Home, wish: Wish, manifest: Manifest, say: Say) -> None:
    assert manifest.terms is not None  # noqa: S101  (`_project_of` checks both)
    assert manifest.terms.simulation is not None  # noqa: S101
    assert wish.demo is not None  # noqa: S101
    if wish.data is not None:
        say(f"data of the nodes, copied from {wish.data}")
        shutil.copytree(wish.data, home.data)
        return
    say("data of the nodes, made by the app's own tool")
    arguments = ["prepare", "--out", str(home.data), "--nodes", str(wish.nodes), "--seed", str(wish.seed)]
    run_app_tool(manifest.terms.simulation.module, arguments, wish.demo)


def _offer(home: Home, name: str, manifest: Manifest) -> None:
    """Register the app's stores where they lie. Ids stay as they are: what is demonstrated is public or made up."""
    node = open_node(home.node(name))
    for store_name, stated in (manifest.terms.data if manifest.terms else {}).items():
        if stated.optional and not (home.data / name / store_name).is_dir():
            continue
        source = FolderSource(path=str((home.data / name / store_name).resolve()))
        spec = StoreSpec(layout=LayoutSpec.of(layout_of(stated)), source=source, pseudonyms=False)
        with ExitStack() as closing:
            how = Adding(node.data_key, by="DEMO", copy=False)
            add(node.data, open_store(node, closing), store_name, spec, how)


def _enter_roster(home: Home, names: tuple[str, ...], manifest: Manifest) -> None:
    """Tell each node who takes part in the demonstrated project, as its steward would."""
    assert manifest.terms is not None  # noqa: S101  (`_project_of` checks it)
    nodes = {name: open_node(home.node(name)) for name in names}
    roster = {
        name: read_public_key(node.files.identity_key.with_suffix(".pub").read_text(encoding="utf-8"))
        for name, node in nodes.items()
    }
    for node in nodes.values():
        with ExitStack() as closing:
            record = ProjectRecord(manifest.terms.project, Status.PENDING, roster=roster, by="DEMO", comment="roster")
            open_store(node, closing).put_project(record)


def _set(config: Path, section: str, values: dict[str, object]) -> None:
    """Change a section of a settings file that was just written."""
    table = tomllib.loads(config.read_text(encoding="utf-8"))
    table[section] = {**table.get(section, {}), **values}
    replace(config, tomli_w.dumps(table).encode(), PUBLIC)


def hubs_entry(home: Home, plan: Plan) -> dict[str, dict[str, str]]:
    """What a researcher's hubs.toml needs to reach it."""
    return {
        HUB_NAME: {
            "address": f"{_LOCAL}:{plan.hub_port}",
            "ca": str(HubFiles(home.hub.state).ca.resolve()),
            "token_file": str(home.token.resolve()),
            "project": plan.project,
        }
    }
