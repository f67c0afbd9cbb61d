"""Images from a web server: taken up where they ended, fetched anew when they changed, never mixed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from virtfleet.errors import HostError, RefusedError
from virtfleet.images import fetch

RAW = bytes(range(256)) * 4096
OTHER = RAW[::-1]


class Site:
    """One file on a server of ours; `breaks_at`: bytes after which the line is cut, once."""

    def __init__(self) -> None:
        self.data = RAW
        self.tag = '"one"'
        self.breaks_at = 0
        self.sent = 0


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, str]]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    there = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            first, _, last = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")
            start, end = int(first), int(last) if last else len(there.data) - 1
            part = there.data[start : end + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(there.data)}")
            self.send_header("Content-Length", str(len(part)))
            if there.tag:
                self.send_header("ETag", there.tag)
            self.end_headers()
            if there.breaks_at and len(part) > there.breaks_at:
                part, there.breaks_at = part[: there.breaks_at], 0
            there.sent += len(part)
            self.wfile.write(part)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield there, f"http://127.0.0.1:{server.server_port}/disk.raw"
    server.shutdown()
    server.server_close()


def fetched(url: str, checksum: str = "") -> bytes:
    found = fetch.fetch(url, checksum, lambda done, total, text: None)
    data = Path(found["path"]).read_bytes()
    assert found["sha256"] == hashlib.sha256(data).hexdigest()
    return data


def test_once_fetched_it_is_kept(site: tuple[Site, str]) -> None:
    there, url = site
    assert fetched(url) == RAW
    sent = there.sent
    assert fetched(url) == RAW
    assert there.sent - sent < 10


def test_another_of_the_same_size_is_fetched_anew(site: tuple[Site, str]) -> None:
    there, url = site
    assert fetched(url) == RAW
    there.data, there.tag = OTHER, '"two"'
    assert fetched(url) == OTHER


def test_what_broke_off_goes_on(site: tuple[Site, str]) -> None:
    there, url = site
    there.breaks_at = 300_000
    with pytest.raises(HostError, match="broke off"):
        fetched(url)
    there.sent = 0
    assert fetched(url) == RAW
    assert there.sent < len(RAW) - 290_000


@pytest.mark.parametrize("tag", ['"two"', ""])
def test_two_halves_of_two_images_are_never_one(site: tuple[Site, str], tag: str) -> None:
    there, url = site
    there.breaks_at = 300_000
    with pytest.raises(HostError, match="broke off"):
        fetched(url)
    there.data, there.tag = OTHER, tag
    assert fetched(url) == OTHER


def test_a_wrong_checksum_is_refused_and_forgotten(site: tuple[Site, str]) -> None:
    there, url = site
    with pytest.raises(RefusedError, match="not the one that was asked for"):
        fetched(url, "sha256:" + "0" * 64)
    assert fetched(url, f"sha256:{hashlib.sha256(there.data).hexdigest().upper()}") == RAW
