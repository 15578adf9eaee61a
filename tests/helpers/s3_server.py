"""A public S3 bucket on loopback: what s5cmd asks of one without signing, list, size and bytes of objects."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

Objects = dict[str, bytes]
XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
DATE = ("2024-01-01T00:00:00.000Z", "Mon, 01 Jan 2024 00:00:00 GMT")  # of every object, in lists and in headers


@contextmanager
def serve_bucket(name: str, objects: Objects) -> Iterator[str]:
    """Serve `objects`, which may change meanwhile, as the bucket `name`; give the endpoint's URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = respond(self.path, name, objects)
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def respond(path: str, name: str, objects: Objects) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body for a path-style request of the list or of one object."""
    url = urlsplit(path)
    bucket, _, key = unquote(url.path).removeprefix("/").partition("/")
    if bucket != name:
        return _error(404, "NoSuchBucket")
    if not key:
        return 200, {"Content-Type": "application/xml"}, _listing(name, parse_qs(url.query), objects)
    if key not in objects:
        return _error(404, "NoSuchKey")
    return 200, {"ETag": _etag(objects[key]), "Last-Modified": DATE[1]}, objects[key]


def _listing(name: str, query: dict[str, list[str]], objects: Objects) -> bytes:
    prefix = query.get("prefix", [""])[0]
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>{DATE[0]}</LastModified><ETag>{_etag(content)}</ETag>"
        f"<Size>{len(content)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key, content in sorted(objects.items())
        if key.startswith(prefix)
    )
    head = f"<Name>{name}</Name><Prefix>{escape(prefix)}</Prefix><IsTruncated>false</IsTruncated>"
    result = f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{head}{contents}</ListBucketResult>'
    return (XML + result).encode()


def _etag(content: bytes) -> str:
    return f'"{md5(content).hexdigest()}"'


def _error(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/xml"}, f"{XML}<Error><Code>{code}</Code></Error>".encode()
