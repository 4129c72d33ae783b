// The stream of a live answer: htmx reads it, this module connects it again.

import { on, wires } from "./page.js";
import { GONE, OFFLINE, heartbeat, isLoggedOut, logOut, say, sayConnected, actLater, sayLost } from "./connection.js";
import { takeStream } from "./sent_streams.js";
import { TURN, giveWay, tellTabs, waitTurn } from "./tabs.js";

// Milliseconds. A stream without a byte for two heartbeats is dead, whatever the browser believes after a sleep.
const SILENCE = 2000 * heartbeat;
const FIRST_RETRY = 250;
const LAST_RETRY = 1150;
// A first retry has its wait and four round trips, which are 200 ms each on a slow line.
const MENDED_WITHIN = 1200;
// How long to wait for the response to begin: the browser may send the request on a dead connection of its pool, which holds
// six, or the server may be busy.
const PATIENCE = 3000;
const LAST_PATIENCE = 12_000;
const POOL = 6;
const RETRY_WITHOUT_LOGIN = 30_000;

let failures = 0;

// The request of each wire while it lasts, or the timer of the next one.
const requests = new WeakMap();
const timers = new WeakMap();

export const requestOf = (element) => requests.get(element);

export const forgetFailures = () => {
  failures = 0;
};

// The heartbeat is a comment, for which htmx has no event, so the bytes are watched on their way to htmx.
export const listen = (ctx) => {
  const hear = () => (ctx.heardAt = Date.now());
  const watch = (chunk, controller) => {
    hear();
    controller.enqueue(chunk);
  };
  hear();
  requests.set(ctx.sourceElement, ctx);
  tellTabs();
  const patience = setTimeout(giveUp, failures < POOL ? PATIENCE : LAST_PATIENCE, ctx);
  ctx.fetch = async (...request) => {
    const asked = Promise.resolve(takeStream(ctx.sourceElement) ?? fetch(...request));
    const response = await asked.finally(() => clearTimeout(patience));
    // This request's own signal: a stream that came in the response to a question has only the signal of that request.
    const { signal } = request[1];
    return new Response(response.body?.pipeThrough(new TransformStream({ transform: watch }), { signal }), response);
  };
};

// When one connection of the pool does not answer, the others have probably died too. So all are tried at once; otherwise the
// next requests would try them one after the other, and each would wait in vain.
const giveUp = (ctx) => {
  ctx.request.abort();
  if (failures > 1) return;
  for (let other = 1; other < POOL; other++) {
    fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) }).catch(() => {});
  }
};

export const connect = (element) => {
  clearTimeout(timers.get(element));
  if (!element.isConnected || requests.has(element)) return;
  if (navigator.onLine) htmx.ajax("GET", element.getAttribute("hx-sse:connect"), { source: element });
  else say(OFFLINE);
};

export const connectIn = (milliseconds, element) => {
  clearTimeout(timers.get(element));
  timers.set(element, setTimeout(connect, milliseconds * (0.7 + 0.6 * Math.random()), element));
};

// The `online` event comes when there is a network again; until then nothing is asked.
export const drop = (element) => {
  const gaveWay = requests.get(element)?.gaveWay;
  requests.delete(element);
  if (!element.isConnected) return;
  if (gaveWay) return waitTurn(element);
  if (!navigator.onLine) return say(OFFLINE);
  sayLost(failures ? 0 : MENDED_WITHIN);
  connectIn(Math.min(FIRST_RETRY * 2 ** failures++, LAST_RETRY), element);
};

export const restart = (element) => {
  if (requests.has(element)) requests.get(element).request.abort();
  else connect(element);
};

export const restartSilent = () => {
  for (const element of wires()) {
    if (Date.now() - requests.get(element)?.heardAt > SILENCE) restart(element);
  }
};

// "reconnected": there was no connection for a while, and other modules' connections may be dead too.
const recover = () => {
  if (failures) document.dispatchEvent(new Event("reconnected"));
  failures = 0;
  sayConnected();
};

// htmx 4.0.1 renames the extension's events, so this listens to both names. `recover` runs a moment later, because some
// streams only say why there is no stream.
on("htmx:after:sse:connection htmx:sse:after:connection", ({ target }) => {
  actLater(recover, 100);
  setTimeout(giveWay, TURN, target);
});

// The wire's address has the position of what the page shows, from which it would connect again.
on("htmx:after:sse:message htmx:sse:after:message", ({ target, detail: { message } }) => {
  if (message.event || !target.matches?.(".wire")) return;
  const address = target.getAttribute("hx-sse:connect").split("?")[0];
  if (message.id) target.setAttribute("hx-sse:connect", `${address}?after=${message.id}`);
  if (!isLoggedOut()) recover();
});

on("htmx:sse:close", ({ target, detail: { reason } }) => {
  if (!target.matches?.(".wire")) return;
  if (reason === "ended") drop(target);
  else requests.delete(target);
});

// The last change of a stream removes its wire, so a wire that still gets `done` has no stream.
on("done", ({ target, detail: { data } }) => {
  if (!target.matches?.(".wire")) return;
  if (data === "login") {
    logOut();
    return connectIn(RETRY_WITHOUT_LOGIN, target);
  }
  target.remove();
  say(data === "gone" ? GONE : "This page has lost track of the answer. Reload it.");
});

on("login", () => wires().forEach(restart));

// The extension cancels a stream that it has aborted, and leaves the rejection to whoever listens.
window.addEventListener("unhandledrejection", (event) => {
  if (event.reason?.name === "AbortError") event.preventDefault();
});
