// The reader's page of a shared link: htmx streams the answer that is written, and this module checks for later turns.

import "./clipboard.js";
import "./code.js";

const thread = document.getElementById("thread");
const announcer = document.getElementById("announcer");

// Milliseconds between two checks for more, while nothing streams and the page is visible.
const POLL_EVERY = 15_000;
// Milliseconds after a connection broke, spread so that not all readers come back at once.
const SOON = 1000;

const isStreaming = () => Boolean(document.querySelector(".wire"));

// For a link that was revoked the page then says so.
const reload = () => location.reload();

const look = async () => {
  if (document.hidden || isStreaming()) return;
  const current = document.getElementById("thread");
  const address = `${location.pathname}?state=${encodeURIComponent(current.dataset.state)}`;
  const response = await fetch(address, { redirect: "manual" }).catch(() => null);
  if (response && response.status !== 204) reload();
};

setInterval(look, POLL_EVERY);
document.addEventListener("visibilitychange", look);

document.addEventListener("htmx:sse:close", ({ target, detail: { reason } }) => {
  if (target.matches?.(".wire") && reason === "ended") setTimeout(reload, SOON * (1 + Math.random()));
});

// The last change of a stream removes its wire, so a wire that still gets `done` has no stream any more.
document.addEventListener("done", ({ target }) => target.matches?.(".wire") && reload());

document.addEventListener("htmx:error", ({ detail: { ctx } }) => {
  if (ctx?.sourceElement?.matches?.(".wire")) setTimeout(reload, 3 * SOON * (1 + Math.random()));
});

new MutationObserver((changes) => {
  const foot = changes.flatMap(({ addedNodes }) => [...addedNodes]).find((node) => node.matches?.(".foot"));
  if (foot && !foot.querySelector(".wire")) announcer.textContent = "The answer has ended.";
}).observe(thread, { childList: true, subtree: true });
