"""The questions about Files, in the order in which their answers are shown."""

from typing import Final

from chunkup.probe import files
from chunkup.probe.shared import EITHER, LIVES, NAMES, NOBODY, PAGES, SEEN, answers
from chunkup.probe.words import Finding, Question, documented, recorded, unknown

_SINGLE: Final = ("single", frozenset({"there"}))
_LISTED: Final = ("list", frozenset({"there", "missing"}))

ABOUT_FILES: Final = (
    Question(
        "single",
        "Does one POST /files make a File?",
        files.single,
        {
            "there": Finding("One POST /files makes a File.", "can fall back to it"),
            "absent": Finding("There is no POST /files.", "has Uploads only"),
            "refused": Finding("A POST /files is refused.", "passes the refusal on"),
        },
        documented(PAGES, "there"),
    ),
    Question(
        "fresh",
        "Can a File be asked for at once?",
        files.fresh,
        {
            "at-once": Finding("A new File is there at once.", EITHER),
            "later": Finding("A new File answers 404 at first.", "asks again"),
            "never": Finding("A new File is not found by its id.", "cannot confirm what it made"),
        },
        unknown(NOBODY),
    ),
    Question(
        "size",
        "Does a File tell its size?",
        files.size_told,
        {
            "right": Finding("A File tells its size.", "compares it"),
            "null": Finding("A File does not tell its size.", "cannot compare it"),
            "wrong": Finding("A File tells a wrong size.", "refuses the File"),
        },
        documented(PAGES, "right"),
    ),
    Question(
        "status",
        "What is a File's status?",
        files.status,
        {
            "known": Finding("A File's status is one of the documented.", "shows it"),
            "own": Finding("A File's status is a word of its own.", "shows it as it is"),
            "unsaid": Finding("A File has no status.", "does not wait for one"),
        },
        documented(PAGES, "known"),
    ),
    Question(
        "content",
        "Can the content be had?",
        files.content,
        {
            "given": Finding("The content can be had.", "downloads such Files"),
            "other": Finding("The content is not what was sent.", "compares the size"),
            "refused": Finding("The content is not given.", "passes the refusal on"),
        },
        unknown("the reference is silent, and it depends on the purpose"),
    ),
    Question(
        "range",
        "Can a piece of the content be had?",
        files.span,
        {
            "honoured": Finding("A Range is honoured.", "resumes downloads"),
            "ignored": Finding("A Range is ignored.", "starts a broken download over"),
            "wrong": Finding("A Range gives other bytes.", "compares the size"),
            "refused": Finding("A Range is refused.", "starts a broken download over"),
        },
        unknown(NOBODY),
        needs=("content", frozenset({"given"})),
    ),
    Question(
        "expiry-files",
        "Is a File's expiry kept on /files?",
        files.expiry,
        LIVES,
        documented(PAGES, "kept"),
        needs=_SINGLE,
    ),
    Question(
        "name-files",
        "Do letters of any language come back on /files?",
        files.named(" 你好 é"),
        NAMES,
        recorded(SEEN, "kept"),
        needs=_SINGLE,
    ),
    Question(
        "name-marks-files",
        "Do quotes and line ends in a name come back on /files?",
        files.named(' "a"\nb'),
        NAMES,
        unknown(NOBODY),
        needs=_SINGLE,
    ),
    Question(
        "purpose-odd",
        "Is a purpose that nobody has refused?",
        files.odd_purpose,
        answers(
            "Any purpose is taken.",
            "A purpose that is not known is refused.",
            then=("sends what it is told", "passes the refusal on"),
        ),
        recorded(SEEN, "refused"),
        needs=_SINGLE,
    ),
    Question(
        "deleted",
        "Is a deleted File gone?",
        files.deleted,
        {
            "gone": Finding("A deleted File answers 404.", "takes that for done"),
            "other": Finding("A deleted File answers in its own way.", "passes it on"),
            "still-there": Finding("A deleted File can still be asked for.", "shows what is told"),
            "kept": Finding("A File cannot be deleted.", "passes the refusal on"),
        },
        unknown("a 404 is recorded of ids that never were"),
    ),
    Question(
        "list",
        "Are Files listed?",
        files.listed,
        {
            "there": Finding("A new File is in the list.", "looks there after a doubt"),
            "missing": Finding(
                "A new File is not in the list.", "cannot settle a doubt here by itself"
            ),
            "absent": Finding("There is no list.", "cannot settle a doubt here by itself"),
        },
        documented(PAGES, "there"),
        alone=True,
    ),
    Question(
        "list-purpose",
        "Does the list heed a purpose?",
        files.filtered,
        {
            "honoured": Finding("The list heeds a purpose.", "asks by purpose"),
            "ignored": Finding("The list ignores a purpose.", "sorts out by itself"),
            "refused": Finding("The list refuses another purpose.", "passes the refusal on"),
        },
        documented(PAGES, "honoured"),
        needs=_LISTED,
        alone=True,
    ),
    Question(
        "list-limit",
        "Does the list heed a limit?",
        files.limited,
        {
            "honoured": Finding("The list heeds a limit.", "asks for a hundred at a time"),
            "ignored": Finding("The list ignores a limit.", "reads what comes, up to a bound"),
        },
        documented(PAGES, "honoured"),
        needs=_LISTED,
        alone=True,
    ),
    Question(
        "list-after",
        "Are there further pages?",
        files.cursor,
        {
            "honoured": Finding("The next page begins after a File.", "turns pages so"),
            "ignored": Finding("The same page comes again.", "stops at a page it has seen"),
            "refused": Finding("A further page is refused.", "passes the refusal on"),
        },
        documented(PAGES, "honoured"),
        needs=_LISTED,
        alone=True,
    ),
    Question(
        "list-order",
        "Does the list heed an order?",
        files.sorted_by_age,
        {
            "honoured": Finding("The list heeds an order.", "asks for the newest first"),
            "ignored": Finding("The list has one order.", "reads all pages, up to a bound"),
        },
        documented(PAGES, "honoured"),
        needs=_LISTED,
        alone=True,
    ),
    Question(
        "list-more",
        "Is has_more true?",
        files.more_to_come,
        {
            "true": Finding("has_more tells whether there is more.", "goes by it"),
            "hidden": Finding("has_more is not told where there is more.", "reads one page"),
            "for-ever": Finding(
                "has_more is said for ever.", "stops at a page that has nothing new"
            ),
            "whole": Finding("The list comes whole.", "reads it once"),
        },
        documented(PAGES, "true"),
        needs=_LISTED,
        alone=True,
    ),
)
