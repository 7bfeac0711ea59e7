"""A server with the part of ClearML's API that tasks, scalars and models use.

ClearML's own server needs databases. The client is the real one.
"""

import base64
import contextlib
import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def _part(content):
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


TOKEN = ".".join(
    [
        _part({"alg": "HS256", "typ": "JWT"}),
        _part(
            {
                "exp": time.time() + 10**6,
                "iat": time.time(),
                "api_version": "2.13",
                "server_version": "1.0",
                "server_build": "1",
                "feature_set": "basic",
                "identity": {"user": "u", "company": "c", "role": "user"},
            }
        ),
        _part("signature"),
    ]
)


class ClearMLServer:
    """Keeps tasks, events and models, and the names of all calls."""

    def __init__(self):
        self.tasks = {}
        self.models = {}
        self.events = []
        self.calls = []

    def answer(self, call, body):
        self.calls.append(call)
        handler = getattr(self, call.replace(".", "_"), None)
        return {} if handler is None else handler(body)

    def auth_login(self, body):
        return {"token": TOKEN}

    def tasks_create(self, body):
        task_id = uuid.uuid4().hex
        empty = {"execution": {}, "output": {}, "script": {}, "tags": []}
        empty |= {"models": {"input": [], "output": []}, "system_tags": ["development"]}
        known = {"id": task_id, "status": "created", "project": "p", "last_iteration": 0}
        self.tasks[task_id] = {**empty, **body, **known}
        return {"id": task_id}

    def tasks_get_by_id(self, body):
        return {"task": self.tasks[body["task"]]}

    def tasks_get_all(self, body):
        return {"tasks": [self.tasks[one] for one in body.get("id", ()) if one in self.tasks]}

    def tasks_edit(self, body):
        changes = {name: value for name, value in body.items() if name not in ("task", "force")}
        self.tasks[body["task"]].update(changes)
        return {"updated": 1, "fields": changes}

    tasks_update = tasks_edit

    def _to(self, status, body):
        self.tasks[body["task"]]["status"] = status
        return {"updated": 1, "fields": {"status": status}}

    def tasks_started(self, body):
        return self._to("in_progress", body)

    def tasks_completed(self, body):
        return self._to("completed", body)

    def tasks_stopped(self, body):
        return self._to("stopped", body)

    def projects_get_all(self, body):
        return {"projects": [{"id": "p", "name": "p"}]}

    def projects_get_by_id(self, body):
        return {"project": {"id": "p", "name": "p"}}

    def events_add_batch(self, body):
        self.events += [one for one in body if one["type"] != "log"]
        return {"added": len(body), "errors": 0}

    def events_get_task_events(self, body):
        found = [
            one
            for one in self.events
            if one["task"] == body["task"] and one["type"] == body["event_type"]
        ]
        first = int(body.get("scroll_id") or 0)
        chosen = found[first : first + body["batch_size"]]
        following = {"scroll_id": str(first + len(chosen))}
        return {"events": chosen, "returned": len(chosen), "total": len(found), **following}

    def tasks_add_or_update_model(self, body):
        models = self.tasks[body["task"]]["models"]
        kept = [one for one in models[body["type"]] if one["name"] != body["name"]]
        models[body["type"]] = [*kept, {"name": body["name"], "model": body["model"]}]
        return {"updated": 1}

    def models_create(self, body):
        model_id = uuid.uuid4().hex
        self.models[model_id] = {"id": model_id, "ready": True, "labels": {}, **body}
        return {"id": model_id, "created": True}

    def models_edit(self, body):
        self.models[body["model"]].update(body)
        return {"updated": 1, "fields": body}

    models_update = models_edit

    def models_get_by_id(self, body):
        return {"model": self.models[body["model"]]}

    def models_get_all(self, body):
        wanted = body.get("id")
        found = [one for key, one in self.models.items() if wanted is None or key in wanted]
        return {"models": found}

    def scalars(self, task_id):
        """Names, steps and values that a task has got, in their order."""
        return [
            (f"{one['metric']}/{one['variant']}", one["iter"], one["value"])
            for one in self.events
            if one["task"] == task_id and one["type"] == "training_stats_scalar"
        ]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = self.path.rsplit("/", 1)[-1]
        if "json-lines" in self.headers.get("Content-Type", ""):
            body = [json.loads(line) for line in content.splitlines()]
        else:
            body = json.loads(content or b"{}")
        status = {"result_code": 200, "result_subcode": 0, "result_msg": "OK", "error_stack": ""}
        endpoint = {"name": call, "requested_version": "2.9", "actual_version": "2.9"}
        meta = {"id": "i", "trx": "i", "endpoint": endpoint, **status}
        answer = json.dumps({"meta": meta, "data": self.server.clearml.answer(call, body)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(port=0):
    """Runs a server in a thread; yields it and the variables that lead a client to it."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    server.clearml = ClearMLServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.clearml, variables(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def variables(port):
    url = f"http://127.0.0.1:{port}"
    hosts = {f"CLEARML_{name}_HOST": url for name in ("API", "WEB", "FILES")}
    return {**hosts, "CLEARML_API_ACCESS_KEY": "a", "CLEARML_API_SECRET_KEY": "s"}
