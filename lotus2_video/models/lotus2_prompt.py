"""The empty prompt as the network wants it: computed once per checkpoint, kept on disk, the text encoders let go."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import WeightsError
from .quiet import quiet_transformers
from .weights import Lotus2Files, cache_folder

T5_TOKENS = 512
CLIP_TOKENS = 77
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prompt:
    """The embedding of the prompt "". t5: float32 [512,joint_attention_dim]. clip: float32 [pooled_projection_dim]."""

    t5: Tensor
    clip: Tensor


def load_prompt(files: Lotus2Files, t5_width: int, clip_width: int) -> Prompt:
    """From the cache, or computed on the CPU in float32 and cached. Raises WeightsError for missing or foreign encoders."""
    path = prompt_path(files)
    prompt = _cached(path, t5_width, clip_width)
    if prompt is None:
        _log.info("encoding the empty prompt, once for this checkpoint")
        prompt = _encode(files)
        if not _fits(prompt, t5_width, clip_width):
            raise WeightsError("text encoders of another model than the transformer", files.base)
        save_prompt(prompt, path)
    return prompt


def prompt_path(files: Lotus2Files) -> Path:
    """Where the embedding of these text encoders is kept."""
    return cache_folder() / f"prompt-{files.text_key}.safetensors"


def save_prompt(prompt: Prompt, path: Path) -> None:
    """Writes under a temporary name first, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    save_file({"t5": prompt.t5.contiguous(), "clip": prompt.clip.contiguous()}, name)
    os.replace(name, path)


def _cached(path: Path, t5_width: int, clip_width: int) -> Prompt | None:
    try:
        stored = load_file(path)
        prompt = Prompt(stored["t5"], stored["clip"])
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, OSError):
        _log.warning("%s is damaged, encoding the empty prompt again", path)
        return None
    return prompt if _fits(prompt, t5_width, clip_width) else None


def _fits(prompt: Prompt, t5_width: int, clip_width: int) -> bool:
    return prompt.t5.shape == (T5_TOKENS, t5_width) and prompt.clip.shape == (clip_width,)


@torch.inference_mode()
def _encode(files: Lotus2Files) -> Prompt:
    files.require_text_encoders()
    clip = _clip(files.base)
    gc.collect()  # before the other encoder comes: T5-XXL alone is 10 GB
    t5 = _t5(files.base)
    gc.collect()
    return Prompt(t5.clone(), clip.clone())


def _clip(base: Path) -> Tensor:
    from transformers import CLIPTextModel

    ids = _tokens(base / "tokenizer", CLIP_TOKENS)
    return _loaded(CLIPTextModel, base / "text_encoder").float()(ids).pooler_output[0]


def _t5(base: Path) -> Tensor:
    """T5-XXL has 4.8 B parameters: the blocks stay in the precision they are stored in and are widened one at a time."""
    from transformers import T5EncoderModel

    ids = _tokens(base / "tokenizer_2", T5_TOKENS)
    model = _loaded(T5EncoderModel, base / "text_encoder_2")
    stored = model.dtype
    blocks = list(model.encoder.block)
    for block in blocks:
        block.register_forward_pre_hook(lambda block, _: block.float() and None)
        block.register_forward_hook(lambda block, _, out: block.to(stored) and None)
    model.shared.float()
    model.encoder.final_layer_norm.float()
    return model(ids)[0][0]


def _loaded(kind: Any, folder: Path) -> Any:
    try:
        with quiet_transformers():
            return kind.from_pretrained(folder, dtype="auto", local_files_only=True).eval()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        hint = "run `lotus2-video models fetch lotus-2` again, or copy the folder again"
        raise WeightsError(f"a text encoder that cannot be read ({error})".splitlines()[0], folder, hint) from error


def _tokens(folder: Path, length: int) -> Tensor:
    """The ids of the empty prompt, [1,length]."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        hint = "run `lotus2-video models fetch lotus-2` again, or copy the folder again"
        raise WeightsError(f"a tokenizer that cannot be read ({error})".splitlines()[0], folder, hint) from error
    return tokenizer("", padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
