// The keys of the composer, and Escape.

import { box, composer, on, wire } from "./page.js";
import { sendNow } from "./queue.js";

// Keys of an input method are its own: Enter takes its suggestion, Escape drops it. Safari ends the composition before
// it tells of the key, and then only the key code says so.
export const isComposing = (event) => event.isComposing || event.keyCode === 229;

// Enter sends; while an answer is live the server keeps the question for its end, but with Ctrl it ends the answer.
const enter = (event) => {
  if (event.shiftKey) return;
  event.preventDefault();
  if (event.ctrlKey || event.metaKey) return wire() || !box.value.trim() ? sendNow(box.value) : send();
  send();
};

const send = () => {
  if (box.value.trim()) composer.requestSubmit(composer.querySelector(".send"));
};

box.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !isComposing(event)) enter(event);
});

// Escape stops an answer from anywhere, unless there is something nearer to close.
on("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || isComposing(event)) return;
  if (wire() && !document.querySelector("dialog[open], :popover-open")) composer.querySelector(".stop").click();
});
