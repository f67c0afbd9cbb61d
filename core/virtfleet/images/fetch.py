"""Images from the web: the head of one to plan with, and the whole into a cache of ours.

Only http and https, also after redirects. A download that broke off is taken
up where it ended; what has the wrong checksum is thrown away.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from virtfleet.errors import HostError, RefusedError
from virtfleet.images.cache import cache_dir
from virtfleet.images.probe import HEADER, Probed, probe, probe_head

_TIMEOUT = 30.0
_CHUNK = 1 << 18
_LARGEST = 1 << 42


class _OnlyWeb(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_url(url: str) -> None:
    """RefusedError: not of the web, or with a password in it, which would end up in the journal."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RefusedError(f"{url} is no http or https URL")
    if parts.username or parts.password:
        raise RefusedError("a URL with a password in it is not accepted: it would be written down")


def head(url: str) -> tuple[Probed, int]:
    """What the image at `url` is, from its first bytes; and its size. RefusedError, HostError. Blocks."""
    with _open(url, {"Range": f"bytes=0-{HEADER - 1}"}) as answer:
        data = answer.read(HEADER)
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        size = int(total) if total.isdecimal() else int(answer.headers.get("Content-Length") or 0)
    if not 0 < size < _LARGEST:
        raise RefusedError(f"{url} does not say how large it is")
    return probe_head(data, size, url), size


def fetch(url: str, checksum: str, report: Callable[[int, int, str], None]) -> dict[str, Any]:
    """The image in our cache: path, sha256, size, format, virtual_size. RefusedError, HostError. Blocks."""
    check_url(url)
    path = cache_dir() / hashlib.sha256(url.encode()).hexdigest()[:32]
    part = path.with_suffix(".part")
    wanted = checksum.removeprefix("sha256:").lower()
    if not (path.exists() and _still_same(url, path)):
        mark = _download(url, part, report)
        part.replace(path)
        _mark_of(path).write_text(mark)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
    found = digest.hexdigest()
    if wanted and found != wanted:
        path.unlink(missing_ok=True)
        raise RefusedError(f"{url} has the checksum sha256:{found}, not the one that was asked for")
    try:
        known = probe(path)
    except RefusedError:
        path.unlink(missing_ok=True)
        raise
    return {
        "path": str(path),
        "sha256": found,
        "size": known.size,
        "format": known.format,
        "virtual_size": known.virtual_size,
        "volume": f"virtfleet-{found[:16]}.{known.format}",
    }


async def fetch_step(args: Mapping[str, Any], report: Callable[[int, int, str], None]) -> dict[str, Any]:
    """The operation `image.fetch {url, checksum}` of a step without a host."""
    loop = asyncio.get_running_loop()
    stopped = False

    def progress(done: int, total: int, text: str) -> None:
        if stopped:
            raise RefusedError("cancelled")
        loop.call_soon_threadsafe(report, done, total, text)

    try:
        return await asyncio.to_thread(fetch, str(args["url"]), str(args.get("checksum", "")), progress)
    finally:
        stopped = True


def _mark_of(path: Path) -> Path:
    """The file that keeps by what the server told this content from another."""
    return path.with_suffix(".mark")


def _mark(headers: Any) -> str:
    """Entity tag, else date of change; empty: the server gives neither."""
    return str(headers.get("ETag") or headers.get("Last-Modified") or "")


def _still_same(url: str, path: Path) -> bool:
    """Whether what we have has the size and the mark that it has there now."""
    try:
        with _open(url, {"Range": "bytes=0-0"}) as answer:
            total = answer.headers.get("Content-Range", "").rpartition("/")[2]
            size = total if total.isdecimal() else answer.headers.get("Content-Length", "")
            if not size or int(size) != path.stat().st_size:
                return False
            return _mark(answer.headers) == _mark_of(path).read_text()
    except (HostError, OSError, ValueError):
        return False


def _download(url: str, part: Path, report: Callable[[int, int, str], None]) -> str:
    """The whole into `part`, going on where an earlier one of the same content ended. Returns its mark."""
    have = part.stat().st_size if part.exists() else 0
    if have and not _goes_on(url, part):
        have = 0
    with _open(url, {"Range": f"bytes={have}-"} if have else {}) as answer:
        goes_on = answer.status == 206
        done = have if goes_on else 0
        total = done + int(answer.headers.get("Content-Length") or 0)
        mark = _mark(answer.headers)
        _mark_of(part).write_text(mark)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if goes_on else os.O_TRUNC), 0o600)
        with open(fd, "r+b" if goes_on else "wb", closefd=True) as file:
            file.seek(done)
            try:
                while data := answer.read(_CHUNK):
                    file.write(data)
                    done += len(data)
                    report(done, total, f"fetching {urlsplit(url).hostname}")
            except OSError as error:
                raise HostError(
                    f"{url}: the download broke off: {error}", cure="try again: it goes on"
                ) from None
    if total and done < total:
        raise HostError(
            f"{url}: the download broke off at {done} of {total} bytes", cure="try again: it goes on"
        )
    _mark_of(part).unlink()
    return mark


def _goes_on(url: str, part: Path) -> bool:
    """Whether what was begun is the beginning of what is there now."""
    try:
        with _open(url, {"Range": "bytes=0-0"}) as answer:
            return bool(mark := _mark(answer.headers)) and mark == _mark_of(part).read_text()
    except (OSError, ValueError):
        return False


def _open(url: str, headers: Mapping[str, str]) -> Any:
    check_url(url)
    opener = urllib.request.build_opener(_OnlyWeb)
    request = urllib.request.Request(url, headers={"User-Agent": "virtfleet", **headers})  # noqa: S310 - checked
    try:
        return opener.open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # all of it is there already
            raise HostError(f"{url}: what was fetched before does not fit", cure="try again") from None
        raise HostError(f"{url}: the server says {error.code} {error.reason}") from None
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise HostError(f"{url} can't be fetched: {getattr(error, 'reason', error)}") from None
