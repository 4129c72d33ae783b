// The menu of a conversation, and what it does: the server sends its items, each a link or a form of one button.

import { conversation } from "./page.js";
import { refresh, remove, rowsOf, send } from "./sidebar_list.js";
import { rename } from "./sidebar_rename.js";

const menu = document.getElementById("conversation-menu");
const undo = document.getElementById("undo");

let opener = null;
let undoTimer = 0;

// The row of a link: news may have replaced the one that the link was in.
const findRow = (link) => {
  const row = link?.closest(".conversation");
  return row?.isConnected ? row : rowsOf(row?.dataset.conversation)[0];
};

const items = () => [...menu.querySelectorAll("a, button")];

// --- Opening

// When the menu cannot be loaded the link opens its page, which says why.
export const open = async (used) => {
  const response = await fetch(used.href, { headers: { "HX-Request": "true" } });
  if (!response.ok) throw new Error(response.statusText);
  const found = new DOMParser().parseFromString(await response.text(), "text/html");
  menu.replaceChildren(...[...found.body.children].map((item) => document.adoptNode(item)));
  const link = findRow(used)?.querySelector(".more") ?? used;
  opener = link;
  // Inside the drawer, or that would close.
  (link.closest("#sidebar") ?? document.body).append(menu);
  menu.showPopover();
  const at = link.getBoundingClientRect();
  const isLow = at.bottom + menu.offsetHeight > innerHeight;
  menu.style.top = `${Math.max(8, isLow ? at.top - menu.offsetHeight : at.bottom)}px`;
  menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - menu.offsetWidth - 8))}px`;
  link.setAttribute("aria-expanded", "true");
  items()[0]?.focus();
};

menu.addEventListener("toggle", ({ newState }) => {
  if (newState !== "closed" || !opener) return;
  opener.removeAttribute("aria-expanded");
  if (menu.contains(document.activeElement) || document.activeElement === document.body) findRow(opener)?.querySelector(".more").focus();
  opener = null;
});

menu.addEventListener("keydown", (event) => {
  const moves = { ArrowDown: 1, ArrowUp: -1 };
  const all = items();
  if (event.key in moves) all.at((all.indexOf(document.activeElement) + moves[event.key]) % all.length).focus();
  else if (event.key === "Home") all[0].focus();
  else if (event.key === "End") all.at(-1).focus();
  else return;
  event.preventDefault();
});

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const item = event.target.closest("#conversation-menu a");
  if (!item) return;
  const row = findRow(opener);
  menu.hidePopover();
  if (!("rename" in item.dataset) || !row) return;
  event.preventDefault();
  rename(row);
});

// --- Doing

export const submit = (form, event) => {
  const body = new FormData(form, event.submitter);
  if (form.matches(".undo")) restore(form, form.dataset.conversation, body);
  else change(form.action, opener.closest(".conversation").dataset.conversation, body);
};

const change = async (action, id, body) => {
  const isDeletion = action.endsWith("/delete/");
  menu.hidePopover();
  const response = await send(action, body).catch(() => null);
  if (!response?.ok) return say("This could not be changed. Try again.");
  if (!isDeletion) return refresh(id, 0);
  if (id === conversation()) return location.assign(`/?deleted=${id}`);
  remove(id);
  offerUndo(await response.text());
};

const restore = async (form, id, body) => {
  const response = await send(form.action, body).catch(() => null);
  form.remove();
  hideAtEdge();
  if (!response?.ok) return say("It is too late: the conversation is gone for good.");
  if (new URLSearchParams(location.search).get("deleted") === id) location.assign(`/c/${id}/`);
  else refresh(id, 0);
};

// --- What is said at the edge of the page

const SENTENCE_SHOWN = 5000; // milliseconds

const hideAtEdge = () => {
  clearTimeout(undoTimer);
  if (undo.matches(":popover-open")) undo.hidePopover();
};

const showAtEdge = (content, milliseconds) => {
  hideAtEdge();
  undo.replaceChildren(...content);
  undo.showPopover();
  undoTimer = setTimeout(hideAtEdge, milliseconds);
};

export const say = (sentence) => {
  const line = document.createElement("p");
  line.textContent = sentence;
  showAtEdge([line], SENTENCE_SHOWN);
};

const offerUndo = (html) => {
  const form = document.adoptNode(new DOMParser().parseFromString(html, "text/html").querySelector(".undo"));
  showAtEdge([form], 1000 * form.dataset.seconds);
};

// Another page has deleted what this one shows, or has taken that back.
export const tell = (change) => {
  if (change === "deleted") say("This conversation was deleted.");
  if (change === "restored") hideAtEdge();
};
