"""A few words of HTML: escaping, figures, tables, films. Everything is inline; a page needs no other file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

PLAY_IN_VIEW = """
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
  const seen = new IntersectionObserver(entries => entries.forEach(e => {
    if (e.isIntersecting && !e.target.dataset.stopped) e.target.play(); else e.target.pause();
  }));
  document.querySelectorAll("video").forEach(v => {
    v.removeAttribute("controls");
    v.addEventListener("click", () => {
      if (v.paused) { delete v.dataset.stopped; v.play(); } else { v.dataset.stopped = 1; v.pause(); }
    });
    seen.observe(v);
  });
}
"""
"""Films have a browser's own controls where scripts or motion aren't wanted."""


@dataclass(frozen=True)
class Section:
    """A part of the page with its own heading and anchor."""

    title: str
    body: str

    @property
    def anchor(self) -> str:
        """Its name in links."""
        return self.title.lower().replace(" ", "-")


def page(title: str, header: str, sections: Sequence[Section], footer: str) -> str:
    """A whole document with a table of contents."""
    style = (files("soar.report") / "style.css").read_text()
    links = "".join(f'<a href="#{s.anchor}">{escape(s.title)}</a>' for s in sections)
    body = "".join(
        f'<section id="{s.anchor}"><h2>{escape(s.title)}</h2>{s.body}</section>\n' for s in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>\n"
        f"<header>{header}<nav>{links}</nav></header>\n{body}<footer>{footer}</footer></main>"
        f"<script>{PLAY_IN_VIEW}</script></body></html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Plain text as a paragraph."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def figure(content: str, below: str = "", kind: str = "") -> str:
    """A picture or film (HTML) with text below."""
    words = f"<figcaption>{escape(below)}</figcaption>" if below else ""
    return f'<figure class="{kind}">{content}{words}</figure>'


def video(mp4: bytes) -> str:
    """A silent film that plays over and over while it is in view; a click stops it."""
    data = b64encode(mp4).decode()
    return f'<video controls loop muted playsinline src="data:video/mp4;base64,{data}"></video>'


def tile(value: str, label: str, kind: str = "") -> str:
    """A number to see at first sight."""
    return (
        f'<div class="tile"><b class="{kind}">{escape(value)}</b><span>{escape(label)}</span></div>'
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], last_is_total: bool = False) -> str:
    """A table of plain text; the first column is words, the others are figures."""
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    lines = []
    for n, row in enumerate(rows):
        kind = ' class="all"' if last_is_total and n == len(rows) - 1 else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>")
    return f'<div class="scroll"><table><tr>{top}</tr>{"".join(lines)}</table></div>'


def details(summary: str, content: str) -> str:
    """Something for those who want to know."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def preformatted(text: str) -> str:
    """Text as it is."""
    return f"<pre>{escape(text)}</pre>"
