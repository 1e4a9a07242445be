"""Does a running or stored pipeline carry the removal that a report is about?"""

from editor.publishing.deployment.check import check_deployment

__all__ = ["check_deployment"]
