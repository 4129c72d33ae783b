"""The world's servers word a refusal in many ways; each has one code of the taxonomy here."""

from __future__ import annotations

import re


def _split_words(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Where a status says little and the provider's words say more. llama.cpp says 500 of a context that is full.
_TELLING_STATUSES = frozenset({None, 400, 404, 405, 409, 412, 413, 422, 500})
_BUDGET_STATUSES = frozenset({None, 400, 401, 402, 403, 412, 422, 429})
_BY_STATUS = {
    401: "auth_failed",
    402: "provider_budget",
    403: "auth_failed",
    408: "timeout",
    409: "upstream_error",  # both SDKs ask again by themselves
    413: "context_length",
    424: "upstream_error",  # the model failed: Bedrock, Text Generation Inference
    425: "upstream_error",
    429: "rate_limited",
    451: "content_filter",
    498: "rate_limited",  # Groq has no room for a request of its flex tier
    499: "upstream_error",  # cancelled on the way: Google, Groq, nginx
    504: "timeout",
}

# Types and codes as `_squash` writes them: OpenAI's `rate_limit_error` and vLLM's `RateLimitError` are one.
_BUDGET_WORDS = _split_words(
    "insufficientquota billinghardlimitreached billingnotactive billingerror enforcedspendlimitreached "
    "creditbalanceexhausted organizationspendlimitexceeded projectspendlimitexceeded organizationusagelimitexceeded "
    "spendlimitexceeded spendlimitreached spendinglimitexceeded spendinglimitreached budgetexceeded "
    "budgetexceedederror exceededbudget insufficientcredits insufficientbalance insufficientbalanceerror "
    "insufficientfunds "
    "exceededcurrentquotaerror paymentrequired arrearage accountoverdueerror accountoverdue creditlimitexceeded "
    "usagenotincluded insufficientuserquota allocationquotafreetieronly setlimitexceeded"
)
_PRECISE_WORDS = {
    **dict.fromkeys(
        _split_words(
            "contextlengthexceeded contextlengthexceedederror contextlengtherror exceedcontextsizeerror "
            "modelcontextwindowexceeded contextwindowexceeded contextwindowexceedederror requesttoolarge "
            "modelmaxprompttokensexceeded prompttoolong prompttokensexceeded maxcontextlengthexceeded"
        ),
        "context_length",
    ),
    **dict.fromkeys(
        _split_words(
            "contentfilter contentpolicyviolation contentpolicyviolationerror responsibleaipolicyviolation "
            "datainspectionfailed contentmoderation contentblocked moderationblocked "
            "biopolicy cyberpolicy misalignmentpolicyviolation imagecontentpolicyviolation "  # OpenAI's Responses
            "sensitivecontentdetected guardrailviolation guardrailviolated guardrailintervened"
        ),
        "content_filter",
    ),
}
_WORDS = {
    **dict.fromkeys(
        _split_words(
            "ratelimiterror ratelimitexceeded ratelimitreached toomanyrequests throttlingexception throttling "
            "resourceexhausted engineoverloadederror servicequotaexceededexception quotaviolation"
        ),
        "rate_limited",
    ),
    **dict.fromkeys(
        _split_words(
            "authenticationerror permissionerror permissiondenied permissiondeniederror unauthenticated unauthorized "
            "forbidden invalidapikey invalidauthenticationerror accessdeniedexception"
        ),
        "auth_failed",
    ),
    **dict.fromkeys(
        _split_words(
            "invalidrequesterror badrequesterror badrequest notfounderror notfound invalidargument failedprecondition "
            "unprocessableentityerror validationexception validationerror modelnotfound invalidprompt"
        ),
        "bad_request",
    ),
    **dict.fromkeys(
        _split_words("timeouterror timeout apitimeouterror deadlineexceeded modeltimeoutexception"), "timeout"
    ),
}


def _compile_any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


# In the provider's prose. Numbers come in any form, so none is looked at: `_simplify_prose` has made each of them "0".
_MONEY = r"(?:spend(?:ing)?|billing|budget|credit|included credits)"
_BUDGET = _compile_any(
    r"credit balance is too low",
    r"insufficient (?:account )?(?:balance|funds|credits?|quota)",
    r"(?:balance|credits?) (?:is |are )?(?:insufficient|not enough|too low|depleted|exhausted|used up)",
    r"(?:out of|no|not enough|any) (?:remaining |available |api |prepaid )*credits(?! (?:were|was|will) )",
    r"requires more credits",
    r"used (?:up )?all (?:of )?(?:your |its |the )?(?:available |remaining |monthly |included )*credits",
    rf"(?:{_MONEY}|monthly|workspace|organization)[\w ]{{0,24}} limits? (?:(?:has|have) been |was )?"
    r"(?:reached|exceeded|hit)",
    rf"(?:reached|exceeded|hit) (?:your|its|the|their) (?:\w+ ){{0,3}}{_MONEY}(?: (?:limit|cap|threshold|quota))?",
    r"reached your (?:\w+ ){0,2}api usage limits",
    r"crossed its monthly",
    r"key limit exceeded",
    r"budget has been exceeded|exceeded budget",
    r"billing (?:hard limit|account is not active)",
    r"account (?:is )?(?:suspended|deactivated)[\w ,]* (?:billing|payment|balance)",
    r"check your plan and billing",
    r"payment (?:is )?required",
    r"(?:requires|enable) billing|billing to be enabled",
    r"(?:free tier|free trial|free quota|allocation)[\w ]{0,24} (?:has been |is |was )?exhausted",
    r"exhausted (?:the|your) free|used up your [\w ]{0,20}allocation",
    r"(?:exceeded|over) ?(?:token|key|user|team)? ?budget",
    r"limited to 0 [\w ]{1,20}/ ?month",
    r"余额不足|欠费|额度(?:已)?(?:用完|用尽|不足)",
)
# Gemini says "check your plan and billing details" of every limit, also of those that pass in a minute.
_PASSES = _compile_any(
    r"retry in", r"try again in", r"per[ _-]?(?:minute|second|hour|day)", r"\brpm\b|\btpm\b", r"free_tier"
)

# How much a model may write, and how large an image or a file may be, is another matter than what it reads.
_ANSWER_LIMIT = r"max(?:_completion|_output|_new)?_tokens['\"`]?"
_OTHER_THING = (
    r"(?:image|picture|photo|audio|video|file|pdf|document|attachment|url|header|tool name|function name|tool)s?"
)
_NOT_CONTEXT = _compile_any(
    rf"{_ANSWER_LIMIT} ?(?:or ['\"`]?max_completion_tokens['\"`]? )?"
    r"(?:is|are|was) (?:too (?:large|high|big)|greater|above|over)",
    rf"{_ANSWER_LIMIT}(?: \(?0\)?)? (?:exceeds|cannot exceed|can't exceed|must be|should be)",
    rf"{_ANSWER_LIMIT}:? 0 ?>",
    rf"{_OTHER_THING}(?: \w+){{0,4}} (?:is|are|too|exceeds?|size|dimensions|larger|longer|cannot|must)",
    rf"(?:number of|many) (?:\w+ )?(?:{_OTHER_THING}|functions?|stop sequences?)",
    r"please wait before",
    r"tokens? per (?:minute|day|second|hour)",
)
# The input and the answer together: to read less helps, though the answer's limit is named.
_BOTH = _compile_any(
    r"input length and `?max_tokens`? exceed", r"inputs`? tokens \+", r"total tokens of image and text exceed"
)

_LIMIT = (
    r"(?:context|prompt length|input length|sequence length|model length|token limit|number of tokens|input tokens?)"
)
_WHOSE = r"the|this|its|a|an|of|model'?s?|your|available|configured|allowed|supported|max|maximum|total|\d+|tokens?"
_INPUT = r"(?:prompt|input|request|messages?|context|sequence|token)s?(?: tokens?)?(?: count| length| size)?"
_HOW_MUCH = r"(?: (?:of|is|was|has|\(?\d+\)?|tokens?|\(\d+ tokens?\)|the|contains|with|in|model))*"
_PASSED = r"(?:(?:should not )?exceed\w*|(?:larger|longer|greater|bigger|more) than|beyond|surpass\w*)"
_CONTEXT = _compile_any(
    # the name of the limit, and that it is passed
    r"max(?:imum)? context (?:length|size|window)|context_length_exceeded",
    r"context (?:length|size|window|limit)s? (?:(?:is|was|has been) )?(?:too \w+|exceeded|exceeds|full|overflow)",
    rf"(?:{_PASSED}|over|outside|fit (?:in|into|within))(?: (?:{_WHOSE}))* (?:{_LIMIT}|tokens (?:allowed|limit))",
    r"context (?:length|size|window|limit)[^.]{0,40}(?:is|of) (?:only )?0",
    r"context overflow|exceed context",
    # the input, and that it is too long
    r"(?:prompt|input|conversation|message|request|history|query|text)s? (?:(?:is|are|was|were) )?(?:\w+ )?too long",
    r"(?:prompt|input|context)s? (?:(?:is|are) )?too (?:large|big) for",
    rf"{_INPUT}{_HOW_MUCH}[ ,]*(?:but )?(?:that |which )?(?:cannot )?{_PASSED}"
    r"(?: (?:the|this|its|a|an|of|model'?s?|your))*"
    r" ?(?:max|limit|allowed|supported|available|token limit|context|model|configured|\d)",
    r"exceed\w* (?:the )?(?:model|max|maximum)(?:'s)? (?:token|input|prompt)",
    r"maximum (?:prompt|input|sequence|model)(?: token)? (?:length|limit|size) (?:is|of|for|was|exceeded)",
    r"(?:input|prompt) (?:token )?count is \d+ but",
    r"number of input tokens|total number of tokens",
    r"too many (?:input |prompt )?tokens(?! per)",
    r"range of input length",
    r"body too large for [\w.:/-]+ model|max tokens of 0 exceeded",
    r"maximum supported sequence length",
    r"reduce (?:the |your )?(?:length|size) of (?:the |your )",
    r"reduce your (?:message|prompt|input)|decrease input length",
    r"too large for model with",
    r"inputs`? must have less",
    r"content['\"`]?: string too long",
    r"prompt 超长|输入[^。]{0,8}(?:超长|超过|过长)",
    r"上下文(?:长度)?[^。]{0,8}(?:超|过长)|超(?:出|过)[^。]{0,12}(?:上下文|最大长度)",
)
_FILTERED = _compile_any(
    r"content management policy",
    r"content filter(?:ing|s)? (?:policy|system)",
    r"(?:blocked|rejected|refused) (?:by|as a result of) (?:the |our |its )?"
    r"(?:content filter|safety|guardrail|moderation)",
    r"(?:input|prompt|request|output|response)s? (?:was|has been|were) flagged",
    r"flagged (?:as|for) (?:potentially|possibl[ey])",
    r"violat\w+ (?:the |our |its |\w+'s )?"
    r"(?:usage guideline|usage polic|content polic|responsible ai|safety|guardrail)",
    r"content exists risk",
    r"inappropriate content|sensitive (?:information|content|words)|new_sensitive",
    r"敏感(?:内容|信息|词)|不安全内容|违规内容",
)
# What a server says with a 400, or in a stream, of a key, an account or a place that it does not serve.
_NOT_SERVED = _compile_any(
    r"api[ _-]?keys? (?:is |was )?(?:not valid|invalid|expired|incorrect|missing|not found|disabled|revoked)",
    r"(?:invalid|incorrect|expired|missing|no) (?:api[ _-]?key|auth\w* credentials|authentication)",
    r"(?:organization|account|project|workspace) (?:has been|is) (?:disabled|deactivated|banned)",
    r"(?:country|region|territory|location)[\w, ]{0,20} (?:is )?not supported",
    r"login fail",
)
# What a stream says without a code.
_SLOW_DOWN = _compile_any(r"rate[ -]?limit|too many requests|请求过于频繁|并发数过高")


def find_code(status: int | None, words: list[str], message: str, *, is_told_to_wait: bool = False) -> str:
    """Return the code for an HTTP status, if there was one, an error's types and codes, and its prose."""
    squashed = [_squash(word) for word in words]
    prose = _simplify_prose(message)
    if status in _BUDGET_STATUSES and _is_budget(status, squashed, prose, is_told_to_wait=is_told_to_wait):
        return "provider_budget"
    if named := _find_named_code(status, squashed, prose):
        return named
    if status is not None:
        return _BY_STATUS.get(status, "bad_request" if 400 <= status < 500 else "upstream_error")
    if named := next((_WORDS[word] for word in squashed if word in _WORDS), ""):
        return named
    return "rate_limited" if _SLOW_DOWN.search(prose) else "upstream_error"


def _find_named_code(status: int | None, squashed: list[str], prose: str) -> str:
    """Return the code of the provider's words where they say more than the status; otherwise an empty string."""
    if status in _TELLING_STATUSES:
        if precise := next((_PRECISE_WORDS[word] for word in squashed if word in _PRECISE_WORDS), ""):
            return precise
        if _FILTERED.search(prose):
            return "content_filter"
        if _is_context(prose):
            return "context_length"
        return "auth_failed" if status in (None, 400) and _NOT_SERVED.search(prose) else ""
    if status == 403 and _FILTERED.search(prose):
        return "content_filter"
    # More in one request than is allowed in a minute will not pass in the next one either.
    return "context_length" if status == 429 and "request too large" in prose and "token" in prose else ""


def _is_budget(status: int | None, squashed: list[str], prose: str, *, is_told_to_wait: bool) -> bool:
    if status == 402 or any(word in _BUDGET_WORDS for word in squashed):
        return True
    return _BUDGET.search(prose) is not None and not is_told_to_wait and _PASSES.search(prose) is None


def _is_context(prose: str) -> bool:
    if _BOTH.search(prose):
        return True
    return _NOT_CONTEXT.search(prose) is None and _CONTEXT.search(prose) is not None


def _squash(word: str) -> str:
    """Return a type or code in one form: `litellm.RateLimitError`, `rate_limit_error`, `rate-limit-error`."""
    return re.sub("[^a-z0-9]", "", word.lower().rpartition(".")[2] or word.lower())


def _simplify_prose(message: str) -> str:
    """Return prose in lower case, with one blank between words and a 0 for each number, however it is written."""
    text = re.sub(r"\d+(?:[.,_'\u00a0\u202f]\d+)*k?\b", "0", message[:4_000].lower())
    return " ".join(text.replace("\u2019", "'").split())
