// The search's dialog, which rarely_used.js opens and htmx fills: the arrow keys, Enter and Escape are enough for all of it.

import { byId, isComposing, on, onSwap } from "./page.js";

const dialog = byId("search-dialog");
const results = byId("search-results");
const form = dialog.querySelector("form");
const field = form.elements.q;

// Whether the results are those of the text; Enter waits for that, then opens the first one.
let isCurrent = results.querySelector(".hits a") !== null;
let isOpening = false;

// Which of the hits has the focus; -1 for none.
let chosen = -1;

const hits = () => [...results.querySelectorAll(".hits a")];

const openFirst = () => {
  isOpening = !isCurrent && field.value.trim() !== "";
  if (isCurrent) hits()[0]?.click();
};

// From the field into the results and back.
const move = (step) => {
  const links = hits();
  const next = links.indexOf(document.activeElement) + step;
  if (next < 0) field.focus();
  else links[Math.min(next, links.length - 1)]?.focus();
};

dialog.addEventListener("keydown", (event) => {
  if (isComposing(event)) return;
  const isAmongResults = event.target === field || event.target.closest(".hits");
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && isAmongResults) {
    event.preventDefault();
    move(step);
  } else if (event.key === "Enter" && event.target === field) {
    event.preventDefault();
    openFirst();
  } else if (event.key === "Escape") {
    event.preventDefault(); // in a search field it would empty that first
    dialog.close();
  }
});

form.addEventListener("input", () => {
  isCurrent = isOpening = false;
});

const readForm = () => new URLSearchParams(new FormData(form)).toString();

on("htmx:before:request", ({ detail: { ctx } }) => {
  if (ctx.sourceElement === form) ctx.searched = readForm();
});

// Other parts of the page are swapped too, and the hits of what was typed before may still be on their way. The first search
// may have begun before this module came.
onSwap(({ sourceElement, searched = readForm() }) => {
  if (!dialog.open) return;
  if (sourceElement === form && searched === readForm()) {
    isCurrent = true;
    if (isOpening) openFirst();
  }
  // The hit that had the focus may have been replaced, as "More results" is by the first hit that it loads.
  const links = hits();
  if (chosen >= 0 && !results.contains(document.activeElement)) links[Math.min(chosen, links.length - 1)]?.focus();
});

dialog.addEventListener("focusin", ({ target }) => {
  chosen = hits().indexOf(target);
});

dialog.addEventListener("click", (event) => {
  // Its own edge is the dialog's box; what is outside of that is the backdrop.
  if (event.target === dialog || event.target.closest(".hits li:not(.more) a")) dialog.close();
});
