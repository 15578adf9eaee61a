"""Text that may stand in the page: scripts that cannot break out of their element, and the policy over them.

Names of methods and cases come from files that anyone may have made, so nothing reaches the page unescaped.
"""

import base64
import hashlib
import re
from collections.abc import Iterable

from markupsafe import Markup

ENDS_SCRIPT = re.compile(r"</script|<!--", re.IGNORECASE)


def script_text(source: str) -> Markup:
    """Return JavaScript for a `<script>`, as it is. Raises ValueError for a source that would end the element."""
    if ENDS_SCRIPT.search(source):
        raise ValueError("the script holds a tag that would end its element")
    return Markup(source)


def data_uri(content: bytes, kind: str) -> str:
    """Return `content` as a data: address of a MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def script_policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    """Return a Content-Security-Policy: these scripts and styles run, pictures are data, and nothing is fetched."""
    allowed = (f"script-src {_hash_all(scripts)}", f"style-src {_hash_all(styles)}", "img-src data:")
    return "; ".join(("default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"))


def _hash_all(texts: Iterable[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
