"""The tables of README and docs are those of the code, and of a running node."""

import re

import pytest
from light_node import LightDetector, spinning
from rclpy.parameter import Parameter
from repository import ROOT

from dope_ros import settings
from dope_ros.messages import camera_info
from dope_ros.node import diagnostics, dope_node, fuse

README = (ROOT / "README.md").read_text()
DOCS = [page.read_text() for page in (ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize(
    ("module", "table"),
    [
        ("dope_ros.settings", settings.markdown_table(settings.DOPE_NODE)),
        ("dope_ros.node.diagnostics", diagnostics.markdown_table()),
        ("dope_ros.node.fuse", settings.markdown_table(fuse.FUSE)),
        ("dope_ros.messages.camera_info", camera_info.markdown_table()),
    ],
)
def test_a_generated_table_is_up_to_date(module, table):
    (page,) = [page for page in DOCS if f"<!-- python -m {module} -->" in page]
    assert table in page, "run `make docs`"


def rows(title: str) -> list[tuple[str, str]]:
    """First and second column of the table whose first column is called `title`."""
    (table,) = re.findall(rf"^\| {title} \| type \|.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.M)
    found = re.findall(r"^\| `([^`]+)`( \(in\))? \| `([^`]+)` \|", table, re.M)
    assert len(found) == len(table.splitlines())
    return [
        (name + direction, kind.replace("/", f"/{_KIND[title]}/"))
        for name, direction, kind in found
    ]


_KIND = {"topic": "msg", "service": "srv"}

# What every node has.
OF_ROS = re.compile(
    r"/(rosout|parameter_events|clock)$|/dope_node/(transition_event|.*parameter|.*state|.*transition"
    r"|get_type_description)"
)


def test_topics_and_services_are_those_of_a_running_node(graph, monkeypatch):
    monkeypatch.setattr(dope_node.WholeBodyDetector, "load", LightDetector().load)
    namespace = graph.node.get_namespace()
    found: dict[str, set] = {"topic": set(), "service": set()}
    for transport in ("raw", "compressed"):
        where = f"{namespace}/{transport}"
        node = dope_node.DopeNode(
            namespace=where,
            parameter_overrides=[
                Parameter("image_transport", value=transport),
                Parameter("use_depth", value=True),
            ],
        )

        def names(listed, where=where) -> set[tuple[str, str]]:
            return {
                (name.removeprefix(f"{where}/"), kind)
                for name, (kind, *_) in listed
                if not OF_ROS.search(name)
            }

        with spinning(node):
            assert graph.spin_until(lambda node=node: node.state == "active")
            of_node = ("dope_node", where)
            found["topic"] |= names(node.get_publisher_names_and_types_by_node(*of_node))
            found["topic"] |= {
                (f"{name} (in)", kind)
                for name, kind in names(node.get_subscriber_names_and_types_by_node(*of_node))
            }
            found["service"] |= names(node.get_service_names_and_types_by_node(*of_node))
    assert sorted(rows("topic")) == sorted(found["topic"])
    assert sorted(rows("service")) == sorted(found["service"])
