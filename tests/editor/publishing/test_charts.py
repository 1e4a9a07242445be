"""The plotting library is imported only for what was measured on images."""

import subprocess
import sys

from api_schemas.report import AuditReport

RENDER = """
import sys
from api_schemas.report import AuditReport
from editor.publishing.charts import make_charts
from editor.publishing.html import render_html
from editor.publishing.pdf import FONT_DIR

report = AuditReport.model_validate_json(sys.stdin.buffer.read())
charts = make_charts(report)
assert [chart.name for chart in charts] == ["trade-off-0"]
assert render_html(report, charts) and FONT_DIR.is_dir()
sys.exit("matplotlib" in sys.modules)
"""


def test_report_without_measurements_needs_no_plotting_library(report: AuditReport) -> None:
    unmeasured = report.model_copy(update={"validation": None, "verdict": None, "traces": []})
    plain = unmeasured.model_copy(update={"attacks": [], "collateral": None, "detectors": [], "features": None})
    subprocess.run([sys.executable, "-c", RENDER], input=plain.model_dump_json().encode(), check=True)
