// The chat page: what htmx cannot do. Each module is about one thing; this one brings together those that every page
// needs, and rarely_used.js says when the others come.
// templates/chat/page.html preloads each of them: a module that only another one names comes a round trip later.

import "./requests.js";
import "./draft.js";
import "./keys.js";
import "./view.js";
import "./announcer.js";
import "./stream.js";
import "./tabs.js";
import "./news.js";
import "./sidebar.js";
import "./queue.js";
import "./rarely_used.js";
import "./wake.js";
