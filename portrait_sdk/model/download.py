"""Downloads into the cache: resumed, verified, and named only when whole.

A download streams into a ``.part`` file that a later attempt, or a later process, resumes. It gets
its name only when size and SHA-256 are right, so a file under a model's name is whole, or was
damaged afterwards, which the next use notices. A lock lets one process at a time fetch a file.
"""

from __future__ import annotations

import http.client
import logging
import os
import re
import string
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from portrait_sdk.errors import DownloadError, OptionError, OutputError, PortraitError
from portrait_sdk.model.cache import cache_dir, cached, offline, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from portrait_sdk.model.registry import Entry

    Progress: TypeAlias = Callable[[int, int | None], None]

CEILING_BYTES = 4 << 30
"""No download grows beyond this, whatever a server declares."""
MAX_REDIRECTS = 5

_BLOCK_BYTES = 256 << 10
_MAX_PAUSE_S = 8.0
_POLL_S = 0.05
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that another attempt may not meet."""
_RANGE_NOT_SATISFIABLE = 416
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

logger = logging.getLogger(__name__)


def fetch(
    entry: Entry,
    *,
    progress: Progress | None = None,
    timeout_s: float = 30.0,
    retries: int = 4,
    pause_s: float = 0.5,
    lock_wait_s: float = 600.0,
) -> Path:
    """Bring a published model into the cache, unless it is there, and return its file.

    Args:
        entry: A model with an address.
        progress: Called with the bytes that are here and the bytes expected (None where the server
            does not say) after each block.
        timeout_s: A connection that brings no byte for this long counts as failed.
        retries: How often a failed attempt is followed by another, which resumes.
        pause_s: The pause before the first retry; each further one is twice as long.
        lock_wait_s: How long another process that fetches the same file is waited for while its
            part of the file does not grow.

    Raises:
        OptionError: A number is out of its range, or the entry is part of the package.
        DownloadError: The file could not be fetched, or is not the registered one, or
            ``PORTRAIT_OFFLINE`` is set.
        OutputError: It could not be written to the cache.
    """
    if entry.url is None:
        raise OptionError(f"{entry.name}: part of the package, nothing to fetch")
    if timeout_s <= 0 or retries < 0:
        raise OptionError(
            f"timeout_s, retries: expected > 0 and >= 0, got {timeout_s} and {retries}"
        )
    if path := cached(entry):
        return path
    path = cache_dir() / entry.filename
    if offline():
        raise DownloadError(
            f"{entry.name}: not downloaded, since PORTRAIT_OFFLINE is set; get {entry.url} "
            f"by other means and save it as {path.name} in {path.parent}"
        )
    part = path.with_suffix(".part")
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_suffix(".lock"), part, lock_wait_s):
        if done := cached(entry):  # by the process that held the lock before
            return done
        transfer = _Transfer(entry, part, timeout_s, progress)
        transfer.run(retries, pause_s)
        with _writing(path):
            _publish(part, path)
    logger.info("%s: fetched from %s into %s", entry.name, entry.url, path)
    return path


class _Transfer:
    """One download in several attempts; knows what the server said the file was in the last one."""

    def __init__(
        self, entry: Entry, part: Path, timeout_s: float, progress: Progress | None
    ) -> None:
        self.entry = entry
        self.part = part
        self.timeout_s = timeout_s
        self.progress = progress
        self.validator: str | None = None
        """A strong ETag or a date: ``If-Range`` makes a changed file start over."""

    def run(self, retries: int, pause_s: float) -> None:
        """Leave ``part`` complete and verified."""
        failure = ""
        for attempt in range(retries + 1):
            if attempt:
                logger.info("%s: %s; trying again", self.entry.name, failure)
                time.sleep(min(pause_s * 2 ** (attempt - 1), _MAX_PAUSE_S))
            try:
                resumed = self._attempt()
            except _FailedAttemptError as error:
                failure = str(error)
                continue
            found = sha256(self.part)
            if found == self.entry.sha256:
                return
            self._discard()
            failure = f"expected SHA-256 {self.entry.sha256}, found {found}"
            if not resumed:  # another start from nothing would bring the same
                raise DownloadError(
                    f"{self.entry.name}: {self.entry.url} is not the published file, or was "
                    f"corrupted on the way: {failure}; deleted"
                )
        kept = _size(self.part)
        rest = f"{kept} bytes are kept, fetching again resumes" if kept else "nothing is kept"
        raise DownloadError(
            f"{self.entry.name}: {self.entry.url}: gave up after {retries + 1} attempts: "
            f"{failure}; {rest}"
        )

    def _attempt(self) -> bool:
        """Add what is missing to ``part``; True where it began with bytes of an earlier attempt."""
        start = _size(self.part)
        limit = self.entry.size_bytes or CEILING_BYTES
        if start == self.entry.size_bytes:
            return True
        try:
            with self._connection():
                response = _open(self.entry.url or "", self._headers(start), self.timeout_s)
        except _StatusError as error:
            if error.status == _RANGE_NOT_SATISFIABLE and start:
                return True  # nothing is missing, or all is wrong: the hash will tell
            if error.status in _PASSING:
                raise _FailedAttemptError(str(error)) from error
            raise DownloadError(f"{self.entry.name}: {self.entry.url}: {error}") from error
        with response:
            start, total = self._placed(response, start)
            etag = response.headers.get("ETag", "W/")
            self.validator = (
                response.headers.get("Last-Modified") if etag.startswith("W/") else etag
            )
            done = self._receive(response, start, total, total or limit)
        if total is not None and done < total:
            raise _FailedAttemptError(f"ended after {done} of {total} bytes")
        return start > 0

    def _headers(self, start: int) -> dict[str, str]:
        """Ask for all of the file, or for what follows the first ``start`` bytes."""
        headers = {"User-Agent": f"portrait_sdk/{_version()}"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.validator:
                headers["If-Range"] = self.validator
        return headers

    def _placed(self, response: http.client.HTTPResponse, start: int) -> tuple[int, int | None]:
        """Read where in the file the reply begins, and how long the file is where anybody says."""
        total = response.length
        if response.status == http.client.PARTIAL_CONTENT:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if not match or int(match[1]) != start:
                self._discard()
                raise _FailedAttemptError("sent another part of the file than asked for")
            total = int(match[2]) if match[2] != "*" else None
        elif response.status == http.client.OK:
            start = 0
        else:
            raise DownloadError(
                f"{self.entry.name}: {self.entry.url}: unexpected HTTP status {response.status}"
            )
        expected = self.entry.size_bytes
        if total is not None and total != (expected or total):
            self._discard()
            raise DownloadError(
                f"{self.entry.name}: {self.entry.url}: expected {expected} bytes, "
                f"the server has {total}"
            )
        if total is not None and total > CEILING_BYTES:
            raise DownloadError(
                f"{self.entry.name}: {self.entry.url}: expected at most {CEILING_BYTES} bytes, "
                f"the server has {total}"
            )
        return start, expected or total

    def _receive(
        self, response: http.client.HTTPResponse, start: int, total: int | None, limit: int
    ) -> int:
        """Write a reply's body into ``part`` from ``start`` on; returns where it ended."""
        done = start
        with _writing(self.part):
            file = self.part.open("ab" if start else "wb", buffering=0)
        with file:
            while block := self._block(response):
                done += len(block)
                if done > limit:
                    file.close()
                    self._discard()
                    raise DownloadError(
                        f"{self.entry.name}: {self.entry.url}: more than the expected "
                        f"{limit} bytes; deleted"
                    )
                try:
                    with _writing(self.part):
                        left = memoryview(block)
                        while left:
                            left = left[file.write(left) :]
                except OutputError:
                    file.close()
                    self._discard()  # a full disk is not kept full
                    raise
                if self.progress:
                    self.progress(done, total)
        return done

    def _discard(self) -> None:
        with _writing(self.part):
            self.part.unlink(missing_ok=True)

    def _block(self, response: http.client.HTTPResponse) -> bytes:
        with self._connection():
            return response.read1(_BLOCK_BYTES)

    @contextmanager
    def _connection(self) -> Iterator[None]:
        """Sort what goes wrong with a server into what may pass and what will not."""
        try:
            yield
        except PortraitError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise _FailedAttemptError(f"no byte for {self.timeout_s:g} s") from error
            text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            text = "".join(c if c.isprintable() else " " for c in text)
            if type(reason).__name__ == "SSLCertVerificationError":
                raise DownloadError(f"{self.entry.name}: {self.entry.url}: {text}") from error
            raise _FailedAttemptError(text) from error


class _FailedAttemptError(Exception):
    """An attempt failed in a way that the next one may not."""


class _StatusError(Exception):
    """The server answered with an error status."""

    def __init__(self, status: int) -> None:
        phrase = http.client.responses.get(status, "")
        super().__init__(f"HTTP status {status} {phrase}".rstrip())
        self.status = status


def may_redirect(source: str, target: str) -> bool:
    """Tell whether a redirect keeps what the registry's address promised.

    From https only to https; from http, which only a registry address that is itself http can lead
    to, to either.
    """
    schemes = source.partition(":")[0].lower(), target.partition(":")[0].lower()
    return schemes in {("https", "https"), ("http", "https"), ("http", "http")}


def _open(url: str, headers: dict[str, str], timeout_s: float) -> http.client.HTTPResponse:
    """Request an address through the environment's proxies, following redirects by our rule."""
    from urllib import error, parse, request

    # Without urllib's own redirects, and without its handlers for file, ftp and data addresses.
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.UnknownHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    address = url
    for _ in range(MAX_REDIRECTS + 1):
        asked = request.Request(address, headers=headers)  # noqa: S310 - Entry and may_redirect checked
        try:
            response: http.client.HTTPResponse = opener.open(asked, timeout=timeout_s)
        except error.HTTPError as reply:
            with reply:
                location = reply.headers.get("Location")
                if reply.code not in _REDIRECTS or location is None:
                    raise _StatusError(reply.code) from None
        else:
            return response
        # Header bytes come as Latin-1; quoting them as such gives back what the server sent.
        location = parse.quote(location, safe=string.punctuation, encoding="iso-8859-1")
        target = parse.urljoin(address, location)
        if not may_redirect(address, target):
            raise DownloadError(f"{url}: refused its redirect to {target!r}: expected https")
        address = target
    raise DownloadError(f"{url}: redirected more than {MAX_REDIRECTS} times")


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("portrait-sdk")
    except metadata.PackageNotFoundError:
        return "0"


def _size(path: Path) -> int:
    """Measure a file in bytes; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the system says against writing ``path`` into one line."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}; "
            f"PORTRAIT_CACHE_DIR names another folder for models"
        ) from error


def _publish(part: Path, path: Path) -> None:
    """Give a finished part its name, so that it survives a power cut whole or not at all."""
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    part.replace(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def _locked(lock: Path, part: Path, wait_s: float) -> Iterator[None]:
    """Hold ``lock`` alone; the system frees it when this process ends, however it ends.

    The lock file stays: deleting it could let two processes each hold a lock of that name.
    """
    with _writing(lock):
        file = lock.open("ab")
    with file:
        size, since = _size(part), time.monotonic()
        while True:
            with _writing(lock):
                if _try_lock(file.fileno()):
                    break
            if (now := _size(part)) != size:
                size, since = now, time.monotonic()
            if time.monotonic() - since > wait_s:
                raise DownloadError(
                    f"{lock}: held for {wait_s:g} s by another process, whose download does not "
                    f"grow; end it or try again"
                )
            time.sleep(_POLL_S)
        yield


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        """Lock a file's first byte if nobody has."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        """Lock a file if nobody has."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
