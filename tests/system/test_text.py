"""Text that others wrote reaches rows, terminals and pages as text alone."""

import html
import io
import re

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from bench.errors import BenchError
from bench.results.renderers import Sheet, draw_markdown
from bench.results.terminal import print_sheet
from bench.scoring.rows import Score, check_scores, frame_of
from bench.system.text import LONGEST, describe_error, escape_markdown, escape_terminal, plain_line

from ..helpers.score_rows import run_line, score

ATTACKS = {  # what is written, and what of it a row keeps
    "colours": ("\x1b[31mred\x1b[0m", "red"),
    "a link of the terminal": ("\x1b]8;;http://evil\x07click\x1b]8;;\x07", "click"),
    "an end without a beginning": ("a\x9b2Jb\x85c\x00d", "a2Jb cd"),
    "turned writing": ("a\u202eb\u2066c", "abc"),
    "half a surrogate pair": ("a\ud800b", "ab"),
    "a byte of a name": ("a\udcffb", "a\\xffb"),
    "lines": ("a\r\nb\u2028c\td", "a b c d"),
    "a book": ("x" * 300_000, "x" * (LONGEST - 1) + "…"),
}
MARKUP = "<img src=x onerror=alert(1)> [x](http://e) ![x][y] | `code` **b** _i_ ~~s~~ &lt; \\| www.evil.org $x$"


@pytest.mark.parametrize("kind", ATTACKS)
def test_a_row_takes_one_line_of_plain_text(kind: str) -> None:
    written, kept = ATTACKS[kind]
    assert plain_line(written) == kept
    assert score(note=written).note == kept
    assert run_line(remark=written, error=written).error == kept
    assert describe_error(ValueError(written)) == plain_line(f"ValueError: {kept}")


def test_ordinary_text_stays_as_it_is() -> None:
    text = "of 9 cases; ±0.3 dB, −1,000 HU … 肺 Schädel größe"
    assert plain_line(text) == escape_terminal(text) == escape_markdown(text) == text


def test_a_reader_refuses_what_no_writer_lets_through() -> None:
    frame = frame_of([score(note="x")])
    frame["note"] = "a\x1b[2Jb"
    with pytest.raises(BenchError, match="holds control characters"):
        check_scores(frame)
    assert Score.model_fields["note"].annotation is str


def test_markdown_shows_markup_as_text() -> None:
    parser = MarkdownIt().enable(["table", "strikethrough"])
    assert html.unescape(parser.renderInline(escape_markdown(MARKUP))) == MARKUP
    assert "<" not in parser.renderInline(escape_markdown(MARKUP))
    page = parser.render(draw_markdown(Sheet(("a", "b"), [(MARKUP, "1")])))
    assert re.findall(r"<td.*?>(.*?)</td>", page) == [html.escape(MARKUP), "1"]
    assert "http\\://" in escape_markdown("http://e")  # which GitHub makes a link as it is
    assert escape_markdown("$x$") == "\\$x\\$"  # and this a formula


def test_a_terminal_shows_markup_as_text() -> None:
    shown = io.StringIO()
    print_sheet(Sheet(("a", "b"), [("\x1b[31m[red]x[/red] [/bold]", "1")]), Console(width=200, file=shown))
    assert "[red]x[/red] [/bold]" in shown.getvalue()
    assert "\x1b" not in shown.getvalue()
