"""All charts of a report. The plotting library is imported only for a report of what was measured on images."""

from api_schemas.report import AuditReport
from editor.io.figures import Chart
from editor.io.progress import checked
from editor.publishing.trade_off_chart import trade_off_chart


def make_charts(report: AuditReport) -> list[Chart]:
    """Draw every chart that the report has numbers for."""
    curves = [trade_off_chart(solve, index) for index, solve in checked(enumerate(report.solves)) if solve.trade_off]
    return [*make_measurement_charts(report), *curves]


def make_measurement_charts(report: AuditReport) -> list[Chart]:
    """Draw the charts of what was measured on images, if anything was."""
    if not (report.validation or report.attacks or report.collateral or report.traces):
        return []
    from editor.publishing import measurement_charts  # imports the plotting library, which takes a second

    return measurement_charts.make_charts(report)
