"""`expunge up`: run broker, dispatcher, worker and API on one data folder as one process tree."""
