"""Videos that are not files here: anything that fsspec can reach (s3://, gs://, https://, ...), fetched before it is read."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import posixpath
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import InputError, Lotus2VideoError, OutputError, UsageError
from ..store import WorkFolder

_VERSION = ("size", "ETag", "etag", "LastModified", "mtime", "updated", "generation")  # what stores say of an object
_NO_FOLDERS = ("http", "https")  # where a page is no listing, and ? and * belong to the address


def is_url(word: str) -> bool:
    return "://" in word


def place_of(url: str) -> str:
    """Its path, beginning with the host or bucket, without what belongs to the protocol: `/bucket/clips/a.mp4`."""
    parts = urlsplit(url)
    return f"/{parts.netloc}{unquote(parts.path)}"


def forget(urls: Iterable[str]) -> None:
    """What an earlier batch of this process saw there may have changed: nothing of it is believed any longer."""
    one_each = {urlsplit(url)[:2]: url for url in urls}
    for url in one_each.values():
        with suppress(Lotus2VideoError):  # of a protocol that is not known: its own run will tell
            _open(url)[0].invalidate_cache()


def expand(url: str) -> tuple[list[str], str | None]:
    """The files behind a URL: itself, those in it where it ends in a slash, or those of a glob; and the folder they are in.

    The folder is None where the URL names one file. Raises InputError and UsageError.
    """
    forget([url])
    if urlsplit(url).scheme in _NO_FOLDERS or not (url.endswith("/") or glob.has_magic(url)):
        return [url], None
    files, path = _open(url)
    with _reaching(url):
        found = files.find(path) if url.endswith("/") else files.glob(path)
    fixed = url if url.endswith("/") else url[: next(i for i, c in enumerate(url) if c in "*?[")]
    return sorted(files.unstrip_protocol(each) for each in found), posixpath.dirname(fixed)


def read(url: str) -> bytes:
    """The content of a small file. Raises InputError and UsageError."""
    files, path = _open(url)
    with _reaching(url):
        return files.cat_file(path)


def version(url: str) -> str:
    """Changes with the content, as far as the store tells. Raises InputError and UsageError."""
    files, path = _open(url)
    with _reaching(url):
        info = files.info(path)
    return " ".join(f"{name}={info[name]}" for name in _VERSION if info.get(name) is not None)


@contextmanager
def fetched(url: str, work: WorkFolder) -> Iterator[Path]:
    """The file as a local one, inside the block. A process that dies leaves it for the next. Raises InputError, OutputError."""
    key = hashlib.sha256(f"{url} {version(url)}".encode()).hexdigest()[:32]
    name = posixpath.basename(place_of(url)) or "video"
    with ExitStack() as stack, _reaching(url):
        claim = work.claim(f"fetched-{key}")
        stack.callback(claim.remove)
        local = claim.path / name
        if not local.exists():
            _fetch(url, local)
        keep = stack.pop_all()
    with keep:
        yield local


def _fetch(url: str, local: Path) -> None:
    files, path = _open(url)
    part = local.with_name(f".{local.name}.{os.getpid()}")
    files.get_file(path, str(part))
    os.replace(part, local)


def _open(url: str) -> tuple[Any, str]:
    """The file system and the path on it."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise UsageError("needs fsspec", url, "pip install 'lotus2-video[batch]'") from error
    try:
        return fsspec.url_to_fs(url)
    except ImportError as error:  # the package for this protocol
        raise UsageError(str(error), url, "pip install 'lotus2-video[batch]'") from error
    except ValueError as error:  # an unknown protocol
        raise InputError(str(error), url, "check the address") from error


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """Every store has errors of its own: what is not the local disk's is the source's."""
    try:
        yield
    except (InputError, UsageError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError("disk full while it was fetched", url, "choose another place with --work-dir") from error
        missing = isinstance(error, FileNotFoundError)
        what = "no such file" if missing else f"cannot be fetched ({type(error).__name__}: {error})"
        raise InputError(what, url, "check the address, and that you may read it") from error
