// Loads the modules that the chat page needs at their first use, or with the first turn.

import { box, byId, findIn, isComposing, isMac, on, onAdded, thread, wire } from "./page.js";
import { onUse, run } from "./on_demand.js";

const shortcuts = () => import("./shortcuts.js");
const search = () => import("./search.js");

onUse("click", "a.edit", () => import("./edit.js"), "open");
onUse("click", ".otherwise", () => import("./otherwise.js"), "open");
onUse("click", "[data-read-aloud]", () => import("./speech.js"), "toggle");
onUse("click", ".models", () => import("./models.js"), "toggle");
onUse("click", "#title-menu a[data-panel]", () => import("./panel.js"), "open");
onUse("click", "a[data-share]", () => import("./share.js"), "open");
onUse("click", "[data-shortcuts]", shortcuts, "show");

document.querySelector(".models")?.removeAttribute("hidden");
byId("id_model")?.addEventListener("change", () => run(() => import("./effort.js"), "offerLevels"));

// If the module cannot be fetched because the server is away, it is fetched again at the next input.
const loadCost = () => import("./cost.js").catch(() => box.addEventListener("input", loadCost, { once: true }));
box.addEventListener("input", loadCost, { once: true });

// What is repeated comes after something else was clicked or typed.
on("pointerdown keydown", () => import("./repeats.js").catch(() => {}), { once: true });

// Copying has to be there before it is used: browsers open the clipboard only while a click is handled.
const loadTurns = () => thread.childElementCount && import("./turns.js").then(() => turns.disconnect(), () => {});
const turns = new MutationObserver(loadTurns);
turns.observe(thread, { childList: true });
on("reconnected", loadTurns);
loadTurns();

const countDown = () => import("./countdowns.js").catch(() => {});
const WAITING = ".reasoning, [data-countdown], [data-countup]";
onAdded((element) => findIn(element, WAITING).length && countDown());
if (wire() && thread.querySelector(WAITING)) countDown();

// --- Keys. Alt+Shift and a letter work everywhere, also in fields, because neither browsers nor screen readers use them;
// `?` alone works outside of fields. So do all on a Mac, where Option and Shift write letters: Ł, Ø, Ç.

const SHORTCUT = /^(Key[CEJKLMOS]|Arrow(Up|Down))$/;

const isField = (element) => element.matches?.("input, textarea, select, [contenteditable]");

on("keydown", (event) => {
  const { code, key, altKey, shiftKey } = event;
  const isControl = event.ctrlKey || event.metaKey;
  if (isComposing(event)) return;
  if (isControl && !altKey && !shiftKey && key.toLowerCase() === "k") return openSearch(event);
  const isTyping = isField(event.target);
  if (isControl || (isMac && isTyping) || document.querySelector("dialog:modal")) return;
  const isHelp = key === "?" && !altKey && !isTyping;
  if (!isHelp && !(altKey && shiftKey && SHORTCUT.test(code))) return;
  event.preventDefault();
  run(shortcuts, isHelp ? "show" : "press", code);
});

// --- The search. The field in the sidebar opens its dialog; without this script it searches by itself. The dialog is open at
// once, so that nothing that is typed gets lost.

const dialog = byId("search-dialog");
const find = document.querySelector("#sidebar .find");

const openSearch = (event, text = "") => {
  event.preventDefault();
  search();
  const { q } = dialog.querySelector("form").elements;
  if (!dialog.open) dialog.showModal();
  q.focus();
  if (!text) return q.select();
  q.value = text;
  q.dispatchEvent(new Event("input", { bubbles: true }));
};

find?.addEventListener("pointerdown", (event) => event.button || openSearch(event));
find?.addEventListener("submit", (event) => openSearch(event));
find?.addEventListener("input", (event) => {
  const { q } = find.elements;
  openSearch(event, q.value);
  q.value = "";
});

if (find && isMac) find.querySelector("kbd").textContent = "⌘ K";
