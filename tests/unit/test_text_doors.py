"""The other doors of `Generator`: chats, asynchronous streams, the hub's cache, memory that runs out."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors

import aigc
import tiny
from aigc.errors import AigcError, ModelError, ParameterError, ResourceError
from aigc.text.packed.forward import PackedForward
from aigc.text.slots import Positions, causal_mask

TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
ASK = [{"role": "user", "content": "你好"}]


def chatty(template: str = TEMPLATE) -> aigc.Generator:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return aigc.Generator(tiny.model("llama"), tokenizer)


def test_chat_continues_the_template_of_the_model() -> None:
    gen = chatty()
    answer = gen.chat(ASK, max_new_tokens=8, seed=3)
    assert answer.prompt == "[user] 你好\n[assistant] "
    assert answer.text == gen.generate(answer.prompt, max_new_tokens=8, seed=[answer.seed])[0].text
    several = gen.chat([ASK, [*ASK, {"role": "assistant", "content": "a"}, ASK[0]]], max_new_tokens=8, seed=3)
    assert len(several) == 2
    assert several[0].text == answer.text


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([{"role": "user", "content": None}], r"messages\[0\]\['content'\] must be a string, got None"),
        ([{"role": "user", "content": 3}], r"messages\[0\]\['content'\] must be a string"),
        ([{"role": "user", "content": ["a"]}], r"messages\[0\]\['content'\] must be a string"),
        ([*ASK, {"role": 3, "content": "a"}], r"messages\[1\]\['role'\] must be a string"),
        ([ASK, [*ASK, {"role": "user", "content": 3}]], r"messages\[1\]\[1\]\['content'\] must be a string"),
        ([{"role": "user", "content": "\ud800"}], r"messages\[0\]\['content'\] must be text without lone surrogates"),
        ([{"role": "user", "content": "x" * 200}], r"messages\[0\] must be shorter"),
        ([ASK, [{"role": "user", "content": "x" * 200}]], r"messages\[1\] must be shorter"),
    ],
    ids=str,
)
def test_messages_are_of_strings(messages: Any, named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        chatty().chat(messages, max_new_tokens=4)


def with_begin_token() -> aigc.Generator:
    """A tokenizer that puts a begin token before every text, as Llama's does."""
    tokenizer = tiny.tokenizer(begin=True)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 256), ("</s>", 257)]
    )
    return aigc.Generator(tiny.model("llama"), tokenizer)


@pytest.mark.parametrize("template", [TEMPLATE, "{{ bos_token }}" + TEMPLATE])
def test_an_answer_can_be_repeated_from_its_prompt(template: str) -> None:
    gen = with_begin_token()
    gen.tokenizer.chat_template = template
    answer = gen.chat(ASK, max_new_tokens=8, seed=3)
    assert gen.generate(answer.prompt, max_new_tokens=8, seed=[answer.seed])[0].text == answer.text


def test_end_tokens_that_the_user_wrote_stay_and_those_that_the_tokenizer_added_go() -> None:
    encode = with_begin_token()._vocabulary.encode
    assert encode("ab")[-1] not in (256, 257)
    assert encode("ab</s>")[-1] == 257
    assert encode("<s>ab")[:2] == encode("ab")[:2]


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os }}",
    ],
)
def test_a_template_runs_in_a_sandbox(template: str) -> None:
    gen = chatty(template)
    try:
        answer = gen.chat(ASK, max_new_tokens=1, seed=0)
    except Exception as error:
        assert "unsafe" in str(error) or isinstance(error, AigcError)
    else:
        assert "subclasses" not in answer.prompt
        assert "module" not in answer.prompt


def test_a_template_that_refuses_is_a_typed_error() -> None:
    with pytest.raises(ModelError, match="refuses these messages"):
        chatty("{{ raise_exception('no system messages') }}").chat(ASK)
    with pytest.raises(ParameterError, match="surrogates"):
        chatty().generate("a\ud800")


def test_asynchronous_streams_are_streams() -> None:
    gen = chatty()

    async def collect() -> list[str]:
        return [chunk.text async for chunk in gen.astream("abc", max_new_tokens=6, seed=2)]

    assert asyncio.run(collect()) == [chunk.text for chunk in gen.stream("abc", max_new_tokens=6, seed=2)]


def test_when_memory_runs_out_finished_rows_stay_and_texts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    gen = chatty()
    prompts = ["a", "bb", "ccc", "dddd", "eeeee"]
    expected = gen.generate(prompts, max_new_tokens=6, seed=1).texts
    step, sizes = PackedForward.step, []

    def narrow(self: PackedForward, tokens: torch.Tensor) -> torch.Tensor:
        sizes.append(len(tokens))
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return step(self, tokens)

    monkeypatch.setattr(PackedForward, "step", narrow)
    assert gen.generate(prompts, max_new_tokens=6, seed=1).texts == expected
    assert max(sizes) == 5
    monkeypatch.setattr(PackedForward, "step", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")))
    with pytest.raises(ResourceError, match="one item alone"):
        gen.generate(prompts, max_new_tokens=6, seed=1)


def test_a_hub_model_in_the_cache_is_loaded_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants as hub

    sha = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny"
    gen = chatty()
    blobs = repository / "blobs"
    gen.save_pretrained(blobs)  # with a manifest, as `hf download` would fetch it too
    (repository / "snapshots" / sha).mkdir(parents=True)
    for file in blobs.iterdir():
        (repository / "snapshots" / sha / file.name).symlink_to(f"../../blobs/{file.name}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(sha)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    again = aigc.Generator.from_pretrained("someone/tiny", device="cpu", dtype="float32")
    assert again.generate("abc", max_new_tokens=6, seed=1).texts == gen.generate("abc", max_new_tokens=6, seed=1).texts


@given(
    write=st.lists(st.integers(0, 20), min_size=1, max_size=3),
    queries=st.integers(1, 3),
    sliding=st.none() | st.integers(1, 9),
)
def test_masks_show_the_past_and_nothing_else(write: list[int], queries: int, sliding: int | None) -> None:
    positions = torch.tensor(write)[:, None] + torch.arange(queries)
    mask = causal_mask(Positions(positions, window=24, room=24), dtype=torch.float32, sliding=sliding)
    for row in range(len(write)):
        for query in range(queries):
            at = write[row] + query
            seen = [slot for slot in range(24) if mask[row, 0, query, slot] == 0]
            first = 0 if sliding is None else max(0, at - sliding + 1)
            assert seen == list(range(first, min(at, 23) + 1))


def test_rows_grow_past_their_first_slots() -> None:
    """Longer than one bucket of slots, and longer than one chunk of a prompt: the same as a plain forward."""
    model = tiny.model("llama")
    model.config.max_position_embeddings = 2048
    gen = aigc.Generator(model, tiny.tokenizer())
    prompt = "abcdefgh " * 80  # 720 tokens: two chunks
    out = gen.generate([prompt, "a"], max_new_tokens=70, sampler=[aigc.sampling.Greedy()] * 2)
    ids = torch.tensor([tiny.tokenizer()(prompt)["input_ids"] + list(out[0].tokens)])
    with torch.no_grad():
        best = model(input_ids=ids).logits[0, 719:-1].argmax(-1)
    assert best.tolist() == list(out[0].tokens)


def test_every_argument_of_generate_and_stream_is_the_same() -> None:
    import inspect

    of: Any = {name: inspect.signature(getattr(aigc.Generator, name)).parameters for name in ("generate", "stream")}
    for name, parameter in of["stream"].items():
        assert of["generate"][name] == parameter
