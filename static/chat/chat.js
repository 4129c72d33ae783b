// What htmx cannot do: keys, drafts, the scroll position, the connection and what it says, news of other tabs,
// announcements, the clipboard.
(() => {
  "use strict";

  const byId = (id) => document.getElementById(id);
  const composer = byId("composer");
  const box = byId("content");
  const error = byId("composer-error");
  const scroller = byId("scroller");
  const thread = byId("thread");
  const latest = byId("latest");

  // The one element that a live answer has and a finished one has not.
  const wire = () => document.querySelector(".wire");
  const wires = () => document.querySelectorAll(".wire");

  const on = (names, handle) => names.split(" ").forEach((name) => document.addEventListener(name, handle));

  // --- Requests

  const UNSENT = "The message could not be sent. Your text is still here; try again.";
  const UNREACHED = "The server could not be reached. Try again.";

  const isQuestion = (ctx) => ctx.sourceElement === composer;
  const isWire = (ctx) => ctx.sourceElement.matches?.(".wire");
  const isOwn = (ctx) => ctx.request.method === "POST";

  // How many requests of this page may be changing the conversation.
  let underWay = 0;

  const csrfToken = () => document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1];

  // The token that the last request went with: another one in the cookie is another login.
  let token = csrfToken();

  // A login in another tab changes the CSRF token; the cookie has the current one. Buttons that borrow the composer's
  // token do not send its text.
  on("htmx:config:request", ({ detail: { ctx } }) => {
    token = csrfToken();
    if (token) ctx.request.headers["X-CSRFToken"] = token;
    if (token && ctx.request.body.has("csrfmiddlewaretoken")) ctx.request.body.set("csrfmiddlewaretoken", token);
    if (!isQuestion(ctx)) ctx.request.body.delete("content");
    else if (unsent && unsent !== box.value) ctx.request.body.delete("turn");
  });

  // A question whose response was lost may have arrived: sent again it is the same turn, edited it is another one.
  let unsent = "";

  // The user's own words show at once, above the waiting answer.
  on("htmx:before:request", ({ detail: { ctx } }) => {
    if (isWire(ctx)) return listen(ctx);
    if (!isOwn(ctx)) return;
    underWay += 1;
    error.textContent = "";
    if (!isQuestion(ctx)) return;
    ctx.question = { text: box.value, draft: draftKey() };
    byId("pending").querySelector("p").textContent = box.value;
    follow();
  });

  // Nothing of an error page reaches the thread, not even its title: the server's sentence is shown, or ours.
  on("htmx:after:request", (event) => {
    const { ctx } = event.detail;
    if (ctx.response.raw.ok && !isWire(ctx)) return arrived(ctx);
    ctx.swap = "none ignoreTitle:true";
    if (isWire(ctx)) return dropped(ctx.sourceElement);
    if (ctx.response.status === 401) loggedOut();
    if (ctx.response.status === 409 && !isOwn(ctx)) loadThread();
    if (isOwn(ctx) && !ctx.hx.retarget) return complain(ctx);
    if (isOwn(ctx)) error.textContent = new DOMParser().parseFromString(ctx.text, "text/html").body.textContent.trim();
    event.preventDefault();
  });

  on("htmx:error", ({ detail: { ctx } }) => {
    if (!ctx) return;
    if (isWire(ctx)) dropped(ctx.sourceElement);
    else if (isOwn(ctx)) complain(ctx);
  });

  on("htmx:finally:request", ({ detail: { ctx } }) => {
    if (!isOwn(ctx)) return;
    underWay -= 1;
    readNews();
  });

  const complain = (ctx) => {
    error.textContent = isQuestion(ctx) ? UNSENT : UNREACHED;
    unsent = ctx.question?.text ?? unsent;
  };

  const arrived = (ctx) => {
    if (isLoggedOut) loggedIn();
    // After the swap, in which the answer's stream is asked for: the focus costs a layout.
    if (isQuestion(ctx)) queueMicrotask(() => clear(ctx.question));
    if (ctx.sourceElement.closest(".foot")) branch(ctx.sourceElement);
  };

  // Another attempt is another branch: what followed the one before is not part of it.
  const branch = (button) => {
    const turn = button.closest(".turn");
    while (turn.nextElementSibling) turn.nextElementSibling.remove();
    scroller.focus({ preventScroll: true });
  };

  // --- The composer

  const draftKey = () => `draft:${location.pathname}`;

  // A browser may refuse storage altogether; then there are no drafts.
  const stored = (use) => {
    try {
      return use(sessionStorage);
    } catch {
      return null;
    }
  };

  const keep = () =>
    stored((storage) => (box.value ? storage.setItem(draftKey(), box.value) : storage.removeItem(draftKey())));

  // For browsers that do not know field-sizing.
  const fit = () => {
    if (CSS.supports("field-sizing", "content")) return;
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight}px`;
  };

  const write = (text) => {
    box.value = text;
    fit();
    keep();
    box.focus();
  };

  // What was typed while the question was on its way stays.
  const clear = ({ text, draft }) => {
    unsent = "";
    stored((storage) => storage.removeItem(draft));
    if (box.value === text) write("");
    else box.focus();
  };

  // Enter sends, unless an answer is live or an input method still composes.
  const enter = (event) => {
    if (event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (!wire() && box.value.trim()) composer.requestSubmit(composer.querySelector(".send"));
  };

  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter") enter(event);
    if (event.key === "Escape" && wire()) composer.querySelector(".stop").click();
  });

  box.addEventListener("input", () => {
    fit();
    keep();
  });

  // --- The view follows the text, until the reader scrolls up

  let following = thread.childElementCount > 0;
  let lastTop = 0;

  const isAtEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 4;

  const setFollowing = (value) => {
    if (following === value) return;
    following = value;
    latest.hidden = value;
  };

  const toEnd = () => {
    if (following) scroller.scrollTop = scroller.scrollHeight;
    lastTop = scroller.scrollTop;
  };

  const follow = () => {
    setFollowing(true);
    toEnd();
  };

  // Only a move upwards is the reader's: text that grows moves nothing.
  scroller.addEventListener(
    "scroll",
    () => {
      if (isAtEnd()) setFollowing(true);
      else if (scroller.scrollTop < lastTop) setFollowing(false);
      lastTop = scroller.scrollTop;
      // Before its beginning is reached, so that the browser can hold the view where it is.
      if (scroller.scrollTop < 800) byId("earlier")?.click();
    },
    { passive: true },
  );

  latest.addEventListener("click", () => {
    follow();
    box.focus({ preventScroll: true });
  });

  // Once for each frame that changes a height, after its layout and before its paint.
  const heights = new ResizeObserver(toEnd);
  [scroller, thread, byId("pending")].forEach((element) => heights.observe(element));

  // --- States are announced; tokens are not

  const SAID = { complete: "Answer complete.", stopped: "Answer stopped." };

  const said = (foot) => {
    const reason = foot.querySelector(".ended")?.textContent.replace(/\s+/g, " ").replace("Interrupted.", "").trim();
    if (foot.dataset.status === "interrupted") return `Answer interrupted: ${reason}`;
    return SAID[foot.dataset.status] ?? "Answer started.";
  };

  const announce = (node) => {
    const foot = node.matches?.(".foot") ? node : node.querySelector?.(".foot");
    if (foot) byId("announcer").textContent = said(foot);
  };

  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) addedNodes.forEach(announce);
  }).observe(thread, { childList: true, subtree: true });

  // --- What the connection is like

  const bar = byId("connection");
  const OFFLINE = "You are offline. This page goes on by itself when you are back.";
  const GONE = "This answer is gone: it was deleted, or another user is logged in now.";
  const LOST = "Connection lost, reconnecting…";

  let saying = 0;
  let fading = 0;
  let isLoggedOut = false;

  const say = (content, isWell = false) => {
    clearTimeout(saying);
    clearTimeout(fading);
    if (content) bar.replaceChildren(content);
    else bar.textContent = "";
    bar.classList.toggle("well", isWell);
    if (isWell) fading = setTimeout(say, 3000, "");
  };

  // What is mended at once is not worth a word.
  const sayLost = () => {
    clearTimeout(saying);
    saying = setTimeout(say, failures ? 0 : 400, LOST);
  };

  const back = () => {
    clearTimeout(saying);
    if (failures && !socket) openSocket();
    failures = 0;
    isLoggedOut = false;
    if (bar.textContent && !bar.matches(".well")) say("Connected again.", true);
  };

  const loggedOut = () => {
    isLoggedOut = true;
    closeSocket();
    say(byId("logged-out").content.cloneNode(true));
  };

  const loggedIn = () => {
    isLoggedOut = false;
    error.textContent = "";
    say("You are logged in again.", true);
    wires().forEach(restart);
    openSocket();
  };

  // --- The stream: htmx reads it, this script connects it again

  // Milliseconds. A stream without a byte for two heartbeats is dead, whatever the browser believes after a sleep.
  const SILENCE = 2000 * Number(bar.dataset.heartbeat);
  const FIRST_RETRY = 250;
  const LAST_RETRY = 1150;
  // For the response to begin: the browser may ask on a connection that died in its pool, which holds six of them, or the
  // server may be busy.
  const PATIENCE = 3000;
  const LAST_PATIENCE = 12_000;
  const POOL = 6;
  const RETRY_WITHOUT_LOGIN = 30_000;

  let failures = 0;

  // The request of each wire while it lasts, or the timer of the next one.
  const requests = new WeakMap();
  const timers = new WeakMap();
  // Those that have given way to other tabs.
  const waiting = new WeakSet();

  // htmx does not tell of the comments that are the heartbeat, so the bytes are watched on their way to it.
  const listen = (ctx) => {
    const heard = () => (ctx.heardAt = Date.now());
    const watched = (chunk, controller) => {
      heard();
      controller.enqueue(chunk);
    };
    heard();
    requests.set(ctx.sourceElement, ctx);
    tellTabs();
    const patience = setTimeout(ctx.request.abort, failures < POOL ? PATIENCE : LAST_PATIENCE);
    ctx.fetch = async (...request) => {
      const response = await fetch(...request).finally(() => clearTimeout(patience));
      return new Response(response.body?.pipeThrough(new TransformStream({ transform: watched })), response);
    };
  };

  const connect = (element) => {
    waiting.delete(element);
    clearTimeout(timers.get(element));
    if (!element.isConnected || requests.has(element)) return;
    if (navigator.onLine) htmx.ajax("GET", element.getAttribute("hx-sse:connect"), { source: element });
    else say(OFFLINE);
  };

  const connectIn = (milliseconds, element) => {
    clearTimeout(timers.get(element));
    timers.set(element, setTimeout(connect, milliseconds * (0.7 + 0.6 * Math.random()), element));
  };

  // The `online` event comes when there is a network again; until then nothing is asked.
  const dropped = (element) => {
    const gaveWay = requests.get(element)?.gaveWay;
    requests.delete(element);
    if (!element.isConnected) return;
    if (gaveWay) return wait(element);
    if (!navigator.onLine) return say(OFFLINE);
    sayLost();
    connectIn(Math.min(FIRST_RETRY * 2 ** failures++, LAST_RETRY), element);
  };

  const restart = (element) => {
    if (requests.has(element)) requests.get(element).request.abort();
    else connect(element);
  };

  // 4.0.1 renames the extension's events: both names are heard. A moment later, because some streams only say why they
  // are none.
  on("htmx:after:sse:connection htmx:sse:after:connection", ({ target }) => {
    clearTimeout(saying);
    saying = setTimeout(back, 100);
    setTimeout(giveWay, TURN, target);
  });

  // The wire's address goes along with what the page shows.
  on("htmx:after:sse:message htmx:sse:after:message", ({ target, detail: { message } }) => {
    if (message.event || !target.matches?.(".wire")) return;
    const address = target.getAttribute("hx-sse:connect").split("?")[0];
    if (message.id) target.setAttribute("hx-sse:connect", `${address}?after=${message.id}`);
    if (!isLoggedOut) back();
  });

  on("htmx:sse:close", ({ target, detail: { reason } }) => {
    if (!target.matches?.(".wire")) return;
    if (reason === "ended") dropped(target);
    else requests.delete(target);
  });

  // The last change of a stream takes its wire away, so one that still hears `done` has no stream to hear.
  on("done", ({ target, detail: { data } }) => {
    if (!target.matches?.(".wire")) return;
    if (data === "login") {
      loggedOut();
      return connectIn(RETRY_WITHOUT_LOGIN, target);
    }
    target.remove();
    say(data === "gone" ? GONE : "This answer cannot be followed any more. Reload the page.");
  });

  // The extension cancels a stream that it has aborted, and leaves the rejection to whoever listens.
  window.addEventListener("unhandledrejection", (event) => {
    if (event.reason?.name === "AbortError") event.preventDefault();
  });

  // --- Many tabs: over HTTP/1.1 a browser opens six connections to a server, and a stream takes one

  const STREAMS = 4;
  // Milliseconds. The tabs seen last stream; the others look in for a moment, which also tells the server that somebody
  // watches: it looks twice a second, and lets an answer go after a minute.
  const TURN = 800;
  const SHORT_TURN = 4000;
  const LONG_TURN = 20_000;
  // A hidden tab's timers may run once a minute.
  const FORGOTTEN = 90_000;

  const isNarrow = performance.getEntriesByType("navigation")[0]?.nextHopProtocol === "http/1.1";
  const channel = new BroadcastChannel("streams");
  const thisTab = { id: Math.random(), seen: Date.now(), streams: false };
  const others = new Map();

  const goesBefore = (tab) => tab.seen > thisTab.seen || (tab.seen === thisTab.seen && tab.id > thisTab.id);

  const isCrowded = () => {
    for (const [id, { told }] of others) if (Date.now() - told > FORGOTTEN) others.delete(id);
    return isNarrow && [...others.values()].filter(goesBefore).length >= STREAMS;
  };

  const giveWay = (element) => {
    const ctx = requests.get(element);
    if (!ctx?.response || !isCrowded()) return;
    ctx.gaveWay = true;
    ctx.request.abort();
  };

  const wait = (element) => {
    waiting.add(element);
    connectIn(document.hidden ? LONG_TURN : SHORT_TURN, element);
  };

  const tellTabs = () => {
    if (!isNarrow || !(wire() || thisTab.streams)) return;
    thisTab.streams = Boolean(wire());
    channel.postMessage(thisTab);
  };

  channel.onmessage = ({ data }) => {
    if (data.streams) others.set(data.id, { ...data, told: Date.now() });
    else others.delete(data.id);
    if (isCrowded()) wires().forEach(giveWay);
    else endWaiting();
  };

  const endWaiting = () => {
    for (const element of wires()) if (waiting.has(element)) connect(element);
  };

  const seen = () => {
    if (document.hidden) return;
    thisTab.seen = Date.now();
    endWaiting();
  };

  window.addEventListener("focus", seen);
  on("visibilitychange", seen);

  window.addEventListener("pagehide", () => channel.postMessage({ ...thisTab, streams: false }));

  // --- News of other tabs and devices

  // Milliseconds; at most three attempts a minute, because a blocked socket is not coming back.
  const SOCKET_RETRIES = [1000, 5000, 30_000];
  const UNAUTHORIZED = 4401;

  let socket = null;
  let socketTimer = 0;
  let socketFailures = 0;

  const closeSocket = () => {
    clearTimeout(socketTimer);
    const closing = socket;
    socket = null;
    closing?.close();
  };

  const openSocket = () => {
    closeSocket();
    if (!navigator.onLine || isLoggedOut) return;
    let opened = 0;
    const opening = new WebSocket(`${location.origin.replace("http", "ws")}/ws/chat/`);
    socket = opening;
    opening.onmessage = ({ data }) => hear(JSON.parse(data));
    opening.onopen = () => {
      opened = Date.now();
      opening.send('{"type":"watch"}');
      if (performance.now() > 10_000) catchUp();
    };
    opening.onclose = ({ code }) => {
      if (socket !== opening) return;
      socket = null;
      if (opened && Date.now() - opened > 30_000) socketFailures = 0;
      // The socket's login is over, or it was refused without a reason: the list is refused when there is no other login.
      if (code === UNAUTHORIZED || !(opened || socketFailures)) loadList();
      const wait = SOCKET_RETRIES[Math.min(socketFailures++, SOCKET_RETRIES.length - 1)];
      socketTimer = setTimeout(openSocket, wait * (1 + 0.2 * Math.random()));
    };
  };

  // Milliseconds. The list gives way to the first word, which the server is about to send.
  const LIST_DELAY = 500;

  const news = [];
  let listTimer = 0;
  let isReading = false;

  const hear = (notice) => {
    if (notice.type !== "turn" && notice.type !== "title") return;
    news.push(notice);
    readNews();
  };

  // What this page has sent itself is news to it until the response is there.
  const readNews = async () => {
    if (isReading) return;
    isReading = true;
    try {
      while (news.length && !underWay) {
        const notices = news.splice(0);
        clearTimeout(listTimer);
        listTimer = setTimeout(() => navigator.onLine && loadList(), LIST_DELAY);
        for (const notice of notices) if (notice.conversation === conversation()) await read(notice);
      }
    } finally {
      isReading = false;
    }
  };

  const conversation = () => composer.elements.conversation?.value ?? "";
  const pathOf = (id) => `/c/${id}/`;

  const read = async ({ type, question, answer, title, shown, continues }) => {
    if (title) byId("heading").textContent = title;
    if (title) document.title = `${title} · Chatsite`;
    const known = byId(`answer-${answer}`);
    const isNew = continues ? !known?.querySelector(".wire") : !known;
    if (type === "turn" && shown && isNew) await loadTurn(question);
  };

  const load = async (path, target, options) => {
    await htmx.ajax("GET", path, { source: target, target, ...options });
  };

  const loadList = () => {
    const list = byId("conversations");
    return load(`${byId("sidebar").dataset.list}?current=${conversation()}`, list, { swap: "outerMorph" });
  };

  const loadTurn = async (question) => {
    const path = `${pathOf(conversation())}turns/${question}/`;
    const turn = byId(`turn-${question}`);
    if (turn) {
      while (turn.nextElementSibling) turn.nextElementSibling.remove();
      await load(path, turn, { swap: "outerHTML" });
    } else {
      const last = thread.querySelector(".turn:last-child > .answer")?.id.replace("answer-", "") ?? "";
      await load(`${path}?after=${last}`, thread, { swap: "beforeend" });
    }
    recognise();
  };

  const loadThread = async () => {
    await load(pathOf(conversation()), thread, { select: "#thread > .turn", swap: "innerMorph" });
    recognise();
  };

  // A question whose response was lost has arrived after all.
  const recognise = () => {
    const last = thread.querySelector(".turn:last-child > .question p");
    if (!unsent || last?.textContent !== unsent) return;
    error.textContent = "";
    clear({ text: unsent, draft: draftKey() });
  };

  // What was said while nothing was heard.
  const catchUp = async () => {
    await loadList();
    const leaf = byId("conversations").querySelector("[data-leaf]:has([aria-current])")?.dataset.leaf;
    if (leaf && !underWay && !byId(`answer-${leaf}`)) await loadThread();
  };

  // --- Sleep, the network, and logins elsewhere

  const NAP = 20_000;

  let lastLook = Date.now();
  let hasSlept = false;

  const look = () => {
    const now = Date.now();
    hasSlept ||= now - lastLook > NAP;
    lastLook = now;
    tellTabs();
    if (isLoggedOut && csrfToken() !== token) loggedIn();
    for (const element of wires()) {
      if (now - requests.get(element)?.heardAt > SILENCE) restart(element);
    }
    if (document.hidden || !(hasSlept || isFresh)) return;
    hasSlept = isFresh = false;
    openSocket();
  };

  // No socket before the page has been seen.
  let isFresh = true;

  setInterval(look, 1000);
  on("visibilitychange resume", look);
  ["focus", "pageshow"].forEach((name) => window.addEventListener(name, look));
  window.cookieStore?.addEventListener("change", look);

  window.addEventListener("offline", () => say(OFFLINE));

  window.addEventListener("online", () => {
    failures = 0;
    if (isLoggedOut) loggedOut();
    else if (!wire()) say("");
    wires().forEach(restart);
    openSocket();
  });

  // --- Waiting is counted: down to the next try of a call, up while a model thinks

  setInterval(() => {
    for (const summary of document.querySelectorAll(".reasoning:last-child > summary")) {
      if (!wire() || !summary.textContent.startsWith("Thinking…")) continue;
      summary.dataset.seconds = Number(summary.dataset.seconds ?? 0) + 1;
      summary.textContent = `Thinking… ${summary.dataset.seconds} s`;
    }
    for (const notice of document.querySelectorAll("[data-countdown]")) {
      const left = --notice.dataset.countdown;
      notice.textContent = left > 0 ? notice.textContent.replace(/\d+(?= s\.)/, left) : "Trying again…";
    }
  }, 1000);

  // --- The clipboard

  // Also where the browser has no clipboard for scripts: on a plain http address.
  const copyBySelection = (text) => {
    const field = document.createElement("textarea");
    field.className = "visually-hidden";
    field.value = text;
    document.body.append(field);
    field.select();
    const isCopied = document.execCommand("copy");
    field.remove();
    return isCopied;
  };

  // The text may be a promise: some browsers open the clipboard only while the click is handled.
  const copyText = async (text) => {
    try {
      const blob = Promise.resolve(text).then((value) => new Blob([value], { type: "text/plain" }));
      await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
      return true;
    } catch {
      return copyBySelection(await text);
    }
  };

  const copy = async (button, text) => {
    const isCopied = await copyText(text).catch(() => false);
    button.textContent = isCopied ? "Copied" : "Not copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  };

  // A long block goes on in the stretches that follow.
  const codeOf = (block) => {
    const text = block.querySelector("pre code").textContent;
    const next = block.matches(":last-child") ? block.parentElement.nextElementSibling : null;
    return next?.matches(".on") ? text + codeOf(next.firstElementChild) : text;
  };

  const markdownOf = async (address) => {
    const response = await fetch(address, { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(response.statusText);
    return (await response.json()).text;
  };

  document.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    if (button.matches(".copy")) copy(button, codeOf(button.closest(".code")));
    if (button.dataset.copyAnswer) copy(button, markdownOf(button.dataset.copyAnswer));
    if (button.dataset.example) write(button.dataset.example);
  });

  // --- At the start

  if (!box.value) box.value = stored((storage) => storage.getItem(draftKey())) ?? "";
  fit();
  toEnd();
  look();
})();
