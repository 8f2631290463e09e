"""A ClientApp from a bundle is called as Flower would call it, and the bundle comes before what is installed."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.frames import FrameError
from flame_fl.contract.ports import Envelope
from flame_fl.flower.app_host import AppHost, load_component

HEAD = """
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
app = ClientApp()
def reply(message, **records):
    return Message(RecordDict(records), reply_to=message)
"""
ECHO = """
@app.train()
def train(message, context):
    return Message(message.content, reply_to=message)
"""
HostOf = Callable[..., AppHost]


@pytest.fixture(autouse=True)
def imports_as_before() -> Iterator[None]:
    """Whatever a test loads, or puts on the path, is gone afterwards; what was loaded before is back."""
    modules, path = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in [n for n in sys.modules if n.partition(".")[0] == "hosted"]:
        del sys.modules[name]
    sys.modules.update({n: m for n, m in modules.items() if n.partition(".")[0] == "hosted"})


def write_package(folder: Path, body: str, **modules: str) -> Path:
    """A package `hosted` with a module client_app, and others."""
    package = folder / "hosted"
    package.mkdir(parents=True)
    files = {"__init__": "", "client_app": body, **modules}
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def host_of(tmp_path: Path) -> HostOf:
    """A host of an app with this body (its imports are there already)."""

    def make(body: str, component: str = "hosted.client_app:app", **fields: Any) -> AppHost:
        folder = write_package(tmp_path / "bundle", HEAD + body)
        given = {"run_id": 7, "node_id": 42, "run_config": {"rounds": 5}, "node_config": {"data-a": "/data/a"}}
        return AppHost(folder, component, **(given | fields))

    return make


def ask(host: AppHost, *, kind: str = "train", seed: int | None = None, content: Content | None = None) -> Content:
    sent = Content({"arrays": {"x": np.arange(4.0)}}) if content is None else content
    return host.handle(Envelope("42-1", kind, "3", sent, seed))


class TestCalling:
    def test_an_app_answers(self, host_of: HostOf) -> None:
        """The message goes in, the reply's content comes out."""
        assert ask(host_of(ECHO)).arrays["arrays"]["x"].tolist() == [0.0, 1.0, 2.0, 3.0]

    def test_an_app_sees_who_and_where_it_is(self, host_of: HostOf) -> None:
        """Ids, run config, node config and the message's metadata."""
        host = host_of("""
@app.query("who")
def who(message, context):
    m = message.metadata
    said = [context.run_id, context.node_id, context.run_config["rounds"], m.run_id, m.dst_node_id, m.src_node_id]
    texts = [context.node_config["data-a"], m.message_id, m.message_type, m.group_id]
    return reply(message, c=ConfigRecord({"said": said, "texts": texts}))
""")
        assert ask(host, kind="query.who").configs["c"] == {
            "said": [7, 42, 5, 7, 42, 1],
            "texts": ["/data/a", "42-1", "query.who", "3"],
        }

    def test_state_is_kept_between_messages(self, host_of: HostOf) -> None:
        """Context.state lives as long as the session."""
        host = host_of("""
@app.train()
def train(message, context):
    record = context.state.setdefault("m", MetricRecord({"calls": 0}))
    record["calls"] += 1
    return reply(message, m=record)
""")
        assert [ask(host).metrics["m"]["calls"] for _ in range(3)] == [1, 2, 3]

    def test_the_configurations_of_the_gate_cannot_be_changed(self, host_of: HostOf) -> None:
        """An app writes into copies."""
        config: dict[str, Any] = {"rounds": 5}
        host = host_of(
            """
@app.train()
def train(message, context):
    context.run_config["rounds"] = 6
    context.node_config["rounds"] = 6
    return reply(message)
""",
            run_config=config,
            node_config=config,
        )
        ask(host)
        assert config == {"rounds": 5}

    @pytest.mark.parametrize("where", ["ClientApp(mods=[twice])", "ClientApp()"])
    def test_mods_run(self, where: str, host_of: HostOf) -> None:
        """Those of the app and those of one handler."""
        handler = "mods=[twice]" if where == "ClientApp()" else ""
        host = host_of(f"""
def twice(message, context, call_next):
    out = call_next(message, context)
    out.content["m"]["n"] *= 2
    return out
app = {where}
@app.train({handler})
def train(message, context):
    return reply(message, m=MetricRecord({{"n": 21}}))
""")
        assert ask(host).metrics["m"]["n"] == 42

    def test_the_lifespan_of_an_app_surrounds_a_message(self, host_of: HostOf) -> None:
        """Flower's @app.lifespan is entered and left."""
        host = host_of("""
steps = []
@app.lifespan()
def life(context):
    steps.append("in")
    yield
    steps.append("out")
@app.train()
def train(message, context):
    return reply(message, c=ConfigRecord({"steps": list(steps)}))
""")
        ask(host)
        assert ask(host).configs["c"]["steps"] == ["in", "out", "in"]

    def test_a_seed_fixes_what_an_app_draws(self, host_of: HostOf) -> None:
        """The same seed twice, another seed once."""
        host = host_of("""
import random
@app.train()
def train(message, context):
    return reply(message, m=MetricRecord({"n": [random.random(), float(np.random.random())]}))
""")
        first, again, other = (ask(host, seed=s).metrics["m"]["n"] for s in (1, 1, 2))
        assert first == again != other

    def test_without_a_seed_the_random_states_go_on(self, host_of: HostOf) -> None:
        """A real node seeds nothing."""
        host = host_of("""
import random
@app.train()
def train(message, context):
    return reply(message, m=MetricRecord({"n": random.random()}))
""")
        assert ask(host).metrics["m"]["n"] != ask(host).metrics["m"]["n"]

    def test_what_an_app_raises_comes_through(self, host_of: HostOf) -> None:
        """The sandbox around decides what becomes of it."""
        host = host_of("""
@app.train()
def train(message, context):
    raise ZeroDivisionError
""")
        with pytest.raises(ZeroDivisionError):
            ask(host)

    def test_a_message_type_that_an_app_does_not_handle_is_an_error(self, host_of: HostOf) -> None:
        """Flower's own."""
        with pytest.raises(ValueError, match="evaluate"):
            ask(host_of(ECHO), kind="evaluate")

    @pytest.mark.parametrize(
        "answer",
        ["None", "message.content", "{}", 'Message(Error(2, "patient Mustermann"), reply_to=message)'],
    )
    def test_what_is_no_message_with_content_is_an_error(self, answer: str, host_of: HostOf) -> None:
        """An Error with words of the app's does not become a reply."""
        host = host_of(f"""
@app.train()
def train(message, context):
    return {answer}
""")
        with pytest.raises(TypeError) as caught:
            ask(host)
        assert "Mustermann" not in str(caught.value)

    def test_an_array_that_cannot_be_sent_is_a_frame_error(self, host_of: HostOf) -> None:
        """Text has no place in an update."""
        host = host_of("""
@app.train()
def train(message, context):
    return reply(message, r=ArrayRecord({"a": Array(np.array(["patient"]))}))
""")
        with pytest.raises(FrameError):
            ask(host)


class TestLoading:
    def test_a_component_is_a_module_and_an_object(self, tmp_path: Path) -> None:
        """The object itself comes back."""
        assert load_component(write_package(tmp_path, "thing = 5\n"), "hosted.client_app:thing") == 5

    @pytest.mark.parametrize("component", ["hosted.nothing:app", "hosted.client_app:nothing", "hosted.client_app:"])
    def test_what_is_not_there_is_an_import_error(self, component: str, tmp_path: Path) -> None:
        """A module, an object, or an object without a name."""
        with pytest.raises(ImportError):
            load_component(write_package(tmp_path, "app = 5\n"), component)

    @pytest.mark.parametrize("stated", ["object()", "ClientApp", "lambda message, context: message", "None"])
    def test_what_is_no_client_app_is_an_import_error(self, stated: str, host_of: HostOf) -> None:
        """It is named."""
        with pytest.raises(ImportError, match=r"hosted\.client_app:app"):
            host_of(f"app = {stated}\n")

    def test_a_server_app_is_no_client_app(self, host_of: HostOf) -> None:
        """The two components may have been swapped in pyproject.toml."""
        with pytest.raises(ImportError, match="no flwr"):
            host_of("from flwr.serverapp import ServerApp\napp = ServerApp()\n")

    def test_a_bundle_shadows_an_installed_package(self, tmp_path: Path) -> None:
        """What was approved runs, not what is installed under the same name."""
        sys.path.insert(0, str(write_package(tmp_path / "installed", "which = 'installed'\n")))
        bundle = write_package(tmp_path / "bundle", "which = 'bundle'\n")
        assert load_component(bundle, "hosted.client_app:which") == "bundle"

    def test_a_bundle_shadows_an_installed_package_that_was_imported_already(self, tmp_path: Path) -> None:
        """Submodules too: nothing of the installed copy is mixed in."""
        installed = write_package(tmp_path / "installed", "", helper="which = 'installed'\n")
        assert load_component(installed, "hosted.helper:which") == "installed"
        sys.path.remove(str(installed))
        sys.path.append(str(installed))
        bundle = write_package(tmp_path / "bundle", "from hosted.helper import which\n", helper="which = 'bundle'\n")
        assert load_component(bundle, "hosted.client_app:which") == "bundle"

    def test_a_bundle_loaded_twice_is_the_same_object(self, tmp_path: Path) -> None:
        """ServerApp and in-process ClientApps of one bundle share their modules."""
        bundle = write_package(tmp_path, "thing = []\n")
        assert load_component(bundle, "hosted.client_app:thing") is load_component(bundle, "hosted.client_app:thing")

    def test_another_version_of_a_bundle_replaces_the_first(self, tmp_path: Path) -> None:
        """`flame demo` runs several analyses of one app, one after the other."""
        first, second = (write_package(tmp_path / n, f"which = {n!r}\n") for n in ("first", "second"))
        loaded = [load_component(folder, "hosted.client_app:which") for folder in (first, second)]
        assert loaded == ["first", "second"]

    def test_the_first_version_can_come_back(self, tmp_path: Path) -> None:
        """The bundle that is asked for comes first on the path, whichever was loaded before."""
        first, second = (write_package(tmp_path / n, f"which = {n!r}\n") for n in ("first", "second"))
        loaded = [load_component(folder, "hosted.client_app:which") for folder in (first, second, first)]
        assert loaded == ["first", "second", "first"]

    def test_an_error_inside_the_app_is_not_hidden(self, tmp_path: Path) -> None:
        """What its module raises on import comes through."""
        with pytest.raises(ZeroDivisionError):
            load_component(write_package(tmp_path, "1 / 0\n"), "hosted.client_app:app")
