# SPDX-License-Identifier: BSD-3-Clause
"""Downloads with checksums, which continue after an interruption."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from skastro.utils._atomic import check_space
from skastro.utils._progress import progress_bar

if TYPE_CHECKING:
    import requests

_VARIABLE = "SKASTRO_HOME"
_TIMEOUT = 30  # seconds without a byte
# A broken connection loses at most this many bytes.
_CHUNK_BYTES = 2**16
# Answers of servers that are busy or being restarted.
_PASSING_STATUS = (429, 500, 502, 503, 504)
# Seconds before the first retry after such an answer, each further one twice as long,
# and the longest time, which the server may ask for.
_WAIT, _LONGEST_WAIT = 1, 60


def find_data_home(data_home: str | os.PathLike | None = None) -> Path:
    """Return the absolute path of the folder for downloads; it need not exist.

    None means the environment variable ``SKASTRO_HOME`` or, if it is not set, the
    folder ``skastro`` in the operating system's folder for caches.
    """
    import pooch

    folder = data_home or os.environ.get(_VARIABLE) or pooch.os_cache("skastro")
    return Path(os.path.abspath(os.path.expanduser(folder)))


def fetch_file(
    url: str,
    path: Path,
    *,
    sha256: str,
    most_bytes: float = math.inf,
    download_if_missing: bool = True,
    n_retries: int = 3,
    verbose: int = 1,
) -> Path:
    """Download a file unless it exists, and check its checksum.

    Received data are kept in ``<path>.part`` until the file is complete and checked, so
    that an interrupted download continues from there. An answer of more than
    `most_bytes` is not read further. Only one process at a time downloads into a
    folder, on systems with POSIX file locks.
    """
    import requests

    if path.exists():
        return _check_present(path, url, sha256)
    by_hand = (
        f"You can also download {url} by other means and put the file at {path}; its "
        f"SHA-256 checksum is {sha256}."
    )
    if not download_if_missing:
        raise FileNotFoundError(
            f"{path} is not there, and download_if_missing is False. {by_hand}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(path.parent, verbose):
        if path.exists():  # Another process has downloaded it.
            return _check_present(path, url, sha256)
        part = path.with_name(f"{path.name}.part")
        # The part may belong to another file; the second attempt then starts anew.
        n_attempts = 2 if part.exists() and part.stat().st_size > 0 else 1
        downloader = ResumingDownloader(
            part, most_bytes=most_bytes, n_retries=n_retries, verbose=verbose
        )
        for attempt in range(n_attempts):
            try:
                _retrieve(url, path, sha256, downloader)
                break
            except requests.RequestException as error:
                raise _explain(error, url, part, by_hand) from error
            except ValueError as error:
                if attempt < n_attempts - 1:
                    continue
                raise OSError(
                    f"The download from {url} has another checksum than expected, and "
                    "was deleted: it was damaged in transit, or the file on the server "
                    f"has changed. Call again, or name another source by url. {by_hand}"
                ) from error
    return path


class ResumingDownloader:
    """Download a file over HTTP, and continue an earlier attempt.

    Received data are written to `part` and are not requested again; `n_retries` is the
    number of attempts after the connection was lost, or the server was busy. At most
    `most_bytes` are received.
    """

    def __init__(
        self,
        part: Path,
        *,
        most_bytes: float = math.inf,
        n_retries: int = 3,
        verbose: int = 1,
    ) -> None:
        self.part = part
        self.most_bytes = most_bytes
        self.n_retries = n_retries
        self.verbose = verbose

    def __call__(self, url: str) -> None:
        """Download `url` to `part`."""
        from requests import exceptions

        broken = (
            exceptions.ConnectionError,
            exceptions.Timeout,
            exceptions.ChunkedEncodingError,
        )
        with open(self.part, "ab") as file:
            for attempt in range(self.n_retries + 1):
                before = file.seek(0, os.SEEK_END)
                try:
                    self._go_on(url, file)
                    break
                except exceptions.HTTPError as error:
                    answer = error.response
                    passing = answer.status_code in _PASSING_STATUS
                    if not passing or attempt == self.n_retries:
                        raise
                    wanted = answer.headers.get("Retry-After", "")
                    wait = int(wanted) if wanted.isdecimal() else _WAIT * 2**attempt
                    time.sleep(min(wait, _LONGEST_WAIT))
                except broken:
                    # If no byte arrived, the server cannot be reached.
                    has_come = file.seek(0, os.SEEK_END) > before
                    if not has_come or attempt == self.n_retries:
                        raise

    def _go_on(self, url: str, file: BinaryIO) -> None:
        """Append the missing bytes to the file."""
        import requests

        done = file.tell()
        # Ranges of a compressed answer are not those of the file.
        headers = {"Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
        with requests.get(
            url, headers=headers, stream=True, timeout=_TIMEOUT
        ) as response:
            content_range = response.headers.get("Content-Range", "")
            fits = content_range.startswith(f"bytes {done}-")
            if _is_encoded(response):
                fits = False  # Its ranges are not those of the file.
            if done and response.status_code == requests.codes.range_not_satisfiable:
                if content_range == f"bytes */{done}":
                    return
            else:
                response.raise_for_status()
                if response.status_code != requests.codes.partial_content:
                    done = 0  # The server sends the whole file.
                if not done or fits:
                    self._write(response, file, done)
                    return
        # The file on the server is not the one whose download began.
        file.truncate(0)
        file.seek(0)
        self._go_on(url, file)

    def _write(self, response: Any, file: BinaryIO, done: int) -> None:
        import requests

        file.truncate(done)
        total = _announced_size(response, done)
        check_space(self.part, (total or 0) - done)
        with progress_bar(
            total=total,
            initial=done,
            desc=self.part.stem,
            unit="B",
            unit_scale=True,
            disable=not self.verbose,
        ) as bar:
            for chunk in response.iter_content(_CHUNK_BYTES):
                if file.tell() + len(chunk) > self.most_bytes:
                    # Whatever this is, it is not the file.
                    file.truncate(0)
                    raise OSError(
                        f"Could not download {response.url}: the server sends more "
                        f"than {self.most_bytes} bytes, which the file does not have."
                    )
                file.write(chunk)
                bar.update(len(chunk))
        arrived = file.seek(0, os.SEEK_END)
        if total is not None and arrived < total:
            raise requests.ConnectionError(f"{arrived} of {total} bytes arrived")


def _is_encoded(response: Any) -> bool:
    """Return whether the server compresses the answer although asked not to."""
    return response.headers.get("Content-Encoding", "identity") != "identity"


def _announced_size(response: Any, done: int) -> int | None:
    """Return the number of bytes of the whole file, if the server tells it."""
    if _is_encoded(response):
        return None
    # For an answer with a range, Content-Length is the length of that range.
    size = response.headers.get("Content-Range", "").rpartition("/")[2]
    if size.isdecimal():
        return int(size)
    length = response.headers.get("Content-Length")
    return None if length is None else done + int(length)


def _retrieve(
    url: str, path: Path, sha256: str, downloader: ResumingDownloader
) -> None:
    """Download a file, and raise ValueError if its checksum is wrong."""
    import pooch

    downloader(url)
    if pooch.file_hash(str(downloader.part), "sha256") != sha256.lower():
        downloader.part.unlink()
        raise ValueError("The checksum is wrong.")
    os.replace(downloader.part, path)


def _check_present(path: Path, url: str, sha256: str) -> Path:
    """Compare an existing file with its checksum."""
    import pooch

    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a file; move it away.")
    found = pooch.file_hash(str(path), "sha256")
    if found != sha256.lower():
        raise OSError(
            f"{path} is damaged, incomplete or another version: its SHA-256 checksum "
            f"is {found}, but expected {sha256}. It was not changed; move it away and "
            f"call again to download {url}."
        )
    return path


def _explain(
    error: "requests.RequestException", url: str, part: Path, by_hand: str
) -> OSError:
    """Make an error that tells what to do when a download fails."""
    import requests

    if error.response is not None:
        answer = f"{error.response.status_code} {error.response.reason}"
        return OSError(
            f"Could not download {url}: the server answered {answer}. {by_hand}"
        )
    arrived = part.stat().st_size if part.exists() else 0
    again = "Call again when there is a connection."
    if arrived:
        again = f"{arrived} bytes are kept in {part}; the next call continues there."
    is_network = isinstance(
        error,
        requests.ConnectionError
        | requests.Timeout
        | requests.exceptions.ChunkedEncodingError,
    )
    kind = ConnectionError if is_network else OSError
    return kind(f"Could not download {url}: {error}. {again} {by_hand}")


@contextmanager
def _alone_in(folder: Path, verbose: int) -> Iterator[None]:
    """Let one process at a time download into a folder; the others wait."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks.
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if verbose:
                print(f"Waiting for another download into {folder}.", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            pass  # Some network file systems cannot lock.
        yield
    finally:
        os.close(handle)
