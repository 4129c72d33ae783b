// The scripts of the chat page, for what htmx cannot do. Each module has one concern; this one imports those that every page
// needs, and rarely_used.js loads the others when they are needed.
// templates/chat/page.html preloads each of them: otherwise a module that another one imports would load a round trip later.

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
