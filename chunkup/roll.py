"""What arrived of a dataset, written down in the manifests of its sets as it arrives.

A set keeps where its manifest is: whoever goes on with it completes the same one.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Self

from chunkup.journal import Journal
from chunkup.manifest import Entry, Manifest, read
from chunkup.models import Job


class Roll:
    """The manifests of the sets that some jobs belong to. Make one with :meth:`open`."""

    def __init__(self, journal: Journal, manifests: dict[str, Manifest]) -> None:
        self._journal = journal
        self._manifests = manifests

    @classmethod
    async def open(cls, journal: Journal, jobs: Iterable[Job]) -> Self:
        """Those of these jobs' sets, if they have any.

        Raises:
            BadOption: One of them cannot be written, or is something else.
        """
        manifests: dict[str, Manifest] = {}
        places: dict[str, Manifest] = {}
        for set_id in dict.fromkeys(job.set_id for job in jobs):
            path = (await journal.habits(set_id)).manifest
            if path is None:
                continue
            if path not in places:
                places[path] = Manifest(path)
                await places[path].prepare()
            manifests[set_id] = places[path]
        return cls(journal, manifests)

    async def add(self, jobs: Mapping[str, int], set_id: str) -> None:
        """Jobs of a set that became Files, each with its place in the command."""
        manifest = self._manifests.get(set_id)
        if manifest is not None:
            for job_id, entry in (await self._journal.arrived_as(list(jobs))).items():
                manifest.add(jobs[job_id], entry)

    async def close(self) -> None:
        """Have all of it on the disk; any number of times.

        Raises:
            Failed: A manifest could not be written. What was uploaded is uploaded all the same.
        """
        manifests, self._manifests = self._manifests, {}
        for manifest in dict.fromkeys(manifests.values()):
            await manifest.close()


def entries(path: str | None) -> list[Entry]:
    """What a manifest says already; nothing where there is none yet.

    Raises:
        BadOption: It is something else.
    """
    return read(path) if path is not None and os.path.exists(path) else []  # noqa: PTH110  (it may be no text)
