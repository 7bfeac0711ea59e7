"""Storage of checkpoints: atomic writes, verified reads, safe loading.

Does not depend on engines or process groups.
"""

from ignite.storage.bucket import Bucket
from ignite.storage.commit import Written, commit, sweep
from ignite.storage.index import Index, build_index, read_index, write_index
from ignite.storage.keys import check_whole, load_into, state_of, unwrap
from ignite.storage.ledger import Decision, Item, Row, best, kept, place_in
from ignite.storage.lines import append_line, read_lines
from ignite.storage.lock import hold
from ignite.storage.naming import check_name, is_temporary, temporary_name
from ignite.storage.note import RUN_FAMILY, VERSION, Note, append_note, read_note
from ignite.storage.place import Folder, Place, follow, open_place
from ignite.storage.reader import Found, Loaded, load, load_latest, save, scan
from ignite.storage.restore import restore
from ignite.storage.snapshot import Snapshot, check_storable, decode_objects, plain
from ignite.storage.verify import verify
from ignite.storage.writer import Writer

__all__ = [
    "RUN_FAMILY",
    "VERSION",
    "Bucket",
    "Decision",
    "Folder",
    "Found",
    "Index",
    "Item",
    "Loaded",
    "Note",
    "Place",
    "Row",
    "Snapshot",
    "Writer",
    "Written",
    "append_line",
    "append_note",
    "best",
    "build_index",
    "check_name",
    "check_storable",
    "check_whole",
    "commit",
    "decode_objects",
    "follow",
    "hold",
    "is_temporary",
    "kept",
    "load",
    "load_into",
    "load_latest",
    "open_place",
    "place_in",
    "plain",
    "read_index",
    "read_lines",
    "read_note",
    "restore",
    "save",
    "scan",
    "state_of",
    "sweep",
    "temporary_name",
    "unwrap",
    "verify",
    "write_index",
]
