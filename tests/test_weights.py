"""Weights that are missing, foreign, cut short or refused: one line each, with what to do. The hub is a stand-in here."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("huggingface_hub")
from safetensors.torch import load_file, save_file  # noqa: E402

from lotus2_video.errors import UsageError, WeightsError  # noqa: E402
from lotus2_video.models import weights as places  # noqa: E402
from lotus2_video.models.flux import flux_config, linear_shapes, tensor_shapes  # noqa: E402
from lotus2_video.models.lora import Adapter  # noqa: E402
from lotus2_video.models.lotus2_lcm import load_lcm  # noqa: E402
from lotus2_video.models.lotus2_vae import load_vae  # noqa: E402
from lotus2_video.models.tensors import FileTensors, check_shapes, digest, read_json  # noqa: E402
from lotus2_video.models.weights_fetch import fetch  # noqa: E402

CPU = torch.device("cpu")
CORE = "lotus-2_core_predictor_depth.safetensors"


@pytest.fixture
def tiny(shared: Path) -> Path:
    return shared / "fixtures" / "lotus2-tiny"


@pytest.fixture
def linears(tiny: Path) -> dict[str, tuple[int, int]]:
    path = tiny / "base" / "transformer" / "config.json"
    return linear_shapes(flux_config(read_json(path), path))


# -- adapters -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "rank"), [("depth", 4), ("normal", 8)])
def test_rank_and_layers_are_what_the_keys_say(tiny: Path, linears: dict, kind: str, rank: int) -> None:
    adapter = Adapter(tiny / "lotus-2" / f"lotus-2_core_predictor_{kind}.safetensors", linears)
    assert set(adapter.layers.values()) == {rank}
    assert len(adapter.layers) == 2 * 12 + 3 * 3
    assert adapter.delta("transformer_blocks.0.ff.net.0.proj", CPU).shape == (128, 32)


NAME = "transformer.transformer_blocks.1.attn.to_q"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop(f"{NAME}.lora_B.weight"), r"to_q\.lora_B\.weight is missing"),
        (
            lambda t: [t.pop(f"{NAME}.lora_{s}.weight") for s in "AB"],
            r"blocks\.1\.attn\.to_q\.lora_A\.weight is missing",
        ),
        (lambda t: t.update({"transformer.foo.lora_A.weight": torch.zeros(1)}), r"foo\.lora_A\.weight is not expected"),
        (lambda t: t.update({f"{NAME}.alpha": torch.zeros(1)}), r"to_q\.alpha is not expected"),
        (
            lambda t: t.update({f"{NAME}.lora_A.weight": torch.zeros(4, 31)}),
            r"to_q\.lora_A\.weight has shape \[4, 31\], expected \[4, 32\]",
        ),
        (
            lambda t: t.update({f"{NAME}.lora_B.weight": torch.zeros(32, 5)}),
            r"to_q\.lora_B\.weight has shape \[32, 5\], expected \[32, 4\]",
        ),
        (lambda t: t.clear(), "holds no adapter"),
    ],
)
def test_a_foreign_adapter_is_refused_by_the_key(tiny: Path, linears: dict, tmp_path: Path, change, says: str) -> None:
    tensors = load_file(tiny / "lotus-2" / CORE)
    change(tensors)
    save_file(tensors, tmp_path / CORE)
    with pytest.raises(WeightsError, match=says) as caught:
        Adapter(tmp_path / CORE, linears)
    assert str(tmp_path / CORE) in str(caught.value)
    assert "\n" not in str(caught.value)


# -- the base -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("x_embedder.bias"), "x_embedder.bias is missing"),
        (lambda t: t.update(more=torch.zeros(1)), "more is not expected"),
        (lambda t: t.update({"proj_out.bias": torch.zeros(3)}), r"proj_out.bias has shape \[3\], expected \[64\]"),
        (lambda t: [t.pop(k) for k in list(t)[:3]], "and 2 more"),
    ],
)
def test_a_foreign_base_is_refused_by_the_key(tiny: Path, tmp_path: Path, change, says: str) -> None:
    tensors = load_file(tiny / "base" / "transformer" / "diffusion_pytorch_model.safetensors")
    change(tensors)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file(tensors, path)
    config = flux_config(read_json(tiny / "base" / "transformer" / "config.json"), path)
    with pytest.raises(WeightsError, match=says):
        check_shapes(FileTensors([path], path).shapes, tensor_shapes(config), path)


def test_a_config_of_another_network_is_refused(tiny: Path) -> None:
    values = read_json(tiny / "base" / "vae" / "config.json")
    with pytest.raises(WeightsError, match=r"lacks .*num_layers"):
        flux_config(values, "vae/config.json")
    values = read_json(tiny / "base" / "transformer" / "config.json") | {"patch_size": 2}
    with pytest.raises(WeightsError, match="patch_size"):
        flux_config(values, "config.json")


@pytest.mark.filterwarnings("ignore")
def test_a_foreign_autoencoder_is_refused_by_the_key(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    tensors = load_file(tiny / "base" / "vae" / "diffusion_pytorch_model.safetensors")
    tensors.pop("decoder.conv_out.bias")
    save_file(tensors, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(WeightsError, match=r"decoder\.conv_out\.bias is missing"):
        load_vae(tmp_path, read_json(tiny / "base" / "vae" / "config.json"), CPU, torch.float32)


def test_half_a_file_and_a_web_page_are_told_apart(tiny: Path, tmp_path: Path) -> None:
    whole = (tiny / "lotus-2" / CORE).read_bytes()
    path = tmp_path / CORE
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"only part of the file is there, 27,120 bytes"):
        FileTensors([path], path)
    path.write_text("<!DOCTYPE html><title>Log in</title>")
    with pytest.raises(WeightsError, match=r"not a safetensors file.*models fetch lotus-2"):
        FileTensors([path], path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        FileTensors([path], path)
    with pytest.raises(WeightsError, match="no such file"):
        FileTensors([tmp_path / "nothing"], path)


# -- the local continuity module ----------------------------------------------------------------------------------------


def test_the_lcm_is_told_by_content_whatever_its_name(tiny: Path, tmp_path: Path) -> None:
    """As in the published release: the depth one is a torch archive under a .safetensors name."""
    folder = tiny / "lotus-2"
    assert (folder / "lotus-2_lcm_depth.safetensors").read_bytes()[:2] == b"PK"
    archive = torch.load(io.BytesIO((folder / "lotus-2_lcm_depth.safetensors").read_bytes()), weights_only=True)
    save_file(archive, tmp_path / "lcm.pt")  # and the other way about
    latent = torch.randn(1, 16, 4, 4)
    first = load_lcm(folder / "lotus-2_lcm_depth.safetensors", 16, CPU)(latent)
    torch.testing.assert_close(load_lcm(tmp_path / "lcm.pt", 16, CPU)(latent), first)
    assert load_lcm(folder / "lotus-2_lcm_normal.safetensors", 16, CPU)(latent).shape == latent.shape


class _Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("touch /tmp/lotus2-video-was-here",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"lcm.0.weight": torch.zeros(32, 16, 3, 3)}, r"lcm\.0\.bias is missing \(and 2 more\)"),
        ([1, 2], "not a table of tensors"),
        ({"lcm.0.weight": _Evil()}, "cannot be read"),
    ],
)
def test_a_foreign_lcm_is_refused_and_runs_nothing(tmp_path: Path, content: object, says: str) -> None:
    path = tmp_path / "lcm.safetensors"
    with path.open("wb") as file:
        torch.save(content, file)
    with pytest.raises(WeightsError, match=says):
        load_lcm(path, 16, CPU)


def test_half_an_lcm_archive_is_refused(tiny: Path, tmp_path: Path) -> None:
    whole = (tiny / "lotus-2" / "lotus-2_lcm_depth.safetensors").read_bytes()
    path = tmp_path / "lcm.safetensors"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_lcm(path, 16, CPU)


# -- places -------------------------------------------------------------------------------------------------------------


def test_a_folder_without_the_two_parts_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no such folder; --weights takes a folder with base/ .* and lotus-2/"):
        places.find(str(tmp_path))
    with pytest.raises(WeightsError, match="no such folder"):
        places.find(str(tmp_path / "nowhere"))


def test_missing_parts_are_named(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "base", tmp_path / "base", ignore=shutil.ignore_patterns("text_encoder*"))
    (tmp_path / "lotus-2").mkdir()
    files = places.find(str(tmp_path))
    with pytest.raises(WeightsError, match=r"lotus-2_lcm_depth\.safetensors: no such file"):
        files.adapter("lcm", "depth")
    with pytest.raises(WeightsError, match=r"text_encoder: no such folder.*encode the empty prompt"):
        files.require_text_encoders()


def test_the_digest_follows_the_content_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(bytes(3_000_000))
    shutil.copy(one, other)
    assert digest([one]) == digest([other])
    with other.open("r+b") as file:
        file.seek(2_999_999)
        file.write(b"x")
    assert digest([one]) != digest([other])
    blob = tmp_path / hashlib.sha256(bytes(3_000_000)).hexdigest()
    shutil.copy(one, blob)
    link = tmp_path / "link"
    link.symlink_to(blob)
    assert digest([link]) == hashlib.sha256(blob.name.encode()).hexdigest()[:16]


# -- fetching -----------------------------------------------------------------------------------------------------------

COMMIT = {"black-forest-labs/FLUX.1-dev": places.BASE.revision, "jingheya/Lotus-2": "5" * 40}


@dataclass
class Hub:
    """A stand-in for the hub: serves the tiny checkpoint under the published names, on this machine."""

    files: dict[tuple[str, str], bytes]
    token: str | None = "hf_right"
    known: set[str] = field(default_factory=lambda: {"hf_right", "hf_stranger"})
    break_at: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def asked_for(self, method: str = "GET") -> list[str]:
        return [name for verb, name, _ in self.requests if verb == method]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            owner, repo, verb, revision, *rest = self.path.strip("/").split("?")[0].split("/")
            name, repo = "/".join(rest), f"{owner}/{repo}"
            hub.requests.append((self.command, name, self.headers.get("Range")))
            refused = self._refused(repo)
            if refused:
                self._send(refused, {"X-Error-Code": "GatedRepo"} if refused == 403 or not self._token() else {}, b"")
            elif verb != "resolve" or (repo, name) not in hub.files:
                self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT.get(repo, revision)}, b"")
            else:
                self._file(repo, name, body)

        def _token(self) -> str:
            return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

        def _refused(self, repo: str) -> int | None:
            if repo != places.BASE.id or hub.token is None or self._token() == hub.token:
                return None
            return 403 if self._token() in hub.known else 401

        def _file(self, repo: str, name: str, body: bool) -> None:
            content = hub.files[repo, name]
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
            head = {
                "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Repo-Commit": COMMIT[repo],
                "Accept-Ranges": "bytes",
            }
            if start:
                head["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            stop = hub.break_at.pop(name, None) if body else None
            self._send(206 if start else 200, head, content[start:], body, stop)

        def _send(
            self, status: int, head: dict[str, str], body: bytes, send: bool = True, stop: int | None = None
        ) -> None:
            self.send_response(status)
            for key, value in head.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if send and self.command != "HEAD":
                self.wfile.write(body[:stop])
            if stop is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


@pytest.fixture
def hub(tiny: Path) -> Iterator[Hub]:
    files = {(places.BASE.id, str(p.relative_to(tiny / "base"))): p.read_bytes() for p in (tiny / "base").rglob("*.*")}
    files |= {(places.ADAPTERS.id, p.name): p.read_bytes() for p in (tiny / "lotus-2").iterdir()}
    files[places.BASE.id, "flux1-dev.safetensors"] = b"24 GB that nobody needs"
    _shard(files, "transformer", "diffusion_pytorch_model")
    hub = Hub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


def _shard(files: dict[tuple[str, str], bytes], folder: str, stem: str) -> None:
    """Splits a checkpoint in two, as the published one is split in three."""
    from safetensors.torch import load, save

    tensors = load(files.pop((places.BASE.id, f"{folder}/{stem}.safetensors")))
    weight_map = {}
    for part, keys in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), 1):
        name = f"{stem}-0000{part}-of-00002.safetensors"
        files[places.BASE.id, f"{folder}/{name}"] = save({key: tensors[key] for key in keys})
        weight_map |= dict.fromkeys(keys, name)
    index = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    files[places.BASE.id, f"{folder}/{stem}.safetensors.index.json"] = index


@dataclass
class Machine:
    """Somebody's machine: its caches, its token; every command is a process of its own, as the client reads its
    environment once."""

    home: Path
    environment: dict[str, str]

    def run(self, code: str, **more: str) -> subprocess.CompletedProcess[str]:
        guard = (
            "import sys\nfrom lotus2_video.errors import Lotus2VideoError\n"
            f"try:\n    {code}\n"
            "except Lotus2VideoError as error:\n    print(error, file=sys.stderr); sys.exit(error.exit_code)\n"
        )
        command = [sys.executable, "-c", guard]
        return subprocess.run(command, env=self.environment | more, capture_output=True, text=True, timeout=120)

    def fetch(self, **more: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            "from lotus2_video.models.weights_fetch import fetch; fetch('lotus-2', kinds=('depth',))", **more
        )

    @property
    def parts(self) -> list[Path]:
        return list((self.home / "hf").rglob("*.part"))


@pytest.fixture
def machine(hub: Hub, tmp_path: Path) -> Machine:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
    root = str(Path(__file__).resolve().parents[1])
    environment = kept | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": "hf_right",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TQDM_POSITION": "-1",  # a progress bar even where nobody watches
        "LOTUS2_VIDEO_CACHE": str(tmp_path / "own"),
        "PYTHONPATH": root,
    }
    return Machine(tmp_path, environment)


def test_fetch_brings_what_is_needed_and_a_run_finds_it(hub: Hub, machine: Machine) -> None:
    done = machine.fetch()
    assert done.returncode == 0, done.stderr
    asked = set(hub.asked_for())
    assert "flux1-dev.safetensors" not in asked
    assert "lotus-2_lcm_normal.safetensors" not in asked
    assert {
        "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
        "text_encoder_2/model.safetensors",
    } <= asked
    assert f"{places.BASE.id}/vae/diffusion_pytorch_model.safetensors: 0.3 MB" in done.stdout
    assert "%" in done.stderr  # the progress bar

    hub.requests.clear()
    again = machine.fetch()
    assert again.returncode == 0, again.stderr
    assert hub.requests == []  # all of it is in the cache, at the pinned commits
    assert "in the cache" in again.stdout

    found = machine.run(
        "from lotus2_video.models.weights import find; f = find(); "
        "print(f.digest(('depth',)), len(f.transformer), f.adapter('lcm', 'depth').name)",
        HF_HUB_OFFLINE="1",
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split()[1:] == ["2", "lotus-2_lcm_depth.safetensors"]


def test_text_encoders_stay_where_they_are_once_the_prompt_is_cached(hub: Hub, machine: Machine) -> None:
    own = Path(machine.environment["LOTUS2_VIDEO_CACHE"])
    own.mkdir()
    key = hashlib.sha256(f"{places.BASE.id}@{places.BASE.revision}".encode()).hexdigest()[:16]
    (own / f"prompt-{key}.safetensors").touch()
    done = machine.fetch()
    assert done.returncode == 0, done.stderr
    assert not [name for name in hub.asked_for() if name.startswith(("text_encoder", "tokenizer"))]


def test_a_download_that_broke_off_goes_on_where_it_stopped(hub: Hub, machine: Machine) -> None:
    """Killed half way, as by a closed laptop: the next fetch asks for the rest only, and the whole is right."""
    name = "vae/diffusion_pytorch_model.safetensors"
    content = hub.files[places.BASE.id, name]
    blobs = machine.home / "hf" / "hub" / "models--black-forest-labs--FLUX.1-dev" / "blobs"
    blobs.mkdir(parents=True)
    etag = hashlib.sha256(content).hexdigest()
    (blobs / f"{etag}.part").write_bytes(content[:100_000])
    done = machine.fetch()
    assert done.returncode == 0, done.stderr
    assert ("GET", name, "bytes=100000-") in hub.requests
    assert (blobs / etag).read_bytes() == content
    assert not machine.parts


def test_a_connection_that_breaks_is_taken_up_again(hub: Hub, machine: Machine) -> None:
    """The client itself tries again; the file is whole in the end."""
    name = "vae/diffusion_pytorch_model.safetensors"
    hub.break_at[name] = 70_000
    done = machine.fetch()
    assert done.returncode == 0, done.stderr
    assert hub.asked_for().count(name) == 2
    assert not machine.parts


def test_a_damaged_part_is_not_believed(hub: Hub, machine: Machine) -> None:
    content = hub.files[places.ADAPTERS.id, CORE]
    blobs = machine.home / "hf" / "hub" / "models--jingheya--Lotus-2" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hashlib.sha256(content).hexdigest()}.part").write_bytes(b"x" * 5000)
    done = machine.fetch()
    assert done.returncode == 4
    assert _last(done) == (
        f"jingheya/Lotus-2: {CORE} arrived damaged; "
        "run `lotus2-video models fetch lotus-2` again, it goes on where it stopped"
    )
    assert machine.fetch().returncode == 0


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        (
            {"HF_TOKEN": ""},
            "black-forest-labs/FLUX.1-dev: needs a Hugging Face account and its token; accept its licence at "
            "https://huggingface.co/black-forest-labs/FLUX.1-dev, run `hf auth login`, then "
            "`lotus2-video models fetch lotus-2`",
        ),
        (
            {"HF_TOKEN": "hf_stranger"},
            "black-forest-labs/FLUX.1-dev: your Hugging Face account has no access to it yet; ask for it at "
            "https://huggingface.co/black-forest-labs/FLUX.1-dev, then run `lotus2-video models fetch lotus-2`",
        ),
        (
            {"HF_HUB_OFFLINE": "1"},
            "black-forest-labs/FLUX.1-dev: model_index.json is not in the cache and HF_HUB_OFFLINE is set; "
            "unset HF_HUB_OFFLINE, then run `lotus2-video models fetch lotus-2`",
        ),
    ],
)
def test_no_token_no_access_no_network_is_one_line(machine: Machine, environment: dict[str, str], says: str) -> None:
    done = machine.fetch(**environment)
    assert done.returncode == 4
    assert _last(done) == says


def test_a_hub_that_cannot_be_reached_is_one_line(machine: Machine) -> None:
    done = machine.fetch(HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 4
    assert "the download broke off" in _last(done)
    assert "run `lotus2-video models fetch lotus-2` again" in _last(done)


def test_a_run_without_weights_says_what_to_do(machine: Machine) -> None:
    done = machine.run("from lotus2_video.models.weights import find; find()")
    assert done.returncode == 4
    assert _last(done) == (
        "black-forest-labs/FLUX.1-dev: not in the Hugging Face cache; accept its licence at "
        "https://huggingface.co/black-forest-labs/FLUX.1-dev, then run `lotus2-video models fetch lotus-2`"
    )


def test_there_is_nothing_to_fetch_for_mini(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mini: nothing to fetch"):
        fetch("mini")
    with contextlib.suppress(ImportError):
        fetch(f"hf:{tmp_path}")
    assert "a folder, nothing to fetch" in capsys.readouterr().out


def _last(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().splitlines()[-1]
