"""Text that may stand in the page: scripts and data that cannot break out of their element, and the policy over them.

Names of methods and cases come from files that anyone may have made, so nothing reaches the page unescaped.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

ENDS_SCRIPT = re.compile(r"</script|<!--", re.IGNORECASE)


def json_for_script(value: Any) -> Markup:
    """JSON for a `<script type="application/json">`: no character of it can end the element or start a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def script_text(source: str) -> Markup:
    """JavaScript that is put in a `<script>` as it is. Raises ValueError for a source that would end the element."""
    if ENDS_SCRIPT.search(source):
        raise ValueError("the script holds a tag that would end its element")
    return Markup(source)


def data_uri(content: bytes, kind: str) -> str:
    """`content` as a data: address of a MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """A Content-Security-Policy under which these scripts and styles run, pictures are data, and nothing is fetched."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_hashed, scripts))}",
            f"style-src {' '.join(map(_hashed, styles))}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
