"""The protocols of published benchmarks, one file each, and what they share.

`protocol.py` says what a protocol is, `../runner.py` runs one, `table_1.py` all that the paper's
first table needs. Metrics that several share lie in `pck.py` and `keypoint_ap.py`.
"""

from __future__ import annotations

import argparse


def add_protocols(subparsers: argparse._SubParsersAction) -> None:
    """Add all protocols to the parser of `benchmark`."""
    from dope_model.benchmark.protocols.coco import Coco
    from dope_model.benchmark.protocols.coco_wholebody import CocoWholebody
    from dope_model.benchmark.protocols.lspet import Lspet
    from dope_model.benchmark.protocols.menpo import Menpo
    from dope_model.benchmark.protocols.mpii import Mpii
    from dope_model.benchmark.protocols.mupots import Mupots
    from dope_model.benchmark.protocols.rendered import Rendered
    from dope_model.benchmark.protocols.rhd import Rhd
    from dope_model.benchmark.protocols.table_1 import add_table_1
    from dope_model.benchmark.runner import add_protocol

    for protocol in (Coco, Rendered, Mpii, Mupots, Rhd, Menpo, Lspet, CocoWholebody):
        add_protocol(subparsers, protocol())
    add_table_1(subparsers)
