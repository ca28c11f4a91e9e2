"""The command line: parse, one library call, one except, an exit code."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from . import __version__
from .errors import Lotus2VideoError, UsageError, near_name, told

if TYPE_CHECKING:
    from .batch import BatchListener
    from .config import RunConfig
    from .run import Listener

COMMANDS = ("run", "batch", "info", "models")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line. Returns the exit code: see `errors`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        with _terminable():
            options = _parse(words)
            return options.call(options)
    except Lotus2VideoError as error:
        return _fail(error, error.exit_code, debug)
    except KeyboardInterrupt:
        return _fail("stopped; nothing was left under a final name", 130, debug)
    except _Terminated:
        return _fail("terminated; nothing was left under a final name", 143, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again at exit
        return 0
    except Exception as error:  # the one place where an unforeseen error ends
        hint = "this is a fault of lotus2-video; --debug shows where"
        return _fail(f"internal error: {told(error)}; {hint}", 1, debug)


class _Terminated(BaseException):
    """SIGTERM, raised in the main thread so that everything is closed on the way out."""


@contextmanager
def _terminable() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever called us handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(what: object, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    line = " ".join(str(what).split())  # one line, whatever a library put into its message
    print(f"lotus2-video: {line}", file=sys.stderr)
    return code


# ------------------------------------------------------------------------------------------------------------------ parsing


class _Parser(argparse.ArgumentParser):
    """Reports mistakes as UsageError, with the option that was probably meant."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"(?:unrecognized arguments: |ambiguous option: )(-\S+)", message)
        known = [name for action in self._actions for name in action.option_strings]
        near = near_name(wrong.group(1).split("=")[0], known) if wrong else None
        raise UsageError(message, None, near or "--help lists what there is")


def _parse(words: list[str]) -> argparse.Namespace:
    if words in ([], ["-h"], ["--help"]):
        words = ["run", "--help"]
    first = next((word for word in words if not word.startswith("-") or word == "-"), None)
    bare = first is not None and first not in COMMANDS
    if bare or (first is None and words[0] != "--version"):
        words = ["run", *words]
    parser = _build_parser()
    options, unknown = parser.parse_known_args(words)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def _build_parser() -> _Parser:
    parser = _Parser(prog="lotus2-video", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"lotus2-video {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="{run,batch,info,models}", required=True)
    usage = (
        "lotus2-video INPUT [-o OUT] [options]\n       lotus2-video batch INPUTS... -o DIR [options]\n"
        "       lotus2-video info INPUT [--json]\n       lotus2-video models"
    )
    about = "Steady depth and surface-normal video from any footage."
    _add_run(commands.add_parser("run", usage=usage, description=about, allow_abbrev=False))
    _add_batch(commands.add_parser("batch", description="The maps of many videos.", allow_abbrev=False))
    _add_info(commands.add_parser("info", description="What a file is.", allow_abbrev=False))
    _add_models(commands.add_parser("models", description="Which models there are.", allow_abbrev=False))
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    """Options carry no defaults here: config.py has them. What was not said is absent from the namespace."""
    parser.set_defaults(call=_run, parser=parser)
    parser.argument_default = argparse.SUPPRESS
    add = parser.add_argument
    add(
        "input",
        metavar="INPUT",
        help="a video, a still, a folder or printf/glob pattern of frames, or - (a stream on stdin)",
    )
    add("-o", "--output", metavar="OUT", help="a file or a folder (default: beside INPUT)")
    _add_settings(parser)


def _add_batch(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_batch, parser=parser)
    parser.argument_default = argparse.SUPPRESS
    add = parser.add_argument
    what = "a video, a folder, a glob, a list (.txt, .csv, .jsonl, .parquet), or a URL (s3://, gs://, https://, ...)"
    add("inputs", metavar="INPUTS", nargs="+", help=what)
    add("-o", "--output", metavar="DIR", required=True, help="the folder of all outputs and of manifest.jsonl")
    add("--jobs", type=int, metavar="N", help="videos in flight (default 2)")
    add("--retries", type=int, metavar="N", help="how often a video that failed is tried again (default 1)")
    add("--fail-fast", action="store_true", help="start no other video after one failed")
    add("--limit", type=int, metavar="N", help="take the first N videos only")
    add("--shard", metavar="I/N", help="take the I-th of N shares, for N machines on one DIR")
    add("--column", metavar="NAME", help="of a list: where the paths are (default: path, input, video, url, ...)")
    _add_settings(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """What a run and a batch have in common."""
    add = parser.add_argument
    add("--model", metavar="NAME", help="mini (default), lotus-2, or hf:ID")
    add("--weights", metavar="DIR", help="use weights from this folder")
    add("--maps", metavar="KINDS", help="depth (default), normal, or depth,normal")
    add("--format", metavar="NAME", help="mp4 (default), ffv1, prores, exr, png (default for a still), npz")
    add("--colormap", metavar="NAME", help="gray (default), inferno, turbo, spectral")
    add("--side-by-side", action="store_true", help="the source beside its map, for looking")
    add("--upsample", metavar="HOW", help="guided (default: contours follow the picture) or bilinear")
    add("--normal-space", metavar="AXES", help="gl (default: +X right, +Y up, +Z to the camera), cv, directx, lotus")
    add("--res", type=int, metavar="N", help="short side given to the network (mini: 288; on a CPU without bf16 192)")
    add("--fps", type=float, metavar="N", help="frames a second of a folder of frames (default 24)")
    add("--smooth", action=argparse.BooleanOptionalAction, help="steady over time (default)")
    add(
        "--preset",
        metavar="NAME",
        help="of smoothing: live (follows fast), default, film (steadiest, looks 8 frames ahead)",
    )
    add(
        "--lookahead",
        type=int,
        metavar="N",
        help="smooth each frame with the N after it, too (default 0: as frames come)",
    )
    add("--sharpen", metavar="WHICH", help="none (default), all, or N: every N-th frame")
    add("--cuts", metavar="HOW", help="auto (default), none, or a file with the frames at which shots begin, from 0")
    add("--start", type=float, metavar="T", help="first second of the source to read")
    add("--end", type=float, metavar="T", help="second of the source to stop at")
    add("--device", metavar="NAME", help="auto (default), cpu, cuda, cuda:N")
    add("--precision", metavar="NAME", help="auto (default), fp32, fp16, bf16, fp8")
    add("--engine", metavar="NAME", help="auto (default: ray for more than one device), local, ray")
    add("--gpus", metavar="N", help="all (default) or how many, with ray")
    add(
        "--workers", type=int, metavar="N", help="processes that run the network (default: one a GPU, or every 4 cores)"
    )
    add("--address", metavar="HOST", help="of a Ray cluster: HOST:PORT, or auto from one of its nodes")
    add("--config", metavar="FILE", help="settings from a TOML file; options given here win")
    add("--resume", action=argparse.BooleanOptionalAction, help="go on where a run that died left off (default)")
    add("--work-dir", metavar="DIR", help="where unfinished work is kept (default: the user's cache folder)")
    add("--work-limit", type=float, metavar="GB", help="how much of it, at most (default 50)")
    add("--keep-work", action="store_true", help="keep it when done: other smoothing and formats without the network")
    add("--tolerant", action="store_true", help="a source that breaks off is not an error")
    add("--overwrite", action="store_true", help="replace files that are there already")
    add("--quiet", action="store_true", help="print nothing but errors")
    add("--debug", action="store_true", help="show where an error came from")


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_info, parser=parser)
    parser.add_argument("input", metavar="INPUT")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.add_argument("--debug", action="store_true", help="show where an error came from")


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_models, parser=parser)
    parser.add_argument(
        "action", nargs="?", choices=("fetch",), help="fetch: download what MODEL needs and is not here yet"
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="lotus-2 or hf:ID")
    parser.add_argument("--debug", action="store_true", help="show where an error came from")


# ----------------------------------------------------------------------------------------------------------------- commands

_OF_FOLD = ("preset", "lookahead")
_NOT_SETTINGS = ("call", "parser", "command", "input", "inputs", "output", "config", "quiet", "debug")


def _run(options: argparse.Namespace) -> int:
    from .run import Job, run_video

    given = vars(options)
    config = _settings(given)
    with _progress("quiet" in given) as listener:
        outcome = run_video(Job(given["input"], given.get("output"), config), listener=listener)
    if "quiet" not in given:
        for warning in outcome.warnings:
            print(f"note: {warning}", file=sys.stderr)
        if outcome.lost:
            print(f"note: {outcome.lost}", file=sys.stderr)
        print(outcome)
    return 0


def _settings(given: dict[str, Any], apart: tuple[str, ...] = ()) -> RunConfig:
    """The options that were given, on top of the file that `--config` named; those `apart` are no settings of a run."""
    from .config import configure, load_toml

    config = configure(load_toml(given["config"]), where=given["config"]) if "config" in given else None
    fold = {name: given[name] for name in _OF_FOLD if name in given}
    leave_out = (*_NOT_SETTINGS, *_OF_FOLD, *apart)
    settings = {k: v for k, v in given.items() if k not in leave_out}
    return configure(settings | ({"fold": fold} if fold else {}), config, "options")


def _batch(options: argparse.Namespace) -> int:
    from dataclasses import fields

    from .batch import run_batch
    from .config import BatchConfig

    given = vars(options)
    names = tuple(f.name for f in fields(BatchConfig))
    config = _settings(given, names)
    how = BatchConfig(**{name: given[name] for name in names if name in given})
    with _batch_progress("quiet" in given) as listener:
        outcome = run_batch(given["inputs"], given["output"], config, how=how, listener=listener)
    if "quiet" not in given:
        print(outcome)
    outcome.check()
    return 0


@contextmanager
def _batch_progress(quiet: bool) -> Iterator[BatchListener]:
    """A live table on a terminal, plain lines in a log, nothing when quiet."""
    from .batch import BatchListener
    from .progress import batch_lines, table

    if quiet:
        yield BatchListener()
    elif sys.stderr.isatty():
        with table() as listener:
            yield listener
    else:
        yield batch_lines()


@contextmanager
def _progress(quiet: bool) -> Iterator[Listener]:
    """A bar on a terminal, plain lines in a log, nothing when quiet."""
    from .progress import bar, lines
    from .run import Listener

    if quiet:
        yield Listener()
    elif sys.stderr.isatty():
        with bar() as listener:
            yield listener
    else:
        yield lines()


def _info(options: argparse.Namespace) -> int:
    from .read import probe

    facts = _facts(probe(options.input))
    if options.json:
        print(json.dumps(facts))
    else:
        for name, value in facts.items():
            print(f"{name.replace('_', ' '):16}{_plain(value)}")
    return 0


def _facts(info: Any) -> dict[str, Any]:
    """What `info` shows, JSON-ready; rates and times as seconds and frames a second."""
    rate = None if info.rate is None else round(float(info.rate), 4)
    return {
        "path": info.path,
        "kind": info.kind,
        "width": info.width,
        "height": info.height,
        "frames": info.frames,
        "rate": rate,
        "rate_exact": None if info.rate is None else str(info.rate),
        "rate_kind": {True: "constant", False: "variable", None: None}[info.constant_rate],
        "start": None if info.start is None else round(float(info.start), 6),
        "duration": None if info.duration is None else round(float(info.duration), 6),
        "time_base": str(info.time_base),
        "codec": info.codec,
        "pixel_format": info.pixel_format,
        "matrix": info.matrix,
        "transfer": info.transfer,
        "color_range": info.color_range,
        "hdr": info.hdr,
        "interlaced": info.interlaced,
        "rotation": info.rotation,
        "pixel_aspect": str(info.pixel_aspect),
        "audio": [f"{audio.codec} {audio.sample_rate} Hz {audio.channels} ch" for audio in info.audio],
    }


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "unknown" if value is None else str(value)


def _models(options: argparse.Namespace) -> int:
    from .models import cards, fetch

    if options.action and not options.model:
        raise UsageError("fetch which model?", None, "lotus2-video models fetch lotus-2")
    if options.action:
        fetch(options.model)
        return 0
    for card in cards():
        print(f"{card.name:10}{card.about}")
        print(f"{'':10}maps: {', '.join(card.kinds)}; licence: {card.licence}")
        print(f"{'':10}{card.where()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
