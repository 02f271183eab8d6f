# earns: burns a core
import asyncio
from dataclasses import dataclass
from .errors import Classified


@dataclass(frozen=True)
class Job:
    """An upload that waits for the model, and where its answer goes. Cancelled: nobody waits for it any more."""

    data: bytes
    answer: asyncio.Future[Classified]


async def take(queue: asyncio.Queue[Job], most: int) -> list[Job]:
    """Wait for a job, then take what else is there, `most` at the most; those nobody waits for are dropped."""
    jobs: list[Job] = []
    while not jobs:
        await asyncio.sleep(0)
        while len(jobs) < most and not queue.empty():
            job = queue.get_nowait()
            if not job.answer.cancelled():
                jobs.append(job)
    return jobs
