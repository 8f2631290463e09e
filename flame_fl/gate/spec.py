"""What a session is started with: whose code, and views of whose records."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from flame_fl.contract.canonical import canonical_json
from flame_fl.contract.errors import InputError, SandboxError
from flame_fl.contract.fab import Fab
from flame_fl.contract.ports import SandboxSpec
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import Resources, Scalar, Terms
from flame_fl.data.files import remove_tree
from flame_fl.gate.blocks import Block
from flame_fl.gate.verify import Verified, sandbox_app

VETTED_COMPONENT: Final = "flame_vetted.client:app"
"""What runs under a vetted claim: flame_fl's own code from the sandbox's image. No file of the bundle is there."""
VETTED_KEY: Final = "flame-vetted"
_NO_BUNDLE = Fab({}, "")


def spec_of(
    verified: Verified, node_id: int, node_config: Mapping[str, Scalar], log_path: Path
) -> Callable[[Mapping[str, Path]], SandboxSpec]:
    """The specification but for the data."""
    vetted = verified.ground == "vetted"

    def with_data(data: Mapping[str, Path]) -> SandboxSpec:
        return SandboxSpec(
            fab=_NO_BUNDLE if vetted else verified.fab,
            component=VETTED_COMPONENT if vetted else verified.fab.component("clientapp"),
            run_id=verified.task.run.run_id,
            node_id=node_id,
            run_config={VETTED_KEY: vetted_config(verified.terms)} if vetted else verified.run_config,
            node_config=node_config,
            resources=verified.terms.resources if verified.terms else Resources(),
            log_path=log_path,
            data=data,
            app=sandbox_app(verified.approved.record.manifest.app, verified.terms),
        )

    return with_data


def vetted_config(terms: Terms | None) -> str:
    """The approved terms that flame_fl's own code works by, as canonical JSON."""
    assert terms is not None  # noqa: S101  (a vetted claim is a term)
    stated = terms.model_dump(mode="json", by_alias=True)
    return canonical_json({"privacy": stated["privacy"], "work": stated["vetted"]}).decode()


def make_views(verified: Verified, blocks: Sequence[Block], into: Path) -> list[Path]:
    """A folder with a view of every data store for each block.

    Raises:
        RefusedError: 908, no view can be made: the files are not the snapshot's, or something wanted is not there.
        SandboxError: They could not be written.
    """
    assert verified.terms is not None  # noqa: S101  (without terms the folders themselves are mounted)
    folders = [into / secrets.token_hex(16) for _ in blocks]
    try:
        for name, use in verified.uses.items() if blocks else ():
            parts, places = [block[name] for block in blocks], [folder / name for folder in folders]
            use.offer.views(parts, use.stated, use.wanted, verified.terms.project.id, places)
    except BaseException as err:
        for folder in folders:
            remove_tree(folder)
        if isinstance(err, InputError):
            said = f"no view of a data store can be made: {err.message}"
            raise RefusedError(RefusalCode.TERMS_VIOLATED, said) from err
        if isinstance(err, OSError):
            raise SandboxError(f"The view of a data store could not be written ({err.strerror}).") from err
        if isinstance(err, Exception):  # what a library says of a strange cell: one patient's record may be why
            raise SandboxError(f"The view of a data store could not be made ({type(err).__name__}).") from err
        raise
    return folders
