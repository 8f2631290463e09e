"""S3: what is copied, what a hostile bucket cannot do, and what is said when things fail.

The bucket is moto's, a server of its own; before it stands a proxy of ours that breaks things.
"""

import contextlib
import http.client
import logging
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flame_fl.contract.errors import FlameError, InputError, UnreachableError
from flame_fl.data.sources import s3 as module
from flame_fl.data.sources.s3 import S3Source, fetch
from flame_fl.data.sources.s3_listing import listing, unfit

pytest.importorskip("botocore")
import boto3
import botocore.loaders
from botocore.config import Config

LOADER = botocore.loaders.create_loader()  # reads Amazon's descriptions of S3 once, not in each test
ACCESS, SECRET, TOKEN = "AKIACANARY0000000001", "secretCANARYsecretCANARYsecret", "tokenCANARYtoken"
Rule = Callable[[BaseHTTPRequestHandler], bool]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="module")
def moto() -> Iterator[int]:
    """The port of an S3 server."""
    pytest.importorskip("moto.server")
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port), "-H", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert server.poll() is None
            time.sleep(0.05)
        yield port
    finally:
        server.kill()
        server.wait()


@dataclass
class Bucket:
    """A bucket of its own per test."""

    client: Any
    name: str

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)


@pytest.fixture(scope="module")
def administrator(moto: int) -> Iterator[Any]:
    client = boto3.session.Session(aws_access_key_id="a", aws_secret_access_key="b").client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{moto}",
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )
    with contextlib.closing(client):
        yield client


@pytest.fixture
def bucket(administrator: Any, request: pytest.FixtureRequest) -> Bucket:
    name = "b-" + sha256(request.node.nodeid.encode()).hexdigest()[:30]
    administrator.create_bucket(Bucket=name)
    return Bucket(administrator, name)


@dataclass
class Front:
    """A proxy before the server: the first rule that says True has answered."""

    port: int
    rules: list[Rule] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


@contextlib.contextmanager
def fronting(upstream: int, tls: ssl.SSLContext | None = None) -> Iterator[Front]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            front.requests.append(self.path)
            if any(rule(self) for rule in list(front.rules)):
                return
            connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=10)
            connection.request("GET", self.path, headers=dict(self.headers))
            answer = connection.getresponse()
            respond(self, answer.status, answer.read(), dict(answer.headers))
            connection.close()

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            """A client that hangs up."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    front = Front(server.server_address[1], scheme="http" if tls is None else "https")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def respond(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> bool:
    handler.send_response_only(status)
    for name, value in (headers or {}).items():
        if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
            handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    return True


def failing(status: int, code: str, times: int = 10**9, only: str = "") -> Rule:
    """An S3 error, so often; the server quotes what it was sent, as real ones do."""
    left = [times]

    def rule(handler: BaseHTTPRequestHandler) -> bool:
        if only not in handler.path or left[0] == 0:
            return False
        left[0] -= 1
        said = handler.headers.get("Authorization", "")
        body = (
            f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{said} {ACCESS} {SECRET}</Message>"
            f"<AWSAccessKeyId>{ACCESS}</AWSAccessKeyId><StringToSign>{said}</StringToSign></Error>"
        )
        return respond(handler, status, body.encode(), {"Content-Type": "application/xml"})

    return rule


def cutting(times: int, only: str) -> Rule:
    """A body that ends in its middle."""
    left = [times]

    def rule(handler: BaseHTTPRequestHandler) -> bool:
        if only not in handler.path or left[0] == 0:
            return False
        left[0] -= 1
        handler.send_response_only(200)
        handler.send_header("ETag", f'"{sha_etag(b"x" * 100)}"')
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"x" * 40)
        handler.close_connection = True
        return True

    return rule


def sha_etag(body: bytes) -> str:
    from hashlib import md5

    return md5(body, usedforsecurity=False).hexdigest()


@pytest.fixture
def front(moto: int) -> Iterator[Front]:
    with fronting(moto) as front:
        yield front


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "s3.toml"
    path.write_text(f'access_key = "{ACCESS}"\nsecret_key = "{SECRET}"\nsession_token = "{TOKEN}"\n')
    path.chmod(0o600)
    return path


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits; nor has the machine's own configuration a say."""
    monkeypatch.setattr(module, "_WAITS", (0.0, 0.0))
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(time=time.time, sleep=lambda seconds: None))
    monkeypatch.setattr("botocore.session.create_loader", lambda path: LOADER)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


@pytest.fixture
def get(front: Front, bucket: Bucket, credentials: Path, into: Path) -> Callable[..., str]:
    """Fetch through the proxy."""

    def fetched(**fields: Any) -> str:
        told = fields.pop("told", [])
        terms = {"type": "s3", "endpoint": front.url, "bucket": bucket.name, "prefix": "study"} | fields
        return fetch(S3Source(credentials=credentials, **terms), into, lambda done, total: told.append((done, total)))

    return fetched


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if not p.is_dir()}


def all_that_is_said(err: BaseException | None) -> str:
    """Its text, its arguments and its attributes, and those of the errors before it."""
    said = []
    while err is not None:
        said.append(f"{err}{err!r}{err.args!r}{vars(err)!r}")
        err = err.__cause__ or err.__context__
    return "".join(said)


def failure_of(get: Callable[..., str], kind: type[FlameError] = InputError, **fields: Any) -> FlameError:
    """The error a fetch ends in: of this kind, with advice, without secrets, and without open files."""
    with pytest.raises(kind) as caught:
        get(**fields)
    said = all_that_is_said(caught.value)
    assert "CANARY" not in said
    assert "Signature" not in said
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert caught.value.mend
    return caught.value


# What is copied


def test_all_below_the_prefix_is_copied_and_said_in_a_line(get: Callable[..., str], bucket: Bucket, into: Path) -> None:
    objects = {"table.csv": b"id\n1\n", "deep/er/x.bin": os.urandom(3 << 20), "empty": b"", "ü ~'&+%2F": b"odd"}
    for name, body in objects.items():
        bucket.put(f"study/{name}", body)
    for key in ("study-2/other", "studyx", "else", "study/", "study/deep/"):
        bucket.put(key, b"")
    told: list[tuple[int, int]] = []
    line = get(told=told)
    assert tree(into) == objects
    total = sum(map(len, objects.values()))
    assert told[0] == (0, total)
    assert told[-1] == (total, total)
    assert told == sorted(told)
    lines = sorted(f'study/{name}\0"{sha_etag(body)}"\n'.encode() for name, body in objects.items())
    assert line.startswith(f"s3 {bucket.name}/study/ at 127.0.0.1:")
    assert f"4 objects, {total} bytes, listed at 20" in line
    assert line.endswith(sha256(b"".join(lines)).hexdigest())
    assert line.isprintable()
    assert "CANARY" not in line


def test_files_are_their_owner_s_only(get: Callable[..., str], bucket: Bucket, into: Path) -> None:
    bucket.put("study/deep/er/x", b"1")
    before = os.umask(0)
    try:
        get()
    finally:
        os.umask(before)
    assert [stat.S_IMODE((into / p).stat().st_mode) for p in ("deep", "deep/er", "deep/er/x")] == [0o700, 0o700, 0o600]


def test_the_whole_bucket_without_a_prefix(get: Callable[..., str], bucket: Bucket, into: Path) -> None:
    bucket.put("a", b"1")
    bucket.put("b/c", b"2")
    get(prefix="")
    assert tree(into) == {"a": b"1", "b/c": b"2"}


def test_a_listing_of_several_pages(
    get: Callable[..., str], bucket: Bucket, into: Path, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand are on a page of Amazon's; three on ours."""
    for i in range(8):
        bucket.put(f"study/{i}", str(i).encode())
    monkeypatch.setattr(module, "_page", paged(module._page, 3))
    get()
    assert tree(into) == {str(i): str(i).encode() for i in range(8)}
    assert sum("list-type=2" in path for path in front.requests) == 3


def paged(real: Callable[..., Any], size: int) -> Callable[..., Any]:
    class Few:
        def __init__(self, client: Any) -> None:
            self.client = client

        def list_objects_v2(self, **fields: Any) -> Any:
            return self.client.list_objects_v2(**fields, MaxKeys=size)

    return lambda client, source, token: real(Few(client), source, token)


def test_the_bucket_as_a_host_name_where_it_is_so(moto: int, bucket: Bucket, credentials: Path, into: Path) -> None:
    bucket.put("study/a", b"1")
    terms = S3Source(
        type="s3",
        endpoint=f"http://localhost:{moto}",
        bucket=bucket.name,
        prefix="study",
        path_style=False,
        credentials=credentials,
    )
    hosts = []
    real = socket.getaddrinfo
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            socket, "getaddrinfo", lambda host, *rest, **more: (hosts.append(host), real("127.0.0.1", *rest, **more))[1]
        )
        fetch(terms, into, lambda done, total: None)
    assert tree(into) == {"a": b"1"}
    assert hosts[0] == f"{bucket.name}.localhost"


def test_the_administrator_s_own_configuration_has_no_say(
    get: Callable[..., str], bucket: Bucket, into: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[default]\nendpoint_url = http://127.0.0.1:1\n[services x]\n")
    for name, value in {
        "AWS_PROFILE": "no-such",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": "/no/such",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket.put("study/a", b"1")
    get()
    assert tree(into) == {"a": b"1"}


# Hostile buckets


@pytest.mark.parametrize(
    "name",
    [
        "../out",
        "a/../../out",
        "a/..",
        "/etc/passwd",
        "a//b",
        "./a",
        "a\\..\\b",
        "a\nb",
        "a\x1bb",
        "a\x7f",
        "a\u202eb",
        "n" * 256,
        "ü" * 128,
        "/".join("d" * 200 for _ in range(5)) + "/" + "e" * 20,
    ],
)
def test_names_that_cannot_be_files_are_refused_before_a_byte_is_copied(
    get: Callable[..., str], front: Front, into: Path, name: str
) -> None:
    """From a listing of ours: moto does not take all of them."""
    front.rules.append(listed([("study/ok", 1), (f"study/{name}", 1)]))
    err = failure_of(get)
    assert "Object 2 in the listing" in err.message
    assert name not in str(err)
    assert str(err).isprintable()
    assert list(into.iterdir()) == []


def listed(objects: list[tuple[str, int]], more: str = "") -> Rule:
    from urllib.parse import quote

    def rule(handler: BaseHTTPRequestHandler) -> bool:
        if "list-type=2" not in handler.path:
            return False
        rows = "".join(
            f"<Contents><Key>{quote(key)}</Key><ETag>&quot;e&quot;</ETag><Size>{size}</Size></Contents>"
            for key, size in objects
        )
        body = f"<?xml version='1.0'?><ListBucketResult><EncodingType>url</EncodingType>{rows}{more}</ListBucketResult>"
        return respond(handler, 200, body.encode(), {"Content-Type": "application/xml"})

    return rule


def test_a_zero_byte_in_a_name_is_refused() -> None:
    """No XML can bring one; a server that lies in another way might."""
    assert "control" in unfit("a\0b")


@given(st.text(max_size=40))
def test_a_name_that_fits_is_a_file_below_the_folder(tmp_path: Path, name: str) -> None:
    """And it is the same name again when the folder is looked at."""
    if unfit(name):
        return
    path = tmp_path / name
    assert path.resolve().is_relative_to(tmp_path.resolve())
    assert path.resolve() != tmp_path.resolve()
    assert str(path.relative_to(tmp_path)) == name


@pytest.mark.parametrize("keys", [["a", "a/b"], ["a/b", "a/b/c/d"], ["a", "a"]])
def test_a_name_cannot_be_a_file_and_a_folder(
    get: Callable[..., str], front: Front, into: Path, keys: list[str]
) -> None:
    front.rules.append(listed([(f"study/{key}", 1) for key in keys]))
    assert "twice" in failure_of(get).message
    assert list(into.iterdir()) == []


def test_a_key_of_elsewhere_is_not_taken(get: Callable[..., str], front: Front) -> None:
    front.rules.append(listed([("other/a", 1)]))
    assert "is not what S3 answers" in failure_of(get, UnreachableError).message


@pytest.mark.parametrize("size", [10**15, 10**30])
def test_more_than_the_disk_has_is_refused_before_the_first_request(
    get: Callable[..., str], front: Front, into: Path, size: int
) -> None:
    front.rules.append(listed([("study/a", size)]))
    err = failure_of(get)
    assert "MiB free" in err.message
    assert not any("study/a" in path for path in front.requests)
    assert list(into.iterdir()) == []


def test_some_space_stays_free(get: Callable[..., str], bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put("study/a", b"x" * 1000)
    free = module._MARGIN + module._BLOCK + 1000
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free - 1}))
    failure_of(get)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    get()


@pytest.mark.parametrize(
    "more",
    [
        "<IsTruncated>true</IsTruncated>",
        "<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>",
    ],
)
def test_a_listing_without_an_end_ends(get: Callable[..., str], front: Front, more: str) -> None:
    front.rules.append(listed([("study/a", 1)], more))
    assert "is not what S3 answers" in failure_of(get, UnreachableError).message
    assert len(front.requests) <= 2


def test_a_listing_that_only_ever_grows_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flame_fl.data.sources.s3_listing._MOST_OBJECTS", 100)
    calls = iter(range(10**9))

    def page(token: str | None) -> dict[str, Any]:
        at = next(calls)
        entries = [{"Key": f"{at}-{i}", "ETag": "e", "Size": 1} for i in range(10)]
        return {"IsTruncated": True, "NextContinuationToken": str(at), "Contents": entries}

    with pytest.raises(InputError, match="more than 100 objects"):
        listing(page, "", "b")
    assert next(calls) == 11


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"Contents": 5},
        {"Contents": [5]},
        {"Contents": [{}]},
        {"Contents": [{"Key": "a", "ETag": None, "Size": 1}]},
        {"Contents": [{"Key": "a", "ETag": "", "Size": 1}]},
        {"Contents": [{"Key": "a", "ETag": "e", "Size": -1}]},
        {"IsTruncated": True},
    ],
)
def test_listings_without_sense(answer: Any) -> None:
    with pytest.raises(UnreachableError, match="not what S3 answers"):
        listing(lambda token: answer, "", "b")


def test_nothing_below_the_prefix_is_an_error(get: Callable[..., str], bucket: Bucket) -> None:
    bucket.put("study/", b"")
    bucket.put("study/folder/", b"")
    assert "nothing below" in failure_of(get).message


@pytest.mark.parametrize("body", [b"", b"<html>Login</html>", b"not xml", b"<a>" * 1000, b'{"json": 1}'])
def test_a_server_that_is_not_s3(get: Callable[..., str], front: Front, body: bytes) -> None:
    front.rules.append(lambda handler: respond(handler, 200, body, {"Content-Type": "text/html"}))
    failure_of(get, FlameError)


def test_a_link_in_the_folder_is_not_written_through(
    get: Callable[..., str], bucket: Bucket, into: Path, tmp_path: Path
) -> None:
    bucket.put("study/a", b"new")
    (tmp_path / "precious").write_bytes(b"old")
    (into / "a").symlink_to(tmp_path / "precious")
    assert "File exists" in failure_of(get).message
    assert (tmp_path / "precious").read_bytes() == b"old"


# Changes and cuts


def test_an_object_that_changes_after_the_listing(get: Callable[..., str], front: Front, bucket: Bucket) -> None:
    bucket.put("study/a", b"before")
    changed = []

    def rule(handler: BaseHTTPRequestHandler) -> bool:
        if "list-type" not in handler.path and not changed:
            changed.append(handler.headers["If-Match"])
            bucket.put("study/a", b"after!")
        return False

    front.rules.append(rule)
    assert "changed while" in failure_of(get).message
    assert changed == [f'"{sha_etag(b"before")}"']


def test_an_object_that_is_removed_after_the_listing(get: Callable[..., str], front: Front) -> None:
    front.rules.append(listed([("study/gone", 1)]))
    assert "changed while" in failure_of(get).message


@pytest.mark.parametrize(("etag", "body"), [('"other"', b"x"), ('"e"', b"xx"), ('"e"', b"")])
def test_a_server_that_ignores_if_match_is_not_believed(
    get: Callable[..., str], front: Front, etag: str, body: bytes
) -> None:
    front.rules.append(listed([("study/a", 1)]))
    front.rules.append(lambda handler: respond(handler, 200, body, {"ETag": etag}))
    assert "changed while" in failure_of(get).message


@pytest.mark.parametrize(("count", "kind"), [(1, UnreachableError), (3, InputError)])
def test_bodies_without_a_length_are_counted(
    get: Callable[..., str], front: Front, count: int, kind: type[FlameError]
) -> None:
    """Chunked: one byte fewer than listed, one more."""

    def rule(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response_only(200)
        handler.send_header("ETag", '"e"')
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"1\r\nx\r\n" * count + b"0\r\n\r\n")
        return True

    front.rules += [listed([("study/a", 2)]), rule]
    failure_of(get, kind)


def test_a_connection_cut_in_the_middle_is_tried_again(
    get: Callable[..., str], front: Front, bucket: Bucket, into: Path
) -> None:
    bucket.put("study/a", b"x" * 100)
    front.rules.append(cutting(2, "study/a"))
    told: list[tuple[int, int]] = []
    get(told=told)
    assert tree(into) == {"a": b"x" * 100}
    assert told[-1] == (100, 100)


def test_connections_that_are_always_cut(get: Callable[..., str], front: Front, bucket: Bucket) -> None:
    bucket.put("study/a", b"x" * 100)
    front.rules.append(cutting(99, "study/a"))
    assert "ends a connection" in failure_of(get, UnreachableError).message
    assert sum("study/a" in path for path in front.requests) == 3


# Refusals


def test_slow_down_is_waited_for(get: Callable[..., str], front: Front, bucket: Bucket, into: Path) -> None:
    bucket.put("study/a", b"1")
    front.rules += [failing(503, "SlowDown", 2, "list-type"), failing(503, "SlowDown", 2, "study/a")]
    get()
    assert tree(into) == {"a": b"1"}


@pytest.mark.parametrize("code", ["TooManyRequests", "SlowDown"])
def test_429_is_waited_for(get: Callable[..., str], front: Front, bucket: Bucket, into: Path, code: str) -> None:
    bucket.put("study/a", b"1")
    front.rules += [failing(429, code, 2, "list-type"), failing(429, code, 2, "study/a")]
    get()
    assert tree(into) == {"a": b"1"}


@pytest.mark.parametrize(("status", "code"), [(429, "TooManyRequests"), (429, "SlowDown"), (503, "SlowDown")])
def test_not_for_ever(get: Callable[..., str], front: Front, status: int, code: str) -> None:
    front.rules.append(failing(status, code))
    assert "overloaded" in failure_of(get, UnreachableError).message
    assert 3 <= len(front.requests) <= 5


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "AccessDenied", InputError, "no access"),
        (403, "", InputError, "no access"),
        (403, "InvalidAccessKeyId", InputError, "does not accept the credentials"),
        (403, "SignatureDoesNotMatch", InputError, "does not accept the credentials"),
        (400, "ExpiredToken", InputError, "does not accept the credentials"),
        (401, "Unauthorized", InputError, "does not accept the credentials"),
        (403, "RequestTimeTooSkewed", InputError, "clocks"),
        (301, "PermanentRedirect", InputError, "elsewhere"),
        (307, "TemporaryRedirect", InputError, "elsewhere"),
        (403, "InvalidObjectState", InputError, "archived"),
        (404, "NoSuchBucket", InputError, "no bucket"),
        (400, "Strange", UnreachableError, "400"),
        (500, "InternalError", UnreachableError, "500"),
    ],
)
def test_refusals_are_told_apart(
    get: Callable[..., str], front: Front, status: int, code: str, kind: type[FlameError], words: str
) -> None:
    front.rules.append(failing(status, code))
    assert words in failure_of(get, kind).message


def test_a_bucket_that_is_not_there(get: Callable[..., str]) -> None:
    assert "There is no bucket no-such-bucket" in failure_of(get, bucket="no-such-bucket").message


def test_a_redirect_to_another_host_is_not_followed(get: Callable[..., str], front: Front, moto: int) -> None:
    """The signature would go along."""
    with fronting(moto) as other:
        front.rules.append(lambda h: respond(h, 302, b"", {"Location": f"{other.url}{h.path}"}))
        failure_of(get)
        assert other.requests == []


def test_nobody_at_the_endpoint(get: Callable[..., str]) -> None:
    assert "cannot be reached" in failure_of(get, UnreachableError, endpoint=f"http://127.0.0.1:{free_port()}").message


def test_a_full_disk(
    get: Callable[..., str], bucket: Bucket, into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/full takes no byte."""
    bucket.put("study/a", b"1" * 100)
    real = Path.open

    def opened(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        return real(Path("/dev/full") if path == into / "a" else path, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", opened)
    assert "is full" in failure_of(get).message


def test_no_file_is_left_open(get: Callable[..., str], front: Front, bucket: Bucket, into: Path) -> None:
    """While the error is still at hand, with all that its traceback holds."""
    bucket.put("study/a", b"x" * 100)
    front.rules.append(cutting(99, "study/a"))
    err = failure_of(get, UnreachableError)
    opened = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            opened.append(str(link.readlink()))
    assert err.__traceback__ is not None
    assert not [path for path in opened if str(into) in path]


# Secrets


def test_nothing_of_it_is_logged(
    get: Callable[..., str], front: Front, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even with everybody's loggers at DEBUG: botocore would write signatures and names there."""
    bucket.put("study/PATIENT-7", b"1")
    with caplog.at_level(logging.DEBUG):
        get()
        front.rules.append(failing(403, "SignatureDoesNotMatch"))
        failure_of(get)
    for secret in (ACCESS, SECRET, TOKEN, "Signature=", "AWS4-HMAC", "PATIENT-7"):
        assert secret not in caplog.text


def test_the_source_itself_holds_no_secret(credentials: Path) -> None:
    source = S3Source(type="s3", endpoint="https://s3.example.org", bucket="bbb", prefix="p", credentials=credentials)
    assert "CANARY" not in repr(source) + source.model_dump_json()
    assert S3Source.model_validate_json(source.model_dump_json()) == source


@pytest.mark.parametrize(
    "text",
    [
        f'access_key = "{ACCESS}"',
        f'access_key = "{ACCESS}"\nsecret_key = "{SECRET}"\nother = "{SECRET}"',
        f'access_key = "{ACCESS} "\nsecret_key = "{SECRET}"',
        f'access_key = "{ACCESS}"\nsecret_key = "{SECRET}ü"',
    ],
)
def test_credentials_that_cannot_be_right(get: Callable[..., str], credentials: Path, front: Front, text: str) -> None:
    credentials.write_text(text)
    assert "s3.toml" in failure_of(get).message
    assert front.requests == []


# TLS


@dataclass
class Authority:
    """A hospital's own."""

    folder: Path

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Own CA")])
        self.certificate = self._signed(self.name, self.key, days=(-5, 5), ca=True)
        self.pem = self.folder / "ca.pem"
        self.pem.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _signed(
        self, subject: x509.Name, key: Any, *, days: tuple[float, float], ca: bool = False, address: str = "127.0.0.1"
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if ca:
            usage = x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                decipher_only=False,
            )  # fmt: skip
            builder = builder.add_extension(usage, critical=True)
        else:
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def server(self, days: tuple[float, float] = (-1, 1), address: str = "127.0.0.1") -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "s3")])
        certificate = self._signed(subject, key, days=days, address=address)
        path = self.folder / "server.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_the_hospital_s_own_authority(
    get: Callable[..., str], moto: int, bucket: Bucket, into: Path, authority: Authority
) -> None:
    bucket.put("study/a", b"1")
    with fronting(moto, authority.server()) as front:
        get(endpoint=front.url, ca=str(authority.pem))
    assert tree(into) == {"a": b"1"}


@pytest.mark.parametrize(
    ("days", "address", "known", "words"),
    [
        ((-1, 1), "127.0.0.1", False, "not from an authority"),
        ((-2, -1), "127.0.0.1", True, "has expired"),
        ((1, 2), "127.0.0.1", True, "not valid yet"),
        ((-1, 1), "127.0.0.2", True, "another host"),
    ],
)
def test_certificates_that_are_not_trusted(
    get: Callable[..., str],
    moto: int,
    authority: Authority,
    days: tuple[float, float],
    address: str,
    known: bool,
    words: str,
) -> None:
    with fronting(moto, authority.server(days, address)) as front:
        err = failure_of(get, endpoint=front.url, ca=str(authority.pem) if known else "")
        assert front.requests == []
    assert words in err.message


def test_https_where_http_is_spoken(get: Callable[..., str], moto: int) -> None:
    assert "TLS" in failure_of(get, UnreachableError, endpoint=f"https://127.0.0.1:{moto}").message


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_an_authority_s_file_that_is_none(get: Callable[..., str], tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    assert "ca.pem" in failure_of(get, ca=str(path)).message


# The source


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoint": "http://s3.example.org"},
        {"endpoint": "http://localhost.example.org"},
        {"endpoint": "http://10.0.0.1:9000"},
        {"endpoint": "ftp://127.0.0.1"},
        {"endpoint": "https://"},
        {"endpoint": "s3.example.org"},
        {"endpoint": "https://user:pass@s3.example.org"},
        {"endpoint": "https://s3.example.org/path"},
        {"endpoint": "https://s3.example.org?x=1"},
        {"endpoint": "https://s3.example.org:99999"},
        {"endpoint": "https://s3.exa\nmple.org"},
        {"endpoint": "https://[::1"},
        {"bucket": "a"},
        {"bucket": "a/b"},
        {"bucket": "../b"},
        {"bucket": "arn:aws:s3:::b"},
        {"prefix": "../study"},
        {"prefix": "a//b"},
        {"prefix": "a\nb"},
        {"region": "eu west"},
        {"type": "gcs"},
        {"secret_key": SECRET},
    ],
)
def test_sources_that_are_refused(fields: dict[str, str]) -> None:
    good = {"type": "s3", "endpoint": "https://s3.example.org", "bucket": "bbb", "prefix": "p", "credentials": "c.toml"}
    S3Source.model_validate(good)
    with pytest.raises(ValidationError):
        S3Source.model_validate(good | fields)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:9000", "https://a.b/"])
def test_endpoints_that_are_taken(endpoint: str) -> None:
    source = S3Source(type="s3", endpoint=endpoint, bucket="bbb", prefix="/p/q/", credentials=Path("c"))
    assert source.endpoint == endpoint.rstrip("/")
    assert source.prefix == "p/q/"


def test_without_the_extra_the_command_is_named(monkeypatch: pytest.MonkeyPatch, credentials: Path, into: Path) -> None:
    monkeypatch.setattr("flame_fl.data.kind.find_spec", lambda name: None)
    source = S3Source(type="s3", endpoint="https://a.b", bucket="bbb", prefix="", credentials=credentials)
    with pytest.raises(InputError, match="flame-fl\\[s3\\]"):
        fetch(source, into, lambda done, total: None)
