"""Other libraries, each in its own virtual environment, which is created when it is first needed."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = {
    "pytorch-ignite": ["torch==2.13.0", "numpy", "scikit-learn", "scipy", "pytorch-ignite==0.5.5"],
    "accelerate": ["torch==2.13.0", "numpy", "accelerate"],
    "fairlearn": ["torch==2.13.0", "numpy", "fairlearn"],
    "faster-coco-eval": ["numpy", "pycocotools", "faster-coco-eval==1.8.0"],
    "keras": ["torch==2.13.0", "numpy", "keras"],
    "lightning": ["torch==2.13.0", "numpy", "lightning"],
    "pycocotools": ["numpy", "pycocotools==2.0.11"],
    "skorch": ["torch==2.13.0", "numpy", "skorch"],
    "torchtnt": ["torch==2.13.0", "numpy", "torchtnt", "setuptools<81"],
    "transformers": ["torch==2.13.0", "numpy", "transformers", "accelerate"],
    "torchmetrics": ["torch==2.13.0", "numpy", "torchmetrics==1.9.0"],
}


def peer_python(name):
    """Returns the Python interpreter of the environment of ``name``."""
    folder = HERE / f".venv-{name}"
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    wanted = "\n".join(REQUIREMENTS[name])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {name} into {folder.relative_to(HERE.parent)} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *REQUIREMENTS[name]], check=True)
        stamp.write_text(wanted)
    return python


if __name__ == "__main__":
    for peer in REQUIREMENTS:
        print(peer, peer_python(peer))
