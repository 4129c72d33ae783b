// Announces the states of answers to screen readers; not their text as it grows.

import { byId, onAdded, thread } from "./page.js";

const ENDS = { complete: "Answer complete.", stopped: "Answer stopped." };

const describe = (foot) => {
  const reason = foot.querySelector(".ended")?.textContent.replace(/\s+/g, " ").replace("Interrupted.", "").trim();
  if (foot.dataset.status === "interrupted") return `Answer interrupted: ${reason}`;
  return ENDS[foot.dataset.status] ?? "Answer started.";
};

export const announce = (sentence) => {
  byId("announcer").textContent = sentence;
};

const stateOf = (foot) => foot && `${foot.id} ${foot.dataset.status}`;

// A rating replaces the foot of an answer, whose state is the same.
let announced = stateOf([...thread.querySelectorAll(".foot")].at(-1));

const announceState = (element) => {
  const foot = element.matches(".foot") ? element : element.querySelector(".foot");
  if (!foot || stateOf(foot) === announced || foot.closest(".turn")?.nextElementSibling) return;
  announced = stateOf(foot);
  announce(describe(foot));
  // The focus has been on the answer while it was written: it moves to the first button that has come.
  if (foot.parentElement === document.activeElement) foot.querySelector("button")?.focus({ preventScroll: true });
};

onAdded(announceState);
