"""Reads names, steps and values from the local files of trackers' clients, with the clients' own code."""

import json
import os
import struct
import threading


def read_wandb(folder, state):
    """All rows of all files of the run, in the order in which ``wandb sync`` uploads them."""
    from wandb.proto.wandb_internal_pb2 import Record

    rows = []
    for path in sorted(folder.glob(f"wandb/*-{state['id']}/*.wandb")):
        for content in leveldb_records(path.read_bytes()[7:]):
            history = Record.FromString(content).history
            rows += [
                ("/".join(item.nested_key) or item.key, history.step.num, item.value_json)
                for item in history.item
            ]
    return [(n, step, json.loads(v)) for n, step, v in rows if not n.startswith("_")]


def leveldb_records(data):
    """The contents of a short log: https://github.com/google/leveldb/blob/main/doc/log_format.md"""
    assert len(data) < 32768 - 7  # a single block
    while data:
        _, size, kind = struct.unpack("<IHB", data[:7])
        assert kind == 1
        yield data[7 : 7 + size]
        data = data[7 + size :]


def read_neptune(folder, state):
    """Values of all offline files of the run, as ``neptune sync`` reads them."""
    from neptune.core.components.queue.disk_queue import DiskQueue
    from neptune.internal.operation import LogFloats, Operation

    found = []
    for path in sorted(folder.glob(".neptune/offline/*"), key=os.path.getmtime):
        operations = []
        with DiskQueue(
            data_path=path,
            to_dict=lambda one: one.to_dict(),
            from_dict=Operation.from_dict,
            lock=threading.RLock(),
        ) as queue:
            while batch := queue.get_batch(1000):
                operations += [element.obj for element in batch]
        if any(getattr(one, "value", None) == state["run_id"] for one in operations):
            found += [
                ("/".join(one.path), value.step, value.value)
                for one in operations
                if isinstance(one, LogFloats)
                for value in one.values
            ]
    return found


def read_polyaxon(folder, state):
    from traceml.events import V1Events

    found = []
    for path in sorted((folder / "store/events/metric").iterdir()):
        events = V1Events.read("metric", path.stem, path.read_text()).to_dict()
        name = path.stem.replace("__", "/")
        found += [
            (name, int(step), float(value))
            for step, value in zip(events["step"], events["metric"], strict=True)
        ]
    return found


READERS = {"wandb": read_wandb, "neptune": read_neptune, "polyaxon": read_polyaxon}
