"""The Triton path is the specification to the token: in Triton's interpreter, or on a GPU if there is one."""

import math
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aigc import kernels
from aigc.kernels import Draw, Noise, Parameters, Status
from aigc.testing import strategies
from specification import EDGE, law_specification, nearly_alike

triton = pytest.importorskip("triton", reason="Triton has no release for this machine")
from aigc.kernels import _triton  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FLOATS = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """The interpreter's scalars are numpy's, which warn where integers wrap and numbers overflow, as is meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def drawn(x: Tensor, given: Parameters, noise: Noise) -> Draw:
    moved = noise._replace(seed=noise.seed.to(DEVICE) if isinstance(noise.seed, Tensor) else noise.seed)
    integers, reals = _triton.sample(x.to(DEVICE), given.to(torch.device(DEVICE)), moved)
    return Draw(integers[0].cpu(), reals[0].cpu(), integers[1].cpu(), reals[1].cpu(), integers[2].cpu())


def run(x: Tensor, given: Parameters, start: Tensor) -> Draw:
    return drawn(x, given, Noise(start, 0, hashed=True))


@settings(max_examples=15)  # a row of three chunks takes the interpreter a second or two; `SPLIT` has what is rare
@given(
    x=strategies.logits(dtypes=FLOATS, bad=True) | strategies.logits(rows=2, columns=5000, dtypes=FLOATS),
    t=strategies.temperature(),
    k=strategies.top_k(),
    p=strategies.top_p(),
    m=strategies.min_p(),
    seed=strategies.seeds(),
    step=strategies.steps(),
)
def test_it_is_the_specification_to_the_token(
    x: Tensor, t: float | None, k: int | None, p: float | None, m: float | None, seed: int, step: int
) -> None:
    law_specification(run, x, seed, step, temperature=t, top_k=k, top_p=p, min_p=m)


@pytest.mark.parametrize("some", [{}, {"top_k": 50}, {"top_p": 0.9}, {"min_p": 0.02}, {"top_k": 300, "top_p": 0.95}])
@pytest.mark.parametrize("scale", [0.0, 1.0, 6.0])
def test_long_rows(scale: float, some: dict[str, float]) -> None:
    x = torch.randn(2, 32_000, generator=torch.Generator().manual_seed(3)) * scale
    filters = {"temperature": 0.9, "top_k": None, "top_p": None, "min_p": None} | some
    law_specification(run, x, 5, 1, **filters)


def law_threshold(theirs: Tensor, ours: Tensor, x: Tensor, filters: dict[str, float | None]) -> None:
    """Two thresholds are alike, or the masses above the tokens between them come as near to p as the licence says."""
    k, p = filters.get("top_k"), filters.get("top_p")
    for row in ((theirs != ours) & ~(theirs.isnan() & ours.isnan())).nonzero()[:, 0].tolist():
        y, least, most = x[row].double(), *sorted([float(theirs[row]), float(ours[row])])
        mass = (y - y.max()).exp()
        if k is not None and k < len(y):
            mass = mass.where(y >= y.sort(descending=True).values[int(k) - 1], 0.0)
        for value in y[(y >= least) & (y < most)].unique().tolist():
            assert p is not None
            assert abs(float(mass[y > value].sum() / mass.sum()) - p) <= EDGE


def flat(scale: float, levels: int | None = None, *, rows: int = 1) -> Tensor:
    """Rows of three chunks, of which much may survive; of so many values, if told."""
    x = torch.randn(rows, 4600, generator=torch.Generator().manual_seed(11)) * scale
    return x if levels is None else (x * levels / 8).round() * 8 / levels


SPLIT = [
    (flat(1.0), {"top_p": 0.9}),  # thousands survive: two levels
    (flat(0.1), {"top_p": 0.2, "min_p": 0.9}),
    (flat(2.4), {"top_p": 0.8}),  # hundreds: one level
    (flat(1.0), {"top_k": 300}),
    (flat(1.0), {"top_k": 2500}),
    (flat(1.0), {"top_k": 4599}),
    (torch.cat([flat(2.0)[:, :4000], torch.full((1, 600), -1e9)], 1), {"top_k": 1000}),  # a vocabulary that was filled up
    (torch.cat([flat(2.0), torch.full((1, 1), 2000.0)], 1), {"top_k": 1000}),
    (flat(1.0), {"min_p": 0.1}),
    (flat(3.0), {"min_p": 0.01, "temperature": 2.0}),
    (flat(1.0, 8), {"top_p": 0.7}),  # so many tie that they do not fit a list: whole rows
    (flat(1.0, 8), {"top_k": 3000}),
    (flat(1.0).bfloat16(), {"top_p": 0.9}),
    (flat(1e30), {"top_p": 0.9, "temperature": 1e31}),
    (flat(1.0).where(flat(2.0) < 1, -torch.inf), {"top_p": 0.95}),
    (flat(1.0), {"top_k": 3000, "top_p": 0.9}),  # the second depends on the first: whole rows
]


@pytest.mark.parametrize("x, some", SPLIT)
def test_rows_that_keep_more_than_a_list(x: Tensor, some: dict[str, float]) -> None:
    filters = {"temperature": None, "top_k": None, "top_p": None, "min_p": None} | some
    law_specification(run, x, 2, 3, **filters)
    if "temperature" not in some:
        least = _triton.threshold(x.to(DEVICE), kernels.parameters((1,), **some)).cpu()
        law_threshold(least, kernels.threshold(x, **some), x, some)


@pytest.mark.parametrize("cut", [0.3, 0.8])
def test_blocks_of_tokens_that_are_cut_among_each_other(cut: float) -> None:
    """Three blocks whose tokens are almost alike, and top-p ends among them: their masses are known last."""
    rng = torch.Generator().manual_seed(5)
    x = torch.rand(8, 4600, generator=rng) * 0.1
    x[:, 1024:1792] = -1 + 1e-4 * torch.rand(8, 768, generator=rng)
    mass = x.double().exp()
    inside = float(mass[0, 1024:1792].sum() / mass[0].sum())
    law_specification(run, x, 9, 0, temperature=None, top_k=None, top_p=1 - (1 - cut) * inside, min_p=None)
    least = x[:, 1024:1792].sort(descending=True).values[:, 192:193]  # a quarter of them pass min-p, in any case
    m = (least - x.amax(1, keepdim=True)).double().exp()[:1]
    law_specification(run, x[:1], 9, 1, temperature=None, top_k=None, top_p=1 - (1 - cut) * inside, min_p=float(m))


@pytest.mark.parametrize("some", [{"top_k": 50}, {"top_k": 400}, {"top_k": 50, "top_p": 0.9}, {"min_p": 0.3}])
def test_a_number_and_a_column_of_it_are_alike_to_the_bit(some: dict[str, float]) -> None:
    """Also beside a row with other parameters, and where more tie than a list holds."""
    x = flat(1.0, rows=2)
    x[:, ::7] = 2.0
    columns = {name: torch.tensor([value, 500 if name == "top_k" else 0.5]) for name, value in some.items()}
    alone = drawn(x[:1], kernels.parameters((1,), **some), Noise(torch.tensor([5]), 0))
    beside = drawn(x, kernels.parameters((2,), **columns), Noise(torch.tensor([5, 6]), 0))
    assert all(torch.equal(one, both[:1]) for one, both in zip(alone, beside, strict=True))


@pytest.mark.parametrize("x, some", [SPLIT[i] for i in (0, 2, 4, 8, 10)])
def test_slices_do_not_show(x: Tensor, some: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is cut into other slices, as it is beside other rows, has the same bits."""
    given_rows = kernels.parameters((1,), **some)
    whole = drawn(x, given_rows, Noise(torch.tensor([3]), 1))
    for programs in (1, 6):
        monkeypatch.setattr(_triton, "_PROGRAMS", programs)
        assert all(map(torch.equal, drawn(x, given_rows, Noise(torch.tensor([3]), 1)), whole))


@settings(max_examples=15)
@given(x=strategies.logits(rows=3, dtypes=FLOATS, bad=True), seed=strategies.seeds(), data=st.data())
def test_a_row_owes_nothing_to_its_batch(x: Tensor, seed: int, data: st.DataObject) -> None:
    k = torch.tensor(data.draw(st.lists(st.integers(1, 2000), min_size=3, max_size=3)))
    p = torch.tensor(data.draw(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3)))
    t = torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=3, max_size=3)))
    seeds = seed ^ torch.arange(3)
    whole = drawn(x, kernels.parameters((3,), temperature=t, top_k=k, top_p=p), Noise(seeds, 5))
    for i in range(3):
        at = slice(i, i + 1)
        alone = drawn(x[at], kernels.parameters((1,), temperature=t[at], top_k=k[at], top_p=p[at]), Noise(seeds[at], 5))
        for field, single in zip(whole, alone, strict=True):
            assert torch.equal(field[at].nan_to_num(7), single.nan_to_num(7))


@settings(max_examples=15)
@given(x=strategies.logits(dtypes=FLOATS, bad=True), k=strategies.top_k(), p=strategies.top_p(), m=strategies.min_p())
def test_thresholds_are_those_of_the_torch_path(x: Tensor, k: int | None, p: float | None, m: float | None) -> None:
    given_rows = kernels.parameters(x.shape[:1], top_k=k, top_p=p, min_p=m)
    theirs = _triton.threshold(x.to(DEVICE), given_rows).cpu()
    ours = kernels.threshold(x, top_k=k, top_p=p, min_p=m)
    law_threshold(theirs, ours, x, {"top_k": k, "top_p": p})


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("step", [0, 1, 2**62])
def test_numbers_and_tensors_name_the_same_noise(seed: int, step: int) -> None:
    x, given_rows = torch.zeros(2, 40), Parameters()
    spec = kernels.sample(x, seed=seed, step=step)
    assert torch.equal(drawn(x, given_rows, Noise(seed, step)).token, spec.token)
    assert torch.equal(drawn(x, given_rows, Noise(torch.tensor([seed, seed]), step)).token, spec.token)
    assert torch.equal(drawn(x, given_rows, Noise(torch.tensor(seed), step)).token, spec.token)
    steps = torch.tensor([step, step], device=DEVICE)
    assert torch.equal(drawn(x, given_rows, Noise(seed, steps)).token, spec.token)


def test_parameters_out_of_range_are_a_status_of_their_row() -> None:
    """Values on a GPU are not read back to be checked."""
    x, bad = torch.zeros(6, 10), math.nan
    given_rows = Parameters(
        temperature=torch.tensor([1.0, -1.0, bad, 1.0, 1.0, 1.0])[:, None],
        top_k=torch.tensor([3, 3, 3, 0, 3, 3])[:, None],
        top_p=torch.tensor([1.0, 1.0, 1.0, 1.0, 1.5, 1.0])[:, None],
        min_p=torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, -0.5])[:, None],
    )
    draw = drawn(x, given_rows, Noise(0, 0))
    assert draw.status.tolist() == [Status.OK] + [Status.PARAMETER] * 5
    assert (draw.token[1:] == -1).all()
    assert draw.token[0] == kernels.sample(x[0], seed=0, top_k=3).token


@pytest.mark.parametrize("dtype", FLOATS)
def test_any_strides(dtype: torch.dtype) -> None:
    x = torch.randn(3, 700, generator=torch.Generator().manual_seed(0)).to(dtype)
    wide = torch.stack((x, x), -1)[..., 0]
    for y in (x.t().contiguous().t(), wide, torch.stack((x, x), 1)[:, 1]):
        for some in ({}, {"top_k": 9}):
            given_rows = kernels.parameters((3,), **some)
            assert all(map(torch.equal, drawn(y, given_rows, Noise(1, 2)), drawn(x, given_rows, Noise(1, 2))))


@pytest.mark.parametrize("apart", [-1e-5, -1e-6, 1e-6, 1e-5])
@pytest.mark.parametrize("some", [{}, {"top_k": 2500}])
def test_blocks_that_score_almost_alike_are_told_apart(apart: float, some: dict[str, float]) -> None:
    filters = {"temperature": None, "top_k": None, "top_p": None, "min_p": None} | some
    law_specification(run, nearly_alike(7, 0, apart), 7, 0, **filters)


@pytest.mark.parametrize("t", [5e-324, 1e-46, 1e-42, 1e-30, 1e30, 1e39, 1e300])
@pytest.mark.parametrize("scale", [1e-42, 1.0])
@pytest.mark.parametrize("some", [{"top_p": 0.9}, {"top_k": 600, "top_p": 0.9}])
def test_temperatures_beyond_float32(t: float, scale: float, some: dict[str, float]) -> None:
    x = torch.randn(2, 1500, generator=torch.Generator().manual_seed(0)) * scale
    x[:, ::3], x[:, 1] = torch.finfo(torch.float32).min, -math.inf
    law_specification(run, x, 3, 0, **({"temperature": t, "top_k": None, "top_p": None, "min_p": None} | some))


def test_no_rows() -> None:
    integers, reals = _triton.sample(torch.zeros(0, 5, device=DEVICE), Parameters(), Noise(0, 0))
    assert (integers.shape, reals.shape) == ((3, 0), (2, 0))


Mutant = Callable[[Tensor, Parameters, Tensor], Draw]


def forgets_the_step(x: Tensor, given: Parameters, start: Tensor) -> Draw:
    return drawn(x, given, Noise(start, 1, hashed=True))


def takes_the_batch_for_one(x: Tensor, given: Parameters, start: Tensor) -> Draw:
    return run(x, given, start[:1].expand(len(x)))


def takes_a_list_for_the_row(x: Tensor, given: Parameters, start: Tensor) -> Draw:
    """What a certificate is there to prevent."""
    return run(x.masked_fill(x < x.topk(256).values[:, -1:], -math.inf), given, start)


@pytest.mark.parametrize("some", [{"top_p": 0.9}, {"top_k": 3000, "top_p": 0.9}, {"top_k": 300}, {"min_p": 0.01}])
@pytest.mark.parametrize("mutant", [forgets_the_step, takes_the_batch_for_one, takes_a_list_for_the_row])
def test_the_law_kills(mutant: Mutant, some: dict[str, float]) -> None:
    x = torch.randn(3, 5000, generator=torch.Generator().manual_seed(0))
    filters = {"temperature": None, "top_k": None, "top_p": None, "min_p": None} | some
    law_specification(run, x, 0, 0, **filters)
    with pytest.raises(AssertionError):
        law_specification(mutant, x, 0, 0, **filters)
