"""The laws of cleaning: each step does its one thing, changes nothing the second time, and harms neither language."""

import html
import random
import re
import textwrap
import unicodedata
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aigc.data.text import (
    STANDARD,
    BlankLines,
    Corpus,
    Document,
    DropShort,
    JoinHyphens,
    JoinLines,
    LineEndings,
    Normalise,
    RemoveBoilerplate,
    RemoveControls,
    RemoveHtml,
    RemoveInvisible,
    TrailingSpace,
)
from aigc.errors import ParameterError, TypeParameterError

STEPS = [
    *STANDARD,
    Normalise("NFKC"),
    BlankLines(0),
    BlankLines(3),
    DropShort(5),
    JoinHyphens(),
    JoinLines(8),
    JoinLines(20),
    RemoveBoilerplate(),
    RemoveBoilerplate(begin="^a", end="^b"),
    RemoveHtml(),
]
ENGLISH = 'It was the best of times, it was the worst of times -- it was the age of wisdom; "well-known" (1859) & a < b.\n'
CHINESE = "床前明月光，疑是地上霜。举头望明月，低头思故乡！“诗”——李白《静夜思》？\n"

# What steps look for, thrown together, finds more than characters at random do.
ATOMS = [
    *"ab-A 中，。\n\n\n\t\r\x0b\x85\u2028\u200b\ufeff\u00ad\u3000\u0301\ufb01é한😀<>&;/\"'=#*",
    *[
        "amp;",
        "lt;",
        "gt;",
        "&lt;",
        "&amp;",
        "<b>",
        "</p>",
        "<br/>",
        "<!--",
        "-->",
        "<script>",
        "</script>",
        "&#38;",
        "&#60;",
    ],
    *[
        "*** START OF THE PROJECT GUTENBERG EBOOK X ***",
        "*** END OF THE PROJECT GUTENBERG EBOOK X ***",
        "word",
        "longer words",
    ],
    *['<a href="x">', "x-\ny", "x-y"],
]
MARKS = ["&lt;", "&gt;", "&amp;", "<", ">", "b", "/", "<b>", "lt;", "amp;", "<!--", "-->", "script"]
BROKEN = ["a", "b", "-", "\n", " ", "word", "中", "，", "B"]
messy = st.one_of(
    st.lists(st.sampled_from(MARKS), max_size=8).map("".join),
    st.lists(st.sampled_from(BROKEN), max_size=12).map("".join),
    st.lists(st.sampled_from(ATOMS), max_size=25).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)


@pytest.mark.parametrize("step", STEPS, ids=repr)
@given(text=messy)
@example(text="&lt;b>x")
@example(text="<<b>b>x")
@example(text="aaa bbb\nccc\nd")
def test_twice_is_once(step, text: str) -> None:
    once = step(text)
    if once is not None:
        assert step(once) == once


@pytest.mark.parametrize("step", [step for step in STEPS if step != Normalise("NFKC")], ids=repr)
def test_good_text_of_both_languages_stays(step) -> None:
    for text in (ENGLISH, CHINESE, ENGLISH + "\n" + CHINESE, "Line one,\nLine two;\n\nLine three.\n"):
        cleaned = step(text)
        if isinstance(step, BlankLines) and step.most == 0:
            cleaned, text = cleaned.replace("\n", ""), text.replace("\n", "")
        if isinstance(step, JoinLines):
            cleaned, text = re.sub(r"\s+", "", cleaned), re.sub(r"\s+", "", text)
        assert cleaned == text


@given(messy)
def test_steps_on_characters_against_the_database(text: str) -> None:
    controls = {c for c in text if unicodedata.category(c) == "Cc"} - set("\t\n\r\x0b\x0c\x85")
    assert RemoveControls()(text) == "".join(c for c in text if c not in controls)
    assert RemoveInvisible()(text) == "".join(c for c in text if c not in "\ufeff\u200b\u2060\u00ad")
    ended = LineEndings()(text)
    assert ended == "\n".join(re.split("\r\n|\r|\n|\x0b|\x0c|\x85|\u2028|\u2029", text))
    assert unicodedata.is_normalized("NFC", Normalise()(text))
    assert unicodedata.is_normalized("NFKC", Normalise("NFKC")(text))


@given(messy, st.integers(0, 3))
def test_space_and_blank_lines_by_brute_force(text: str, most: int) -> None:
    lines = text.split("\n")
    assert TrailingSpace()(text).split("\n") == [line.rstrip() for line in lines]
    made = BlankLines(most)(text)
    assert [line for line in made.split("\n") if line.strip()] == [line for line in lines if line.strip()]
    longest, run = 0, 0
    body = made.removesuffix("\n").split("\n") if made else []
    for line in body:
        run = 0 if line.strip() else run + 1
        longest = max(longest, run)
    assert longest <= most
    assert not body or (body[0].strip() and body[-1].strip())
    inner = [len(gap.split("\n")) - 2 for gap in re.findall(r"(?<=x)\n+(?=x)", made)]
    assert all(gap <= most for gap in inner)


words = st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True), min_size=1, max_size=30)


@given(st.lists(words, min_size=1, max_size=4), st.integers(20, 60))
def test_wrapped_paragraphs_come_back(paragraphs: list[list[str]], width: int) -> None:
    whole = "\n\n".join(" ".join(words) for words in paragraphs)
    wrapped = "\n\n".join(textwrap.fill(" ".join(words), width) for words in paragraphs)
    assert JoinLines(width)(wrapped) == whole
    han = whole.replace(" ", "").translate({ord(a): chr(0x4E00 + i) for i, a in enumerate("abcdefghijklmnopqrstuvwxyz")})
    half = width // 2 * 2
    broken = "\n\n".join("\n".join(p[i : i + half // 2] for i in range(0, len(p), half // 2)) for p in han.split("\n\n"))
    assert JoinLines(half)(broken) == han


def test_what_lines_do_not_join() -> None:
    verse = "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate:\n"
    assert JoinLines(72)(verse) == verse
    listed = "One of several things:\n- the first of them is\n- the second\n    indented\n"
    assert JoinLines(22)(listed) == listed
    assert JoinLines(10)("한국어 글\n다음") == "한국어 글 다음"
    assert JoinLines(10)("中文 word\n中文") == "中文 word中文"


@given(st.lists(st.from_regex(r"[a-z]{2,9}", fullmatch=True), min_size=1, max_size=12), st.randoms())
def test_words_broken_by_hyphens_come_back(words: list[str], rng: random.Random) -> None:
    broken = []
    for word in words:
        at = rng.randrange(1, len(word))
        broken.append(f"{word[:at]}-\n{word[at:]}" if rng.random() < 0.5 else word)
    assert JoinHyphens()(" ".join(broken)) == " ".join(words)
    assert JoinHyphens()("well-known, well-\nknown, ill-\nKnown") == "well-known, well-known, ill-\nKnown"


plain = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<>&"), max_size=20)


@given(st.lists(plain, min_size=1, max_size=6), st.randoms())
def test_html_that_was_written_is_read(parts: list[str], rng: random.Random) -> None:
    marked = ""
    for part in parts:
        name = rng.choice(["b", "i", "span", "em"])
        attribute = rng.choice(["", ' class="a b"', " id=x", " hidden", " title='it is'"])
        comment = rng.choice(
            ["", "<!-- not <b>this</b> -->", "<style>p { x }</style>", "<SCRIPT src=x>if (a < b)</SCRIPT >"]
        )
        marked += f"<{name}{attribute}>{html.escape(part)}</{name}>{comment}"
    assert RemoveHtml()(marked) == "".join(parts)


def test_what_is_no_html() -> None:
    for text in (
        "if a < b and c > d",
        "x <y and z> w",
        "a<b and c>d",
        "AT&T, R&D; &co",
        "?a=1&copy=2",
        "<3 <- ->",
        "&nosuch;",
    ):
        assert RemoveHtml()(text) == text
    assert RemoveHtml()("<p>a</p>b<br>c") == "\na\nb\nc"
    assert RemoveHtml()("&" + "amp;" * 100_000 + "lt;b&gt;c") == "c"
    assert RemoveHtml()("<!-- " * 20_000) == "<!-- " * 20_000


def test_boilerplate_around_several_texts() -> None:
    begin, end = (f"*** {w} OF THE PROJECT GUTENBERG EBOOK 1984 ***" for w in ("START", "END"))
    one = f"Title: x\n{begin}\nOne\nline\n{end}\nLicence"
    assert RemoveBoilerplate()(one) == "One\nline"
    assert RemoveBoilerplate()(one + "\n" + one.replace("One", "Two")) == "One\nline\nTwo\nline"
    assert RemoveBoilerplate()(f"One\n{end}\nLicence") == "One"
    assert RemoveBoilerplate()("nothing of the kind") == "nothing of the kind"
    assert RemoveBoilerplate(begin="^BEGIN$", end="^STOP$")("a\nBEGIN\nb\nSTOP") == "b"


@given(st.lists(messy.filter(str.strip), min_size=1, max_size=5))
def test_effects_are_what_happened(given_: list[str]) -> None:
    steps = [RemoveHtml(), *STANDARD, DropShort(3)]
    corpus = Corpus.of(given_)
    found = corpus.effects(steps)
    kept = [document.text for document in corpus.clean(steps)]
    assert (found.documents, found.kept) == (len(given_), len(kept))
    now: list[str | None] = list(given_)
    for step, effect in zip(steps, found.steps, strict=True):
        after = [None if text is None else step(text) for text in now]
        after = [text if text is not None and text.strip() else None for text in after]
        pairs = [(a, b) for a, b in zip(now, after, strict=True) if a is not None]
        changed = [(a, b) for a, b in pairs if b is not None and a != b]
        assert effect.dropped == sum(b is None for _, b in pairs)
        assert effect.changed == len(changed)
        assert effect.removed == sum(sum((Counter(a) - Counter(b)).values()) for a, b in changed)
        assert effect.added == sum(sum((Counter(b) - Counter(a)).values()) for a, b in changed)
        assert (effect.example is None) == (not effect.changed and not effect.dropped)
        now = after
    assert kept == [text for text in now if text is not None]


def test_the_example_shows_the_change() -> None:
    text = "a" * 100 + "<b>" + "c" * 100
    (effect,) = Corpus.of([Document(text, name="doc")]).effects([RemoveHtml()]).steps
    assert effect.example is not None
    assert effect.example.document == "doc"
    assert effect.example.before == "a" * 30 + "<b>" + "c" * 30
    assert effect.example.after == "a" * 30 + "c" * 30
    (effect,) = Corpus.of(["short"]).effects([DropShort(10)]).steps
    assert (effect.dropped, effect.example.after) == (1, None)


def test_steps_that_are_none() -> None:
    with pytest.raises(ParameterError, match=r"steps must be steps, not classes .* Write TrailingSpace\(\)"):
        Corpus.of(["a"]).clean([TrailingSpace])
    with pytest.raises(TypeParameterError, match="a sequence of steps"):
        Corpus.of(["a"]).clean("NFC")
    with pytest.raises(TypeParameterError, match="a callable that returns a string or None"):
        list(Corpus.of(["a"]).clean([lambda text: 3]))
    with pytest.raises(ParameterError, match="form must be 'NFC' or 'NFKC'"):
        Normalise("NFD")
