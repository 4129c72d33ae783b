// The keys of the composer, and Escape.

import { box, composer, isComposing, on, wire } from "./page.js";
import { sendNow } from "./queue.js";

// Enter sends; while an answer is live the server keeps the question for its end, but with Ctrl it ends the answer. Held
// down it does so once.
const enter = (event) => {
  if (event.shiftKey) return;
  event.preventDefault();
  if (event.repeat) return;
  if (event.ctrlKey || event.metaKey) return wire() || !box.value.trim() ? sendNow(box.value) : send();
  send();
};

const send = () => {
  if (box.value.trim()) composer.requestSubmit(composer.querySelector(".send"));
};

box.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !isComposing(event)) enter(event);
});

// Escape stops an answer from anywhere, unless there is something nearer to close or to give up.
on("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || isComposing(event)) return;
  const nearer = document.querySelector("dialog[open], :popover-open") ?? event.target.closest("textarea, input");
  if (wire() && (!nearer || nearer === box)) composer.querySelector(".stop").click();
});
