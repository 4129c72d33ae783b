// Reading an answer aloud, with the browser's own voices.

import { byId } from "./page.js";

// Characters. Some browsers fall silent in the middle of a longer piece.
const PIECE = 200;

let speaking = null;

const stop = () => {
  speechSynthesis.cancel();
  speaking?.setAttribute("aria-pressed", "false");
  speaking = null;
};

const textOf = (parts) =>
  [...parts.querySelectorAll(".text :is(p, li, h1, h2, h3, h4, h5, h6, td, th)")]
    .filter((element) => !element.querySelector("p, li"))
    .map((element) => element.textContent.trim())
    .filter(Boolean);

const piecesOf = (text) => text.match(new RegExp(`[^.!?。]{1,${PIECE}}[.!?。]*\\s*`, "gs")) ?? [];

const speak = (button) => {
  const pieces = textOf(byId(button.dataset.readAloud)).flatMap(piecesOf);
  speaking = button;
  button.setAttribute("aria-pressed", "true");
  pieces.forEach((piece, index) => {
    const utterance = new SpeechSynthesisUtterance(piece);
    if (index === pieces.length - 1) utterance.onend = stop;
    speechSynthesis.speak(utterance);
  });
};

export const toggle = (button) => {
  const isSame = speaking === button;
  if (speaking) stop();
  if (!isSame) speak(button);
};

window.addEventListener("pagehide", () => speaking && stop());
