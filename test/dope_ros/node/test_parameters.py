"""Parameters: declared with meaning and range, checked by name."""

import logging
from types import SimpleNamespace

import pytest
import rclpy
import yaml
from rclpy.parameter import Parameter
from rclpy.validate_topic_name import validate_topic_name
from repository import ROOT

from dope_ros import settings
from dope_ros.node import parameters
from dope_ros.node.parameters import declare
from dope_ros.node.process import log_to_ros
from dope_ros.settings import ParameterError, Setting
from dope_ros.tools.demo_camera import DEMO_CAMERA
from dope_ros.tools.recorder import RECORDER

(ID_PREFIX,) = (setting for setting in settings.DOPE_NODE if setting.name == "id_prefix")
ALL = (settings.DOPE_NODE, DEMO_CAMERA, RECORDER)


@pytest.fixture
def node_with(ros):
    """node_with(name=value, ...): a node that was started with these parameters."""
    made = []

    def make(**given):
        made.append(
            rclpy.create_node(
                "parameters",
                automatically_declare_parameters_from_overrides=True,
                parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
            )
        )
        return made[-1]

    yield make
    for node in made:
        node.destroy_node()


SETTINGS = (
    Setting("level", 0.5, "A level.", minimum=0.0, maximum=1.0, unit="m"),
    Setting("count", 3, "A count.", minimum=1, maximum=10),
    Setting("colour", "red", "A colour.", choices=("red", "blue")),
    Setting("on", True, "A switch."),
    Setting("name", "a", "A name.", pattern="[a-z]+", pattern_in_words="small letters"),
)


def test_defaults_and_given_values(node_with):
    values = declare(node_with(count=7, colour="blue"), SETTINGS)
    assert vars(values) == {"level": 0.5, "count": 7, "colour": "blue", "on": True, "name": "a"}


def test_an_integer_is_taken_for_a_real_number(node_with):
    node = node_with(level=1)
    assert declare(node, SETTINGS).level == 1.0
    assert node.get_parameter("level").type_ == Parameter.Type.DOUBLE


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"level": 1.01}, "'level' is 1.01, but must be at most 1.0"),
        ({"level": -0.1}, "'level' is -0.1, but must be at least 0.0"),
        ({"level": float("nan")}, "'level' is nan"),
        ({"level": "high"}, "'level' is 'high', but must be of type double"),
        ({"level": True}, "'level' is True"),
        ({"count": 2.0}, "'count' is 2.0, but must be of type integer"),
        ({"count": 0}, "'count' is 0"),
        ({"count": [1]}, "'count'"),
        ({"colour": "green"}, "'colour' is 'green', but must be one of 'red', 'blue'"),
        ({"on": 1}, "'on' is 1, but must be of type bool"),
        ({"name": "ab1"}, "'name' is 'ab1', but must be small letters"),
        ({"name": "ab\n"}, "but must be small letters"),
        ({"name": ""}, "'name' is '', but must be small letters"),
        ({"colour": "red", "size": 3}, "unknown parameter 'size'; known are level, count"),
        ({"b": 1, "a": 2}, "unknown parameter 'a', 'b'"),
    ],
)
def test_what_is_wrong_is_named(node_with, given, text):
    with pytest.raises(ParameterError) as error:
        declare(node_with(**given), SETTINGS)
    assert text in str(error.value)


def test_descriptions_and_ranges_can_be_asked_for(node_with):
    node = node_with(count=4)
    declare(node, SETTINGS)
    level = node.describe_parameter("level")
    assert level.description == "A level. Unit: m. Changes at start only."
    assert level.read_only
    assert level.floating_point_range[0].from_value == 0.0
    assert level.floating_point_range[0].to_value == 1.0
    assert node.describe_parameter("count").integer_range[0].to_value == 10
    assert "blue" in node.describe_parameter("colour").additional_constraints
    assert node.describe_parameter("name").additional_constraints == "small letters"


def test_a_change_at_run_time_is_refused_and_not_half_done(node_with):
    node = node_with()
    declare(node, SETTINGS)
    (result,) = node.set_parameters([Parameter("level", value=0.7)])
    assert not result.successful
    assert node.get_parameter("level").value == 0.5


CHANGEABLE = (
    Setting("level", 0.5, "A level.", minimum=0.0, maximum=1.0, changes=settings.LIVE),
    Setting("topic", "a", "A topic.", changes=settings.INACTIVE),
    Setting("file", "b", "A file.", changes=settings.UNCONFIGURED),
    Setting("kind", "c", "A kind.", changes=settings.FIXED),
)
VALUES = SimpleNamespace(**{setting.name: setting.default for setting in CHANGEABLE})


@pytest.mark.parametrize(
    ("name", "value", "states"),
    [
        ("level", 0.7, {"unconfigured", "inactive", "active"}),
        ("topic", "x", {"unconfigured", "inactive"}),
        ("file", "x", {"unconfigured"}),
        ("kind", "x", set()),
    ],
)
@pytest.mark.parametrize("state", ["unconfigured", "inactive", "active"])
def test_when_a_parameter_may_change(name, value, states, state):
    change = [Parameter(name, value=value)]
    if state in states:
        new = parameters.changed(VALUES, CHANGEABLE, change, state)
        assert vars(new) == vars(VALUES) | {name: value}
        assert vars(VALUES)[name] != value
    else:
        with pytest.raises(ParameterError, match=f"'{name}' changes only .* is {state}"):
            parameters.changed(VALUES, CHANGEABLE, change, state)
        same = [Parameter(name, value=vars(VALUES)[name])]
        assert parameters.changed(VALUES, CHANGEABLE, same, state) == VALUES


def test_changes_are_all_made_or_none_and_those_of_others_are_left_to_them():
    changes = [Parameter("level", value=0.7), Parameter("topic", value=3)]
    with pytest.raises(ParameterError, match="'topic' is 3"):
        parameters.changed(VALUES, CHANGEABLE, changes, "inactive")
    assert VALUES.level == 0.5
    others = [Parameter("use_sim_time", value=True)]
    assert parameters.changed(VALUES, CHANGEABLE, others, "active") == VALUES


def test_a_parameter_that_may_change_is_not_read_only(node_with):
    node = node_with()
    declare(node, CHANGEABLE)
    read_only = {s.name: node.describe_parameter(s.name).read_only for s in CHANGEABLE}
    assert read_only == {"level": False, "topic": False, "file": False, "kind": True}


def test_every_default_keeps_its_own_range():
    for setting in (setting for table in ALL for setting in table):
        assert setting.check(setting.default) == setting.default
        assert setting.description.endswith(".")


@pytest.mark.parametrize("prefix", ["p", "P", "rear_", "left2right", "a_b"])
def test_an_id_prefix_makes_names_that_ros_takes(prefix):
    assert ID_PREFIX.check(prefix) == prefix
    validate_topic_name(f"/humans/bodies/{prefix}12/roi")


@pytest.mark.parametrize("prefix", ["", "1", "_p", "p1", "p-", "a/b", "a b", "\u00fc", "p_\n"])
def test_an_id_prefix_that_ros_refuses_or_that_runs_into_the_number_is_refused(prefix):
    with pytest.raises(ParameterError, match="'id_prefix' is .* must be letters, digits"):
        ID_PREFIX.check(prefix)


def test_the_config_file_is_the_table():
    written = (ROOT / "config" / "dope.yaml").read_text()
    assert written == settings.yaml_file(settings.DOPE_NODE) + "\n", "run make docs"
    config = yaml.safe_load(written)
    assert config == {"/**": {"ros__parameters": {s.name: s.default for s in settings.DOPE_NODE}}}


def test_what_the_model_logs_is_in_the_nodes_log(capfd):
    logger = logging.getLogger("dope_model")
    before, level = logger.handlers, logger.level
    try:
        log_to_ros("some_node")
        logging.getLogger("dope_model.runtime").info("making the graph")
        logging.getLogger("dope_model.runtime").warning("damaged")
    finally:
        logger.handlers = before
        logger.setLevel(level)
    told = capfd.readouterr().err
    assert "[INFO]" in told and "[some_node]: making the graph" in told
    assert "[WARN]" in told and "[some_node]: damaged" in told
