"""The web pages: Jinja2 templates and htmx, served by the API's process. They do nothing that an API client could not do."""
