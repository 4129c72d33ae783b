// Announces the states of answers to screen readers; not their text as it grows.

import { byId, thread } from "./page.js";

const ENDS = { complete: "Answer complete.", stopped: "Answer stopped." };

const describe = (foot) => {
  const reason = foot.querySelector(".ended")?.textContent.replace(/\s+/g, " ").replace("Interrupted.", "").trim();
  if (foot.dataset.status === "interrupted") return `Answer interrupted: ${reason}`;
  return ENDS[foot.dataset.status] ?? "Answer started.";
};

export const announce = (sentence) => {
  byId("announcer").textContent = sentence;
};

const announceState = (node) => {
  const foot = node.matches?.(".foot") ? node : node.querySelector?.(".foot");
  if (!foot) return;
  announce(describe(foot));
  // The focus has been on the answer while it was written: it moves to the first button that has come.
  if (foot.parentElement === document.activeElement) foot.querySelector("button")?.focus({ preventScroll: true });
};

new MutationObserver((changes) => {
  for (const { addedNodes } of changes) addedNodes.forEach(announceState);
}).observe(thread, { childList: true, subtree: true });
