"""Where the weights of lotus-2 lie: in the Hugging Face cache, or in a folder given with --weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..config import Kind
from ..errors import WeightsError
from .tensors import digest, shards

Part = Literal["core_predictor", "lcm", "detail_sharpener"]
PARTS: tuple[Part, ...] = ("core_predictor", "lcm", "detail_sharpener")
STEM = "diffusion_pytorch_model"
TEXT_FOLDERS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
FETCH = "run `lotus2-video models fetch lotus-2`"


@dataclass(frozen=True)
class Repo:
    """A repository on the Hugging Face hub at one revision, a commit wherever one is known."""

    id: str
    revision: str

    @property
    def page(self) -> str:
        return f"https://huggingface.co/{self.id}"


BASE = Repo("black-forest-labs/FLUX.1-dev", "3de623fc3c33e44ffbe2bad470d0f45bccf2eb21")
# The adapters' commit could not be looked up when this was written. `fetch` resolves the branch once; from then on the
# commit in the cache is the pin, and the fingerprint of the predictor changes with the content whatever the name.
ADAPTERS = Repo("jingheya/Lotus-2", "main")


def adapter_name(part: Part, kind: Kind) -> str:
    """The published file name."""
    return f"lotus-2_{part}_{kind}.safetensors"


@dataclass(frozen=True)
class Lotus2Files:
    """The two folders and what is in them. text_key: changes with the content of the text encoders."""

    base: Path
    adapters: Path
    text_key: str

    @property
    def transformer(self) -> list[Path]:
        return shards(self.base / "transformer", STEM)

    def config(self, part: Literal["transformer", "vae"]) -> Path:
        return self.base / part / "config.json"

    @property
    def scheduler(self) -> Path:
        return self.base / "scheduler" / "scheduler_config.json"

    def adapter(self, part: Part, kind: Kind) -> Path:
        path = self.adapters / adapter_name(part, kind)
        if not path.exists():
            raise WeightsError("no such file", path, FETCH + ", or check --weights")
        return path

    def require_text_encoders(self) -> None:
        """Raises WeightsError that names the first missing folder."""
        for name in TEXT_FOLDERS:
            if not (self.base / name).is_dir():
                hint = f"{FETCH}, or copy it there from {BASE.page}: it is needed once, to encode the empty prompt"
                raise WeightsError("no such folder", self.base / name, hint)

    def digest(self, kinds: Iterable[Kind]) -> str:
        """Changes with the content of anything that decides the maps of these kinds."""
        used = [self.adapter(part, kind) for kind in kinds for part in PARTS]
        vae = self.base / "vae" / f"{STEM}.safetensors"
        configs = [self.config("transformer"), self.config("vae"), self.scheduler]
        return hashlib.sha256((digest([*self.transformer, vae, *configs, *used]) + self.text_key).encode()).hexdigest()[
            :16
        ]


def find(weights: str | None = None) -> Lotus2Files:
    """The files in `weights` (with base/ and lotus-2/ in it), or else in the Hugging Face cache, at the pinned revisions.

    Nothing is opened yet and nothing downloaded. Raises WeightsError.
    """
    if weights is not None:
        return _in_folder(Path(weights))
    base = snapshot(BASE, "model_index.json")
    adapters = snapshot(ADAPTERS, adapter_name("core_predictor", "depth"), adapter_name("core_predictor", "normal"))
    if base is None:
        raise WeightsError("not in the Hugging Face cache", BASE.id, f"accept its licence at {BASE.page}, then {FETCH}")
    if adapters is None:
        raise WeightsError("not in the Hugging Face cache", ADAPTERS.id, FETCH)
    return Lotus2Files(base, adapters, _text_key_of(BASE))


def _in_folder(folder: Path) -> Lotus2Files:
    for part in (folder, folder / "base", folder / "lotus-2"):
        if not part.is_dir():
            hint = f"--weights takes a folder with base/ ({BASE.id}) and lotus-2/ ({ADAPTERS.id}) in it"
            raise WeightsError("no such folder", part, hint)
    text = [path for name in TEXT_FOLDERS for path in sorted((folder / "base" / name).glob("*.*"))]
    return Lotus2Files(folder / "base", folder / "lotus-2", digest(text))


def snapshot(repo: Repo, *any_of: str) -> Path | None:
    """The folder in the Hugging Face cache that holds one of these files of the repository, or None."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError as error:
        raise missing_extra(error) from error

    for name in any_of:
        found = try_to_load_from_cache(repo.id, name, revision=repo.revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def prompt_is_cached() -> bool:
    """Whether the empty prompt of the published base was encoded before, so that its text encoders are not needed."""
    return (cache_folder() / f"prompt-{_text_key_of(BASE)}.safetensors").is_file()


def _text_key_of(repo: Repo) -> str:
    return hashlib.sha256(f"{repo.id}@{repo.revision}".encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Our own folder for what is computed once: LOTUS2_VIDEO_CACHE, or lotus2-video in the user's cache folder."""
    own = os.environ.get("LOTUS2_VIDEO_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lotus2-video"


def missing_extra(error: ImportError) -> WeightsError:
    return WeightsError(f"needs the Python package {error.name}", None, "pip install 'lotus2-video[gpu]'")


def where() -> str:
    """For `lotus2-video models`: where the weights are, or how to get them."""
    try:
        files = find()
    except WeightsError as error:
        return str(error)
    return f"{files.base} and {files.adapters}"
