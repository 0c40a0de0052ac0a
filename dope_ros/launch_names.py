"""Names of topics that the launch file works out from its arguments."""

from __future__ import annotations


def beside(image: str, name: str) -> str:
    """Topic `name` in the namespace of topic `image`, where image_transport looks for it too; as
    `image` itself absolute, or relative to the node's namespace.
    """
    namespace, slash, _ = image.removesuffix("/compressed").rpartition("/")
    return namespace + slash + name


def in_namespace(namespace: str, name: str) -> str:
    """The absolute topic `name` of a node in `namespace`, which may be empty or have slashes."""
    namespace = namespace.strip("/")
    return f"/{namespace}/{name}" if namespace else f"/{name}"
