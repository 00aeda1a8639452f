"""Language models learn from texts: the loss against each text alone, runs that are cut, what is kept, what is refused."""

import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional

import aigc
import tiny
from aigc.data.text import Corpus, Document, Packed, Tokens, Window, pack, write_tokens
from aigc.errors import AigcError, DataError, ModelError, ModelFileError, ParameterError
from aigc.text.network_loss import WindowLoss, positions
from aigc.training import Every, Stop

POEMS = ["春眠不觉晓，处处闻啼鸟。", "To be, or not to be.", "床前明月光", "a", "that is the question: whether 'tis nobler"]
APART = ["gpt2", "llama", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "gpt_neox", "phi"]


def generator(name: str = "qwen3", dtype: torch.dtype = torch.float32) -> aigc.Generator:
    return aigc.Generator(tiny.model(name, dtype=dtype), tiny.tokenizer())


def packed(folder: Path, texts: list[str] = POEMS, length: int = 40, how: Any = "best-fit") -> Packed:
    tokens = write_tokens(Corpus.of(texts), folder / "tokens", tokenizer=tiny.tokenizer(), end=257, vocabulary=258)
    return pack(tokens, length=length, how=how)


def batch(windows: Packed) -> Window:
    return Window(*(torch.stack(part) for part in zip(*windows, strict=True)))


def by_hand(model: Any, windows: Packed) -> torch.Tensor:
    """Each piece of a text in a window through the model alone."""
    total = torch.zeros((), dtype=torch.float64)
    for window in windows:
        for segment in range(int(window.segments.max()) + 1):
            places = (window.segments == segment).nonzero()[:, 0]
            ids, targets = window.ids[places], window.labels[places]
            following = window.labels[places[-1] + 1] if places[-1] + 1 < len(window.labels) else torch.tensor(-100)
            wanted = torch.cat([targets[1:], following[None]])
            logits = model(input_ids=ids[None], use_cache=False).logits[0].double()
            total = total + functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum")
    return total


@pytest.mark.parametrize("name", APART)
def test_a_text_in_a_window_sees_nothing_of_the_others(name: str, tmp_path: Path) -> None:
    windows = packed(tmp_path)
    model = tiny.model(name)
    loss = WindowLoss(model)
    assert loss.apart
    with torch.no_grad():
        made, wanted = loss(batch(windows)), by_hand(model, windows)
    assert float(made) == pytest.approx(float(wanted), rel=1e-4)  # float32, in other orders


@pytest.mark.parametrize("name", ["bloom", "mamba", "opt"])  # which count positions themselves
def test_a_model_that_cannot_keep_texts_apart_says_so(name: str) -> None:
    assert not WindowLoss(tiny.model(name)).apart


def test_logits_are_spared_where_they_are_linear() -> None:
    spares = {name: WindowLoss(tiny.model(name)).spares for name in ("qwen3", "gpt2", "gemma2", "phi")}
    assert spares == {"qwen3": True, "gpt2": True, "gemma2": False, "phi": False}  # softcapped; with a bias


def test_a_cap_is_seen_while_logits_are_small() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = transformers.AutoModelForCausalLM.from_config(tiny.CONFIGS["gemma2"])
    assert not WindowLoss(untrained).spares


def test_texts_begin_as_prompts_do(tmp_path: Path) -> None:
    windows = packed(tmp_path)
    model = tiny.model("qwen3")
    total = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        made = WindowLoss(model, begin=256, end=257)(batch(windows))
        for text in POEMS:
            ids = [256, *tiny.tokenizer()(text)["input_ids"], 257]
            for start in range(0, len(ids) - 1, 40):  # those that are longer than a window are cut there
                some = torch.tensor(ids[start : start + 41])
                logits = model(input_ids=some[None, :-1]).logits[0].double()
                total += functional.cross_entropy(logits, some[1:], reduction="sum")
    assert float(made) == pytest.approx(float(total), rel=1e-4)
    gen = aigc.Generator(tiny.model("qwen3"), tiny.tokenizer(begin=True))
    gen.fit(["春眠不觉晓"] * 8, steps=60, lr=0.003, **HOW)
    assert gen.score("春眠不觉晓").bits_per_byte < 1


def test_the_last_step_is_looked_at_and_each_look_is_logged_as_it_is() -> None:
    how = {**HOW, "log_every": 50, "held_out": POEMS[1:3], "look_every": 3}
    history = generator().fit(POEMS, steps=7, lr=0.01, **how)
    assert history.steps == (3, 6, 7)
    assert not any(math.isnan(bits) for bits in history.values["held_out"])


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gpt2"])
def test_gradients_are_those_of_the_texts_alone(name: str, tmp_path: Path) -> None:
    windows = packed(tmp_path)
    ours, theirs = tiny.model(name).double(), tiny.model(name).double()
    WindowLoss(ours)(batch(windows)).backward()
    by_hand(theirs, windows).backward()
    for (where, mine), its in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if its.grad is not None:
            torch.testing.assert_close(mine.grad, its.grad, rtol=1e-6, atol=1e-6, msg=where)


def test_positions_begin_anew() -> None:
    segments = torch.tensor([[0, 0, 0, 1, 2, 2, -1, -1], [0, 1, 1, 1, 1, 1, 1, 1]])
    assert positions(segments).tolist() == [[0, 1, 2, 0, 0, 1, 0, 1], [0, 0, 1, 2, 3, 4, 5, 6]]


HOW: dict[str, Any] = {"batch_size": 2, "length": 16, "seed": 0, "progress": False, "precision": "float32", "log_every": 1}


def weights(gen: aigc.Generator) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in gen.model.parameters()]


def test_it_learns_and_writes_what_it_learned() -> None:
    gen = generator()
    before = gen.score("To be, or not to be.").bits_per_byte
    history = gen.fit(POEMS * 8, steps=60, lr=0.003, **HOW)
    assert history.done == 60
    assert history.values["loss"][-1] < history.values["loss"][0] / 2
    after = gen.score("To be, or not to be.").bits_per_byte
    assert after < before / 2
    ids = tiny.tokenizer()("To be")["input_ids"]
    with torch.no_grad():
        logits = gen.model(input_ids=torch.tensor([ids])).logits[0, -1]
    greedy = gen.generate("To be", max_new_tokens=1, sampler=aigc.sampling.Greedy())[0]
    assert greedy.tokens == (int(logits.argmax()),)  # by the packed weights of now


def test_the_loss_is_nats_a_token_and_bits_a_byte(tmp_path: Path) -> None:
    gen, windows = generator(), packed(tmp_path, length=16)
    with torch.no_grad():
        nats = float(by_hand(gen.model, windows))
    history = gen.fit(windows, epochs=1, lr=0.0, **{**HOW, "batch_size": len(windows)})
    size = sum(len(text.encode()) for text in POEMS)
    assert history.values["loss"][0] == pytest.approx(nats / windows.targets, rel=1e-4)
    assert history.values["loss/bits_per_byte"][0] == pytest.approx(nats / math.log(2) / size, rel=1e-4)


def test_half_precision_comes_back_as_it_was() -> None:
    gen = generator(dtype=torch.bfloat16)
    before = weights(gen)
    gen.fit(POEMS, steps=3, lr=0.01, **HOW)
    assert {parameter.dtype for parameter in gen.model.parameters()} == {torch.bfloat16}
    assert not gen.model.training
    assert not all(torch.equal(a, b) for a, b in zip(before, weights(gen), strict=True))


def test_half_precision_with_frozen_layers_keeps_texts_apart() -> None:
    made = []
    for dtype in (torch.bfloat16, torch.float32):
        gen = generator(dtype=torch.bfloat16)
        gen.model.to(dtype)  # the same numbers in both
        gen.model.model.layers[0].requires_grad_(False)
        before = weights(gen)
        history = gen.fit(POEMS * 2, steps=3, lr=0.01, held_out=["ab"], look_every=1, **HOW)
        made.append((history.values["loss"], history.values["held_out"]))
        frozen = [not parameter.requires_grad for parameter in gen.model.parameters()]
        for still, was, now in zip(frozen, before, weights(gen), strict=True):
            assert not still or torch.equal(was, now)
    assert made[0] == made[1]


@pytest.mark.parametrize(("name", "cut"), [("qwen3", 1), ("qwen3", 4), ("gpt2", 3)])  # GPT-2 has dropout
def test_a_run_that_was_cut_ends_as_the_uncut_one(name: str, cut: int, tmp_path: Path) -> None:
    def run(folder: Path, stop: int | None) -> tuple[list[torch.Tensor], Any]:
        def strike(step: int) -> None:
            if step == stop:
                raise RuntimeError("cut")

        gen = generator(name)
        how = {**HOW, "checkpoint_every": 2, "average": 3, "held_out": POEMS[1:3], "look_every": 2, "accumulate": 2}
        try:
            with torch.random.fork_rng():
                torch.manual_seed(stop or 0)  # what others draw changes nothing
                history = gen.fit(POEMS, steps=6, lr=0.01, checkpoint_dir=folder, every=[Every(1, strike)], **how)
        except RuntimeError:
            return run(folder, None)
        return weights(gen), history

    whole, of_whole = run(tmp_path / "whole", None)
    parts, of_parts = run(tmp_path / "parts", cut)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert str(of_whole) == str(of_parts)
    assert repr(of_whole.values) == repr(of_parts.values)


def test_micro_batches_add_up() -> None:
    made = []
    for accumulate in (1, 2, 4):
        gen = generator(dtype=torch.float64)
        gen.fit(POEMS * 3, steps=3, lr=0.01, **{**HOW, "batch_size": 4, "accumulate": accumulate})
        made.append(weights(gen))
    for other in made[1:]:
        for a, b in zip(made[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def trained(folder: Path, steps: int) -> list[torch.Tensor]:
    gen = generator(dtype=torch.float64)
    texts = ["To be, or not to be, that is the question", "whether 'tis nobler", "in the mind to suffer"] * 3
    how = {**HOW, "batch_size": 4, "lr": 0.01, "held_out": ["to die, to sleep"], "look_every": 2, "checkpoint_every": 2}
    history = gen.fit(texts, steps=steps, schedule=lambda step: 1 / (1 + step), checkpoint_dir=folder, average=9, **how)
    return [*weights(gen), *(torch.tensor(history.values.get(name, ())) for name in ("loss", "held_out"))]


PROGRAM = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from test_text_training import trained

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
torch.save(trained(folder / "two", 4), folder / f"two-{rank}.pt")
dist.destroy_process_group()
"""


def test_two_processes_are_one_on_the_whole_batch_and_one_goes_on(tmp_path: Path) -> None:
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    both = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(rank), str(tmp_path)], env=env) for rank in (0, 1)]
    one = trained(tmp_path / "one", 4)
    assert [process.wait(120) for process in both] == [0, 0]
    two, other = (torch.load(tmp_path / f"two-{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(two[:-1], other[:-1], strict=True))  # the first alone looks
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6, equal_nan=True)  # at steps without a look
    uncut, resumed = trained(tmp_path / "uncut", 6), trained(tmp_path / "two", 6)  # in one process
    assert len(resumed[-2]) == 6
    for a, b in zip(uncut, resumed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6, equal_nan=True)
    assert not all(torch.equal(a, b) for a, b in zip(uncut, two, strict=False))


def test_it_stops_where_held_out_texts_get_no_better_and_takes_the_best(tmp_path: Path) -> None:
    gen, seen = generator(), []

    def look(step: int) -> None:
        seen.append((step, weights(gen)))

    look(0)
    how = {**HOW, "held_out": ["zzzz qqqq xxxx jjjj"], "look_every": 1, "patience": 3, "checkpoint_dir": tmp_path / "run"}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        history = gen.fit(["aaaa aaaa aaaa aaaa"] * 8, steps=60, lr=0.01, every=[Every(1, look)], **how)
    assert history.done < 60
    assert history.stopped is not None
    assert not history.interrupted
    still = {key: value for key, value in how.items() if key not in ("patience", "checkpoint_dir")}
    untouched = generator().fit(["aaaa aaaa aaaa aaaa"] * 8, steps=1, lr=0.0, **still).values["held_out"]
    bits = [*untouched, *history.values["held_out"]]
    best = min(range(len(bits)), key=bits.__getitem__)
    assert len(bits) == best + 1 + 3
    assert all(torch.equal(a, b) for a, b in zip(dict(seen)[best], weights(gen), strict=True))
    assert any("over-fitted" in str(one.message) for one in told)
    again = generator()
    with pytest.warns(UserWarning, match="over-fitted"):
        same = again.fit(["aaaa aaaa aaaa aaaa"] * 8, steps=60, lr=0.01, **how)
    assert same.done == history.done
    assert all(torch.equal(a, b) for a, b in zip(weights(gen), weights(again), strict=True))


def test_forgetting_is_said() -> None:
    gen = generator()
    gen.fit(["To be, or not to be."] * 8, steps=40, lr=0.003, **HOW)
    with pytest.warns(UserWarning, match="The model forgot: general texts"):
        gen.fit(["zzzz zzzz"] * 8, steps=40, lr=0.003, general=["To be, or not to be."], **HOW)


def test_what_it_was_trained_on_is_kept_with_it(tmp_path: Path) -> None:
    gen = generator()
    documents = [Document("春眠不觉晓" * 4, name="春晓", source="poems.tsv", licence="CC0")]
    gen.fit(Corpus.of(documents), steps=1, **{**HOW, "batch_size": 1})
    gen.save_pretrained(tmp_path / "model")
    again = aigc.Generator.from_pretrained(tmp_path / "model", dtype="float32")
    assert again.trained_on == gen.trained_on
    (entry,) = again.trained_on[0].documents
    assert (entry.name, entry.licence, entry.characters) == ("春晓", "CC0", 20)
    again.fit(["abcdefgh" * 4], steps=1, **{**HOW, "batch_size": 1})
    assert len(again.trained_on) == 2
    (tmp_path / "model" / "trained_on.json").write_text("[{}]")
    (tmp_path / "model" / "manifest.json").unlink()
    with pytest.raises(ModelFileError, match="trained_on"):
        aigc.Generator.from_pretrained(tmp_path / "model")


def test_data_may_be_files_tokens_or_windows(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for i, text in enumerate(POEMS):
        (tmp_path / "texts" / f"{i}.txt").write_text(text)
    windows = packed(tmp_path, length=16)
    made = []
    for data in (
        tmp_path / "texts",
        POEMS,
        Corpus.of(POEMS),
        tmp_path / "tokens",
        Tokens.open(tmp_path / "tokens"),
        windows,
    ):
        gen = generator()
        gen.fit(data, steps=2, **HOW)
        made.append(weights(gen))
    for other in made[1:]:
        assert all(torch.equal(a, b) for a, b in zip(made[0], other, strict=True))


@pytest.mark.parametrize(
    ("data", "how", "kind", "cure"),
    [
        ([], {}, ParameterError, "at least one"),
        (["a"], {}, DataError, "Give more text, or a smaller length"),
        (POEMS, {"length": 500}, ParameterError, "The model reads 128 tokens"),
        (POEMS, {"batch_size": 99}, ParameterError, "smaller batch_size"),
        (POEMS, {"epochs": 1}, ParameterError, "Give one of the two"),
        (POEMS, {"precision": "int4"}, ParameterError, "precision"),
        (POEMS, {"patience": 2}, ParameterError, "held_out"),
        (POEMS, {"lr": -1}, ParameterError, "lr"),
        (POEMS, {"epochs": 0, "steps": None}, ParameterError, "epochs"),
        (POEMS, {"look_every": 2}, ParameterError, "held_out"),
        ("one\ntext", {}, ParameterError, "into a list"),
        (None, {}, ParameterError, "aigc.data.texts"),
        (7, {}, ParameterError, "aigc.data.texts"),
    ],
)
def test_bad_input_changes_nothing(data: Any, how: dict[str, Any], kind: type[AigcError], cure: str) -> None:
    gen = generator()
    before = weights(gen)
    with pytest.raises(kind, match=cure):
        gen.fit(data, **{"steps": 2, **HOW, **how})
    assert all(torch.equal(a, b) for a, b in zip(before, weights(gen), strict=True))
    assert gen.trained_on == ()


def test_other_models_are_refused() -> None:
    for model, tokenizer in (
        (tiny.seq2seq("t5"), tiny.closed_tokenizer()),
        (tiny.masked("bert"), tiny.closed_tokenizer(mask="[MASK]")),
    ):
        with pytest.raises(ModelError, match="not causal"):
            aigc.Generator(model, tokenizer).fit(POEMS, steps=1)


def test_a_corpus_that_changed_is_refused(tmp_path: Path) -> None:
    how = {**HOW, "checkpoint_dir": tmp_path / "run"}
    generator().fit(POEMS, steps=2, **how)
    with pytest.raises(DataError, match="changed since"):
        generator().fit([*POEMS[:-1], "another"], steps=4, **how)


def test_tokens_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    gen = generator()
    gen.fit(packed(tmp_path, length=16), steps=1, **HOW)
    other = aigc.Generator.from_scratch(Corpus.of(POEMS), parameters=60_000, device="cpu")
    with pytest.raises(DataError, match="another tokenizer"):
        other.fit(tmp_path / "tokens", steps=1, **HOW)


def test_windows_longer_than_the_context_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="The model reads 128 tokens"):
        generator("gpt2").fit(packed(tmp_path, texts=["abcd" * 99], length=200), steps=1, batch_size=1)


def test_packing_is_that_of_the_windows_that_are_given(tmp_path: Path) -> None:
    windows, how = packed(tmp_path, length=16, how="concatenate"), {**HOW, "length": None}
    made = []
    for more in ({}, {"packing": "concatenate"}):
        gen = generator()
        gen.fit(windows, steps=1, **how, **more)
        made.append(weights(gen))
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))
    with pytest.raises(ParameterError, match="packing must be left out with windows that are packed 'concatenate'"):
        generator().fit(windows, steps=1, packing="best-fit", **how)
    assert generator().fit(POEMS * 2, steps=1, held_out=windows, packing="best-fit", **how).values["held_out"]
    with pytest.raises(ParameterError, match="packing must be 'best-fit' or"):
        generator().fit(windows, steps=1, packing="tight", **how)


def test_from_scratch_is_as_large_as_it_says() -> None:
    corpus = Corpus.of(["To be, or not to be, 春眠不觉晓 that is the question"] * 20)
    for parameters, vocabulary in ((60_000, 300), (200_000, None), (1_000_000, 280)):
        gen = aigc.Generator.from_scratch(corpus, parameters=parameters, vocabulary=vocabulary, context=64, device="cpu")
        size = sum(parameter.numel() for parameter in gen.model.parameters())
        shape = aigc.text.scratch.architecture(corpus, parameters=parameters, vocabulary=vocabulary)
        assert 0.6 * parameters < size < 1.06 * parameters
        assert (
            size == shape.parameters - (shape.vocabulary - gen.tokenizer.backend_tokenizer.get_vocab_size()) * shape.width
        )
        assert gen.tokenizer.decode(gen.tokenizer("春 x🙂", add_special_tokens=False)["input_ids"]) == "春 x🙂"
        assert gen.score("abc").bits_per_byte > 4  # it knows nothing


def test_from_scratch_repeats(tmp_path: Path) -> None:
    corpus = Corpus.of(["To be, or not to be"] * 9)
    one, two, other = (
        aigc.Generator.from_scratch(corpus, parameters=60_000, seed=seed, device="cpu") for seed in (0, 0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))
    one.fit(corpus, steps=2, **HOW)
    one.save_pretrained(tmp_path / "mine")
    again = aigc.Generator.from_pretrained(tmp_path / "mine", dtype="float32")
    assert again.generate("To", seed=3, max_new_tokens=9).texts == one.generate("To", seed=3, max_new_tokens=9).texts
    assert json.loads((tmp_path / "mine" / "trained_on.json").read_text())[0]["documents"]
    for bad in ({"parameters": 10}, {"vocabulary": 3}, {"context": 1}):
        with pytest.raises(ParameterError):
            aigc.Generator.from_scratch(corpus, **bad)
    with pytest.raises(DataError, match="at least one document"):
        aigc.Generator.from_scratch(Corpus.of(["a"]).where(lambda document: False))


def test_a_new_model_takes_larger_steps_until_a_run_has_ended() -> None:
    def trained(*rates: float | None) -> list[torch.Tensor]:
        gen = aigc.Generator.from_scratch(Corpus.of(POEMS), parameters=60_000, device="cpu")
        for lr in rates:
            gen.fit(POEMS * 2, steps=2, lr=lr, **HOW)
        return weights(gen)

    new = aigc.Generator.from_scratch(Corpus.of(POEMS), parameters=60_000, device="cpu")
    large, small = (rate / new.model.config.hidden_size**0.5 for rate in (0.06, 0.02))
    assert all(map(torch.equal, trained(None, None), trained(large, small)))
    assert not all(map(torch.equal, trained(None), trained(small)))


@pytest.mark.parametrize("again", ["same", "new"])
def test_a_run_that_goes_on_keeps_the_rate_it_began_with(again: str, tmp_path: Path) -> None:
    def new() -> aigc.Generator:
        return aigc.Generator.from_scratch(Corpus.of(POEMS), parameters=60_000, device="cpu")

    uncut, gen = new(), new()
    how = {**HOW, "schedule": lambda step: 1.0}
    uncut.fit(POEMS * 2, steps=4, **how)
    gen.fit(POEMS * 2, steps=2, checkpoint_dir=tmp_path / again, **how)
    gen = gen if again == "same" else new()
    gen.fit(POEMS * 2, steps=4, checkpoint_dir=tmp_path / again, **how)
    assert all(map(torch.equal, weights(uncut), weights(gen)))


def test_a_run_that_stopped_early_leaves_no_new_model() -> None:
    def stop(step: int) -> None:
        raise Stop("enough")

    gen = aigc.Generator.from_scratch(Corpus.of(POEMS), parameters=60_000, device="cpu")
    gen.fit(POEMS * 2, steps=9, every=[Every(1, stop)], **HOW)
    assert not aigc.text.scratch.is_new(gen.model)


def test_a_refused_run_is_no_provenance(tmp_path: Path) -> None:
    gen = generator()
    for bad in ({"checkpoint_dir": tmp_path, "seed": None}, {"every": [print]}, {"log_every": 0}):
        with pytest.raises(ParameterError):
            gen.fit(POEMS, steps=1, **{**HOW, **bad})
    assert gen.trained_on == ()


SHORT: dict[str, Any] = {"steps": 2, "batch_size": 2, "length": 16, "seed": 0, "progress": False}


def test_an_optimizer_of_other_parameters_would_train_nothing() -> None:
    gen, other = generator(), torch.nn.Parameter(torch.zeros(3))
    before = {name: value.clone() for name, value in gen.model.state_dict().items()}
    with pytest.raises(ParameterError, match="optimizer must be one of the parameters that are trained, got 'SGD'"):
        gen.fit(POEMS * 4, **SHORT, optimizer=lambda _: torch.optim.SGD([other], lr=0.1))
    assert gen.trained_on == ()
    gen.fit(POEMS * 4, **SHORT, optimizer=lambda parameters: torch.optim.SGD(parameters[-1:], lr=0.1))
    changed = [name for name, value in gen.model.state_dict().items() if not torch.equal(value, before[name])]
    assert len(changed) == 1


@pytest.mark.parametrize("lr", [None, 0.1])
def test_a_schedule_is_of_numbers(lr: float | None) -> None:
    gen = generator()
    for schedule, says in (
        (lambda step: None, "a function from the step's number to a number, got None"),
        (3, "a function of the step"),
    ):
        with pytest.raises(ParameterError, match=f"schedule must be {says}"):
            gen.fit(POEMS * 4, **SHORT, schedule=schedule, lr=lr)


@pytest.mark.parametrize("name", ["held_out", "general"])
def test_texts_are_named_in_errors(name: str) -> None:
    for given in (3, "two\nlines"):
        with pytest.raises(ParameterError, match=f"{name} must be a path"):
            generator().fit(POEMS * 4, **SHORT, **{name: given})
