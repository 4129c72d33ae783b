// The questions that wait for the end of an answer: kept up with what the server asks of them.

import { byId, composer, conversation, on, thread, wire } from "./page.js";
import { isBusy } from "./requests.js";
import { loadThread } from "./news.js";

// Milliseconds between two looks while questions wait and nothing streams: a notice may be lost.
const LOOK_EVERY = 3000;

const queue = () => byId("queue");
const count = () => Number(queue().dataset.questions);

// What somebody edits stays as it is until they are done.
const isEdited = () => Boolean(queue().querySelector("details[open]"));

const load = async () => {
  if (!conversation() || isEdited()) return;
  const before = count();
  const address = `/c/${conversation()}/next/`;
  await htmx.ajax("GET", address, { source: queue(), target: queue(), swap: "outerHTML" });
  // A question has left the queue, and no notice of its turn has come.
  if (count() < before && !wire() && !isBusy()) setTimeout(() => wire() || isBusy() || loadThread(), LOOK_EVERY / 6);
};

on("notice", ({ detail: { type, conversation: id } }) => type === "next" && id === conversation() && load());

setInterval(() => count() && !wire() && !document.hidden && load(), LOOK_EVERY);

// The end of an answer changes what they wait for.
new MutationObserver(() => {
  if (count() && !wire()) setTimeout(load, LOOK_EVERY / 10);
}).observe(thread, { childList: true, subtree: true });

// Stops the answer, and sends what is in the box, or else the first question that waits.
export const sendNow = (text) => {
  if (text.trim()) return composer.requestSubmit(queue().querySelector(".now"));
  queue().querySelector(".state form")?.requestSubmit();
};
