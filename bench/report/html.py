"""What both pages share: templates that escape everything, their scripts, and the policy that lets no other run."""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.pictures.drawing import PALETTE

ENDS_SCRIPT = re.compile(r"</script|<!--", re.IGNORECASE)
TEMPLATES = Environment(  # what they are given is escaped, what they lack is an error
    loader=PackageLoader("bench.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.policies["json.dumps_kwargs"] = {"allow_nan": False}


def read_template(name: str) -> str:
    """Return a style or script of the pages as it is."""
    return files("bench.report").joinpath("templates", name).read_text(encoding="utf-8")


def colour_classes() -> str:
    """Return the classes of the colours that methods have in all pictures, for a light page and a dark one."""
    pairs = enumerate(PALETTE, start=1)
    return "".join(f".c{n} {{ --c: light-dark({white}, {black}); }}\n" for n, (white, black) in pairs)


def render_page(template: str, style: str, scripts: Sequence[str], **context: Any) -> str:
    """Return a page of a template whose Content-Security-Policy lets no other script and style run.

    Pictures are data, and nothing is fetched.
    """
    allowed = (f"script-src {_hash_all(scripts)}", f"style-src {_hash_all([style])}", "img-src data:")
    policy = "; ".join(("default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"))
    page, checked = TEMPLATES.get_template(template), [script_text(script) for script in scripts]
    return page.render(policy=policy, style=Markup(style), scripts=checked, **context)


def script_text(source: str) -> Markup:
    """Return JavaScript for a `<script>`, as it is. Raises ValueError for a source that would end the element."""
    if ENDS_SCRIPT.search(source):
        raise ValueError("the script holds a tag that would end its element")
    return Markup(source)


def _hash_all(texts: Iterable[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
