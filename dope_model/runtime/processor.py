"""What this machine's processor can do with products of eight bits."""

from __future__ import annotations

from pathlib import Path

_PROCESSOR = Path("/proc/cpuinfo")
_VNNI = {"amx_int8", "avx512_vnni", "avx_vnni"}
_ARM_DOT_PRODUCTS = {"asimddp"}


def has_vnni() -> bool:
    """Whether it is an x86 processor on which INT8 is faster than float32: with VNNI or AMX."""
    return not _VNNI.isdisjoint(_flags())


def adds_int8_in_32_bits() -> bool:
    """Whether sums of two products of INT8 are exact. x86 without VNNI cuts them off at 16 bits."""
    return not (_VNNI | _ARM_DOT_PRODUCTS).isdisjoint(_flags())


def _flags() -> list[str]:
    try:
        return _PROCESSOR.read_text().split()
    except OSError:
        return []
