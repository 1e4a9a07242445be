"""Does a running or stored pipeline carry the removal that a report is about?"""
