"""Files named after their checksum, and checks for writable folders."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

from ignite._core.systems import replace

__all__ = ["check_writable", "hash_checkpoint"]


def hash_checkpoint(checkpoint_path: str | Path, output_dir: str | Path) -> tuple[Path, str]:
    """Moves a checkpoint to ``output_dir/<stem>-<first 8 digits of its SHA-256>.pt``.

    ``torch.hub.load_state_dict_from_url(check_hash=True)`` verifies the digits in the name. An
    existing file of this name is replaced.

    Args:
        checkpoint_path: the file to move.
        output_dir: the folder to move it to; created if it does not exist.

    Returns:
        The new path, and the full SHA-256 in hexadecimal digits.

    Raises:
        FileNotFoundError: ``checkpoint_path`` is not an existing file.

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
    """Checks that files can be written to a folder, which need not exist yet; accepts None.

    Raises:
        PermissionError: the folder is not writable.
        NotADirectoryError: a parent of the path is a file.
    """
    if path is None:
        return
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"Files should go to {path}, but {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"Files should go to {path}, but {existing} is not writable")


def _move(source: Path, target: Path) -> None:
    """Moves a file, also between disks, so that ``target`` appears complete or not at all."""
    try:
        replace(source, target)
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
        replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    source.unlink()
