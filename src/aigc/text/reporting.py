"""A report as plain text, Markdown and HTML: sections of sentences, tables, pictures and quotations, all of it escaped."""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unicodedata import category, east_asian_width

from aigc._svg import DARK, STYLE
from aigc.text.charts import Picture

__all__ = ["Quotation", "Report", "Section", "Table", "as_html", "as_markdown", "as_plain", "framed"]

# What Markdown reads within a line; and at its beginning: a heading, a list, a rule, a line under a heading.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$&]|:(?=//)|(?<=www)\.)")
_FIRST = re.compile(r"^(\s*)([#+=-]|\d+(?=[.)]))")


_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head; the first column holds names, the others figures."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Quotation:
    """Text from outside, shown as it is: what it is, and the text in parts of which some are set back."""

    title: str
    parts: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report, in the order of its attributes."""

    title: str
    sentences: tuple[str, ...] = ()
    table: Table | None = None
    pictures: tuple[Picture, ...] = ()
    quotations: tuple[Quotation, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A title, what is said first, what to beware of, and sections."""

    title: str
    lead: tuple[str, ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]


def as_plain(report: Report) -> str:
    """For a terminal, where each character of Chinese takes two columns; quotations and pictures are left out."""
    lines = [*map(_clean, (report.title, *report.lead)), *(f"! {_clean(warning)}" for warning in report.warnings)]
    for section in report.sections:
        if section.table is None and not section.sentences:
            continue
        lines += ["", _clean(section.title)]
        if section.table is not None:
            lines += _columns(section.table)
        lines += [f"  {_clean(sentence)}" for sentence in section.sentences]
    return "\n".join(lines)


def as_markdown(report: Report, *, pictures: str | None = None) -> str:
    """For GitHub and its like.

    Args:
        report: What to say.
        pictures: The folder that the pictures are in, beside the file; None leaves them out.
    """
    blocks = [f"# {_mark(report.title)}", *map(_mark, report.lead)]
    if report.warnings:
        blocks.append("\n".join(f"> **Beware:** {_mark(warning)}  " for warning in report.warnings))
    for section in report.sections:
        blocks.append(f"## {_mark(section.title)}")
        if section.table is not None:
            blocks.append("\n".join(_pipes(section.table)))
        blocks += map(_mark, section.sentences)
        if pictures is not None:
            blocks += [f"![{_mark(each.caption)}]({pictures}/{each.name}.svg)" for each in section.pictures]
        for quotation in section.quotations:
            parts = enumerate(quotation.parts)
            said = "".join(_quoted(text if i else text.lstrip(), bold=back) for i, (text, back) in parts)
            blocks.append(f"{_mark(quotation.title)}\n\n> {said}")
    return "\n\n".join(blocks) + "\n"


def as_html(report: Report) -> str:
    """A page of its own, that fetches nothing."""
    body = [f"<h1>{_e(report.title)}</h1>", *(f'<p class="lead">{_e(line)}</p>' for line in report.lead)]
    if report.warnings:
        items = "".join(f"<li>{_e(warning)}</li>" for warning in report.warnings)
        body.append(f"<aside><strong>Beware</strong><ul>{items}</ul></aside>")
    for section in report.sections:
        body.append(f"<section><h2>{_e(section.title)}</h2>")
        if section.table is not None:
            body.append(_table(section.table))
        body += [f"<p>{_e(sentence)}</p>" for sentence in section.sentences]
        body += [f"<figure>{each.svg}<figcaption>{_e(each.caption)}</figcaption></figure>" for each in section.pictures]
        for quotation in section.quotations:
            said = "".join(f"<b>{_e(text)}</b>" if back else _e(text) for text, back in quotation.parts)
            body.append(f'<p class="of">{_e(quotation.title)}</p><blockquote>{said}</blockquote>')
        body.append("</section>")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    dark = f"@media (prefers-color-scheme:dark){{{_PAGE_DARK}{DARK}}}"
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{_e(report.title)}</title><style>{_PAGE}{STYLE}{dark}</style>"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n'
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def framed(page: str) -> str:
    """A page inside another one, which can do nothing there."""
    style = "width:100%;height:640px;border:1px solid rgba(128,128,128,.3);border-radius:6px"
    return f'<iframe sandbox="" style="{style}" srcdoc="{html.escape(page)}"></iframe>'


_PAGE = """
*{box-sizing:border-box}body{margin:0;background:#fff;color:#1f2328;line-height:1.55;
font:16px/1.55 system-ui,-apple-system,"Segoe UI","Noto Sans","PingFang SC","Noto Sans CJK SC",sans-serif}
main{max-width:800px;margin:0 auto;padding:40px 24px 80px}h1{font-size:28px;margin:0 0 12px;line-height:1.25}
h2{font-size:20px;margin:44px 0 12px;padding-top:20px;border-top:1px solid #d8dee4}p{margin:8px 0}.lead,.of{color:#59636e}
table{border-collapse:collapse;width:100%;margin:12px 0;font-size:14.5px;display:block;overflow-x:auto}
th,td{padding:7px 12px;border-bottom:1px solid #d8dee4;text-align:right;white-space:nowrap}
td{font-variant-numeric:tabular-nums}th:first-child,td:first-child{text-align:left;padding-left:0;width:100%}th{font-weight:600;color:#59636e}
aside{margin:20px 0;padding:12px 18px;border-left:4px solid #bf8700;background:#fff8e6;border-radius:0 6px 6px 0}
aside ul{margin:6px 0 0;padding-left:20px}figure{margin:20px 0}figure svg{max-width:100%;height:auto;display:block}
figcaption{color:#59636e;font-size:14px;margin-top:4px}b{font-weight:600}.of{margin:18px 0 4px;font-size:14px}
blockquote{margin:0;padding:10px 16px;border-left:3px solid #d8dee4;white-space:pre-wrap;overflow-wrap:anywhere}
@media print{th,td{white-space:normal}figure,blockquote{break-inside:avoid}}
"""
_PAGE_DARK = """
body{background:#0d1117;color:#e6edf3}h2,th,td{border-color:#30363d}.lead,.of,th,figcaption{color:#9198a1}
aside{background:#272115;border-color:#d29922}blockquote{border-color:#30363d}
"""


def _e(text: str) -> str:
    return html.escape(_shown(text))


def _shown(text: str) -> str:
    """A text without what browsers and XML refuse, or what turns text around: the sign for what cannot be shown instead."""
    return "".join("\ufffd" if (category(c) in ("Cc", "Cs") and c not in "\n\t") or c in _TURNS else c for c in text)


def _clean(text: str) -> str:
    """One line, without what a terminal would obey."""
    return "".join(" " if c.isspace() else c for c in _shown(text))


def _mark(text: str) -> str:
    """One line of Markdown that says the text and nothing else."""
    return _escaped(_clean(text).strip())


def _escaped(line: str) -> str:
    line = _SPECIAL.sub(r"\\\1", line)
    found = _FIRST.match(line)
    if not found:
        return line
    place = found.end() if found[2].isdigit() else found.start(2)  # of a number, what follows is escaped
    return line[:place] + "\\" + line[place:]


def _quoted(text: str, *, bold: bool) -> str:
    """A text of several lines within a Markdown quotation; spaces at the start of a line would make it code."""
    lines = _shown(text).split("\n")
    lines = [_escaped(_clean(line.lstrip() if i else line)) for i, line in enumerate(lines)]
    return "  \n> ".join(f"<b>{line}</b>" if bold and line.strip() else line for line in lines)


def _pipes(table: Table) -> Iterator[str]:
    yield "| " + " | ".join(map(_mark, table.head)) + " |"
    yield "|" + "|".join(["---", *["---:"] * (len(table.head) - 1)]) + "|"
    for row in table.rows:
        yield "| " + " | ".join(map(_mark, row)) + " |"


def _table(table: Table) -> str:
    head = "".join(f"<th>{_e(cell)}</th>" for cell in table.head)
    rows = "".join("<tr>" + "".join(f"<td>{_e(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _columns(table: Table) -> list[str]:
    rows = [tuple(map(_clean, row)) for row in (table.head, *table.rows)]
    widths = [max(_width(row[i]) for row in rows) for i in range(len(table.head))]
    return ["  " + _line(row, widths) for row in rows]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0] + " " * (widths[0] - _width(row[0]))]
    cells += [" " * (width - _width(cell)) + cell for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join(cells).rstrip()


def _width(text: str) -> int:
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)
