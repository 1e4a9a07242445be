"""The routes: some lines of wiring each. What they do lies beside this package."""
