"""A store fetched from S3, or from what speaks it: MinIO, Ceph, SeaweedFS, StorageGRID.

The bucket is not trusted: names, sizes and answers are checked, and only regular files come to lie in the given folder.
Object names are in no error, for they may hold patients' ids; nor are credentials, signatures or the server's own
words, not even in an error's context. Where an error is translated, it is raised after its `except` clause for that.
"""

import errno
import hashlib
import logging
import os
import shutil
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints

from flame_fl.contract.addresses import is_loopback
from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.words import Frozen
from flame_fl.data.kind import require
from flame_fl.data.sources.s3_errors import CutError, ThrottledError, translated
from flame_fl.data.sources.s3_listing import Listed, listing, unfit
from flame_fl.data.sources.secrets import read_secrets

_CHUNK = 1 << 20
_MARGIN = 64 << 20  # bytes that stay free on the disk
_BLOCK = 4096  # what a small file takes of it
_WAITS = (1.0, 4.0, 16.0)  # seconds before an object cut short, or a request refused with 429, is asked for again
_NO_FILES = {"config_file": os.devnull, "credentials_file": os.devnull, "profile": None}
_KEYS = {"access_key", "secret_key", "session_token"}


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"https", "http"} or not host or parts.port == 0 or not url.isprintable() or " " in url:
        raise ValueError("must be a URL such as https://s3.example.org")
    if (
        parts.username is not None
        or parts.password is not None
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise ValueError("must be scheme, host and port only")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must be https: with http, data and requests could be read on their way")
    return f"{parts.scheme}://{parts.netloc}"


def _folder(prefix: str) -> str:
    """A prefix means a folder: `study` is not to bring `study-2/` along."""
    words = prefix.strip("/")
    if words and (reason := unfit(words)):
        raise ValueError(reason)
    return f"{words}/" if words else ""


class S3Source(Frozen):
    """Where a store's files are in S3."""

    type: Literal["s3"]
    endpoint: Annotated[str, StringConstraints(max_length=512), AfterValidator(_endpoint)]
    bucket: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{1,253}[A-Za-z0-9]$")]
    prefix: Annotated[str, StringConstraints(max_length=1024), AfterValidator(_folder)]
    """The folder of the bucket that is the store; empty for all of it."""
    region: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9\-]{1,64}$")] = "us-east-1"
    path_style: bool = True
    """Whether the bucket is in the URL's path, as with most servers but Amazon's."""
    ca: str = ""
    """A PEM file of the authority that signed the server's certificate, if that is the hospital's own."""
    credentials: Path
    """A TOML file, mode 0600, with `access_key`, `secret_key` and, if needed, `session_token`."""

    @property
    def host(self) -> str:
        """Its host, and the port if one is said."""
        return urlsplit(self.endpoint).netloc

    @property
    def where(self) -> str:
        """Bucket, prefix and host."""
        return f"{self.bucket}/{self.prefix} at {self.host}"


def fetch(source: S3Source, into: Path, on_progress: Callable[[int, int], None]) -> str:
    """Copy every object below the prefix into an empty folder, and say in a line what was copied from where.

    Args:
        source: Where it is.
        into: The folder; files are readable by their owner only. After an error it is the caller's to remove.
        on_progress: Told the bytes copied so far and the bytes there are.

    Raises:
        InputError: botocore is not installed; no credentials, bucket or objects, or no right to them; the server's
            certificate is not trusted; names that cannot be files here; too little space; an object changed.
        UnreachableError: The server does not answer, or not as S3 does, or is overloaded.
    """
    require("s3", ("botocore",), "s3")
    with closing(_client(source)) as client:
        listed_at = datetime.now(UTC).isoformat(timespec="seconds")
        objects = listing(lambda token: _page(client, source, token), source.prefix, source.where)
        total = sum(o.size for o in objects)
        _check_space(into, total, len(objects))
        done = 0
        on_progress(done, total)
        for one in objects:
            before = done
            _copy(client, source, one, into, lambda count: on_progress(before + count, total))  # noqa: B023
            done += one.size
    lines = sorted(f"{o.key}\0{o.etag}\n".encode() for o in objects)
    content = hashlib.sha256(b"".join(lines)).hexdigest()
    return f"s3 {source.where}, {len(objects)} objects, {total} bytes, listed at {listed_at}, sha256 {content}"


def _client(source: S3Source) -> Any:
    from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415
    from botocore.session import Session  # type: ignore[import-untyped]  # noqa: PLC0415

    # At DEBUG they write signatures, and object names, to whoever listens.
    for name in ("botocore", "urllib3.connectionpool"):
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))
    words = _credentials(source)
    config = Config(
        region_name=source.region,
        signature_version="s3v4",
        s3={"addressing_style": "path" if source.path_style else "virtual"},
        retries={"mode": "standard", "total_max_attempts": 5},
        connect_timeout=10,
        read_timeout=60,
        # A proxy of the environment's is not on the way to this very machine.
        proxies={} if is_loopback(urlsplit(source.endpoint).hostname or "") else None,
        # Other servers than Amazon's may not know the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    verify = _authority(source)
    # Nothing of the administrator's own ~/.aws, nor of AWS_PROFILE, has a say.
    session = Session(session_vars={name: (None, None, value, None) for name, value in _NO_FILES.items()})
    return _asked(
        source,
        lambda: session.create_client(
            "s3",
            endpoint_url=source.endpoint,
            verify=verify,
            config=config,
            aws_access_key_id=words["access_key"],
            aws_secret_access_key=words["secret_key"],
            aws_session_token=words.get("session_token"),
        ),
    )


def _credentials(source: S3Source) -> dict[str, str]:
    words = read_secrets(source.credentials)
    if not {"access_key", "secret_key"} <= set(words) <= _KEYS:
        raise InputError(
            f"The credentials file {source.credentials} lacks access_key or secret_key, or holds more.",
            mend="Write access_key, secret_key and, if needed, session_token.",
        )
    if not all(word.isascii() and " " not in word for word in words.values()):
        raise InputError(
            f"The credentials file {source.credentials} holds a blank or a letter that no S3 key has.",
            mend="Copy the keys again.",
        )
    return words


def _authority(source: S3Source) -> str | bool:
    if not source.ca:
        return True
    try:
        ssl.create_default_context(cafile=source.ca)
    except (OSError, ValueError):  # ssl's own errors are OSErrors
        pass
    else:
        return source.ca
    raise InputError(f"{source.ca} is not a PEM file of certificates that can be read.", mend="Correct the path `ca`.")


def _asked(source: S3Source, call: Callable[[], Any]) -> Any:
    """What a request brings, with patience where botocore has none: it takes a bare 429 for an answer."""
    for wait in (*_WAITS, None):
        try:
            return call()
        except Exception as err:  # senseless answers make botocore fail in many ways
            failure = translated(err, source.host, source.bucket, source.credentials)
        if wait is None or not isinstance(failure, ThrottledError):
            raise failure
        time.sleep(wait)
    raise AssertionError("the last turn returns or raises")


def _check_space(into: Path, total: int, count: int) -> None:
    needed = total + count * _BLOCK + _MARGIN
    free = shutil.disk_usage(into).free
    if free < needed:
        raise InputError(
            f"The disk of {into} has {free >> 20} MiB free; the store needs {needed >> 20} MiB.",
            mend="Make room, or put the node's folder on a larger disk.",
        )


def _page(client: Any, source: S3Source, token: str | None) -> Any:
    more = {} if token is None else {"ContinuationToken": token}
    return _asked(source, lambda: client.list_objects_v2(Bucket=source.bucket, Prefix=source.prefix, **more))


def _copy(client: Any, source: S3Source, one: Listed, into: Path, tell: Callable[[int], None]) -> None:
    """Copy one object. A body cut short is asked for again, from its start."""
    path = _place(into, one.name)
    for wait in (*_WAITS, None):
        try:
            with path.open("wb") as file, closing(_body(client, source, one)) as body:
                count = 0
                while chunk := _read(body, source):
                    count += len(chunk)
                    if count > one.size:
                        raise _changed(source)
                    file.write(chunk)
                    tell(count)
            if count == one.size:
                return
            failure: FlameError = CutError(f"{source.host} ends a connection too early.", mend="Try again later.")
        except CutError as err:
            failure = err
        except OSError as err:
            failure = _unwritten(into, err)
        if wait is None or not isinstance(failure, CutError):
            raise failure
        time.sleep(wait)


def _place(into: Path, name: str) -> Path:
    """A new, empty, private file. Nothing that is there is used: not a link, not a file of the same name."""
    path = into / name
    failure: FlameError
    try:
        for folder in reversed(path.relative_to(into).parents[:-1]):
            (into / folder).mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as err:
        failure = _unwritten(into, err)
    else:
        return path
    raise failure


def _body(client: Any, source: S3Source, one: Listed) -> Any:
    answer = _asked(source, lambda: client.get_object(Bucket=source.bucket, Key=one.key, IfMatch=one.etag))
    if answer.get("ETag") != one.etag or answer.get("ContentLength", one.size) != one.size:
        answer["Body"].close()
        raise _changed(source)
    return answer["Body"]


def _read(body: Any, source: S3Source) -> bytes:
    failure: FlameError
    try:
        return bytes(body.read(_CHUNK))
    except Exception as err:  # urllib3's, http.client's and botocore's
        failure = translated(err, source.host, source.bucket, source.credentials)
    raise failure


def _changed(source: S3Source) -> InputError:
    return InputError(
        f"An object below {source.where} changed while the store was copied.",
        mend="Copy again when nobody writes there.",
    )


def _unwritten(into: Path, err: OSError) -> InputError:
    if err.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return InputError(f"The disk of {into} is full.", mend="Make room and copy again.")
    return InputError(f"The store cannot be written into {into} ({err.strerror}).", mend="Check that folder.")
