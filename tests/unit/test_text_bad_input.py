"""Bad input: a typed error that names what is wrong and how to mend it, before any work, with nothing changed."""

import copy
import json
import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

import aigc
import tiny
from aigc.errors import AigcError, ModelError, ModelFileError, ModelNotFoundError, ParameterError, TypeParameterError
from aigc.kernels import Status
from aigc.sampling import Greedy, Temperature, TopK, chain
from aigc.text import BeamSearch, BestOf, Guidance, PromptLookup

GEN = aigc.Generator(tiny.model("llama"), tiny.tokenizer())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"prompts": []}, "prompts"),
        ({"prompts": ["a", 3]}, r"prompts\[1\]"),
        ({"prompts": 3}, "prompts"),
        ({"prompts": b"a"}, "prompts"),
        ({"prompts": ""}, r"prompts\[0\]"),
        ({"prompts": "x" * 128}, "context of 128"),
        ({"prompts": ["ok", "x" * 500]}, r"prompts\[1\]"),
        ({"n": 0}, "n must be"),
        ({"n": -1}, "n must be"),
        ({"n": 1.0}, "n must be"),
        ({"n": True}, "n must be"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": None}, "max_new_tokens"),
        ({"max_new_tokens": math.nan}, "max_new_tokens"),
        ({"seed": "1"}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"seed": [1, 2]}, "seed"),
        ({"seed": []}, "seed"),
        ({"seed": torch.tensor([1.0])}, "seed"),
        ({"seed": torch.tensor([1, 2, 3])}, "seed"),
        ({"stop": ""}, "stop"),
        ({"stop": []}, "stop"),
        ({"stop": [1]}, r"stop\[0\]"),
        ({"sampler": "greedy"}, "sampler"),
        ({"sampler": TopK}, "sampler"),
        ({"sampler": [TopK(3), TopK(3)]}, "sampler"),
        ({"n": 2, "sampler": Greedy()}, "n must be 1"),
        ({"n": 2, "sampler": chain(Greedy())}, "n must be 1"),
        ({"n": 2, "sampler": Temperature(0)}, r"n must be 1 with sampler=Temperature\(0\)"),
        ({"n": 2, "sampler": Temperature(torch.zeros(2))}, "n must be 1"),
        ({"n": 2, "sampler": chain(Temperature(0.5), TopK(1))}, "n must be 1"),
        ({"seed": np.array([0])}, "seed must be one int, or one per row, as a list"),
        ({"stop": "\ud800"}, r"stop\[0\] must be text without lone"),
        ({"prompts": "\ud800"}, r"prompts\[0\] must be text without lone"),
        ({"batch_size": 0}, "batch_size"),
    ],
    ids=str,
)
def test_arguments(arguments: dict[str, Any], named: str) -> None:
    state = torch.get_rng_state()
    given = {"prompts": "abc", "max_new_tokens": 2} | arguments
    with pytest.raises(ParameterError, match=named):
        GEN.generate(**given)
    if "batch_size" not in given:
        given.pop("logprobs", None)
        with pytest.raises(ParameterError, match=named):
            GEN.stream(**given)  # at the call, not at the first chunk
    assert torch.equal(torch.get_rng_state(), state)


def test_other_doors_check_too() -> None:
    with pytest.raises(ParameterError, match="model must be"):
        aigc.Generator(torch.nn.Identity(), tiny.tokenizer())
    with pytest.raises(ParameterError, match="tokenizer must be"):
        aigc.Generator(tiny.model("llama"), "gpt2")
    with pytest.raises(ParameterError, match="texts"):
        GEN.score([])
    with pytest.raises(ParameterError, match="messages"):
        GEN.chat([{"content": "no role"}])
    with pytest.raises(ModelError, match="chat template"):
        GEN.chat([{"role": "user", "content": "hello"}])


def test_an_encoder_does_not_write_from_left_to_right() -> None:
    """BERT reads both sides; transformers lets it generate all the same, and it writes nonsense."""
    config = hf.BertConfig(vocab_size=258, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    with torch.random.fork_rng():
        bert = hf.BertLMHeadModel(config).eval()
        headless = hf.BertModel(config).eval()
    with pytest.raises(ModelError, match="not causal.*AutoModelForMaskedLM"):
        aigc.Generator(bert, tiny.tokenizer()).generate("abc", max_new_tokens=2)
    with pytest.raises(ParameterError, match="causal language model"):
        aigc.Generator(headless, tiny.tokenizer())


def test_a_tokenizer_of_another_model_is_noticed() -> None:
    gen = aigc.Generator(tiny.model("llama", vocabulary=100), tiny.tokenizer())
    with pytest.raises(ParameterError, match="another model's tokenizer"):
        gen.generate("abc 春", max_new_tokens=2)


def test_a_model_that_wraps_forward_still_runs_on_slots() -> None:
    class Wrapped(hf.LlamaForCausalLM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    plain = tiny.model("llama")
    with torch.random.fork_rng():
        wrapped = Wrapped(plain.config).eval()
    wrapped.load_state_dict(plain.state_dict())
    gen = aigc.Generator(wrapped, tiny.tokenizer())
    assert gen.plan.forward == "slots"
    assert gen.generate("abc", max_new_tokens=8, seed=1).texts == GEN.generate("abc", max_new_tokens=8, seed=1).texts


class Broken:
    """A model's forward that returns bad logits for some rows, from some step on."""

    def __init__(self, model: torch.nn.Module, *, value: float, token: int) -> None:
        self.forward_as_it_was = model.forward
        self.value, self.token = value, token

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        out = self.forward_as_it_was(*args, **kwargs)
        hit = (kwargs["input_ids"] == self.token).any(-1)
        out.logits[hit] = self.value
        return out


@pytest.mark.parametrize(("value", "status"), [(math.nan, Status.NAN), (math.inf, Status.INF), (-math.inf, Status.EMPTY)])
def test_a_row_of_bad_logits_ends_and_its_neighbours_do_not_notice(value: float, status: Status, monkeypatch: Any) -> None:
    model = tiny.model("llama")
    gen = aigc.Generator(model, tiny.tokenizer())
    prompts = ["abc", "poison!", "def ghi"]
    healthy = gen.generate(prompts, max_new_tokens=8, seed=1)
    bang = tiny.tokenizer()("!")["input_ids"][0]
    monkeypatch.setattr(model, "forward", Broken(model, value=value, token=bang))
    out = gen.generate(prompts, max_new_tokens=8, seed=1)
    assert (out[1].finish_reason, out[1].status, out[1].text, out[1].tokens) == ("error", status, "", ())
    for i in (0, 2):
        if bang not in healthy[i].tokens:
            assert (out[i].text, out[i].status) == (healthy[i].text, Status.OK)
    assert bang not in healthy[0].tokens, "the test needs a healthy neighbour"


def test_interrupting_leaves_the_model_usable() -> None:
    before = GEN.generate("abc", max_new_tokens=6, seed=4).texts
    stream = GEN.stream(["abc", "de"], max_new_tokens=6, seed=4)
    next(stream)
    stream.close()
    stream = GEN.stream("abc", max_new_tokens=6, seed=4)
    with pytest.raises(KeyboardInterrupt):
        for _ in stream:
            assert not torch.is_inference_mode_enabled(), "inference mode leaked into the caller's code"
            raise KeyboardInterrupt
    assert GEN.generate("abc", max_new_tokens=6, seed=4).texts == before


def test_the_callers_objects_are_left_as_they_were() -> None:
    model, tokenizer = tiny.model("gpt2"), tiny.tokenizer()
    model.train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    config, modes = model.config.to_dict(), [module.training for module in model.modules()]
    padding = tokenizer.padding_side, tokenizer.pad_token, len(tokenizer)
    gen = aigc.Generator(model, tokenizer)
    texts = [gen.generate("abc", max_new_tokens=8, seed=1).texts for _ in range(2)]
    assert texts[0] == texts[1], "dropout was on"
    gen.score("abc")
    assert [module.training for module in model.modules()] == modes
    assert model.config.to_dict() == config
    assert (tokenizer.padding_side, tokenizer.pad_token, len(tokenizer)) == padding
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    GEN.save_pretrained(place)
    return place


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / name
        content = json.loads(file.read_text()) | changes
        file.write_text(json.dumps(content))
        (folder / "manifest.json").unlink()

    return apply


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "manifest.json").unlink()

    return apply


def raw(name: str, change: Callable[[bytes], bytes], *, manifest: bool) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        if not manifest:
            (folder / "manifest.json").unlink()

    return apply


def only_pickle(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def index_outside(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    shutil.copy(folder / "model.safetensors", folder.parent / "elsewhere.safetensors")
    weight_map = {"lm_head.weight": "../elsewhere.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def flip(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    return bytes(changed)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit flipped": (raw("model.safetensors", flip, manifest=True), "model.safetensors"),
    "tokenizer bit flipped": (raw("tokenizer.json", flip, manifest=True), "tokenizer.json"),
    "truncated": (raw("model.safetensors", lambda b: b[:-100], manifest=True), "model.safetensors"),
    "truncated, no manifest": (raw("model.safetensors", lambda b: b[:-100], manifest=False), "model.safetensors"),
    "empty": (raw("model.safetensors", lambda b: b"", manifest=True), "model.safetensors"),
    "empty, no manifest": (raw("model.safetensors", lambda b: b"", manifest=False), "model.safetensors"),
    "no weights": (lambda f: [(f / n).unlink() for n in ("model.safetensors", "manifest.json")], "safetensors"),
    "no config": (lambda f: [(f / n).unlink() for n in ("config.json", "manifest.json")], "config.json"),
    "no tokenizer": (
        lambda f: [(f / n).unlink() for n in ("tokenizer.json", "tokenizer_config.json", "manifest.json")],
        "model",
    ),
    "tensor missing": (tensors(lambda s: s.pop("model.norm.weight")), "model.norm.weight"),
    "tensor left over": (tensors(lambda s: s.update(extra=torch.ones(1))), "extra"),
    "tensor misshapen": (tensors(lambda s: s.update({"model.norm.weight": torch.ones(7)})), "model.norm.weight"),
    "pickle": (only_pickle, "pickle"),
    "index outside": (index_outside, "index"),
    "auto_map": (edit("config.json", auto_map={"AutoModelForCausalLM": "evil.Model"}), "auto_map"),
    "negative size": (edit("config.json", hidden_size=-4), "hidden_size"),
    "zero layers": (edit("config.json", num_hidden_layers=0), "num_hidden_layers"),
    "absurd layers": (edit("config.json", num_hidden_layers=10**9), "num_hidden_layers"),
    "absurd size": (edit("config.json", hidden_size=10**12), "hidden_size"),
    "vocabulary beyond the weights": (edit("config.json", vocab_size=4_000_000), "vocab_size"),
    "heads that do not divide": (edit("config.json", num_attention_heads=5), "model"),
    "size as text": (edit("config.json", vocab_size="many"), "vocab_size"),
    "unknown architecture": (edit("config.json", model_type="nonesuch", architectures=["Nonesuch"]), "model"),
    "recommendations are no JSON": (
        raw("generation_config.json", lambda b: b"{x", manifest=False),
        "generation_config.json",
    ),
    "recommendations are a list": (
        raw("generation_config.json", lambda b: b"[]", manifest=False),
        "generation_config.json",
    ),
    "end as text": (edit("generation_config.json", eos_token_id="a"), "eos_token_id must be made of integers"),
    "end beyond the vocabulary": (edit("generation_config.json", eos_token_id=[0, 258]), r"in \[0, 257\], got \[0, 258\]"),
    "end of the config": (edit("config.json", eos_token_id=10**9), "config.json: eos_token_id"),
    "config is no JSON": (raw("config.json", lambda b: b"{", manifest=False), "config.json"),
}


@pytest.mark.parametrize("damage", DAMAGE, ids=str)
def test_damaged_folders(folder: Path, damage: str) -> None:
    harm, named = DAMAGE[damage]
    harm(folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(ModelFileError, match=named):
        aigc.Generator.from_pretrained(folder, device="cpu", dtype="float32")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_saved_model_writes_the_same(folder: Path) -> None:
    again = aigc.Generator.from_pretrained(folder, device="cpu", dtype="float32")
    assert again.generate("abc", max_new_tokens=12, seed=3).texts == GEN.generate("abc", max_new_tokens=12, seed=3).texts


def test_code_beside_the_weights_is_never_run(folder: Path) -> None:
    mark = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Model: ...\n")
    edit("config.json", auto_map={"AutoConfig": "evil.Model", "AutoModelForCausalLM": "evil.Model"})(folder)
    with pytest.raises(ModelFileError, match="never runs"):
        aigc.Generator.from_pretrained(folder)
    edit_tokenizer = json.loads((folder / "tokenizer_config.json").read_text()) | {
        "auto_map": {"AutoTokenizer": ["evil.Model", None]}
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(edit_tokenizer))
    config = json.loads((folder / "config.json").read_text())
    del config["auto_map"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match="never runs"):
        aigc.Generator.from_pretrained(folder)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["no/such/folder/here", "./nowhere", "../x", "a b", "", "/nonexistent"])
def test_unknown_folders(name: str) -> None:
    with pytest.raises(AigcError, match="model must be"):
        aigc.Generator.from_pretrained(name)
    with pytest.raises(ModelNotFoundError, match="model must be"):
        aigc.Generator.from_pretrained(Path("nowhere") / "at-all")


def test_a_hub_name_that_is_not_cached_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match="hf download"):
        aigc.Generator.from_pretrained("someone/no-such-model-anywhere")


def test_strings_that_no_tokenizer_takes() -> None:
    gen = aigc.Generator(tiny.model("llama"), tiny.tokenizer())
    for call in (
        lambda: aigc.text.detect("a\ud800", bytes(16), tokenizer=gen.tokenizer),
        lambda: gen.generate("a", sampler=aigc.sampling.LogitBias({"\ud800": 1.0}), max_new_tokens=1),
        lambda: gen.generate("a", sampler=aigc.sampling.ForcedPrefix("\ud800"), max_new_tokens=1),
    ):
        with pytest.raises(ParameterError, match="must be text without lone surrogates"):
            call()


DOORS = ["generate", "generate_each", "stream", "astream", "chat"]
LEFT_OUT = r"{} must be left out: {} has no such argument"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("temperature", r"sampler=Temperature\(0.8\)"),
        ("top_k", "TopK"),
        ("min_p", "MinP"),
        ("repetition_penalty", "RepetitionPenalty"),
        ("do_sample", "Greedy"),
        ("max_tokens", "It is max_new_tokens here"),
        ("max_length", "It is max_new_tokens here"),
        ("num_beams", "search=BeamSearch"),
        ("nonesuch", r"help\(Generator.{}\)"),
    ],
)
def test_a_name_that_nobody_reads_is_refused_at_the_call_with_what_is_meant(door: str, name: str, cure: str) -> None:
    given: Any = [{"role": "user", "content": "a"}] if door == "chat" else "a"
    with pytest.raises(TypeParameterError, match=LEFT_OUT.format(name, door) + ".*" + cure.format(door)):
        getattr(GEN, door)(given, **{name: 3})


@pytest.mark.parametrize(
    ("door", "given"),
    [
        ("generate_each", {"search": BestOf(3)}),
        ("generate_each", {"search": BeamSearch(2)}),
        ("generate_each", {"guidance": Guidance(2.0)}),
        ("generate_each", {"speculate": PromptLookup()}),
        ("stream", {"search": BestOf(3)}),
        ("stream", {"logprobs": True}),
        ("astream", {"search": BestOf(3)}),
        ("astream", {"progress": print}),
        ("chat", {"n": 2}),
        ("chat", {"search": BestOf(3)}),
        ("chat", {"progress": True}),
    ],
    ids=str,
)
def test_what_one_door_has_does_not_slip_through_another(door: str, given: dict[str, Any]) -> None:
    asked: Any = [{"role": "user", "content": "a"}] if door == "chat" else ["a", "b", "c"]
    with pytest.raises(TypeParameterError, match=LEFT_OUT.format(next(iter(given)), door)):
        getattr(GEN, door)(asked, **given)


@pytest.mark.parametrize("logprobs", [5, "no", None, 1])
def test_logprobs_are_asked_for_by_a_bool(logprobs: Any) -> None:
    for door in (GEN.generate, GEN.generate_each):
        with pytest.raises(TypeParameterError, match="logprobs must be True or False"):
            door("a", logprobs=logprobs)


def test_one_row_that_draws_may_be_beside_one_that_does_not() -> None:
    """Rows of temperature 0 share a call with others, and then the prompt has several texts all the same."""
    out = GEN.generate("abc", n=2, max_new_tokens=4, sampler=Temperature(torch.tensor([0.0, 1.0])), seed=1)
    assert out[0].text == GEN.generate("abc", max_new_tokens=4, sampler=Greedy())[0].text


def test_a_revision_is_one_of_the_hub(folder: Path) -> None:
    with pytest.raises(ParameterError, match="revision must be left out where the model is a folder, got 'v9'"):
        aigc.Generator.from_pretrained(folder, revision="v9")


@pytest.mark.parametrize("dtype", ["int4", "torch.int8", torch.int8, 3, None])
def test_dtypes_are_listed_with_int8(dtype: Any, folder: Path) -> None:
    with pytest.raises(ParameterError, match=r'dtype must be "auto" or one of float32, .*, int8, got'):
        aigc.Generator.from_pretrained(folder, device="cpu", dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("again", [copy.deepcopy, lambda gen: pickle.loads(pickle.dumps(gen))], ids=["copied", "pickled"])
def test_a_generator_that_has_written_can_be_copied(again: Callable[[Any], Any], dtype: torch.dtype) -> None:
    gen = aigc.Generator(tiny.model("llama", dtype=dtype), tiny.tokenizer())
    out = gen.generate("abc", max_new_tokens=6, seed=1)
    other = again(gen)
    assert other.generate("abc", max_new_tokens=6, seed=1) == out
    with torch.no_grad():
        other.model.get_output_embeddings().weight.mul_(-1.0)
    assert other.generate("abc", max_new_tokens=6, seed=1) != out
    assert gen.generate("abc", max_new_tokens=6, seed=1) == out
    assert gen.plan is gen.plan


def test_a_session_shares_its_generators_plan() -> None:
    with GEN.session() as session:
        assert session.generator.plan is GEN.plan
