"""LoRA adapters: what they change and what they do not, saved, switched, merged; and files that are refused."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import aigc
import tiny
from aigc.data.text import Corpus, Document
from aigc.errors import ModelError, ModelFileError, ModelNotFoundError, ParameterError
from aigc.text.adapters import LoRA

IDS = torch.tensor([[3, 14, 15, 92, 65, 35]])
HOW: dict[str, Any] = {
    "steps": 12,
    "batch_size": 2,
    "length": 16,
    "seed": 0,
    "progress": False,
    "precision": "float32",
    "lr": 0.01,
}
TEXTS = ["To be, or not to be.", "that is the question"] * 4


def generator(name: str = "qwen3", dtype: torch.dtype = torch.float32) -> aigc.Generator:
    return aigc.Generator(tiny.model(name, dtype=dtype), tiny.tokenizer())


def logits(gen: aigc.Generator) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = gen.model(input_ids=IDS).logits.double()
    return found


def base(gen: aigc.Generator) -> list[torch.Tensor]:
    return [p.detach().clone() for name, p in gen.model.named_parameters() if ".lora_" not in name]


@pytest.mark.parametrize("name", ["qwen3", "gpt2"])
def test_a_new_adapter_changes_nothing_and_a_trained_one_alone_is_changed(name: str) -> None:
    gen = generator(name)
    before, weights = logits(gen), base(gen)
    gen.adapters.add("mine", LoRA(rank=2))
    torch.testing.assert_close(logits(gen), before)
    said = gen.score(TEXTS[0]).bits_per_byte
    gen.fit(TEXTS, **{**HOW, "steps": 60, "lr": 0.003})
    assert gen.score(TEXTS[0]).bits_per_byte < said - 0.2
    assert all(torch.equal(a, b) for a, b in zip(weights, base(gen), strict=True))
    assert not torch.allclose(logits(gen), before, atol=1e-3)
    gen.adapters.use(None)
    torch.testing.assert_close(logits(gen), before)


def test_it_is_the_product_of_two_matrices(tmp_path: Path) -> None:
    gen, plain = generator(), generator()
    gen.adapters.add("mine", LoRA(rank=2, alpha=3.0, targets=("q_proj", "down_proj")))
    gen.fit(TEXTS, **HOW)
    state = {name: p.detach() for name, p in gen.model.named_parameters()}
    changed = 0
    for place, module in plain.model.named_modules():
        if place.endswith(("q_proj", "down_proj")):
            a, b = (state[f"{place}.lora_{part}.mine.weight"] for part in "AB")
            module.weight.data += 1.5 * b @ a
            changed += 1
    assert changed == 4
    torch.testing.assert_close(logits(gen), logits(plain), rtol=1e-4, atol=1e-4)
    gen.adapters.merge()
    torch.testing.assert_close(logits(gen), logits(plain), rtol=1e-4, atol=1e-4)
    assert gen.adapters.names == ()
    assert [name for name, _ in gen.model.named_parameters()] == [name for name, _ in plain.model.named_parameters()]
    assert all(parameter.requires_grad for parameter in gen.model.parameters())
    gen.save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(aigc.Generator.from_pretrained(tmp_path / "merged", dtype="float32")), logits(gen))


def test_saved_loaded_and_switched(tmp_path: Path) -> None:
    gen, plain = generator(), logits(generator())
    found = {}
    for name, texts in (("one", TEXTS), ("two", ["zzzz zzzz"] * 4)):
        gen.adapters.add(name, LoRA(rank=2))
        gen.fit(texts, **HOW)
        found[name] = logits(gen)
        gen.tokenizer.chat_template = f"{{# {name} #}}"
        gen.adapters.save(tmp_path / name)
    again = generator()
    for name in ("one", "two"):
        again.adapters.load(tmp_path / name)
        assert again.tokenizer.chat_template == f"{{# {name} #}}"
    for name in ("one", "two", "one"):
        for each in (gen, again):
            each.adapters.use(name)
            assert each.adapters.active == name
            torch.testing.assert_close(logits(each), found[name])
    again.adapters.remove()
    torch.testing.assert_close(logits(again), plain)
    assert again.adapters.active is None
    again.fit(TEXTS, **HOW)
    assert not torch.allclose(logits(again), plain)


def test_an_adapter_in_use_is_in_use_alone() -> None:
    """Of two that change other matrices, neither is left in use in those that the other does not change."""
    found = {}
    both, plain = generator(), logits(generator())
    for name, target in (("one", "q_proj"), ("two", "down_proj")):
        gen = generator()
        for each in (gen, both):
            each.adapters.add(name, LoRA(rank=2, targets=(target,)))
            each.fit(TEXTS, **HOW)
        found[name] = logits(gen)
    for name in ("one", "two", "one"):
        both.adapters.use(name)
        torch.testing.assert_close(logits(both), found[name])
    both.adapters.remove(name="one")
    assert (both.adapters.names, both.adapters.active) == (("two",), None)
    torch.testing.assert_close(logits(both), plain)
    both.adapters.use("two")
    torch.testing.assert_close(logits(both), found["two"])
    both.adapters.add("third", LoRA(rank=2, targets=("q_proj",)))
    both.adapters.remove(name="third")
    both.adapters.use("two")
    both.adapters.add("third", LoRA(rank=2))
    both.adapters.use("two")
    both.adapters.remove(name="third")
    assert both.adapters.active == "two"
    torch.testing.assert_close(logits(both), found["two"])
    with pytest.raises(ParameterError, match="name"):
        both.adapters.remove(name="third")
    both.adapters.remove(name="two")
    assert [name for name, _ in both.model.named_parameters()] == [name for name, _ in generator().model.named_parameters()]
    assert all(parameter.requires_grad for parameter in both.model.parameters())


def test_the_chat_template_is_that_of_the_adapter_in_use(tmp_path: Path) -> None:
    gen = generator()
    gen.tokenizer.chat_template = "own"
    gen.adapters.add("plain", LoRA(rank=2))
    gen.adapters.add("chatty", LoRA(rank=2))
    assert gen.tokenizer.chat_template == "own"
    gen.tokenizer.chat_template = "chats"
    gen.adapters.add("new", LoRA(rank=2))
    assert gen.tokenizer.chat_template == "own"
    gen.adapters.use("chatty")
    for name, template in (("plain", "own"), ("chatty", "chats"), (None, "own"), ("chatty", "chats"), ("plain", "own")):
        gen.adapters.use(name)
        assert gen.tokenizer.chat_template == template
    gen.adapters.save(tmp_path / "chatty", name="chatty")  # which is not in use
    gen.tokenizer.chat_template = None
    gen.adapters.use(None)
    gen.adapters.use("plain")
    assert gen.tokenizer.chat_template is None
    gen.adapters.use(None)
    gen.tokenizer.chat_template = "other"  # of the model itself
    gen.adapters.use("chatty")
    assert gen.tokenizer.chat_template == "chats"
    gen.adapters.remove(name="chatty")
    assert gen.tokenizer.chat_template == "other"
    gen.adapters.add("chatty", LoRA(rank=2))
    assert gen.tokenizer.chat_template == "other"  # nothing of the one before
    again = generator()
    for end, template in ((again.adapters.remove, None), (again.adapters.merge, "chats")):
        again.adapters.load(tmp_path / "chatty")
        assert again.tokenizer.chat_template == "chats"
        end()
        assert again.tokenizer.chat_template == template


@pytest.mark.parametrize(
    "template", [{"default": "{{ a }}\r\n", "tool_use": "诗"}, {"chat_template": "a", "x.y": ""}, {"default": "a"}]
)
def test_several_chat_templates_are_kept_as_transformers_keeps_them(template: dict[str, str], tmp_path: Path) -> None:
    gen = generator()
    gen.adapters.add("mine", LoRA(rank=2))
    gen.tokenizer.chat_template = template
    gen.adapters.save(tmp_path / "mine")
    gen.tokenizer.save_pretrained(tmp_path / "theirs")
    theirs, ours = (
        {file.relative_to(tmp_path / folder).as_posix(): file.read_bytes() for file in (tmp_path / folder).rglob("*.jinja")}
        for folder in ("theirs", "mine")
    )
    assert ours == theirs
    assert len(ours) == len(template)
    again = generator()
    again.adapters.load(tmp_path / "mine")
    assert again.tokenizer.chat_template == ("a" if template == {"default": "a"} else template)
    again.adapters.use(None)
    assert again.tokenizer.chat_template is None


def test_chat_templates_that_no_file_can_hold_or_that_are_damaged(tmp_path: Path) -> None:
    gen = generator()
    gen.adapters.add("mine", LoRA(rank=2))
    for bad in ({"../x": "a"}, {"": "a"}, {"a\\b": "a"}, {"a\0": "a"}, {"a": 1}, {1: "a"}, 5):
        gen.tokenizer.chat_template = bad
        with pytest.raises(ParameterError, match="chat_template"):
            gen.adapters.save(tmp_path / "mine")
        assert list(tmp_path.iterdir()) == []
    gen.tokenizer.chat_template = {"default": "a", "tool_use": "b"}
    gen.adapters.save(tmp_path / "mine")
    (tmp_path / "mine" / "manifest.json").unlink()
    for name in ("additional_chat_templates/tool_use.jinja", "chat_template.jinja"):
        (tmp_path / "mine" / name).write_bytes("静夜思".encode("gb18030"))
        other = generator()
        with pytest.raises(ModelFileError, match=f"{name} cannot be read.*utf-8"):
            other.adapters.load(tmp_path / "mine")
        assert (other.adapters.names, other.tokenizer.chat_template) == ((), None)


@pytest.mark.parametrize("targets", [("c_attn",), ("wpe",), None])
def test_an_adapter_of_another_model_is_refused_as_that_and_nothing_is_changed(
    targets: tuple[str, ...] | None, tmp_path: Path
) -> None:
    theirs, gen = generator("gpt2"), generator()
    theirs.adapters.add("theirs", LoRA(rank=2, targets=targets))
    theirs.adapters.save(tmp_path / "theirs")
    gen.model.model.layers[0].mlp.requires_grad_(False)
    for names in ((), ("mine",)):
        for name in names:
            gen.adapters.add(name, LoRA(rank=2))
        held = [(place, p.requires_grad) for place, p in gen.model.named_parameters()]
        kept, plain = sorted(vars(gen.model)), logits(gen)
        with pytest.raises(ModelFileError, match="of another model"):
            gen.adapters.load(tmp_path / "theirs")
        assert (gen.adapters.names, gen.adapters.active) == (names, names[0] if names else None)
        assert [(place, p.requires_grad) for place, p in gen.model.named_parameters()] == held
        assert torch.equal(logits(gen), plain)
        assert sorted(vars(gen.model)) == kept
    with pytest.raises(ParameterError, match="name must be a new one"):
        gen.adapters.load(tmp_path / "theirs", name="mine")
    with pytest.raises(ParameterError, match="seed must be"):
        gen.adapters.add("other", seed=2**64)


def test_what_an_adapter_was_trained_on_is_kept_with_it(tmp_path: Path) -> None:
    def names(gen: aigc.Generator) -> list[str]:
        return [entry.name for manifest in gen.trained_on for entry in manifest.documents]

    def corpus(name: str) -> Corpus:
        return Corpus.of([Document("To be, or not to be, that is it. " * 2, name=name, licence="CC0")])

    gen, how = generator(), {**HOW, "steps": 1, "batch_size": 1}
    gen.fit(corpus("model"), **how)
    for name, texts in (("first", ["model", "a", "a"]), ("second", ["b"])):
        gen.adapters.add(name, LoRA(rank=2))
        assert names(gen) == ["model"]
        for text in texts:
            gen.fit(corpus(text), **how)
    for name, expected in ((None, []), ("first", ["model", "a"]), ("second", ["b"])):
        gen.adapters.use(name)
        assert names(gen) == ["model", *expected]  # what both were trained on is of each
    for name in ("first", "second"):
        gen.adapters.save(tmp_path / name, name=name)
    assert json.loads((tmp_path / "second" / "trained_on.json").read_text())[0]["documents"][0]["licence"] == "CC0"
    other = generator()
    other.adapters.load(tmp_path / "first")
    other.adapters.load(tmp_path / "second")
    assert names(other) == ["b"]
    other.adapters.remove(name="second")
    assert other.trained_on == ()
    other.adapters.use("first")
    assert names(other) == ["model", "a"]
    other.adapters.merge()
    other.save_pretrained(tmp_path / "merged")
    assert names(aigc.Generator.from_pretrained(tmp_path / "merged")) == ["model", "a"]
    gen.adapters.remove()
    assert names(gen) == ["model"]
    (tmp_path / "first" / "trained_on.json").write_text("[{}]")
    (tmp_path / "first" / "manifest.json").unlink()
    with pytest.raises(ModelFileError, match="trained_on"):
        gen.adapters.load(tmp_path / "first")
    assert gen.adapters.names == ()


def test_generators_of_one_model_know_the_same_of_what_it_was_trained_on(tmp_path: Path) -> None:
    def names(gen: aigc.Generator) -> list[str]:
        return [entry.name for manifest in gen.trained_on for entry in manifest.documents]

    def corpus(name: str) -> Corpus:
        return Corpus.of([Document("To be, or not to be, that is it. " * 2, name=name)])

    one, how = generator(), {**HOW, "steps": 1, "batch_size": 1}
    two = aigc.Generator(one.model, one.tokenizer)
    one.fit(corpus("model"), **how)
    two.adapters.add("mine", LoRA(rank=2))
    assert names(one) == names(two) == ["model"]
    one.fit(corpus("a"), **how)
    two.fit(corpus("b"), **how)
    three = aigc.Generator(one.model, one.tokenizer)  # made when all was done
    assert names(one) == names(two) == names(three) == ["model", "a", "b"]
    three.adapters.save(tmp_path / "mine")
    kept = json.loads((tmp_path / "mine" / "trained_on.json").read_text())
    assert [manifest["documents"][0]["name"] for manifest in kept] == ["a", "b"]
    copied = aigc.Generator(copy.deepcopy(one.model), one.tokenizer)
    three.adapters.use(None)
    assert names(one) == names(two) == names(three) == ["model"]
    assert names(copied) == ["model", "a", "b"]
    assert names(generator()) == []  # of another model


def test_peft_reads_what_we_write(tmp_path: Path) -> None:
    from peft import PeftModel

    gen = generator()
    gen.adapters.add("mine", LoRA(rank=2))
    gen.fit(TEXTS, **HOW)
    gen.adapters.save(tmp_path / "mine")
    with torch.random.fork_rng():
        theirs = PeftModel.from_pretrained(tiny.model("qwen3"), tmp_path / "mine")
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=IDS).logits.double(), logits(gen))
    theirs.save_pretrained(tmp_path / "theirs")
    again = generator()
    again.adapters.load(tmp_path / "theirs", name="from-peft")
    torch.testing.assert_close(logits(again), logits(gen))


@pytest.mark.parametrize("targets", [None, ("q_proj", "embed_tokens")])
def test_without_an_adapter_in_use_all_of_the_model_is_trained_that_was_before(targets: tuple[str, ...] | None) -> None:
    gen = generator()
    gen.model.model.layers[1].mlp.down_proj.requires_grad_(False)
    held = {name for name, p in gen.model.named_parameters() if not p.requires_grad}
    gen.adapters.add("mine", LoRA(rank=2, targets=targets))
    gen.adapters.use(None)
    before = {name: p.detach().clone() for name, p in gen.model.named_parameters()}
    gen.fit(TEXTS, **{**HOW, "steps": 2})
    same = {name.replace(".base_layer", "") for name, p in gen.model.named_parameters() if torch.equal(p, before[name])}
    assert {name for name in same if ".lora_" not in name} == held
    assert len([name for name in before if ".lora_" in name]) == len(same - held), "and no adapter"
    gen.adapters.use("mine")
    assert all((".lora_" in name) == p.requires_grad for name, p in gen.model.named_parameters())
    gen.adapters.use(None)
    gen.adapters.remove()
    assert {name for name, p in gen.model.named_parameters() if not p.requires_grad} == held


def test_texts_are_those_of_the_adapter_in_use() -> None:
    gen = generator()
    plain = gen.generate("To", seed=0, max_new_tokens=12).texts
    gen.adapters.add("mine", LoRA(rank=2))
    assert gen.generate("To", seed=0, max_new_tokens=12).texts == plain
    gen.fit(TEXTS, **{**HOW, "steps": 40})
    own = gen.generate("To", seed=0, max_new_tokens=12).texts
    assert own != plain
    gen.adapters.use(None)
    assert gen.generate("To", seed=0, max_new_tokens=12).texts == plain
    gen.adapters.use("mine")
    gen.adapters.merge()
    assert gen.generate("To", seed=0, max_new_tokens=12).texts == own


def test_a_run_with_an_adapter_goes_on(tmp_path: Path) -> None:
    made = []
    for steps in ((6,), (3, 6)):
        for stop in steps:
            gen = generator()
            gen.adapters.add("mine", LoRA(rank=2, dropout=0.2))
            schedule = {"schedule": lambda step: 1.0, "checkpoint_dir": tmp_path / str(len(steps))}
            gen.fit(TEXTS, **{**HOW, "steps": stop}, **schedule)
        made.append([p.detach() for name, p in gen.model.named_parameters() if ".lora_" in name])
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


def test_an_adapter_takes_larger_steps_than_a_model() -> None:
    def trained(**how: Any) -> torch.Tensor:
        gen = generator()
        gen.adapters.add("mine", LoRA(rank=2))
        gen.fit(TEXTS, **{**HOW, "steps": 2, **how})
        return logits(gen)

    root = generator().model.config.hidden_size ** 0.5
    assert torch.equal(trained(lr=None), trained(lr=0.06 / root))
    assert not torch.equal(trained(lr=None), trained(lr=0.02 / root))


def test_half_precision_stays_where_it_is_not_trained() -> None:
    gen = generator(dtype=torch.bfloat16)
    weights = base(gen)
    gen.adapters.add("mine", LoRA(rank=2))
    gen.fit(TEXTS, **HOW)
    assert all(torch.equal(a, b) for a, b in zip(weights, base(gen), strict=True))


def test_what_peft_knows_is_written_again(tmp_path: Path) -> None:
    gen = generator()
    gen.adapters.add("mine", LoRA(rank=4, targets=("layers.0.self_attn.q_proj", "down_proj")))
    gen.fit(TEXTS, **HOW)
    gen.adapters.save(tmp_path / "mine")
    (tmp_path / "mine" / "manifest.json").unlink()
    place = tmp_path / "mine" / "adapter_config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"use_rslora": True, "alpha_pattern": {"down_proj": 3.0}}))
    other = generator()
    other.adapters.load(tmp_path / "mine")
    assert not torch.allclose(logits(other), logits(gen))
    other.adapters.save(tmp_path / "again")
    again = generator()
    again.adapters.load(tmp_path / "again")
    torch.testing.assert_close(logits(again), logits(other))


KEPT: dict[str, Any] = {  # what changes the adapter, and how
    "r": 2,
    "lora_alpha": 5,
    "lora_dropout": 0.25,
    "target_modules": ["q_proj", "v_proj", "down_proj"],
    "exclude_modules": ["layers.0.mlp.down_proj"],
    "layers_to_transform": [1],
    "layers_pattern": "layers",
    "use_rslora": True,
    "rank_pattern": {"down_proj": 3},
    "alpha_pattern": {"q_proj": 7},
    "fan_in_fan_out": False,
}
WITHOUT_EFFECT: dict[str, Any] = {
    "task_type": "CAUSAL_LM",
    "peft_type": "LORA",
    "auto_mapping": {"base_model_class": "Qwen3ForCausalLM"},
    "peft_version": "0.99",
    "base_model_name_or_path": "some/model",
    "revision": "main",
    "inference_mode": True,
    "init_lora_weights": "gaussian",
    "megatron_core": "other.core",
    "qalora_group_size": 8,
    "loftq_config": {"loftq_bits": 4},
    "eva_config": {"rho": 2.0},
    "corda_config": {"corda_method": "kpm"},
    "lora_ga_config": {"direction": "ArB2r"},
    "runtime_config": {"ephemeral_gpu_offload": True},
}


def written(place: Path, config: dict[str, Any]) -> Path:
    """An adapter with weights that peft made for this configuration, and drew."""
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        torch.manual_seed(0)
        known = {key: value for key, value in config.items() if key in KEPT}
        theirs = get_peft_model(tiny.model("qwen3"), LoraConfig(**known, init_lora_weights=False))
    state = {key.replace(".default", ""): p.detach() for key, p in theirs.named_parameters() if ".lora_" in key}
    place.mkdir()
    (place / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    save_file(state, place / "adapter_model.safetensors")
    with torch.no_grad():
        torch.save(theirs.eval()(input_ids=IDS).logits.double(), place / "logits.pt")
    return place


@pytest.mark.parametrize("setting", [*KEPT, "all", *WITHOUT_EFFECT])
def test_a_setting_of_peft_that_has_an_effect_is_kept(setting: str, tmp_path: Path) -> None:
    fewest = {"r": 2, "target_modules": ["q_proj", "down_proj"]}
    more: dict[str, Any] = KEPT if setting == "all" else {setting: {**KEPT, **WITHOUT_EFFECT}[setting]}
    if setting == "layers_pattern":
        more = {**more, "layers_to_transform": [0]}
    gen, place = generator(), written(tmp_path / "theirs", {**fewest, **more})
    gen.adapters.load(place)
    torch.testing.assert_close(logits(gen), torch.load(place / "logits.pt"))
    gen.adapters.save(tmp_path / "ours")
    kept = json.loads((tmp_path / "ours" / "adapter_config.json").read_text())
    for key, value in more.items():
        same = sorted(kept[key]) == sorted(value) if key.endswith("modules") else key not in KEPT or kept[key] == value
        assert same, key
    again = generator()
    again.adapters.load(tmp_path / "ours")
    torch.testing.assert_close(logits(again), logits(gen))


def test_every_other_setting_of_peft_is_refused_by_name(tmp_path: Path) -> None:
    from peft import LoraConfig

    place = written(tmp_path / "theirs", {"r": 2, "target_modules": ["q_proj"]})
    config = json.loads((place / "adapter_config.json").read_text())
    others = {one.name for one in dataclasses.fields(LoraConfig)} - KEPT.keys() - WITHOUT_EFFECT.keys()
    assert len(others) >= 15
    changes: list[dict[str, Any]] = [{key: "all" if key == "bias" else ["x"]} for key in sorted(others)]
    changes += [{"init_lora_weights": way} for way in ("pissa", "pissa_niter_4", "olora", "corda", "loftq", "mica")]
    for change in [*changes, {"of_a_later_peft": 3}]:
        (place / "adapter_config.json").write_text(json.dumps(config | change))
        (key,) = change
        gen = generator()
        with pytest.raises(ModelFileError, match=f"{key}=.*Merge it by peft"):
            gen.adapters.load(place)
        assert gen.adapters.names == ()
    usual = {key: value for key, value in LoraConfig().to_dict().items() if key in others}
    (place / "adapter_config.json").write_text(json.dumps(config | usual | {"of_a_later_peft": None, "another": False}))
    gen.adapters.load(place)
    torch.testing.assert_close(logits(gen), torch.load(place / "logits.pt"))


def test_what_failed_leaves_all_as_it_was(tmp_path: Path) -> None:
    gen = generator()
    gen.model.model.layers[0].mlp.requires_grad_(False)
    before = [(name, p.requires_grad) for name, p in gen.model.named_parameters()]
    with pytest.raises(ParameterError, match="targets"):
        gen.adapters.add("mine", LoRA(targets=("q_proj", "input_layernorm")))
    assert [(name, p.requires_grad) for name, p in gen.model.named_parameters()] == before
    gen.adapters.add("mine", LoRA(rank=2, targets=("q_proj",)))
    gen.adapters.save(tmp_path / "mine")
    (tmp_path / "mine" / "manifest.json").unlink()
    config = json.loads((tmp_path / "mine" / "adapter_config.json").read_text())
    gen.adapters.add("other", LoRA(rank=2))
    held = [(name, p.requires_grad) for name, p in gen.model.named_parameters()]
    for change in ({"r": 3}, {"lora_alpha": "x"}, {"target_modules": 5}, {"rank_pattern": 3}):
        (tmp_path / "mine" / "adapter_config.json").write_text(json.dumps(config | change))
        with pytest.raises(ModelFileError):
            gen.adapters.load(tmp_path / "mine", name="third")
        assert (gen.adapters.names, gen.adapters.active) == (("mine", "other"), "other")
        assert [(name, p.requires_grad) for name, p in gen.model.named_parameters()] == held
    gen.adapters.remove()
    assert [(name, p.requires_grad) for name, p in gen.model.named_parameters()] == before


def test_names_that_are_parts_of_places() -> None:
    gen = generator()
    for name in ("0", "weight"):
        gen.adapters.add(name, LoRA(rank=2))
    gen.adapters.use("0")
    trained = [place for place, p in gen.model.named_parameters() if p.requires_grad]
    assert len(trained) == 28
    assert all(".0.weight" in place for place in trained)


def test_bad_input(tmp_path: Path) -> None:
    for bad in ({"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": "q_proj"}):
        with pytest.raises(ParameterError):
            LoRA(**bad)  # type: ignore[arg-type]
    gen = generator()
    plain = logits(gen)
    with pytest.raises(ParameterError, match="targets"):
        gen.adapters.add("mine", LoRA(targets=("nothing",)))
    for call in (lambda: gen.adapters.use("none"), gen.adapters.merge, lambda: gen.adapters.save(tmp_path / "x")):
        with pytest.raises(ParameterError):
            call()
    gen.adapters.add("mine", LoRA(rank=2))
    with pytest.raises(ModelError, match="adapters.merge"):
        gen.save_pretrained(tmp_path / "whole")
    for name in ("mine", "a/b", ""):
        with pytest.raises(ParameterError, match="name"):
            gen.adapters.add(name)
    gen.adapters.save(tmp_path / "mine")
    other = aigc.Generator(tiny.model("llama"), tiny.tokenizer())
    before = logits(other)
    with pytest.raises(ModelFileError, match="of another model"):
        aigc.Generator(tiny.model("gpt2"), tiny.tokenizer()).adapters.load(tmp_path / "mine")
    config = json.loads((tmp_path / "mine" / "adapter_config.json").read_text())
    (tmp_path / "mine" / "manifest.json").unlink()
    for change in ({"peft_type": "PREFIX"}, {"r": "two"}, {"modules_to_save": ["lm_head"]}, {"r": 3}):
        (tmp_path / "mine" / "adapter_config.json").write_text(json.dumps(config | change))
        with pytest.raises(ModelFileError):
            other.adapters.load(tmp_path / "mine", name="damaged")
        assert other.adapters.names == ()
        torch.testing.assert_close(logits(other), before)
    (tmp_path / "mine" / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "mine" / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="cannot be read"):
        other.adapters.load(tmp_path / "mine", name="damaged")
    torch.testing.assert_close(logits(gen), plain)


def test_arguments_of_adapters(tmp_path: Path) -> None:
    gen = generator()
    with pytest.raises(ParameterError, match="lora must be a LoRA, or None, got 3"):
        gen.adapters.add("a", 3)
    with pytest.raises(ModelNotFoundError, match="folder must be one that adapters.save wrote"):
        gen.adapters.load(tmp_path / "nowhere")
    with pytest.raises(ParameterError, match="folder must be a path"):
        gen.adapters.load(3)
    assert gen.adapters.names == ()
