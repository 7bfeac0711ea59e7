"""Remote storage for checkpoints: object stores and other file systems that fsspec supports."""

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ignite._core.optional import import_optional
from ignite.storage.commit import Written, commit
from ignite.storage.naming import check_name, is_temporary, owner_is_dead, temporary_name

__all__ = ["Bucket"]

# In these stores, an object appears when its upload is complete. In all others, a file is written
# under a temporary name first and then moved.
_OBJECT_STORES = frozenset(
    {"abfs", "abfss", "adl", "az", "gcs", "gs", "oci", "oss", "r2", "s3", "s3a"}
)

logger = logging.getLogger(f"{__name__}.Bucket")


class Bucket:
    """A remote folder, given by a URL that fsspec supports.

    Files appear complete or not at all, as far as the store allows.

    A file is first written and checked in the local folder for temporary files, which needs enough
    free space. There are no links; the index names the best and the last checkpoint.

    Args:
        url: such as ``s3://bucket/run``, or ``memory://run`` for tests.
        **options: options of the file system, such as keys and endpoints.

    Raises:
        ModuleNotFoundError: fsspec is not installed.
        ImportError: the package that fsspec needs for this kind of URL is not installed.

    Example:
        >>> bucket = Bucket("memory://example-of-bucket")
        >>> bucket.write("greeting", lambda file: file.write(b"hello")).size_bytes
        5
        >>> bucket.names(), bucket.remove("greeting"), bucket.names()
        (['greeting'], True, [])
    """

    def __init__(self, url: str, **options: Any) -> None:
        core = import_optional("fsspec.core", extra="remote")
        self._fs, root = core.url_to_fs(url, **options)
        self._root = root.rstrip("/")
        protocols = self._fs.protocol
        protocols = {protocols} if isinstance(protocols, str) else set(protocols)
        self._is_object_store = not protocols.isdisjoint(_OBJECT_STORES)

    def write(
        self,
        name: str,
        write: Callable[[BinaryIO], object],
        check: Callable[[Path], object] | None = None,
    ) -> Written:
        """Writes a file atomically; see :func:`ignite.storage.commit`.

        Raises:
            ValueError: ``name`` is not a plain file name.
            OSError: the file could not be written.
        """
        target = self._path(name)
        with tempfile.TemporaryDirectory(prefix="ignite-") as folder:
            written = commit(Path(folder), name, write, check=check)
            try:
                self._upload(Path(folder) / name, target, written.size_bytes)
            except Exception as error:
                error.add_note(f"while writing {self}/{name}")
                raise
        return written

    def _upload(self, source: Path, target: str, num_bytes: int) -> None:
        first = target if self._is_object_store else f"{self._root}/{temporary_name(source.name)}"
        try:
            if not self._is_object_store:
                self._fs.makedirs(self._root, exist_ok=True)
            self._fs.put_file(str(source), first)
            self._fs.invalidate_cache()
            size = self._fs.info(first)["size"]
            if size != num_bytes:
                raise OSError(
                    f"{target} should have {num_bytes} bytes after it was written, but has {size}"
                )
            if first != target:
                self._fs.mv(first, target)
        except BaseException:
            self._discard(first, num_bytes)
            raise

    def _discard(self, path: str, num_bytes: int) -> None:
        """Tries to remove an incomplete upload, which some clients would complete when they close."""
        try:
            self._fs.invalidate_cache()
            if is_temporary(path.rpartition("/")[2]) or self._fs.info(path)["size"] != num_bytes:
                self._fs.rm_file(path)
        except Exception as error:
            logger.debug("%s was not removed: %s: %s", path, type(error).__name__, error)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Yields the path of a local copy of the file, which is removed on exit.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        source = self._path(name)
        with tempfile.TemporaryDirectory(prefix="ignite-") as folder:
            path = Path(folder) / name
            self._fs.invalidate_cache()
            self._fs.get_file(source, str(path))
            yield path

    def open(self, name: str) -> Any:
        """Opens the file for reading, without downloading all of it."""
        self._fs.invalidate_cache()
        return self._fs.open(self._path(name), "rb")

    def remove(self, name: str) -> bool:
        """Removes a file; returns False if it does not exist."""
        path = self._path(name)
        self._fs.invalidate_cache()
        if not self._fs.isfile(path):
            return False
        try:
            self._fs.rm_file(path)
        except FileNotFoundError:
            return False  # another process was faster
        return True

    def names(self) -> list[str]:
        """Returns the sorted names of the files, without temporary ones; empty without a folder."""
        return sorted(name for name in self._all_names() if not name.startswith("."))

    def size(self, name: str) -> int:
        """Returns the size of a file in bytes.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        path = self._path(name)
        self._fs.invalidate_cache()
        info = self._fs.info(path)
        if info["type"] != "file":
            raise FileNotFoundError(f"{self}/{name} should be a file, but is a {info['type']}")
        return int(info["size"])

    def point(self, link: str, name: str) -> None:
        """Only checks the names: there are no links."""
        check_name(link)
        check_name(name)

    def read_link(self, link: str) -> str | None:
        """Returns None: there are no links."""
        check_name(link)
        return None

    def sweep(self) -> list[str]:
        """Removes temporary files of killed processes of this machine; returns their names."""
        swept = [name for name in self._all_names() if is_temporary(name) and owner_is_dead(name)]
        for name in swept:
            self._fs.rm_file(f"{self._root}/{name}")
        return sorted(swept)

    def _all_names(self) -> list[str]:
        self._fs.invalidate_cache()
        try:
            entries = self._fs.ls(self._root, detail=True)
        except FileNotFoundError:
            return []
        start = f"{self._root.strip('/')}/"
        paths = [entry["name"].strip("/") for entry in entries if entry["type"] == "file"]
        names = [path.removeprefix(start) for path in paths if path.startswith(start)]
        return [name for name in names if name and "/" not in name]

    def _path(self, name: str) -> str:
        return f"{self._root}/{check_name(name)}"

    def __str__(self) -> str:
        # Without the options, which may contain keys.
        return str(self._fs.unstrip_protocol(self._root))
