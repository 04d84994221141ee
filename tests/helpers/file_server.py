# SPDX-License-Identifier: BSD-3-Clause
"""A server on this machine for tests of downloads.

``pyproject.toml`` puts this folder on pytest's search path.
"""

import contextlib
import gzip
import http.server


class Server(http.server.ThreadingHTTPServer):
    """A server of one file, which can be told how to behave."""

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.with_ranges = True
        # The most that an answer to a request for a range holds.
        self.longest_range = None
        self.encoding = None
        self.status = 200
        self.retry_after = None
        self.endless = False
        # Numbers of bytes after which the next answers break off.
        self.breaks = []
        # What each request asked for, the Range header or None.
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/Galaxy10.h5"

    def handle_error(self, request, client_address):
        """Say nothing of clients that hang up."""


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server, content = self.server, self.server.content
        asked = self.headers["Range"]
        server.asked.append(asked)
        if server.encoding == "gzip":
            # Without gain, and so longer than the file.
            content = gzip.compress(content, 0)
        if server.status != 200:
            self.send_response(server.status)
            if server.retry_after:
                self.send_header("Retry-After", server.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if server.endless:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(bytes(2**16))
        start = 0
        if asked and server.with_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            size = len(content)
            if server.longest_range:
                content = content[: start + server.longest_range]
            self.send_header(
                "Content-Range", f"bytes {start}-{len(content) - 1}/{size}"
            )
        else:
            self.send_response(200)
        if server.encoding:
            self.send_header("Content-Encoding", server.encoding)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = start + server.breaks.pop(0) if server.breaks else len(content)
        self.wfile.write(content[start:stop])
