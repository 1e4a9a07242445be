"""The routers of the pages, a module for each entry of the navigation."""
