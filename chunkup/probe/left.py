"""What was made and is still there."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Left:
    """What was made and is still there.

    Attributes:
        files: Ids of Files, and the names that the server gave them.
        uploads: Ids of Uploads that have not ended.
        strangers: Ids of Files that the server says it made of ours, and that have somebody
            else's name: they are not touched.
        lost: Requests that may have made a File of which nothing was heard.
        unheard: Requests that may have made an Upload of which nothing was heard; no list would
            show it, and it ends by itself.
        made_files: How many Files were made in all.
        made_uploads: How many Uploads.
    """

    files: dict[str, str] = field(default_factory=dict)
    uploads: set[str] = field(default_factory=set)
    strangers: dict[str, str] = field(default_factory=dict)
    lost: int = 0
    unheard: int = 0
    made_files: int = 0
    made_uploads: int = 0
