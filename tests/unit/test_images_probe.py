"""What an image is, by its content; and which are refused before they are sent anywhere."""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.errors import HostError, RefusedError
from virtfleet.images import fetch
from virtfleet.images.hashing import sha256
from virtfleet.images.probe import probe, probe_head

CLUSTER = 65536


def qcow2(
    *, virtual: int = 1 << 30, backing: bytes = b"", features: int = 0, clusters: int = 4, crypt: int = 0
) -> bytes:
    """A qcow2 of version 3 with one L2 table that points at `clusters` clusters."""
    head = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb", 3, 512 if backing else 0, len(backing), 16, virtual, crypt,
        1, CLUSTER, 2 * CLUSTER, 1, 0, 0, features, 0, 0, 4, 104,
    )  # fmt: skip
    head += b"\0" * (512 - len(head)) + backing
    l1 = struct.pack(">Q", 3 * CLUSTER | 1 << 63)
    l2 = b"".join(struct.pack(">Q", (4 + n) * CLUSTER | 1 << 63) for n in range(clusters))
    parts = [head, l1, b"\0", l2, *[b"x" * CLUSTER] * clusters]
    return b"".join(part.ljust(CLUSTER, b"\0") for part in parts)


def write(folder: Path, data: bytes, name: str = "image.img") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_a_whole_qcow2_is_known_by_its_content(tmp_path: Path) -> None:
    found = probe(write(tmp_path, qcow2(), "called.raw"))
    assert (found.format, found.size, found.virtual_size) == ("qcow2", 8 * CLUSTER, 1 << 30)


def test_a_backing_file_is_named_and_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"stands on another file \(/etc/shadow\)"):
        probe(write(tmp_path, qcow2(backing=b"/etc/shadow")))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (qcow2(features=1 << 2), "keeps its data in another file"),
        (qcow2(features=1 << 1), "corrupt"),
        (qcow2(features=1 << 9), "not known here"),
        (qcow2(crypt=2), "encrypted"),
        (b"", "is empty"),
        (b"x" * 700, "no whole sectors"),
        (b"KDMV" + b"\0" * 508, "a VMDK image"),
        (b"\x1f\x8b" + b"\0" * 510, "a gzip file"),
        (b"<!doctype html>".ljust(512), "a web page"),
        (b"QFI\xfb" + b"\0" * 60, "cut off in its header"),
    ],
)
def test_what_can_not_be_used_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        probe(write(tmp_path, data))


@given(st.integers(1, 7))
def test_a_qcow2_that_lacks_its_last_clusters_is_refused(lost: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.raises(RefusedError, match="cut off"):
        probe(write(Path(folder), qcow2()[: -lost * CLUSTER]))


@given(st.binary(max_size=2000))
def test_any_bytes_are_an_image_or_refused(data: bytes) -> None:
    try:
        found = probe_head(data, len(data), "x")
    except RefusedError:
        return
    assert found.format in ("raw", "iso", "qcow2")


def test_raw_and_iso(tmp_path: Path) -> None:
    assert probe(write(tmp_path, b"\1" * 1024)).format == "raw"
    iso = b"\0" * 32769 + b"CD001" + b"\0" * 5000
    assert probe(write(tmp_path, iso)).format == "iso"


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path, cache = write(tmp_path, b"a" * (2 << 20)), tmp_path / "hashes.json"
    first = sha256(path, cache)
    assert first == hashlib.sha256(b"a" * (2 << 20)).hexdigest()
    cache.write_text(cache.read_text().replace(first, "f" * 64))
    assert sha256(path, cache) == "f" * 64
    write(tmp_path, b"b" * (3 << 20))
    assert sha256(path, cache) == hashlib.sha256(b"b" * (3 << 20)).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "web").mkdir()
    write(tmp_path / "web", qcow2(), "i.qcow2")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_image_is_fetched_once_and_checked(
    tmp_path: Path, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"{web}/i.qcow2"
    assert fetch.head(url)[0].format == "qcow2"
    told: list[tuple[int, int]] = []
    found = fetch.fetch(url, "", lambda done, total, _: told.append((done, total)))
    assert found["sha256"] == hashlib.sha256(qcow2()).hexdigest()
    assert told[-1] == (8 * CLUSTER, 8 * CLUSTER)
    told.clear()
    assert fetch.fetch(url, f"sha256:{found['sha256']}", lambda *_: told.append((0, 0))) == found
    assert told == []
    with pytest.raises(RefusedError, match="not the one that was asked for"):
        fetch.fetch(url, "sha256:" + "0" * 64, lambda *_: None)
    with pytest.raises(HostError, match="404"):
        fetch.head(f"{web}/none")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "http://", "http://me:secret@x/y"])
def test_only_the_web_and_no_passwords(url: str) -> None:
    with pytest.raises(RefusedError) as caught:
        fetch.check_url(url)
    assert "secret" not in str(caught.value)
