"""Jobs as people and programs see them: one word for the state, one sentence for the reason."""

from chunkup.journal import JobLine, Journal
from chunkup.machine import OPEN, Phase
from chunkup.models import JobInfo


def overview(journal: Journal, line: JobLine) -> JobInfo:
    """A job's line in the journal, together with whether its owner lives."""
    job, state = line.job, state_of(journal, line)
    return JobInfo(
        id=job.id,
        state=state,
        path=job.path,
        purpose=job.purpose,
        filename=job.filename,
        size=job.size,
        done=line.done,
        parts=line.parts,
        base_url=job.account.base_url,
        set_id=job.set_id,
        created_at=job.created_at,
        active_at=line.active_at,
        expires_at=line.expires_at,
        file_id=line.file_id,
        why=why_of(line, state),
    )


def state_of(journal: Journal, line: JobLine) -> str:
    """See :class:`chunkup.JobInfo`."""
    if line.phase not in OPEN:
        return line.phase.value
    if journal.holder_lives(line):
        return "running" if line.run_open else "waiting"
    return "in-doubt" if line.phase is Phase.ASKED else "stopped"


def why_of(line: JobLine, state: str) -> str | None:
    """Why a job in this state is where it is, if there is something to say."""
    if state in {"running", "waiting", "completed"}:
        return None
    if line.run_open and state in {"stopped", "in-doubt"}:
        return "killed, or the machine went down"
    return line.why or ("not begun yet" if state == "stopped" else None)
