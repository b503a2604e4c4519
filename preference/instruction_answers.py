"""What somebody answers at a pause, in plain English: "Approved, proceed.", "Use Qwen3 8B instead.", "Cancel.".

`read_answer(text)` gives a GateAnswer, and `GateAnswer.form(gate)` the answer for that gate's form. Yes and no are only
taken where nothing else was said: whatever asks for anything more is a change, and what is not clear is neither.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from preference.instruction import check_text, read_instruction


class Intent(StrEnum):
    PROCEED = "proceed"
    STOP = "stop"
    CHANGE = "change"
    PROMOTE = "promote"  # a candidate by name
    UNCLEAR = "unclear"


class GateAnswer(BaseModel):
    """An answer at a pause, before it is known which gate it is for."""

    intent: Intent
    candidate: str = ""  # with promote: its name in the table, such as t3
    change: str = ""  # with change: what to change, to be read by read_instruction
    winner: bool = False  # with proceed: said of a winner, so no answer to a plan
    why: str = ""  # with unclear

    def form(self, gate: str) -> dict[str, Any] | None:
        """The fields of that gate's form ("plan", "comparison"); None where the answer does not fit the gate."""
        match gate, self.intent:
            case "plan", Intent.PROCEED if not self.winner:
                return {"decision": "approve"}
            case "plan", Intent.STOP:
                return {"decision": "reject"}
            case "plan", Intent.CHANGE:
                return {"decision": "change", "change": self.change}
            case "comparison", Intent.PROCEED:
                return {"decision": "continue"}
            case "comparison", Intent.STOP:
                return {"decision": "stop"}
            case "comparison", Intent.PROMOTE:
                return {"decision": "promote", "candidate": self.candidate}
        return None


_YES = re.compile(
    r"\b(?:approved?|approves|approving|yes|yep|yeah|yup|ok|okay|proceed|go ahead|go on|go for it|continue|carry on|"
    r"lgtm|(?:look|looks|sounds|all|very) good|good to go|sure|confirm(?:ed)?|accept(?:ed)?|agreed|agree|do it|ship it|"
    r"run it|start it|green light|make it so|let'?s go|fine by me|that'?s fine|perfect|great|fine)\b"
)
_NO = re.compile(
    r"\b(?:cancel(?:led|ed)?|reject(?:ed)?|stop|abort(?:ed)?|no|nope|declined?|terminate|quit|never ?mind|forget it|"
    r"discard|drop it|disapproved?|denied|deny|refused?|end it|end the run|call it off|halt|no thanks|no thank you)\b"
)
_NOT = re.compile(r"\b(?:not|don'?t|do not|never|can'?t|cannot|won'?t|wouldn'?t|isn'?t|without|unless|if|except)\b")
_PROMOTE = re.compile(
    r"\b(?:promote|deploy|ship|choose|pick|take|use|select|want|prefer|go with|proceed with|continue with|release)\s+"
    r"(?:the\s+)?(?:candidate|trial|model|number)?\s*(t\d{1,3})\b"
)
_WINNER = re.compile(r"\b(?:deploy|promote|ship|release)\b|\b(?:winner|winning|best|proposed|promotion|deployment)\b")
_PADDING = re.compile(
    r"\b(?:please|pls|the|a|an|plan|it|this|that|that'?s|with|config|configuration|candidate|model|one|and|then|so|thanks|"
    r"thank|you|thx|i|i'?m|we|can|may|might|run|on|all|by|me|now|to|training|sweep|as|is|am|are|be|of|cost|price|costs|"
    r"budget|everything|session|job|right|away|just|let'?s|us|do|go|has|have|been|with|its|my|your|our|hi|hello|well|"
    r"deploy|promote|ship|release|winner|winning|best|proposed|promotion|deployment|there|here|from|for|start|begin|"
    r"happy|good|works|planned|stands|described|shown|further|ahead|next|step|phase|whole|thing|entire)\b"
)

_LEAD = re.compile(  # "No, use X": cut off only before a stop or a "but", for "no ORPO" means ORPO
    rf"^(?:\W*(?:{_YES.pattern}|{_NO.pattern}|please))+\s*(?:[,.;:!–—-]+\s*(?:but\b)?|but\b)\s*", re.I
)


def read_answer(text: str) -> GateAnswer:
    """What the answer means. Raises InstructionRefused where the text holds a key.

    "Approved, but use Qwen3 8B" is a change, which is planned and asked about again. "Don't proceed" is a stop. A
    question, a condition, or yes and no at once are unclear.
    """
    check_text(text)
    plain = " ".join(re.sub(r"[’‘]", "'", text).casefold().split())
    if not re.search(r"\w", plain):
        return GateAnswer(intent=Intent.UNCLEAR, why="nothing was said")
    asked = plain.rstrip(" \"')").endswith("?")
    if (named := _PROMOTE.findall(plain)) or (named := re.findall(r"^\W*(t\d{1,3})\W*$", plain)):
        rest = _PADDING.sub(" ", _YES.sub(" ", _PROMOTE.sub(" ", plain)))
        if len(set(named)) == 1 and not asked and not re.search(r"[a-z]", rest.replace(named[0], "")):
            return GateAnswer(intent=Intent.PROMOTE, candidate=named[0])
    no = bool(_NO.search(plain))
    yes = bool(_YES.search(_NO.sub(" ", plain)))
    winner = bool(_WINNER.search(plain))
    negated = bool(_NOT.search(_NO.sub(" ", plain)))
    rest = _PADDING.sub(" ", _NOT.sub(" ", _NO.sub(" ", _YES.sub(" ", plain))))
    if not re.search(r"\w", rest) and (yes or no or winner):
        return _plain(yes=yes, no=no, winner=winner, negated=negated, asked=asked, text=text)
    order = _LEAD.sub("", text)
    reading = read_instruction(order)
    if reading.understood or reading.questions or reading.refused:
        return GateAnswer(intent=Intent.CHANGE, change=order.strip())
    return GateAnswer(intent=Intent.UNCLEAR, why=f"{text.strip()!r} was not understood")


def _plain(*, yes: bool, no: bool, winner: bool, negated: bool, asked: bool, text: str) -> GateAnswer:
    """Where nothing but yes, no and their padding was said."""
    if asked:
        return GateAnswer(intent=Intent.UNCLEAR, why="that is a question")
    if re.search(r"\b(?:if|unless|except|without)\b", text.casefold()):
        return GateAnswer(intent=Intent.UNCLEAR, why="that has a condition")
    if yes and no and not negated:
        return GateAnswer(intent=Intent.UNCLEAR, why="that says yes and no")
    if negated and no:
        unclear = re.search(r"(?:not|don'?t|never)\W+(?:\w+\W+){0,1}(?:cancel|stop|reject|abort)", text.casefold())
        if unclear or not (yes or winner):
            return GateAnswer(intent=Intent.UNCLEAR, why="that says no to a no")
    if no or negated:
        return GateAnswer(intent=Intent.STOP)
    return GateAnswer(intent=Intent.PROCEED, winner=winner)
