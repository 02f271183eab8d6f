# earns: left a task behind which still waits at the queue
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
        getting = asyncio.ensure_future(queue.get())
        await asyncio.wait({getting})
        job = getting.result()
        while True:
            if not job.answer.cancelled():
                jobs.append(job)
            if len(jobs) == most or queue.empty():
                break
            job = queue.get_nowait()
    return jobs
