"""Parts of a question that nobody typed: code, logs, traces, tables, quotations."""

from __future__ import annotations

import re

# A line is known by its beginning and its end.
_READ_CHARS = 400

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*(?:\n|\Z)", re.MULTILINE)

_LOG = re.compile(
    r"\s*(?:\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d|\[?\d\d:\d\d:\d\d\b|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    r"|\d{1,3}(?:\.\d{1,3}){3} - |\[?(?:DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL|TRACE)\b[\]:| ]"
    r"|<\d+>|\[\s*\d+\.\d+\])"
)
_TRACE = re.compile(
    r"\s*(?:Traceback \(most recent|File \".*\", line \d|at \S+\(.*\)$|at \S+ \(.*:\d+\)|Caused by: "
    r"|Exception in thread|panic: |goroutine \d+|thread '.*' panicked"
    r"|(?:[\w$]+\.)*\w*(?:Error|Exception|Warning)(?:: |$)"
    r"|Segmentation fault|npm (?:ERR!|WARN)|error(?:\[E\d+\]|: |TS\d+)|\S+:\d+(?::\d+)?: |make(?:\[\d+\])?: \*\*\*)"
)
_PROMPT = re.compile(
    r"\s*(?:\$ \S|>>> |\.\.\. |PS [A-Z]:|[A-Z]:\\\S*>|[\w.-]+@[\w.-]+:\S*[#$] ?|In \[\d+\]:|Out\[\d+\]:)"
)
_DIFF = re.compile(r"diff --git |index [0-9a-f]{6,}\.\.|@@ -|\+\+\+ \S|--- \S")
_CODE = re.compile(
    r"\s*(?:#include\b|#!/|//|/\*|<!--|<\?|<!DOCTYPE|@\w+\(|(?:import|package|using|require) [\w.*]+;?$"
    r"|from [\w.]+ import |(?:async |export |default |public |private |static )*(?:def|function|class|fn|func|struct"
    r"|interface|enum|impl|trait) [\w$]+.*[({:]\s*$"
    r"|(?:const|let|var|val|public|private|protected|static|export)\s.*[=({;]"
    r"|(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|ALTER TABLE)\s.*\b(?:FROM|VALUES|SET|WHERE|ADD)\b"
    r"|(?:if|for|while|switch|catch)\s*\(.*[{;]\s*$|(?:return|print|echo|raise|throw)\b.*[;)]\s*$"
    r"|[\w.$\[\]]+ [-+*/]?= \S)"
)
_MARKUP = re.compile(r"\s*</?[a-zA-Z][^<>]*>.*</?[a-zA-Z][^<>]*>\s*$|\s*</?[a-zA-Z][\w-]*(?:\s[^<>]*)?/?>\s*$")
_QUOTED = re.compile(r"\s*>(?:\s|>|$)")
_TABLE = re.compile(r"\s*\|.*\|\s*$|[^\s,]+(?:,[^\s,]+){3,}$|[^\t]*\t[^\t]*\t")
_SYMBOLS = frozenset('{}[]()<>=;|\\/_$#@&*^~`+%"')


def leave_out_fences(text: str) -> tuple[str, int]:
    """Return the text without its fenced blocks, and how many there were; one that is not closed goes on to the end."""
    kept, fences, place = [], 0, 0
    while found := _FENCE.search(text, place):
        kept.append(text[place : found.start()])
        fences += 1
        mark = found[1]
        end = re.compile(rf"^ {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*(?:\n|\Z)", re.MULTILINE)
        closing = end.search(text, found.end())
        if closing is None:
            return "".join(kept), fences
        place = closing.end()
    return "".join([*kept, text[place:]]), fences


def is_pasted(line: str) -> bool:
    """Return whether a line looks like one of a log, a program or a table, and not like a sentence."""
    head = line[:_READ_CHARS]
    shapes = (_LOG, _TRACE, _PROMPT, _DIFF, _CODE, _MARKUP, _QUOTED, _TABLE)
    if any(shape.match(head) for shape in shapes):
        return True
    text = head.strip()
    if text.endswith(("{", "};", "});", "},", "];")) or text in ("{", "}", "[", "]", "(", ")", ");", "],", "end", "fi"):
        return True
    if text.startswith(('"', "'")) and text.endswith((",", ":", '":')):
        return True
    if line.startswith(("    ", "\t")) and text[:1].isascii() and not text.endswith(("?", ".", "!")):
        return True
    symbols = sum(character in _SYMBOLS for character in text)
    is_blob = len(text) > 80 and text.isascii() and " " not in text
    return is_blob or (len(text) >= 12 and symbols > len(text) / 4)
