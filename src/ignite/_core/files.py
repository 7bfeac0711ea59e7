"""Paths: files named after their checksum, folders that can be written to."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

__all__ = ["check_writable", "hash_checkpoint"]


def hash_checkpoint(checkpoint_path: str | Path, output_dir: str | Path) -> tuple[Path, str]:
    """Moves a checkpoint to ``output_dir/<stem>-<first 8 digits of its SHA-256>.pt``.

    The name is what ``torch.hub.load_state_dict_from_url(check_hash=True)`` checks. A file of this
    name is replaced.

    Args:
        checkpoint_path: the file; it is gone from there afterwards.
        output_dir: the folder to move it to; made if it does not exist.

    Returns:
        The new path, and the full SHA-256 in hexadecimal digits.

    Raises:
        FileNotFoundError: there is no file at ``checkpoint_path``.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "model.pt").write_bytes(b"")
        >>> path, digest = hash_checkpoint(folder / "model.pt", folder)
        >>> path.name, digest[:8]
        ('model-e3b0c442.pt', 'e3b0c442')
    """
    source, folder = Path(checkpoint_path), Path(output_dir)
    if not source.is_file():
        raise FileNotFoundError(
            f"checkpoint_path should be a file, but given {source}, which does not exist"
        )
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{source.stem}-{digest[:8]}.pt"
    _move(source, target)
    return target, digest


def check_writable(path: Path | None) -> None:
    """Checks that files can be written to a folder, without creating any; accepts None for no folder.

    Raises:
        PermissionError: the folder is not writable.
        NotADirectoryError: a parent of the path is a file.
    """
    if path is None:
        return
    known = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not known.is_dir():
        raise NotADirectoryError(f"Files should go to {path}, but {known} is no folder")
    if not os.access(known, os.W_OK | os.X_OK):
        raise PermissionError(f"Files should go to {path}, but {known} may not be written to")


def _move(source: Path, target: Path) -> None:
    """Moves a file, so that ``target`` is whole or absent at any time, even from one disk to another."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        shutil.copy2(source, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    source.unlink()
