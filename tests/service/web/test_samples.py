"""Images of a running validation on the page of its job."""

from tests.contract.conftest import SampleService
from tests.service.web.conftest import SignedIn


def test_image_that_is_gone_is_no_error(sample: SampleService, signed_in: SignedIn) -> None:
    """The job may end between the page and its images, and a browser reports every missing image."""
    client, path = signed_in("one"), "/jobs/{}/samples/99/after"
    gone = client.get(path.format(sample.owned["edit_id"]))
    assert (gone.status_code, gone.content) == (204, b"")
    assert client.get(path.format("job_unknown")).status_code == 404
