"""lotus-2 against the published pipeline's own results, and every liberty we took against the plain way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from lotus2_video.errors import UsageError  # noqa: E402
from lotus2_video.models import ModelOptions, find_card, lotus2_net, make_predictor  # noqa: E402
from lotus2_video.models import lotus2_prompt as prompts  # noqa: E402
from lotus2_video.models.flux import Flux, FluxConfig, pack, rope_table, tensor_shapes, unpack  # noqa: E402
from lotus2_video.models.flux_stream import StreamedBlocks  # noqa: E402
from lotus2_video.models.flux_weights import Source, load_flux, load_modulations  # noqa: E402
from lotus2_video.models.fp8 import Fp8Linear, quantise  # noqa: E402
from lotus2_video.models.lora import Adapter  # noqa: E402
from lotus2_video.models.lotus2 import Lotus2Predictor  # noqa: E402
from lotus2_video.models.lotus2_lcm import load_lcm  # noqa: E402
from lotus2_video.models.lotus2_plan import GIB, Card, Needs, make_plan, resident_bytes  # noqa: E402
from lotus2_video.models.lotus2_stages import Schedule, gl_normals, sizes  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
CPU = torch.device("cpu")
CASES = ("depth-600x344", "depth-wide-1100x210", "normal-portrait-336x520", "normal-small-200x152")
SMALL = "normal-small-200x152"
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def tiny(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tiny checkpoint, with a cache folder of this test's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOTUS2_VIDEO_CACHE", str(tmp_path_factory.mktemp("cache")))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield shared / "fixtures" / "lotus2-tiny"
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def both(tiny: Path) -> Lotus2Predictor:
    return _predictor(tiny)


def _predictor(tiny: Path, *kinds: str, precision: str = "fp32", res: int | None = None) -> Lotus2Predictor:
    wanted = kinds or ("depth", "normal")
    options = ModelOptions(kinds=wanted, weights=str(tiny), device="cpu", precision=precision, res=res)  # type: ignore[arg-type]
    made = make_predictor("lotus-2", options)
    assert isinstance(made, Lotus2Predictor)
    return made


def _picture(tiny: Path, case: str) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(tiny / "cases" / f"{case}.png")), cv2.COLOR_BGR2RGB)


def _published(tiny: Path, case: str) -> dict[str, np.ndarray]:
    arrays = np.load(tiny / "cases" / f"{case}.npz")
    return {name: a / 65535 if a.dtype == np.uint16 else a for name, a in arrays.items()}


@pytest.mark.parametrize("case", CASES)
def test_every_stage_equals_the_published_pipeline(tiny: Path, both: Lotus2Predictor, case: str) -> None:
    kind = "depth" if case.startswith("depth") else "normal"
    stages, published = both.stages(_picture(tiny, case), kind), _published(tiny, case)
    for name in ("core_latent", "final_latent"):
        np.testing.assert_allclose(getattr(stages, name), published[name], rtol=0, atol=TOLERANCE, err_msg=name)
    for name in ("core_image", "image"):
        ours = getattr(stages, name)
        ours = ours.mean(axis=0) if kind == "depth" else ours.transpose(1, 2, 0)
        np.testing.assert_allclose(ours, published[name], rtol=0, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("sharpen", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_predict_gives_the_published_map_in_our_conventions(
    tiny: Path, both: Lotus2Predictor, case: str, sharpen: bool
) -> None:
    picture = _picture(tiny, case)
    assert both.input_size(*picture.shape[:2]) == picture.shape[:2]
    (maps,) = both.predict(picture[None], sharpen=sharpen)
    published = _published(tiny, case)["image" if sharpen else "core_image"]
    if case.startswith("depth"):
        assert maps.depth is not None
        np.testing.assert_allclose(maps.depth, published, rtol=0, atol=TOLERANCE)
    else:
        assert maps.normal is not None
        raw = published * 2 - 1
        length = np.linalg.norm(raw, axis=-1, keepdims=True)
        ours = raw * (-1, 1, 1) / length
        clear = length[..., 0] > 0.3  # where the published vector is long enough to have a direction
        np.testing.assert_allclose(maps.normal[clear], ours[clear], rtol=0, atol=1e-3)
        np.testing.assert_allclose(np.linalg.norm(maps.normal, axis=-1), 1, atol=1e-5)


def test_a_batch_of_frames_equals_the_frames_one_by_one(tiny: Path, both: Lotus2Predictor) -> None:
    """Law 1, to the last bit, with the sharpener too."""
    picture = _picture(tiny, SMALL)
    frames = np.stack([picture, picture[::-1], 255 - picture])
    for sharpen in (False, True):
        together = both.predict(frames, sharpen=sharpen)
        for frame, maps in zip(frames, together, strict=True):
            (alone,) = both.predict(frame[None], sharpen=sharpen)
            np.testing.assert_array_equal(maps.depth, alone.depth)
            np.testing.assert_array_equal(maps.normal, alone.normal)


def test_depth_and_normal_together_equal_each_alone_and_share_layers_and_encoding(
    tiny: Path, both: Lotus2Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = _picture(tiny, SMALL)[None]
    (together,) = both.predict(picture)
    np.testing.assert_array_equal(together.depth, _predictor(tiny, "depth").predict(picture)[0].depth)
    np.testing.assert_array_equal(together.normal, _predictor(tiny, "normal").predict(picture)[0].normal)

    nets = both._ready._nets
    depth, normal = nets["core_predictor", "depth"], nets["core_predictor", "normal"]
    assert depth.single_blocks[0].up is normal.single_blocks[0].up  # no adapter changes it
    assert depth.single_blocks[0].qkv is not normal.single_blocks[0].qkv

    encoded = []
    encode = both._ready.vae.encode
    monkeypatch.setattr(both._ready.vae, "encode", lambda images: encoded.append(1) or encode(images))
    both.predict(picture)
    assert len(encoded) == 1


def test_what_only_makes_modulation_vectors_is_not_kept(both: Lotus2Predictor) -> None:
    """3.25 of FLUX's 11.9 billion parameters: 6.5 GB in bf16."""
    net = both._ready._nets["core_predictor", "depth"]
    config = net.config
    widths = {tuple(t.shape) for t in net.buffers()}
    assert (6 * config.width, config.width) not in widths
    assert (3 * config.width, 256) not in widths
    kept = sum(t.numel() for t in net.buffers() if t.ndim == 2 and t.shape[0] != 512)
    everything = sum(np.prod(shape) for shape in tensor_shapes(config).values())
    assert kept < 0.8 * everything


# -- the network --------------------------------------------------------------------------------------------------------


class _Table:
    """Tensors from a dictionary."""

    def __init__(self, table: dict):
        self._table = table
        self.shapes = {key: tuple(t.shape) for key, t in table.items()}

    def read(self, key: str, device: torch.device) -> torch.Tensor:
        return self._table[key].to(device)


SIZES = FluxConfig(16, 2, 3, 16, 4, 24, 20, True, (4, 6, 6))


def _diffusers_flux(config: FluxConfig) -> torch.nn.Module:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=config.in_channels,
        num_layers=config.num_layers,
        num_single_layers=config.num_single_layers,
        attention_head_dim=config.attention_head_dim,
        num_attention_heads=config.num_attention_heads,
        joint_attention_dim=config.joint_attention_dim,
        pooled_projection_dim=config.pooled_projection_dim,
        guidance_embeds=config.guidance_embeds,
        axes_dims_rope=config.axes_dims_rope,
    ).eval()


@torch.no_grad()
def test_our_network_is_diffusers_flux() -> None:
    """Two frames at once, an oblong grid, and a timestep and guidance at which a last bit of the frequencies is harmless."""
    theirs = _diffusers_flux(SIZES)
    source = Source(_Table(theirs.state_dict()), None, CPU)
    assert source.tensors.shapes == tensor_shapes(SIZES)
    rows, columns, text = 3, 5, 7
    tokens, prompt, pooled = torch.randn(2, rows * columns, 16), torch.randn(text, 24), torch.randn(20)
    ids = torch.zeros(rows, columns, 3)
    ids[..., 1], ids[..., 2] = torch.arange(rows)[:, None], torch.arange(columns)
    wanted = theirs(
        hidden_states=tokens,
        encoder_hidden_states=prompt.expand(2, -1, -1),
        pooled_projections=pooled.expand(2, -1),
        timestep=torch.full((2,), 0.003),
        guidance=torch.full((2,), 0.01),
        img_ids=ids.flatten(0, 1),
        txt_ids=torch.zeros(text, 3),
        return_dict=False,
    )[0]
    ours = load_flux(SIZES, source, prompt, "fp32", {})
    (modulation,) = load_modulations(SIZES, source, pooled, [3.0], 0.01, "fp32")
    found = ours(tokens, modulation, rope_table(rows, columns, text, SIZES.axes_dims_rope, CPU))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)


@torch.no_grad()
def test_a_merged_adapter_gives_what_the_unmerged_one_gives() -> None:
    weight, a, b = torch.randn(64, 64), torch.randn(4, 64), torch.randn(64, 4)
    block = {"to_q": weight, "to_k": weight, "to_v": weight}
    table = {f"single_transformer_blocks.0.attn.{n}.weight": w for n, w in block.items()}
    table |= {f"single_transformer_blocks.0.attn.{n}.bias": torch.zeros(64) for n in block}
    name = "single_transformer_blocks.0.attn.to_k"
    keys = {f"transformer.{name}.lora_A.weight": a, f"transformer.{name}.lora_B.weight": b}
    adapter = Adapter.of(_Table(keys), "a test", {name: (64, 64)})
    source = Source(_Table(table), adapter, CPU)
    x = torch.randn(3, 64)
    merged = torch.nn.functional.linear(x, source.weight(name))
    torch.testing.assert_close(merged, x @ weight.T + (x @ a.T) @ b.T, rtol=1e-4, atol=1e-4)


def test_packing_is_the_published_one_and_turns_back() -> None:
    latent = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 6)
    tokens = pack(latent)
    assert tokens.shape == (2, 6, 12)
    assert tokens[0, 1].tolist() == [latent[0, c, y, x].item() for c in range(3) for y in (0, 1) for x in (2, 3)]
    torch.testing.assert_close(unpack(tokens, 4, 6), latent)


@torch.no_grad()
def test_blocks_that_pass_through_a_small_card_give_the_same(tiny: Path, both: Lotus2Predictor) -> None:
    net = both._ready
    latent = both._encode(_picture(tiny, SMALL)[None])
    resident = net.core("depth", latent)
    flux = net._nets["core_predictor", "depth"]
    doubles, singles = flux.double_blocks, flux.single_blocks
    try:
        flux.double_blocks, flux.single_blocks = (StreamedBlocks(list(b), CPU) for b in (doubles, singles))
        torch.testing.assert_close(net.core("depth", latent), resident, rtol=0, atol=0)
    finally:
        flux.double_blocks, flux.single_blocks = doubles, singles


def test_fp8_linear_keeps_the_promise_of_its_format() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(5, 7, 64), torch.randn(48, 64), torch.randn(48)
    weight[3] *= 100  # a large row must not cost the others their bits
    ours = Fp8Linear(weight, bias)(quantise(x))
    wanted = torch.nn.functional.linear(x, weight, bias)
    assert ours.shape == wanted.shape
    relative = (ours - wanted).norm(dim=(0, 1)) / wanted.norm(dim=(0, 1))
    assert relative.max() < 0.06
    eights, scale = quantise(weight)
    assert eights.dtype == torch.float8_e4m3fn
    assert ((eights.float() * scale - weight).abs() <= weight.abs() / 16 + scale / 256).all()  # half a step of e4m3
    assert torch.isfinite(Fp8Linear(weight, bias)(quantise(torch.zeros(2, 64)))).all()


def test_fp8_token_does_not_depend_on_the_tokens_beside_it() -> None:
    layer = Fp8Linear(torch.randn(16, 32), torch.zeros(16))
    x = torch.randn(4, 32)
    beside = torch.cat([x[:1], 1000 * x[1:]])
    torch.testing.assert_close(layer(quantise(x))[0], layer(quantise(beside))[0], rtol=0, atol=0)


@torch.no_grad()
def _published_core(tiny: Path, picture: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """The core latent for depth, as the published pipeline computes it: diffusers' classes in one precision, unmerged."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from safetensors.torch import load_file

    vae = AutoencoderKL.from_pretrained(tiny / "base" / "vae").to(dtype)
    flux = FluxTransformer2DModel.from_pretrained(tiny / "base" / "transformer").to(dtype)
    lora = load_file(tiny / "lotus-2" / "lotus-2_core_predictor_depth.safetensors")
    for key in (k for k in lora if ".lora_A." in k):
        layer = flux.get_submodule(key.removeprefix("transformer.").removesuffix(".lora_A.weight"))
        a, b = lora[key].to(dtype), lora[key.replace("lora_A", "lora_B")].to(dtype)
        layer.register_forward_hook(lambda _, x, y, a=a, b=b: y + (x[0] @ a.T) @ b.T)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    (size,) = sizes(*picture.shape[:2])
    image = torch.nn.functional.interpolate(image, size, mode="bilinear").to(dtype)
    z = (vae.encode(image).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
    rows, columns = z.shape[2] // 2, z.shape[3] // 2
    ids = torch.zeros(rows, columns, 3)
    ids[..., 1], ids[..., 2] = torch.arange(rows)[:, None], torch.arange(columns)
    (prompt,) = Path(os.environ["LOTUS2_VIDEO_CACHE"]).glob("prompt-*.safetensors")
    text = load_file(prompt)
    tokens = flux(
        hidden_states=pack(z),
        encoder_hidden_states=text["t5"][None].to(dtype),
        pooled_projections=text["clip"][None].to(dtype),
        timestep=torch.ones(1, dtype=dtype) / 1000,
        guidance=torch.full((1,), 3.5),
        img_ids=ids.flatten(0, 1),
        txt_ids=torch.zeros(512, 3),
        return_dict=False,
    )[0]
    return load_lcm(tiny / "lotus-2" / "lotus-2_lcm_depth.safetensors", 16, CPU)(unpack(tokens.float(), *z.shape[2:]))


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_bf16_is_as_near_the_truth_as_the_published_path_in_bf16(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 the published guidance of 3500 becomes 3504: another embedding altogether. The truth rounds that and no more."""
    picture = _picture(tiny, SMALL)

    def core(precision: str) -> np.ndarray:
        return _predictor(tiny, "depth", precision=precision).stages(picture, "depth").core_latent

    ours, eights = core("bf16"), core("fp8")
    published = _published_core(tiny, picture, torch.bfloat16).numpy()
    monkeypatch.setattr(lotus2_net, "GUIDANCE", 3.504)
    truth = core("fp32")
    assert _relative(ours, truth) < 1.05 * _relative(published, truth)
    assert _relative(ours, published) < 0.02  # two roundings of a network 32 channels wide
    assert _relative(eights, published) < 0.1


def test_a_slow_ramp_in_bf16_has_thousands_of_levels(tiny: Path) -> None:
    """bf16 has 385 values between 0 and 1; the published maps have bands."""
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    picture = np.repeat(np.tile(ramp, (256, 1))[..., None], 3, axis=2)
    (maps,) = _predictor(tiny, "depth", precision="bf16").predict(picture[None])
    assert maps.depth is not None
    assert maps.depth.dtype == np.float32
    assert len(np.unique(maps.depth)) >= 4000


# -- around the network -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(9, 11), (36, 64), (64, 64)])
def test_time_steps_are_diffusers(tiny: Path, rows: int, columns: int) -> None:
    import json

    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    config = json.loads((tiny / "base" / "scheduler" / "scheduler_config.json").read_text())
    theirs = FlowMatchEulerDiscreteScheduler.from_config(config, num_train_timesteps=10)
    tokens = rows * columns
    mu = 0.5 + (1.15 - 0.5) / (4096 - 256) * (tokens - 256)
    theirs.set_timesteps(sigmas=np.linspace(1, 0.1, 10), mu=mu)
    ours = Schedule.of(config)
    np.testing.assert_allclose(ours.sigmas(tokens), theirs.sigmas.numpy(), atol=1e-6)
    np.testing.assert_allclose(ours.timesteps(tokens), theirs.timesteps.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        ((1080, 1920), [(576, 1024), (576, 1024)]),
        ((344, 600), [(336, 576)]),
        ((210, 1100), [(195, 1024), (192, 1008)]),
        ((152, 200), [(144, 176)]),
        ((17, 31), [(16, 16)]),
        ((9, 40), [(16, 64)]),  # the published rule would ask for nothing by nothing
    ],
)
def test_sizes_follow_the_published_rule(source: tuple[int, int], steps: list[tuple[int, int]]) -> None:
    assert sizes(*source) == steps


def test_res_sets_the_short_side(tiny: Path) -> None:
    assert sizes(1080, 1920, 288) == [(288, 512), (288, 512)]
    (maps,) = _predictor(tiny, "depth", res=64).predict(_picture(tiny, SMALL)[None])
    assert maps.size == (152, 200)


def test_a_published_sphere_becomes_ours() -> None:
    """Published axes: +X left. On our sphere the right edge looks right, the top looks up, the middle at us."""
    y, x = np.mgrid[1:-1:101j, -1:1:101j]
    inside = x**2 + y**2 < 0.98
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    ours = np.stack([x, y, z])
    published = (ours * np.array([-1, 1, 1])[:, None, None] + 1) / 2
    found = gl_normals(torch.tensor(published, dtype=torch.float32)[None])[0].numpy()
    np.testing.assert_allclose(found[inside], ours.transpose(1, 2, 0)[inside], atol=1e-5)
    np.testing.assert_allclose(found[50, 50], (0, 0, 1), atol=1e-6)
    np.testing.assert_allclose(found[50, 95], (0.9, 0, np.sqrt(0.19)), atol=1e-5)
    grey = gl_normals(torch.full((1, 3, 2, 2), 0.5))
    np.testing.assert_array_equal(grey[0, 0, 0].numpy(), (0, 0, 1))


def test_the_text_encoders_are_needed_once(tiny: Path, both: Lotus2Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    (stored,) = Path(os.environ["LOTUS2_VIDEO_CACHE"]).glob("prompt-*.safetensors")
    monkeypatch.setattr(prompts, "_encode", lambda files: pytest.fail("the encoders were loaded again"))
    again = _predictor(tiny)
    assert again.fingerprint == both.fingerprint
    monkeypatch.undo()

    good = stored.read_bytes()
    stored.write_bytes(good[: len(good) // 2])  # a machine that went down while an older version wrote
    _predictor(tiny, "depth")
    assert stored.read_bytes() == good


def test_closing_lets_go_and_may_be_done_twice(tiny: Path) -> None:
    predictor = _predictor(tiny, "depth")
    predictor.close()
    predictor.close()


def test_the_card_says_what_the_licence_says() -> None:
    card = find_card("lotus-2")
    assert "non-commercial" in card.notice
    assert card.sharpener
    with pytest.raises(UsageError, match="nothing after a colon"):
        make_predictor("lotus-2:large", ModelOptions())


# -- the plan -----------------------------------------------------------------------------------------------------------


def _full_needs(*parts: int) -> Needs:
    """FLUX.1-dev with adapters of the published targets; as many as there are `parts`."""
    config = FluxConfig()
    targets = [n.removesuffix(".weight") for n in tensor_shapes(config) if n.endswith(".weight") and "_blocks" in n]
    targets = [n for n in targets if "norm" not in n and "proj_mlp" not in n and not _single_out(n)]
    adapted = [targets for _ in parts or (1,)]
    weights = {w: resident_bytes(config, adapted, w) for w in ("fp32", "bf16", "fp8")}
    return Needs(weights, config.num_layers + config.num_single_layers, config.width)  # type: ignore[arg-type]


def _single_out(name: str) -> bool:
    return name.startswith("single") and name.endswith(".proj_out")


def test_the_weights_are_what_the_architecture_says() -> None:
    one, two = _full_needs(), _full_needs(1, 2)
    assert one.weights["bf16"] / GIB == pytest.approx(16.06, abs=0.01)
    assert one.weights["fp8"] * 2 == one.weights["bf16"]
    assert two.weights["bf16"] / GIB == pytest.approx(26.07, abs=0.01)  # only what the adapters change is there twice


@pytest.mark.parametrize(
    ("free", "weights", "batch", "streamed"),
    [
        (80, "bf16", 4, False),
        (18.5, "bf16", 1, False),
        (16, "fp8", 4, False),
        (10.5, "fp8", 1, False),
        (8, "fp8", 4, True),
    ],
)
def test_auto_takes_the_best_that_fits(free: float, weights: str, batch: int, streamed: bool) -> None:
    plan = make_plan("auto", Card("cuda", int(free * GIB)), _full_needs())
    assert (plan.weights, plan.batch, plan.streamed) == (weights, batch, streamed)
    assert f"{free:.1f} GiB free" in plan.why
    assert weights in plan.why


def test_what_does_not_fit_says_so_with_the_numbers_and_what_would() -> None:
    with pytest.raises(UsageError, match=r"bf16 needs 18\.1 GiB, 12\.0 GiB are free on the cuda; fp8 would fit"):
        make_plan("bf16", Card("cuda", 12 * GIB), _full_needs())
    with pytest.raises(UsageError, match=r"streamed from host memory"):
        make_plan("bf16", Card("cuda", 7 * GIB), _full_needs())
    with pytest.raises(UsageError, match="larger card"):
        make_plan("auto", Card("cuda", 2 * GIB), _full_needs())
    with pytest.raises(UsageError, match="--precision"):
        make_plan("int4", Card("cuda", 80 * GIB), _full_needs())


def test_flux_is_a_module_of_plain_tensors(both: Lotus2Predictor) -> None:
    """Buffers only: nothing asks for gradients, nothing is counted as a parameter by an optimiser."""
    for net in both._ready._nets.values():
        assert isinstance(net, Flux)
        assert not list(net.parameters())
