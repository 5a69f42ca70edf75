"""All questions, in the order in which their answers are shown."""

from typing import Final

from chunkup.probe import manners
from chunkup.probe.about_files import ABOUT_FILES
from chunkup.probe.about_uploads import ABOUT_UPLOADS
from chunkup.probe.shared import SEEN
from chunkup.probe.words import Finding, Question, recorded, unknown

_ABOUT_MANNERS: Final = (
    Question(
        "unknown-id",
        "What of an id that never was?",
        manners.unknown_id,
        {
            "gone": Finding("A File that never was answers 404.", "says that it is not there"),
            "other": Finding("A File that never was answers in its own way.", "passes it on"),
            "success": Finding("A File that never was is there.", "cannot confirm what it made"),
        },
        recorded(SEEN, "gone"),
    ),
    Question(
        "error-shape",
        "How does a refusal look?",
        manners.shape,
        {
            "nested": Finding("Refusals have an error object.", "shows its message"),
            "flat": Finding("Refusals have another shape.", "shows the message it finds"),
            "page": Finding("Refusals are pages.", "shows the page's title"),
            "text": Finding("Refusals are text.", "shows the text"),
            "success": Finding("Refusals look like successes.", "cannot tell them apart"),
        },
        recorded(SEEN, "nested"),
    ),
    Question(
        "request-id",
        "Has an answer an id for its operators?",
        manners.request_id,
        {
            "there": Finding("Answers have a request id.", "names it with every error"),
            "absent": Finding("Answers have no request id.", "has none to name"),
        },
        recorded(SEEN, "there"),
    ),
    Question(
        "clock",
        "What time is it there?",
        manners.clock,
        {
            "right": Finding("Its clock and this one agree.", "goes by the server's"),
            "off": Finding("Its clock and this one differ.", "goes by the server's"),
            "unsaid": Finding("Answers tell no time.", "goes by an Upload's created_at"),
        },
        unknown("a Date is common, and nobody promises it"),
    ),
)

QUESTIONS: Final = ABOUT_UPLOADS + ABOUT_FILES + _ABOUT_MANNERS
