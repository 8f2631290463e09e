"""`flame hub init`: everything a hub needs, made once, and never over something that is there."""

import secrets

from flame_fl.contract.access import Access
from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.places import Places
from flame_fl.data.files import PRIVATE, PUBLIC, write_new
from flame_fl.hub.config import HubFiles, config_text, parse_config
from flame_fl.hub.tls import make_certificates


def init_hub(places: Places, names: tuple[str, ...], host: str, port: int) -> HubFiles:
    """Make a hub: its authority and certificate, its secret, its settings, nobody in it yet.

    Args:
        places: Where.
        names: How others reach it; the first is told to them.
        host: The address it listens on.
        port: The port it listens on.

    Raises:
        InputError: A hub is there already, or a name is none.
        FlameError: A file cannot be written.
    """
    files = HubFiles(places.state)
    text = config_text(secrets.token_hex(6), names, host, port)
    parse_config(text, "The hub to be made")
    there = [path for path in (places.config, files.ca_key, files.ca, files.key, files.access) if path.exists()]
    if there:
        raise InputError(
            f"There is a hub here already: {there[0]} exists.", mend="Choose another FLAME_HOME, or use that hub."
        )
    made = make_certificates(names)
    try:
        for folder in (files.state, files.ca.parent, files.ca_key.parent, files.runs, files.log.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        places.config.parent.mkdir(parents=True, exist_ok=True)
        write_new(files.ca_key, made.ca_key, PRIVATE)
        write_new(files.ca, made.ca, PUBLIC)
        write_new(files.certificate, made.server, PUBLIC)
        write_new(files.key, made.server_key, PRIVATE)
        write_new(files.secret, secrets.token_hex(32).encode(), PRIVATE)
        write_new(files.access, Access().model_dump_json(indent=1).encode(), PRIVATE)
        write_new(places.config, text.encode(), PUBLIC)  # last: a hub is there once its settings are
    except OSError as err:
        raise FlameError(
            f"{err.filename or files.state} cannot be written ({err.strerror}).",
            mend="Give FLAME_HOME a folder of your own, or run it as the hub's administrator.",
        ) from err
    return files
