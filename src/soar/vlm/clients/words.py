"""Yes and no in the words of a chat model.

An answer is a whole reply, its last line or clause, or a reply that begins with it and goes on about the question
(`agreement`). Thoughts before the end marker of a thought are dropped. All else is unknown: a refusal, a doubt, a
condition, an example, a contradiction, another subject. Every pattern takes linear time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from soar.types import Question
from soar.vlm.clients.agreement import Topic, agrees, concludes, contradicts

YES = frozenset({"yes", "true", "y"})
NO = frozenset({"no", "false", "n"})
_LONGEST = 20_000
"""Most characters of a reply that is read; a longer one is unknown."""

_THOUGHT_ENDS = re.compile(
    r"</(?:think|thinking|thought|thoughts|reasoning|reason|analysis|seed:think|scratchpad)>|\[/THINK\]|◁/think▷"
    r"|<unused95>|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>|assistantfinal|<channel\|>"
    r"|\.\.\.done thinking\.|<\|end_thinking\|>|<\|inner_suffix\|>|<\|END_THINKING\|>",
    re.IGNORECASE,
)
_THOUGHT_STARTS = re.compile(
    r"<(?:think|thinking|thought|thoughts|reasoning|reason|analysis|seed:think|scratchpad)>|\[THINK\]|◁think▷"
    r"|<unused94>|<\|begin_of_thought\|>|<\|channel\|?>|<\|start_thinking\|>|<\|inner_prefix\|>|^\W{0,3}analysis\b"
    r"|^\W{0,3}thinking\b",
    re.IGNORECASE,
)
_TURN_ENDS = re.compile(
    r"</s>|<\|im_end\|>|<\|eot_id\|>|<\|endoftext\|>|<\|end\|>|<\|return\|>|<end_of_turn>|<\|im_start\|>"
    r"|\[INST\]|<｜end▁of▁sentence｜>"
    r"|\n[#*\s]{0,8}(?:user|human|question|instruction)[*\s]{0,4}:",
    re.IGNORECASE,
)
_MARKUP = re.compile(
    r"<[^<>\n]{1,40}>|\\(?:boxed|text|textbf|mathrm)\b|[*_`#>\"“”{}$]|(?<!\w)['‘’]|['‘’](?!\w)"
)

_WORD = r"(yes|no|true|false)"
_WHOLE = re.compile(r"\s*(?:[-•]\s)?(yes|no|true|false|y|n)\s{0,6}[.!,;]?")
_LABEL = (
    r"(?:(?:so|therefore|thus|hence|overall|in conclusion|in short|in summary)\s?,?\s?)?"
    r"(?:(?:the|my|final|short|correct) ){0,3}(?:answer|response|result|output|conclusion|assistant|a)"
    r"\s?(?:is\s?:?|[:=])\s{0,4}"
)
_BEGINS = re.compile(
    rf"\s*(?:[-•]\s)?(?:1[.):]\s{{0,4}})?(?:{_LABEL})?{_WORD}"
    r"(?P<rest>\s*$|\s{0,6}[.!](?!\.)(?!\s{0,6}\d)|\s{0,6}[,;:—–(]|\s*\n|\s-\s|\s(?=(?:the|it|there|this)\b))"
)
_EXPLICIT = re.compile(
    rf"(?:^|[.!?,;:\n—–]\s{{0,4}}){_LABEL}{_WORD}(?=[ \t]{{0,6}}[.!]?[ \t]{{0,6}}(?:\n|$))"
)
_LAST_LINE = re.compile(rf"(?:^|[.!?\n]\s{{0,4}}){_WORD}\s?[.!]?$")
_LAST_CLAUSE = re.compile(
    rf"[,;.:\n—–]\s{{0,4}}(?:and )?(?:so|therefore|thus|hence)\s?,?\s?{_WORD}\s?[.!]?$"
)
_ANY = re.compile(r"\b(yes|no|true|false)\b")

_DOUBT = re.compile(
    r"\b(?:can't|cannot|can not|couldn't|unable|unclear|uncertain|unsure|unknown|undetermined|indeterminate"
    r"|inconclusive|undecided|ambiguous|insufficient|impossible|unanswerable|unless|if|whether|maybe|perhaps"
    r"|possibly|probably|likely"
    r"|might|may|could|would|should|must|either|neither|depends?|guess\w*|assum\w*|suppos\w*|hypothe\w*|imagine"
    r"|apologi\w*|sorry|please|you|your|ai|language model|question|request|upload\w*|provide[ds]?|attached|received"
    r"|help|assist|example|e\.g|instance|format|placeholder|says|reads|said|reply|respond|options?|choose|choice"
    r"|hard to|difficult|tricky|tough|tell|determin\w*|know|knows|confiden\w*|confirm\w*|verif\w*|certain\w*|sure|judge"
    r"|wait|actually|hmm|hold on|correction|scratch that|let me|let's|on second thought|rather|instead of answering"
    r"|blurr\w*|blurred|obscured|occluded|hidden|cut off|out of (?:view|frame)|too (?:dark|small|far|blurry"
    r"|low|ambiguous)"
    r"|no (?:image|picture|photo|idea|way|clue|information|context|data|answer|response|comment"
    r"|visible evidence|evidence)"
    r"|(?:do|does|did|is|are|was) ?n[o']t (?:able|enough|clear|sure|certain|possible|show|shown|see|seem"
    r"|appear|visible|given|available|answer)"
    r"|(?:image|picture|photo|frame|view|camera|scene) (?:is|was|seems|appears|isn't|wasn't|has|does|doesn't"
    r"|did|didn't|failed|shows (?:nothing|only|no))"
    r"|not (?:enough|clear\w*|visible|shown|sure|certain|possible|in view|given|discernible|applicable|answerable)|n/a"
    r"|puedo|s[eé]|posso|peux|kann|weiß|sais|partially|partly|sort of|kind of|(?<!in )half|almost|both"
    r"|not really|debatable|relevant|define|what do"
    r"|concluded?|convey\w*|discern\w*|poor|interpret\w*|refus\w*|violat\w*|policy|apparent|evident|angle|conversation"
    r"|(?:no|this|any|what the) (?:images?|pictures?|photos?|photographs?|frames?)|(?:black|blank"
    r"|empty) (?:image|picture|photo|frame)"
    r"|chance|percent|resolution|too? dark|access|limited|beyond|visibility|inaccessible|corrupt\w*"
    r"|unsupported|undefined"
    r"|scope|restrict\w*|rules?|guidelines?|instructions?|underst\w*|ready|loaded|file|task|content|permitted"
    r"|allowed|prohibited"
    r"|something i|say|this is an? (?:photo|photograph|image|picture|screenshot)|muted|simulation|model"
    r"|assistant is|nobody|no one"
    r"|error|failed|invalid|unavailable|not found|believe|think|appears?|appeared|seems?|looks?|presumably|apparently"
    r"|(?<!i )can|was|were|will|had|going|about to|almost|nearly|being|becom\w*|once|needs?|required|mostly"
    r"|approximately|roughly"
    r"|usually|generally|typically|normally|often|always|sometimes|rough|estimate|uncertainty|action|missing|attach\w*"
    r"|word|prompt|according|description|caption|kidding|joking|tool_?calls?|functions?|arguments?|healthy"
    r"|server|internal|proxy|gateway|timeout|cannot|unless|network|connection|model|loaded|off-?screen|out of focus"
    r"|glare|prevents?|cropped|picture|photo\w*|sent|eyes)\b"
    r"|\b(?:yes|true)\s?(?:or|/|\||and)\s?(?:no|false)\b|\b(?:no|false)\s?(?:or|/|\||and)\s?(?:yes|true)\b|\.\.|…|%"
)
_ADDRESS = re.compile(
    r"\s*(?:i(?! see| can see)|i'm|i'll|we|what|how|(?:that's|that is)(?! correct)|of course|thanks?|as)\b"
)


class Found(NamedTuple):
    """An answer, and the span of its word in the text."""

    yes: bool
    start: int
    stop: int


def final_part(text: str) -> tuple[int, int]:
    """Return the span of what a model says after its thoughts; an empty one if its thoughts don't end."""
    start = 0
    for match in _THOUGHT_ENDS.finditer(text):
        start = match.end()
    if _THOUGHT_STARTS.search(text, start):
        return start, start
    end = _TURN_ENDS.search(text, start)
    return start, end.start() if end else len(text)


def find_answer(text: str, question: Question, whole: bool = True) -> Found | None:
    """Find the answer in a reply's final part; None if there is none that is sure.

    Args:
        text: reply without its thoughts.
        question: question that it answers.
        whole: False for a reply that was cut off; then only an answer at its beginning counts.
    """
    if len(text) > _LONGEST:
        return None
    plain = _lowered(text)
    if doubtful(plain):
        return None
    begin = _BEGINS.match(plain)
    if match := _WHOLE.fullmatch(plain):
        return _found(match) if whole or match[0][-1] in ".!" else None
    if begin:
        return _found(begin) if _agrees(plain, begin, whole, Topic(question)) else None
    return _at_the_end(plain, Topic(question)) if whole else None


def supports(text: str, yes: bool, question: Question) -> bool:
    """Whether words beside an answer, such as its reason, are sure and speak for it."""
    plain = _lowered(text)
    return not doubtful(plain) and concludes(plain, yes, Topic(question))


def opposes(text: str, yes: bool, question: Question) -> bool:
    """Whether words beside an answer speak for the other one."""
    return contradicts(_lowered(text), yes, Topic(question))


def doubtful(text: str) -> bool:
    """Whether words doubt, refuse, address the person, or set a condition."""
    return bool(_DOUBT.search(_lowered(text)))


def mentions_answer(text: str) -> bool:
    """Whether yes, no, true or false is among the words."""
    return bool(_ANY.search(_lowered(text)))


def too_long(text: str) -> bool:
    """Whether a reply is longer than any that is read."""
    return len(text) > _LONGEST


def _lowered(text: str) -> str:
    """The text in lower case with markup as spaces; positions stay."""
    lower = "".join(c if len(c := ch.lower()) == 1 else ch for ch in text).replace("’", "'")
    return _MARKUP.sub(lambda m: " " * len(m[0]), lower).rstrip()


def _found(match: re.Match[str]) -> Found:
    return Found(match[1] in YES, *match.span(1))


def _agrees(plain: str, begin: re.Match[str], whole: bool, topic: Topic) -> bool:
    """Whether what follows an answer at the beginning speaks for it and not against it."""
    yes, rest = begin[1] in YES, plain[begin.end() :].strip(" \t\n.!,;:-—–()")
    if not rest:
        return whole or bool(begin["rest"].strip())
    if "?" in rest or _ADDRESS.match(rest):
        return False
    others = {m[1] in YES for m in _ANY.finditer(rest)} - {yes}
    return not others and (rest == begin[1] or agrees(rest, yes, topic, whole))


def _at_the_end(plain: str, topic: Topic) -> Found | None:
    """The answer of the last line, sentence or clause."""
    explicit = list(_EXPLICIT.finditer(plain))
    if explicit and not plain[explicit[-1].end() :].strip(" \n.!"):
        last = explicit[-1]
        sure = len({m[1] in YES for m in explicit}) == 1
        return (
            _found(last)
            if sure and not contradicts(plain[: explicit[0].start()], last[1] in YES, topic)
            else None
        )
    tail = plain[-80:]
    match = _LAST_LINE.search(tail) or _LAST_CLAUSE.search(tail)
    if match is None or (match.start() == 0 and len(plain) > len(tail)):
        return None
    before = plain[: len(plain) - len(tail) + match.start(1)]
    yes, offset = match[1] in YES, len(plain) - len(tail)
    contrary = {m[1] in YES for m in _ANY.finditer(before)} - {yes}
    if contrary or before.rstrip().endswith(":") or not concludes(before, yes, topic):
        return None
    return Found(yes, offset + match.start(1), offset + match.end(1))
