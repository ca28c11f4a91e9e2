"""Which videos a batch is made of, and where the outputs of each go."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError, UsageError
from .manifest import Manifest
from .remote import expand, forget, is_url, place_of, read

SUFFIXES = (  # of what is a video in a folder; a list or a glob may name anything that `run` takes
    ".3gp", ".avi", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts",
    ".webm", ".wmv", ".y4m",
)  # fmt: skip
LISTS = (".txt", ".list", ".csv", ".jsonl", ".parquet")
COLUMNS = ("input", "path", "video", "file", "url", "uri", "filename", "file_name", "video_path")


@dataclass(frozen=True)
class Video:
    """One source of a batch. input: an absolute path or a URL. folder: of its outputs, relative to that of the batch."""

    input: str
    folder: str


@dataclass(frozen=True)
class _Found:
    """root: the folder that the user named it through; None for a file that was named itself. Both as `/`-paths."""

    input: str
    root: str | None

    @property
    def place(self) -> PurePosixPath:
        return PurePosixPath(place_of(self.input) if is_url(self.input) else self.input)


def find_videos(inputs: Sequence[str], output: Path, column: str | None = None) -> list[Video]:
    """The videos of files, folders (searched through), globs, lists and URLs, each once, in a fixed order.

    Args:
        inputs: as on the command line. column: of lists, where the paths are.
        output: the batch's own folder. Where it lies in a folder of the inputs it is left out, and so is what the batch made
            where it is that very folder.

    Outputs keep the folders of their sources: those below a folder or glob that was named, and of files that were named
    themselves those below their common folder. Where two would still meet (a/x.mp4 and a/x.mov), each gets a folder of its own.

    Raises UsageError where nothing is found or a list makes no sense, InputError where one cannot be read.
    """
    found: dict[str, _Found] = {}
    for word in inputs:
        here = list(_expand(word, output, column))
        if not here:
            raise UsageError("no videos here", word, f"known are {' '.join(SUFFIXES)}; others can be named in a list")
        for each in here:
            found.setdefault(each.input, each)
    ours = Manifest(output).ours()  # after looking: what another shard makes just now is in it
    return _placed([each for each in found.values() if Path(each.input) not in ours])


def _expand(word: str, output: Path, column: str | None) -> Iterator[_Found]:
    word = word.removeprefix("file://")
    suffix = os.path.splitext(place_of(word) if is_url(word) else word)[1].lower()
    if suffix in LISTS:
        yield from (_Found(entry, None) for entry in _listed(word, suffix, column))
    elif is_url(word):
        urls, root = expand(word)
        keep = urls if root is None or glob.has_magic(word) else [url for url in urls if _is_video(url)]
        yield from (_Found(url, root and place_of(root)) for url in keep)
    elif os.path.isdir(word):
        root = os.path.abspath(word)
        yield from (_Found(path, root) for path in _walk(root, str(output.absolute())))
    elif glob.has_magic(word) and not os.path.exists(word):
        fixed = word[: next(i for i, c in enumerate(word) if c in "*?[")]
        root = os.path.abspath(os.path.dirname(fixed))
        paths = sorted(os.path.abspath(path) for path in glob.glob(word, recursive=True))
        yield from (_Found(path, root) for path in paths)
    else:
        yield _Found(os.path.abspath(word), None)


def _walk(root: str, output: str) -> Iterator[str]:
    """The videos below a folder, without hidden ones and without what a batch wrote into a folder of its own there."""
    for folder, below, names in os.walk(root):
        below[:] = sorted(d for d in below if not d.startswith(".") and os.path.join(folder, d) != output)
        yield from (os.path.join(folder, name) for name in sorted(names) if _is_video(name))


def _is_video(name: str) -> bool:
    return not os.path.basename(name).startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


# ------------------------------------------------------------------------------------------------------------------- lists


def _listed(word: str, suffix: str, column: str | None) -> Iterator[str]:
    """The entries of a list: URLs, or absolute paths; a relative one is looked for beside the list, then from here."""
    entries = list(_entries(word, suffix, column))
    forget(entry for entry in entries if is_url(entry))
    for entry in entries:
        if is_url(entry):
            yield entry
        else:
            beside = entry if is_url(word) else os.path.join(os.path.dirname(word), entry)
            elsewhere = os.path.exists(entry) and not os.path.exists(beside)
            yield os.path.abspath(entry if elsewhere else beside)


def _entries(word: str, suffix: str, column: str | None) -> Iterator[str]:
    data = _content(word)
    if suffix == ".parquet":
        yield from _parquet(data, word, column)
        return
    try:
        text = data.decode("utf-8-sig")
        rows = {".csv": _csv, ".jsonl": _jsonl}.get(suffix, _lines)(text)
        for row in rows:
            yield row if isinstance(row, str) else _cell(row, word, column)
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise UsageError(f"not a list of videos ({error})", word) from error


def _content(word: str) -> bytes:
    if is_url(word):
        return read(word)
    try:
        return Path(word).read_bytes()
    except OSError as error:
        raise InputError(error.strerror or str(error), word, "check the path") from error


def _lines(text: str) -> Iterable[str]:
    lines = (line.strip() for line in text.splitlines())
    return (line for line in lines if line and not line.startswith("#"))


def _csv(text: str) -> Iterable[dict[str, Any]]:
    return csv.DictReader(io.StringIO(text))


def _jsonl(text: str) -> Iterable[dict[str, Any] | str]:
    return (json.loads(line) for line in text.splitlines() if line.strip())


def _parquet(data: bytes, word: str, column: str | None) -> Iterator[str]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise UsageError("Parquet needs pyarrow", word, "pip install 'lotus2-video[batch]'") from error
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
        name = _column(file.schema_arrow.names, word, column)
        for batch in file.iter_batches(columns=[name]):
            yield from map(str, batch.column(0).to_pylist())
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"not a Parquet file ({error})", word) from error


def _cell(row: Any, word: str, column: str | None) -> str:
    if not isinstance(row, dict):
        raise UsageError(f"takes a path or an object a line, got {json.dumps(row)[:60]}", word)
    return str(row[_column([str(name) for name in row], word, column)])


def _column(names: Sequence[str], word: str, column: str | None) -> str:
    for name in [column] if column else COLUMNS:
        if name in names:
            return name
    wanted = f"no column {column}" if column else "no column with paths"
    raise UsageError(f"{wanted} (there are {', '.join(names)})", word, "say which with --column NAME")


# ------------------------------------------------------------------------------------------------------------------ places


def _placed(found: list[_Found]) -> list[Video]:
    """Gives every source a folder in which its name is the only one of its kind; the plainest that will do."""
    choices = [_folders(each, root) for each, root in zip(found, _roots(found), strict=True)]
    picked = [0] * len(found)

    def name(i: int) -> str:  # as a file system that knows no capitals sees it
        return f"{choices[i][picked[i]]}/{found[i].place.stem}".casefold()

    while True:
        taken = Counter(name(i) for i in range(len(found)))
        meeting = [i for i in range(len(found)) if taken[name(i)] > 1 and picked[i] + 1 < len(choices[i])]
        if not meeting:
            return [Video(each.input, choices[i][picked[i]]) for i, each in enumerate(found)]
        for i in meeting:
            picked[i] += 1


def _roots(found: list[_Found]) -> list[str]:
    common: dict[bool, str] = {}
    for remote in (False, True):
        alone = [str(each.place.parent) for each in found if each.root is None and is_url(each.input) == remote]
        common[remote] = os.path.commonpath(alone) if alone else ""
    return [common[is_url(each.input)] if each.root is None else each.root for each in found]


def _folders(each: _Found, root: str) -> list[str]:
    """Output folders from the plainest to one that no other source can have."""
    below = os.path.relpath(each.place.parent, root)
    below = "" if below == "." else below
    unique = hashlib.sha256(each.input.encode()).hexdigest()[:8]
    with_root = os.path.join(os.path.basename(root), below).rstrip("/")
    return [below, with_root, os.path.join(below, each.place.name), os.path.join(below, f"{each.place.name}-{unique}")]
