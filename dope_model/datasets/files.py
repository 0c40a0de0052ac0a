"""Readers of the file formats of data sets, with errors that name what is missing."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dope_model.hints import pip_install


def require_files(folder: Path, names: Iterable[str], where_from: str) -> None:
    """Check that files or folders are there.

    Raises:
        FileNotFoundError: some are missing; the text names them and their source.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"no folder {folder}; it should hold {where_from}")
    names = list(names)
    missing = [name for name in names if not Path(folder, name).exists()]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise FileNotFoundError(
            f"{folder} is not complete: {len(missing)} of {len(names)} files missing ({shown}); "
            f"{where_from}"
        )


def first_existing(folder: Path, names: Iterable[str], where_from: str) -> Path:
    """The first path that exists.

    Raises:
        FileNotFoundError: none exists.
    """
    names = list(names)
    for name in names:
        if Path(folder, name).exists():
            return Path(folder, name)
    raise FileNotFoundError(f"{folder} holds none of {', '.join(names)}; {where_from}")


def read_mat(path: Path, squeeze: bool = True) -> dict[str, Any]:
    """The variables of a MATLAB file up to version 7.2; structs become objects with attributes.

    Args:
        squeeze: drop axes of length 1: a 1x1 struct becomes an object instead of an array.

    Raises:
        ImportError: scipy is missing.
        ValueError: the file is not a MATLAB file of that kind.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(f"MATLAB files need scipy ({error}): {pip_install('scipy')}") from error
    try:
        return loadmat(str(path), struct_as_record=False, squeeze_me=squeeze)
    except NotImplementedError as error:
        raise ValueError(
            f"{path} is a MATLAB 7.3 file (HDF5), an older one is expected here: it is not the "
            "owners' file; download it again"
        ) from error
    except Exception as error:  # scipy raises many types on damaged files
        raise ValueError(f"{path} is not a MATLAB file, or is damaged ({error})") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: it is not one.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            return json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a JSON file, or is damaged ({error})") from error


_PICKLE_GLOBALS = {
    (module, name)
    for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray",
                   "numpy.core.numeric", "numpy._core.numeric")
    for name in ("ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer")
} | {("_codecs", "encode")}  # fmt: skip


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PICKLE_GLOBALS:
            return super().find_class(module.replace("numpy.core", "numpy._core")
                                      if _has_private_core() else module, name)  # fmt: skip
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _has_private_core() -> bool:
    return int(np.__version__.split(".")[0]) >= 2


def read_pickle(path: Path) -> Any:
    """A pickle of plain values and NumPy arrays; anything else is rejected, nothing is executed.

    Raises:
        ValueError: it holds other objects, or is damaged.
    """
    try:
        return _ArraysOnly(io.BytesIO(Path(path).read_bytes()), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} was not read: a pickle may only hold plain values and NumPy arrays here, "
            f"anything else could execute code ({error})"
        ) from error
    except Exception as error:  # damaged pickles raise many types
        raise ValueError(f"{path} is not a pickle, or is damaged ({error!r})") from error


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture file.

    Raises:
        ValueError: it is not a picture.
    """
    from dope_model.pictures import read_rgb

    height, width = read_rgb(path).shape[:2]
    return width, height
