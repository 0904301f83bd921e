"""The rules refuse the mappings that the kernel refuses, and no others."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocirt.config.id_map_rules import check_mappings
from ocirt.config.report import Report
from ocirt.errors import KernelError
from ocirt.host import id_maps
from ocirt.plan import id_mapped

END = (1 << 32) - 1
IDS = st.integers(0, 8) | st.integers(END - 8, END) | st.integers(0, END)
SIZES = st.integers(0, 4) | st.integers(END - 4, END)
ROW = st.fixed_dictionaries({"containerID": IDS, "hostID": IDS, "size": SIZES})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may map any id")
@given(st.lists(ROW, min_size=1, max_size=4))
def test_mappings(mappings: list[dict[str, Any]]) -> None:
    report = Report([], [])
    check_mappings(mappings, "/linux/uidMappings", report)
    rows = id_mapped.rows(mappings)
    try:
        os.close(id_maps.new_namespace(rows, rows, "/linux/uidMappings"))
    except KernelError as error:
        assert report.problems, error
    else:
        assert report.problems == []
