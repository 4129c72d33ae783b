// The questions that wait for the end of an answer: the list is reloaded as the server asks them.

import { byId, composer, conversation, on, thread, wire } from "./page.js";
import { isBusy } from "./requests.js";
import { loadThread } from "./news.js";

// Milliseconds between two requests while questions wait and nothing streams: a notice may be lost.
const POLL_EVERY = 3000;

const queue = () => byId("queue");
const count = () => Number(queue().dataset.questions);

// The queue is not reloaded while a question in it is being edited.
const isEdited = () => Boolean(queue().querySelector("details[open]"));

const load = async () => {
  if (!conversation() || isEdited()) return;
  const before = count();
  const address = `/c/${conversation()}/next/`;
  await htmx.ajax("GET", address, { source: queue(), target: queue(), swap: "outerHTML" });
  // A question has left the queue, and no notice of its turn has come.
  if (count() < before && !wire() && !isBusy()) setTimeout(() => wire() || isBusy() || loadThread(), POLL_EVERY / 6);
};

on("notice", ({ detail: { type, conversation: id } }) => type === "next" && id === conversation() && load());

setInterval(() => count() && !wire() && !document.hidden && load(), POLL_EVERY);

// At the end of an answer the first question is asked.
new MutationObserver(() => {
  if (count() && !wire()) setTimeout(load, POLL_EVERY / 10);
}).observe(thread, { childList: true, subtree: true });

// Stops the answer, and sends what is in the box, or else the first question that waits.
export const sendNow = (text) => {
  if (text.trim()) return composer.requestSubmit(queue().querySelector(".now"));
  queue().querySelector(".state form")?.requestSubmit();
};
