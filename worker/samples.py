"""Sample images of a running validation: thumbnails of what was generated last, at most every few seconds."""

import time
from collections import deque
from collections.abc import Callable, Sequence

from api_schemas.samples import MAX_SAMPLES
from editor.generation.generated_pairs import GeneratedPair, PairObserver, ignore_pairs
from service.store.claims import Claim
from service.store.samples import NewSample
from worker.progress import ProgressReporter
from worker.settings import WorkerSettings

MAX_SIDE = 160
"""Pixels of the longer side of a thumbnail."""
PROGRESS_INTERVALS = 10
"""Intervals between progress events from one set of images to the next."""


class SampleRecorder:
    """The editor's callback for generated images. Encodes and stores the newest ones, at most once in `interval` seconds."""

    def __init__(self, store: Callable[[Sequence[NewSample]], None], interval: float) -> None:
        self._store = store
        self._interval = interval
        self._stored = -float("inf")
        self._newest: deque[GeneratedPair] = deque(maxlen=MAX_SAMPLES)

    def __call__(self, pairs: Sequence[GeneratedPair]) -> None:
        """Note a batch of images, and store the newest if it is time. Raises `LeaseLost`, `JobCanceled`."""
        self._newest.extend(pairs)
        if self._newest and time.monotonic() - self._stored >= self._interval:
            self._store([make_sample(pair) for pair in self._newest])
            self._newest.clear()
            self._stored = time.monotonic()


def sample_recorder(claim: Claim, progress: ProgressReporter, settings: WorkerSettings) -> PairObserver:
    """Return the callback for a job. A job that withholds names stores no images."""
    if claim.withholds_names:
        return ignore_pairs
    return SampleRecorder(progress.report_samples, PROGRESS_INTERVALS * settings.progress_seconds)


def make_sample(pair: GeneratedPair) -> NewSample:
    """Return the thumbnails of a pair."""
    from editor.io.image_pack import encode_webp

    after = None if pair.after is None else encode_webp(pair.after, MAX_SIDE)
    return NewSample(pair.prompt, pair.seed, encode_webp(pair.before, MAX_SIDE), after)
