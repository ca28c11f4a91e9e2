"""Downloading weights from the Hugging Face hub into its cache: what is needed, resumed where it broke off, checked."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..config import Kind
from ..errors import UsageError, WeightsError
from .tensors import shard_names
from .weights import ADAPTERS, BASE, PARTS, STEM, Repo, adapter_name, missing_extra, prompt_is_cached, snapshot

FETCH_AGAIN = "run `lotus2-video models fetch {model}` again, it goes on where it stopped"
KINDS: tuple[Kind, ...] = ("depth", "normal")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BASE_SMALL = ("model_index.json", "scheduler/scheduler_config.json", "transformer/config.json", "vae/config.json")
_TEXT_SMALL = (
    "text_encoder/config.json",
    *(f"tokenizer/{name}" for name in ("merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json")),
    "text_encoder_2/config.json",
    *(f"tokenizer_2/{name}" for name in ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")),
)


def fetch(model: str, *, kinds: Iterable[Kind] = KINDS, tell: Callable[[str], None] = print) -> None:
    """Downloads the weights of `model` ("lotus-2" or "hf:ID") that are not in the Hugging Face cache yet.

    kinds: maps whose adapters are wanted. tell: gets one line a file; a progress bar goes to stderr. The text encoders are
    left out where the empty prompt was encoded before. Raises WeightsError with the page to visit and the command to run.
    """
    name, _, rest = model.partition(":")
    if name == "lotus-2":
        _fetch_lotus2(tuple(kinds), tell)
    elif name == "hf" and rest:
        _fetch_hf(rest, tell)
    else:
        raise UsageError("nothing to fetch: its weights are in the package, or it has none", model)


def _fetch_lotus2(kinds: tuple[Kind, ...], tell: Callable[[str], None]) -> None:
    base = _Fetcher(BASE, "lotus-2", tell)
    base.files(_BASE_SMALL)
    base.files(base.weights("transformer", STEM))
    base.files([f"vae/{STEM}.safetensors"])
    if prompt_is_cached():
        tell("text encoders: not needed, the empty prompt is in the cache")
    else:
        base.files(_TEXT_SMALL)
        base.files(["text_encoder/model.safetensors", *base.weights("text_encoder_2", "model")])
    _Fetcher(ADAPTERS, "lotus-2", tell).files([adapter_name(part, kind) for kind in kinds for part in PARTS])


class _Fetcher:
    """One repository. Files come to `blobs/ETAG.part` of its cache folder first and are appended to after a break."""

    def __init__(self, repo: Repo, model: str, tell: Callable[[str], None]):
        try:
            import huggingface_hub
        except ImportError as error:
            raise missing_extra(error) from error
        self._hub: Any = huggingface_hub
        self._repo, self._model, self._tell = repo, model, tell
        self._revision = _known_commit(repo) or repo.revision

    def weights(self, folder: str, stem: str) -> list[str]:
        """The names of a checkpoint's weight files, whole or in shards."""
        whole = f"{folder}/{stem}.safetensors"
        index = None if self._cached(whole) else self.file(f"{whole}.index.json", optional=True)
        return [f"{folder}/{name}" for name in shard_names(index)] if index else [whole]

    def _cached(self, name: str) -> Path | None:
        found = self._hub.try_to_load_from_cache(self._repo.id, name, revision=self._revision)
        return Path(found) if isinstance(found, str) else None

    def files(self, names: Iterable[str]) -> None:
        for name in names:
            self.file(name)

    def file(self, name: str, optional: bool = False) -> Path | None:
        """The file in the cache; None where it is optional and the repository has none."""
        with self._mapped():
            found = self._cached(name)
            if found:
                self._tell(f"{self._repo.id}/{name}: in the cache")
                return found
            self._require_online(name)
            try:
                return self._download(name)
            except self._hub.errors.EntryNotFoundError:
                if optional:
                    return None
                raise

    def _require_online(self, name: str) -> None:
        if self._hub.constants.HF_HUB_OFFLINE:
            hint = f"unset HF_HUB_OFFLINE, then run `lotus2-video models fetch {self._model}`"
            raise WeightsError(f"{name} is not in the cache and HF_HUB_OFFLINE is set", self._repo.id, hint)

    def _download(self, name: str) -> Path:
        url = self._hub.hf_hub_url(self._repo.id, name, revision=self._revision)
        meta = self._hub.get_hf_file_metadata(url)
        self._tell(f"{self._repo.id}/{name}: {(meta.size or 0) / 1e6:,.1f} MB")
        blobs = Path(self._hub.constants.HF_HUB_CACHE) / f"models--{self._repo.id.replace('/', '--')}" / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        blob = blobs / meta.etag
        if not blob.exists():
            part = blobs / f"{meta.etag}.part"
            with self._hub.utils.WeakFileLock(blobs / f"{meta.etag}.lock"):
                self._receive(meta, part, name)
            os.replace(part, blob)
        return Path(self._hub.hf_hub_download(self._repo.id, name, revision=self._revision))  # links the blob

    def _receive(self, meta: Any, part: Path, name: str) -> None:
        from huggingface_hub.file_download import http_get

        have = part.stat().st_size if part.exists() else 0
        if meta.size is not None and have > meta.size:
            part.unlink()
            have = 0
        foreign = _host(meta.location) != _host(self._hub.constants.ENDPOINT)  # a signed address needs no token
        headers = {} if foreign else self._hub.utils.build_hf_headers()
        with part.open("ab") as file:
            http_get(meta.location, file, resume_size=have, headers=headers, expected_size=meta.size)
        if _SHA256.fullmatch(meta.etag) and _sha256(part) != meta.etag:
            part.unlink()
            raise WeightsError(f"{name} arrived damaged", self._repo.id, FETCH_AGAIN.format(model=self._model))

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        with hub_errors(self._repo.id, self._model):
            yield


@contextlib.contextmanager
def hub_errors(repo: str, model: str) -> Iterator[None]:
    """Turns what the hub's client raises into one line: what, which repository, the page to visit, the command to run."""
    from huggingface_hub import errors

    page, again = f"https://huggingface.co/{repo}", FETCH_AGAIN.format(model=model)
    http_error: type[Exception] = errors.HfHubHTTPError.__bases__[0]  # of whichever HTTP library the client is built on
    try:
        yield
    except errors.GatedRepoError as error:
        raise _no_access(error, repo, page, model) from error
    except errors.RepositoryNotFoundError as error:
        hint = f"check the name at {page}; for a private one, `hf auth login`"
        raise WeightsError("the hub has no such repository, or not for you", repo, hint) from error
    except (errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        what = str(error).strip().splitlines()[-1]
        raise WeightsError(f"a file is not there ({what})", repo, f"compare with {page}/tree/main") from error
    except errors.HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 401:
            raise _no_access(error, repo, page, model) from error
        status = error.response.status_code if error.response is not None else "no answer"
        raise WeightsError(f"the hub answered {status}", repo, again) from error
    except (http_error, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise WeightsError("the disk is full", repo, f"free some space, or move HF_HOME; then {again}") from error
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"the download broke off ({what})", repo, again) from error


def _no_access(error: Any, repo: str, page: str, model: str) -> WeightsError:
    command = f"`lotus2-video models fetch {model}`"
    if error.response is not None and error.response.status_code == 401:
        hint = f"accept its licence at {page}, run `hf auth login`, then {command}"
        return WeightsError("needs a Hugging Face account and its token", repo, hint)
    hint = f"ask for it at {page}, then run {command}"
    return WeightsError("your Hugging Face account has no access to it yet", repo, hint)


def _known_commit(repo: Repo) -> str | None:
    """The commit at which a branch was fetched before: once in the cache it is the pin."""
    found = snapshot(repo, *(adapter_name(part, kind) for part in PARTS for kind in KINDS))
    return found.name if found else None


def _host(url: str) -> str:
    return url.split("/")[2]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_hf(repo: str, tell: Callable[[str], None]) -> None:
    if Path(repo).is_dir():
        tell(f"{repo}: a folder, nothing to fetch")
        return
    try:
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation
    except ImportError as error:
        raise missing_extra(error) from error
    with hub_errors(repo, f"hf:{repo}"):
        AutoImageProcessor.from_pretrained(repo)
        AutoModelForDepthEstimation.from_pretrained(repo)
    tell(f"{repo}: in the cache")
