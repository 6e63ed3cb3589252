"""Pages that people look at: one self-contained HTML file that opens offline."""

from vergence.report.page import Curve, Page, RigCamera, RigScene, Sample, Table, Verdict, choose_samples
from vergence.report.render import render_page, write_page

__all__ = [
    "Curve",
    "Page",
    "RigCamera",
    "RigScene",
    "Sample",
    "Table",
    "Verdict",
    "choose_samples",
    "render_page",
    "write_page",
]
