// Waiting is counted: down to the next try of a call, up while a model thinks.

import { wire } from "./page.js";

setInterval(() => {
  for (const summary of document.querySelectorAll(".reasoning:last-child > summary")) {
    if (!wire() || !summary.textContent.startsWith("Thinking…")) continue;
    summary.dataset.seconds = Number(summary.dataset.seconds ?? 0) + 1;
    summary.textContent = `Thinking… ${summary.dataset.seconds} s`;
  }
  for (const notice of document.querySelectorAll("[data-countdown]")) {
    const left = --notice.dataset.countdown;
    notice.textContent = left > 0 ? notice.textContent.replace(/\d+(?= s\.)/, left) : "Trying again…";
  }
  for (const notice of document.querySelectorAll("[data-countup]")) {
    if (wire()) notice.textContent = notice.textContent.replace(/\d+(?= s$)/, (seconds) => Number(seconds) + 1);
  }
}, 1000);
