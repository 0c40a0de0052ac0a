"""`import dope_model` is light; its names are imported when they are used."""

import subprocess
import sys

import pytest

import dope_model
from dope_model.detector import WholeBodyDetector
from dope_model.drawing import draw_people


def test_names_of_the_package_are_those_of_its_modules():
    assert dope_model.WholeBodyDetector is WholeBodyDetector
    assert dope_model.draw_people is draw_people
    assert set(dope_model.__all__) <= set(dir(dope_model))


def test_an_unknown_name_is_an_error():
    with pytest.raises(AttributeError, match="no attribute 'draw_cats'"):
        dope_model.draw_cats  # noqa: B018
    with pytest.raises(ImportError, match="draw_cats"):
        from dope_model import draw_cats  # noqa: F401


@pytest.mark.parametrize(
    "statement", ["import dope_model", "from dope_model import WholeBodyDetector"]
)
def test_the_import_loads_no_heavy_package(statement):
    heavy = {"torch", "torchvision", "openvino", "onnx", "rclpy"}
    if statement == "import dope_model":
        heavy |= {"cv2", "numpy"}
    script = f"import sys; {statement}; print(*sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
