"""The part of a W&B server that a run needs: it accepts the run, and stores its rows."""

import contextlib
import gzip
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves on loopback until :meth:`go_down`."""

    def __init__(self):
        self.rows = []
        self.connections = []
        outer = self

        class Handler(_Handler):
            server_of_runs = outer

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def go_down(self):
        """Refuses new connections, and ends those that exist."""
        self._http.shutdown()
        self._http.server_close()
        for one in self.connections:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server_of_runs.connections.append(self.connection)

    def log_message(self, *arguments):
        pass

    def answer(self):
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
        answer = {}
        if self.path == "/graphql":
            answer = {"data": _data_of(json.loads(content))}
        elif self.path.endswith("/file_stream") and content:
            history = json.loads(content).get("files", {}).get("wandb-history.jsonl")
            if history is not None:
                self.server_of_runs.rows += map(json.loads, history["content"])
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = answer


def _data_of(request):
    query = request["query"]
    if "UpsertBucket" in query:
        project = {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}
        bucket = {
            "id": "x",
            "name": request["variables"].get("name"),
            "displayName": "d",
            "description": "",
            "config": "{}",
            "sweepName": None,
            "historyLineCount": 0,
            "project": project,
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    if "CreateRunFiles" in query:
        return {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": []}}
    if "query Viewer" in query:
        user = {"id": "u", "flags": "{}", "username": "u", "entity": "e", "teams": {"edges": []}}
        return {"viewer": user}
    return {"serverInfo": {"features": [], "cliVersionInfo": {"max_cli_version": "1.0"}}}
