"""A server on loopback that answers as the Hugging Face hub does for the files of one model repository."""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPOSITORY = "mohammedali2501/ssondo"


@dataclass
class Hub:
    """What is uploaded, and what was asked for.

    Attributes:
        commits: files by name, by commit; the branch is at the last.
        asked: every request, in order.
        damage: whether files arrive with other bytes than their checksum says.
        endpoint: address of the hub.
        storage: address that it sends its clients to for large files: another host.
    """

    commits: dict[str, Mapping[str, bytes]]
    asked: list[str] = field(default_factory=list)
    damage: bool = False
    endpoint: str = ""
    storage: str = ""

    @property
    def head(self) -> str:
        """The commit that the branch is at."""
        return list(self.commits)[-1]

    def find(self, revision: str, name: str) -> tuple[str, bytes | None] | None:
        """Commit and content; no content if the commit lacks the file, nothing if there is no such commit."""
        commit = self.head if revision == "main" else revision
        return (commit, self.commits[commit].get(name)) if commit in self.commits else None


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            if self.path.startswith("/blob/"):
                content = next(c for files in hub.commits.values() for c in files.values() if sha256(c) in self.path)
                self.reply(200, {"ETag": '"blob"'}, b"?" * len(content) if hub.damage else content)
                return
            revision, _, name = self.path.removeprefix(f"/{REPOSITORY}/resolve/").partition("/")
            found = hub.find(revision, name)
            if found is None:
                self.reply(404, {"X-Error-Code": "RevisionNotFound"})
            elif found[1] is None:
                self.reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": found[0]})
            else:
                digest = sha256(found[1])
                linked = {"X-Linked-Size": str(len(found[1])), "X-Linked-Etag": f'"{digest}"'}
                where = {"X-Repo-Commit": found[0], "Location": f"{hub.storage}/blob/{digest}"}
                self.reply(302, {**linked, **where})

        def reply(self, status: int, headers: Mapping[str, str], content: bytes = b"") -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """The tests look at `asked` instead."""

    return Handler


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve at `hub.endpoint` until the end of the block."""

    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub)) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        hub.storage = f"http://localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
