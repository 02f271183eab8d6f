# earns: asked before the next one is taken out
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
    while True:
        job = await queue.get()
        if job.answer.cancelled():
            continue
        if len(jobs) == most:
            return jobs
        jobs.append(job)
        if queue.empty():
            return jobs
