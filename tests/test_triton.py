"""The Triton kernels against the same functions in torch. On a GPU; or, slowly, with TRITON_INTERPRET=1 on a CPU."""

from __future__ import annotations

import os

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="triton comes with torch for CUDA")

from lotus2_video.models import flux_ops, flux_triton, lotus2_vae, norm_triton  # noqa: E402
from lotus2_video.models.flux_weights import Linear  # noqa: E402
from lotus2_video.models.fp8 import Rows  # noqa: E402
from lotus2_video.models.recorded import Recorded  # noqa: E402

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("needs a CUDA device, or TRITON_INTERPRET=1", allow_module_level=True)
DEVICE = "cpu" if INTERPRETED else "cuda"
FP8 = [False] if INTERPRETED else [False, True]  # the interpreter has no e4m3, and cuts bfloat16 off
D, HEADS = 96, 6  # neither a power of two


@pytest.fixture(params=[torch.float32] if INTERPRETED else [torch.float32, torch.bfloat16])
def make(request):
    torch.manual_seed(0)
    return lambda *shape: torch.randn(shape, device=DEVICE).to(request.param)


def _close(found, wanted):
    if isinstance(wanted, Rows):
        assert found.values.dtype == torch.float8_e4m3fn
        found, wanted = (rows.values.float() * rows.scales for rows in (found, wanted))
        assert (found - wanted).norm() < 2e-2 * wanted.norm()  # a bit of bfloat16 is now and then one of e4m3
        return
    limit = 1e-5 if wanted.dtype == torch.float32 else 6e-3
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    assert (found.float() - wanted.float()).norm() < limit * wanted.float().norm()


@pytest.fixture
def in_torch(monkeypatch):
    """The function of `flux_ops` without kernels."""
    monkeypatch.setattr(flux_ops, "HAS_TRITON", False)
    return flux_ops


@pytest.mark.parametrize("fp8", FP8)
@pytest.mark.parametrize("added", ["nothing", "y", "y and a bias"])
def test_modulate(make, in_torch, fp8, added):
    x, shift, scale = make(1, 7, D).expand(2, -1, -1)[:, 2:], make(D), make(D)
    wanted, sums = in_torch.Stream(x), x.clone(memory_format=torch.contiguous_format)
    terms = make(D), make(2, 5, D), make(D) if "bias" in added else None
    if added != "nothing":
        wanted.add(*terms)
    found = flux_triton.modulate(sums, None if added == "nothing" else terms, shift, scale, flux_ops.NORM_EPS, fp8)
    _close(found, wanted.modulated(shift, scale, fp8))
    _close(sums, wanted.whole())


@pytest.mark.skipif(INTERPRETED, reason="the interpreter has no e4m3")
@pytest.mark.parametrize("parts", ["plain", "up", "both"])
def test_rows(make, in_torch, parts):
    plain = make(2, 7, D)[:, 2:] if parts != "up" else None
    up = make(2, 5, 4 * D) if parts != "plain" else None
    _close(flux_triton.join(plain, up), in_torch.rows(plain, up))


@pytest.mark.skipif(INTERPRETED, reason="wants a CUDA device")
def test_a_layer_with_gelu_and_one_of_two_parts(make):
    x, beside, layer = make(2, 5, D), make(2, 5, D), Linear(make(4 * D, D), make(4 * D))
    wanted = torch.nn.functional.gelu(layer(x), approximate="tanh")
    _close(layer.gelu(x), wanted)
    out = Linear(make(D, 5 * D), make(D))
    _close(out.joined(beside, wanted), out(torch.cat([beside, wanted], dim=2)))


@pytest.mark.parametrize("lengths", [(9,), (4, 5)])
def test_turned(make, in_torch, lengths):
    head = D // HEADS
    parts = [(make(2, n, 3 * D), make(head), make(head)) for n in lengths]
    angles = torch.rand(9, head // 2, device=DEVICE) * 6
    rope = angles.cos(), angles.sin()
    found = flux_triton.turned(parts, rope, HEADS, flux_ops.NORM_EPS)
    for one, other in zip(found, in_torch._heads(parts, rope, HEADS), strict=True):
        _close(one, other)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter cannot count a loop's turns while it runs")
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("size", [(33, 41), (4, 5)])
@pytest.mark.parametrize("wide", [False, True])
def test_norm_silu(make, silu, size, wide):
    x, norm = make(2, 32, *size).to(memory_format=torch.channels_last), torch.nn.GroupNorm(8, 32)
    norm.weight.data, norm.bias.data, bias = make(32), make(32), make(32)
    dtype = torch.float32 if wide else x.dtype
    found = norm_triton.norm_silu(x, bias, norm.weight, norm.bias, 8, norm.eps, silu, dtype)
    _close(found, lotus2_vae._norm_silu(x.contiguous(), norm, bias, silu, dtype).detach())
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_add_bias(make):
    a, b = (make(2, 32, 7, 9).to(memory_format=torch.channels_last) for _ in range(2))
    bias, other = make(32), make(32)
    _close(norm_triton.add_bias(a, b, bias, other), (a + other[:, None, None]) + (b + bias[:, None, None]))


def test_a_picture_is_enlarged_and_convolved_at_once(make):
    x, conv = make(2, 32, 7, 9).to(memory_format=torch.channels_last), torch.nn.Conv2d(32, 16, 3, padding=1)
    conv.weight.data, conv.bias.data = make(16, 32, 3, 3), make(16)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        wanted = conv(torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        parts = torch.nn.functional.conv2d(x, lotus2_vae._quarters(conv.weight), padding=1)
    found = norm_triton.interleave(parts.contiguous(memory_format=torch.channels_last), conv.bias)
    _close(found, wanted.detach())
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_softmax(make):
    x = make(2, 7, 100).float() * 5
    _close(norm_triton.softmax(x, 0.3, torch.float32), torch.softmax(x * 0.3, dim=-1))


@pytest.mark.skipif(INTERPRETED, reason="wants a CUDA device")
def test_a_recorded_function_is_the_function(make):
    pool = torch.cuda.graph_pool_handle()
    twice, root = Recorded(lambda x: (x * 2).cumsum(0), pool), Recorded(lambda x: x.abs().sqrt(), pool)
    for x in (make(5, 7), make(5, 7), make(3, 2)):
        found = twice(x), root(x)
        twice(x + 1)  # must not change what was given out
        assert torch.equal(found[0], (x * 2).cumsum(0))
        assert torch.equal(found[1], x.abs().sqrt())
