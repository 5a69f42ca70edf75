"""The questions about Uploads, in the order in which their answers are shown."""

from typing import Final

from chunkup.probe import uploads
from chunkup.probe.shared import EITHER, LIVES, NAMES, NOBODY, PAGES, SEEN, answers
from chunkup.probe.words import Finding, Question, documented, recorded, unknown

_UPLOADS: Final = ("uploads", frozenset({"there"}))
_FILE: Final = ("complete", frozenset({"file"}))
_CHECKED: Final = ("md5-wrong", frozenset({"refused"}))

ABOUT_UPLOADS: Final = (
    Question(
        "uploads",
        "Are there Uploads?",
        uploads.there,
        {
            "there": Finding("There are Uploads.", "sends files in parallel parts, resumably"),
            "absent": Finding("There are no Uploads.", "sends each file in one POST /files"),
            "refused": Finding(
                "An Upload is refused.", "falls back to one POST /files if the purpose is why"
            ),
        },
        documented(PAGES, "there"),
    ),
    Question(
        "life",
        "How long does an Upload live?",
        uploads.life,
        {
            "hour": Finding("An Upload lives one hour.", "goes by each Upload's own expires_at"),
            "other": Finding(
                "An Upload lives longer or shorter than an hour.",
                "goes by each Upload's own expires_at",
            ),
            "unsaid": Finding("Nothing tells when an Upload ends.", "goes on until it is refused"),
            "nonsense": Finding("An Upload ends before it began.", "goes on until it is refused"),
        },
        documented(PAGES, "hour"),
        needs=_UPLOADS,
    ),
    Question(
        "complete",
        "Do two small parts become a File?",
        uploads.made,
        {
            "file": Finding("Small parts become a File.", "compares its size, name and purpose"),
            "bare": Finding("A complete answers without its File.", "looks for it in the list"),
            "refused": Finding("Two small parts are refused.", "cannot use Uploads here"),
        },
        recorded(SEEN, "file"),
        needs=_UPLOADS,
    ),
    Question(
        "order",
        "Is the listed order honoured?",
        uploads.order,
        {
            "listed": Finding(
                "Parts are put together as they are listed.", "sends them in any order"
            ),
            "arrival": Finding("Parts are put together as they arrived.", "needs --workers 1 here"),
            "mixed": Finding("The content is another one.", "cannot use Uploads here"),
            "unseen": Finding(
                "The content cannot be looked at for this purpose.",
                "relies on the MD5 where that is checked",
            ),
        },
        documented(PAGES, "listed", "unseen"),
        needs=_FILE,
    ),
    Question(
        "orphan",
        "What of a part that is not listed?",
        uploads.orphan,
        {
            "ignored": Finding(
                "A part that is not listed is left out.", "sends a part again if its answer is lost"
            ),
            "refuses-part": Finding(
                "Parts beyond the declared size are refused.",
                "starts another Upload after a lost answer, and says so",
            ),
            "refuses-complete": Finding(
                "Parts that are not listed make complete fail.",
                "starts another Upload after a lost answer, and says so",
            ),
            "counted": Finding(
                "A part that is not listed is put into the File.",
                "refuses the File, whose size is wrong",
            ),
        },
        unknown(NOBODY),
        needs=_FILE,
    ),
    Question(
        "subset",
        "Is a complete refused if bytes are missing?",
        uploads.subset,
        answers(
            "A File may be made of fewer bytes than were declared.",
            "Fewer bytes than declared are refused.",
            then=("compares the File's size itself", "compares the File's size all the same"),
        ),
        documented(PAGES, "refused"),
        needs=_FILE,
    ),
    Question(
        "complete-twice",
        "What of a second complete?",
        uploads.twice,
        {
            "same": Finding("A second complete gives the same File.", "looks first all the same"),
            "refused": Finding(
                "A second complete is refused.", "looks for the File before it asks again"
            ),
            "second": Finding(
                "A second complete makes a second File.",
                "never asks again before it has looked for the first",
            ),
        },
        unknown(NOBODY),
        needs=_FILE,
    ),
    Question(
        "complete-failed",
        "Is an Upload open after a failed complete?",
        uploads.failed,
        {
            "open": Finding("An Upload outlives a refused complete.", "may ask it again"),
            "final": Finding("A refused complete ends an Upload.", "starts another one"),
            "not-refused": Finding(
                "A complete with an unknown part is not refused.", "compares the File's size"
            ),
        },
        unknown(NOBODY),
        needs=_FILE,
    ),
    Question(
        "md5-wrong",
        "Is the MD5 checked?",
        uploads.with_md5(uploads.wrong_hex, "ignored"),
        {
            "refused": Finding("A wrong MD5 is refused.", "sends one with every complete"),
            "ignored": Finding(
                "A wrong MD5 is not noticed.", "compares only the size of what arrived"
            ),
        },
        documented(PAGES, "refused"),
        needs=_FILE,
    ),
    Question(
        "md5-hex",
        "Is the right MD5 taken in lower-case hex?",
        uploads.with_md5(uploads.lower_hex),
        answers(
            "The right MD5 is taken in lower-case hex.",
            "The right MD5 is refused in lower-case hex.",
            then=("writes it so", "needs --no-md5 here"),
        ),
        unknown("the reference does not say how it is written"),
        needs=_FILE,
    ),
    Question(
        "md5-upper",
        "Is it taken in upper-case hex?",
        uploads.with_md5(uploads.upper_hex),
        answers(
            "The right MD5 is taken in upper-case hex.",
            "The right MD5 is refused in upper-case hex.",
            then=("writes it in lower case", "writes it in lower case"),
        ),
        unknown(NOBODY),
        needs=_CHECKED,
    ),
    Question(
        "md5-base64",
        "Is it taken in base64?",
        uploads.with_md5(uploads.in_base64),
        answers(
            "The right MD5 is taken in base64.",
            "The right MD5 is refused in base64.",
            then=("writes it in hex", "writes it in hex"),
        ),
        unknown(NOBODY),
        needs=_CHECKED,
    ),
    Question(
        "part-empty",
        "Is a part without bytes taken?",
        uploads.empty_part,
        answers(
            "A part without bytes is taken.",
            "A part without bytes is refused.",
            then=("never sends one", "never sends one"),
        ),
        unknown(NOBODY),
        needs=_UPLOADS,
    ),
    Question(
        "part-64mib",
        "Is a part of 64 MiB taken?",
        uploads.large_part,
        answers(
            "A part of 64 MiB is taken.",
            "A part of 64 MiB is refused.",
            then=("sends such parts", "goes on with smaller parts, see --part-size"),
        ),
        documented(PAGES, "taken"),
        needs=_UPLOADS,
        large=True,
    ),
    Question(
        "created-at",
        "Has a File the moment of its Upload?",
        uploads.moment,
        {
            "same": Finding(
                "A File has its Upload's created_at.", "knows a File again by it after a doubt"
            ),
            "own": Finding(
                "A File has a created_at of its own.", "takes a File after a doubt if one fits"
            ),
            "unsaid": Finding(
                "A File does not tell when it was made.", "takes a File after a doubt if one fits"
            ),
        },
        recorded(SEEN, "same"),
        needs=_FILE,
    ),
    Question(
        "size-completed",
        "Does a complete tell the File's size?",
        uploads.size_told,
        {
            "right": Finding("A complete tells the File's size.", "compares it"),
            "null": Finding("A complete does not tell the File's size.", "asks for the File"),
            "wrong": Finding("A complete tells a wrong size.", "refuses the File"),
        },
        documented(PAGES, "right", "null"),
        needs=_FILE,
    ),
    Question(
        "expiry-uploads",
        "Is a File's expiry kept on /uploads?",
        uploads.expiry,
        LIVES,
        documented(PAGES, "kept"),
        needs=_FILE,
    ),
    Question(
        "name-uploads",
        "Do letters of any language come back on /uploads?",
        uploads.named(" 你好 é"),
        NAMES,
        unknown("it is recorded of /files alone"),
        needs=_FILE,
    ),
    Question(
        "name-marks-uploads",
        "Do quotes and line ends in a name come back on /uploads?",
        uploads.named(' "a"\nb'),
        NAMES,
        unknown(NOBODY),
        needs=_FILE,
    ),
    Question(
        "user-data",
        "Is the purpose user_data taken on /uploads?",
        uploads.user_data,
        answers(
            "user_data is taken on /uploads.",
            "user_data is refused on /uploads.",
            then=("sends it in parts", "sends it in one POST /files"),
        ),
        unknown("the reference names it in one place and not in another"),
        needs=_UPLOADS,
    ),
    Question(
        "cancel",
        "Is a cancel without a body taken?",
        uploads.cancel_bare,
        answers(
            "A cancel without a body is taken.",
            "A cancel without a body is refused.",
            then=("sends it so", "leaves an Upload to die by itself"),
        ),
        recorded(SEEN, "taken"),
        needs=_UPLOADS,
    ),
    Question(
        "cancel-json",
        "Is a cancel with {} taken?",
        uploads.cancel_json,
        answers(
            "A cancel with {} is taken.",
            "A cancel with {} is refused.",
            then=("sends none", "sends none"),
        ),
        unknown(NOBODY),
        needs=_UPLOADS,
    ),
    Question(
        "cancel-twice",
        "What of a second cancel?",
        uploads.cancel_twice,
        answers(
            "A second cancel is taken.",
            "A second cancel is refused.",
            then=("repeats one freely", "takes that refusal for done"),
        ),
        unknown(NOBODY),
        needs=_UPLOADS,
    ),
    Question(
        "cancel-completed",
        "What of a cancel after complete?",
        uploads.cancel_completed,
        {
            "refused": Finding("A cancel after complete is refused.", "names the File"),
            "kept": Finding("A cancel after complete leaves the File.", EITHER),
            "gone": Finding(
                "A cancel after complete takes the File away.", "looks for the File first"
            ),
        },
        unknown(NOBODY),
        needs=_FILE,
    ),
    Question(
        "part-cancelled",
        "Is a part taken after a cancel?",
        uploads.part_after,
        answers(
            "A part is taken after a cancel.",
            "No part is taken after a cancel.",
            then=("sends none", "sends none"),
        ),
        documented(PAGES, "refused"),
        needs=_UPLOADS,
    ),
)
