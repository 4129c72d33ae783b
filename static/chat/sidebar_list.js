// The lists of conversations: rows that change stand in their place at once, the older ones come as the list is scrolled.

import { byId, conversation, on, onSwap } from "./page.js";

const sidebar = byId("sidebar");

// Milliseconds: news within them are fetched together. The row gives way to the first word, which comes meanwhile.
const DELAY = 500;

// Twice as long at each refusal of the site, or of a proxy before it. By chance: the pages that a restart has refused do
// not all come back together.
const FIRST_RETRY = 2000 + 1000 * Math.random();
const MAX_ROWS = 50;

export const csrfToken = () => document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? "";
export const rowsOf = (id) => document.querySelectorAll(`.conversations > [data-conversation="${id}"]`);

export const send = (address, body) =>
  fetch(address, { method: "POST", body, headers: { "HX-Request": "true", "X-CSRFToken": csrfToken() } });

const makeHeading = (day) => Object.assign(document.createElement("li"), { className: "day", textContent: day });

// Each day has one heading, before its first row.
const regroup = (list) => {
  let day = "";
  for (const item of [...list.children]) {
    if (item.matches(".day")) {
      const next = item.nextElementSibling?.dataset.day;
      if (next !== item.textContent || next === day) item.remove();
    } else if (item.matches(".conversation")) {
      if (item.dataset.day !== day && !item.previousElementSibling?.matches(".day")) item.before(makeHeading(item.dataset.day));
      day = item.dataset.day;
    }
  }
};

// The row that goes gives the focus to the next one, unless it is only placed anew.
const removeOlder = (id, kept) => {
  const focused = document.activeElement.closest(".conversation");
  const rows = [...document.querySelectorAll(".conversations > .conversation")];
  const at = rows.indexOf(focused);
  for (const row of rowsOf(id)) if (row !== kept) row.remove();
  if (kept?.isConnected || at < 0 || focused.isConnected) return;
  ((rows[at + 1] ?? rows[at - 1])?.querySelector(".title") ?? sidebar.querySelector(".new")).focus({ preventScroll: true });
};

export const remove = (id) => {
  removeOlder(id, null);
  document.querySelectorAll(".conversations").forEach(regroup);
};

// The element that had the focus in the row, so that the same one gets it in the new row.
const focusIn = (id) => {
  const row = [...rowsOf(id)].find((each) => each.contains(document.activeElement));
  return row && (document.activeElement.matches(".more") ? ".more" : ".title");
};

// A row that is being renamed is left as it is; it is fetched again when that is over.
export const place = (row) => {
  const id = row.dataset.conversation;
  if ([...rowsOf(id)].some((each) => each.querySelector(".rename"))) return;
  if (id === conversation()) row.querySelector(".title").setAttribute("aria-current", "page");
  const focused = focusIn(id);
  const list = document.querySelector(`.conversations[data-shelf="${row.dataset.shelf}"]`);
  const rows = list ? [...list.querySelectorAll(":scope > .conversation")] : [];
  const next = rows.find((each) => each.dataset.conversation !== id && each.dataset.key < row.dataset.key);
  const end = list?.querySelector(":scope > :is(.older, .none)");
  if (next) next.before(row);
  else if (end?.matches(".none")) end.before(row); // else it comes with the older ones
  removeOlder(id, row);
  document.querySelectorAll(".conversations").forEach(regroup);
  if (focused) row.querySelector(focused).focus({ preventScroll: true });
  markRead(row);
};

// The conversation that is open in a visible tab is read.
const markRead = (row) => {
  if (document.hidden || !row.querySelector("[aria-current]") || !("unread" in row.dataset)) return;
  send(`/c/${row.dataset.conversation}/seen/`).catch(() => null);
  unmark(row.dataset.conversation);
};

const unmark = (id) =>
  rowsOf(id).forEach((row) => {
    delete row.dataset.unread;
    row.querySelector(".mark.unread")?.remove();
  });

on("visibilitychange", () => rowsOf(conversation()).forEach(markRead));

// --- Changes that the page has heard of

// Once, with what was asked between the page's making and now; when a socket opens again the whole list is loaded.
let askedUntil = byId("conversations")?.dataset.askedUntil;

export const watch = (socket) => {
  socket.send(JSON.stringify({ type: "watch", since: askedUntil }));
  askedUntil = undefined;
  document.dispatchEvent(new Event("watching"));
};

const wanted = new Set();
let timer = 0;
let retry = FIRST_RETRY;
let isLoggedOut = false; // then rows wait for the next login

on("logout", () => (isLoggedOut = true));
on("login", () => {
  isLoggedOut = false;
  fetchRows();
});

export const refresh = (id, delay = DELAY) => {
  wanted.add(id);
  fetchRowsIn(delay);
};

const fetchRowsIn = (delay) => {
  clearTimeout(timer);
  timer = setTimeout(fetchRows, delay);
};

const parse = (html) => new DOMParser().parseFromString(html, "text/html");

const fetchRows = async () => {
  if (isLoggedOut || !wanted.size || !navigator.onLine) return; // the whole list is fetched when there is a network again
  const ids = [...wanted].slice(0, MAX_ROWS);
  ids.forEach((id) => wanted.delete(id));
  const query = new URLSearchParams([...ids.map((id) => ["id", id]), ["current", conversation()]]);
  try {
    const response = await fetch(`${sidebar.dataset.rows}?${query}`, { headers: { "HX-Request": "true" } });
    const isRefusedForNow = [429, 502, 503, 504].includes(response.status);
    if (response.status === 401 || isRefusedForNow) ids.forEach((id) => wanted.add(id)); // 401: until the next login
    if (isRefusedForNow) fetchRowsIn((retry *= 2));
    if (!response.ok) return;
    retry = FIRST_RETRY;
    const found = parse(`<ul>${await response.text()}</ul>`);
    for (const id of ids) {
      const row = found.querySelector(`[data-conversation="${id}"]`);
      if (row) place(document.adoptNode(row));
      else remove(id);
    }
  } catch {
    // Away: the whole list is fetched when the connection is back.
  }
  if (wanted.size) fetchRowsIn(DELAY);
};

on("notice", ({ detail: { type, change, conversation: id } }) => {
  if (!id || !["turn", "title", "conversation"].includes(type)) return;
  if (change === "read") unmark(id);
  else if (change === "deleted") remove(id);
  else refresh(id);
});

// Fetches the rows of answers that ended, or were read, between the rendering of the page and its first notice.
on("watching", () => {
  const marked = document.querySelectorAll(".conversation:is([data-unread], :has(> .streaming))");
  [...marked].slice(0, MAX_ROWS).forEach((row) => refresh(row.dataset.conversation));
});

// --- Rows that come by htmx

export const loadList = () => {
  const list = byId("conversations");
  const path = `${sidebar.dataset.list}?current=${conversation()}`;
  return htmx.ajax("GET", path, { source: list, target: list, swap: "outerMorph" });
};

const nearEnd = new IntersectionObserver(
  (entries) => entries.forEach(({ isIntersecting, target }) => isIntersecting && target.querySelector("a").click()),
  { rootMargin: "600px" },
);

// A conversation that has moved up since the list was fetched comes once more with the older ones.
const tidy = (list) => {
  const seen = new Set();
  for (const row of [...list.querySelectorAll(":scope > .conversation")]) {
    if (seen.has(row.dataset.conversation)) row.remove();
    seen.add(row.dataset.conversation);
  }
  regroup(list);
  nearEnd.disconnect();
  document.querySelectorAll(".conversations > .older").forEach((older) => nearEnd.observe(older));
};

onSwap(() => {
  document.querySelectorAll("#new-row > .conversation").forEach(place);
  document.querySelectorAll(".conversations").forEach(tidy);
});
document.querySelectorAll(".conversations").forEach(tidy);

// Days have other names tomorrow.
let today = new Date().toDateString();

setInterval(() => {
  if (new Date().toDateString() === today || document.hidden || !navigator.onLine) return;
  today = new Date().toDateString();
  loadList();
}, 60_000);
